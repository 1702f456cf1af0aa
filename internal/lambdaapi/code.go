package lambdaapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// CodePath is where links to code lead: GetFunction's Code.Location and a
// layer's Content.Location. It needs no signature; the link's token, which
// cannot be guessed and expires, is the permission, as with AWS's presigned
// links.
const CodePath = "/_lambent/code/"

// linkLife is how long a link works: AWS's work for ten minutes (AWS Lambda API
// reference, FunctionCodeLocation).
const linkLife = 10 * time.Minute

func (h *handler) codeLink(c caller, d lambent.Digest) string {
	expires := strconv.FormatInt(h.Now().Add(linkLife).Unix(), 10)
	return c.base() + CodePath + string(d) + "?" + url.Values{"expires": {expires}, "token": {h.linkToken(string(d), expires)}}.Encode()
}

func (h *handler) linkToken(digest, expires string) string {
	mac := hmac.New(sha256.New, h.linkKey)
	mac.Write([]byte(digest + "\n" + expires))
	return hex.EncodeToString(mac.Sum(nil))
}

// serveCode answers a link with the code as it was uploaded.
func (h *handler) serveCode(w http.ResponseWriter, r *http.Request) {
	digest, query := strings.TrimPrefix(r.URL.Path, CodePath), r.URL.Query()
	expires := query.Get("expires")
	until, err := strconv.ParseInt(expires, 10, 64)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	case err != nil, !hmac.Equal([]byte(query.Get("token")), []byte(h.linkToken(digest, expires))):
		http.Error(w, "this link is not valid", http.StatusForbidden)
		return
	case h.Now().Unix() > until:
		http.Error(w, "this link has expired; ask for a new one with GetFunction or GetLayerVersion", http.StatusForbidden)
		return
	}
	blob, _, err := h.Blobs.Blob(lambent.Digest(digest))
	if err != nil {
		http.Error(w, "the code is not here any more", http.StatusNotFound)
		return
	}
	defer func() { _ = blob.Close() }() // only read
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="code.zip"`)
	w.Header().Set("ETag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, blob)
}
