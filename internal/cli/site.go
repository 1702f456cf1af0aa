package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

// site is files that do not change, over HTTP: index.html for a directory, x.html for
// x, fallback for what only the page's own code knows, 404.html for what is not there.
// It lists no directory and shows no hidden file.
type site struct {
	files    fs.FS
	fallback string // "" is none

	mu   sync.Mutex
	tags map[string]string // entity tags, by the name of the file
}

func newSite(files fs.FS, fallback string) *site {
	return &site{files: files, fallback: fallback, tags: make(map[string]string)}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
		return
	}
	name := path.Clean("/" + r.URL.Path)[1:]
	slash := strings.HasSuffix(r.URL.Path, "/")
	switch index := path.Join(name, "index.html"); {
	case hidden(name):
		s.missing(w, r)
	case s.isFile(index) && !slash:
		// Relative, since the site does not know below which path it is.
		to := url.URL{Path: "./" + path.Base(name) + "/", RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
	case s.isFile(index):
		s.show(w, r, index)
	case !slash && s.isFile(name):
		s.show(w, r, name)
	case !slash && s.isFile(name+".html"):
		s.show(w, r, name+".html")
	case s.fallback != "" && aPage(name, r.Header):
		s.show(w, r, s.fallback)
	default:
		s.missing(w, r)
	}
}

// aPage tells whether a browser would show what is at name: a script or an image that
// is not there must not be answered by a page.
func aPage(name string, h http.Header) bool {
	switch h.Get("Sec-Fetch-Dest") {
	case "", "document", "frame", "iframe":
		return path.Ext(name) == ""
	}
	return false
}

// missing answers for what is not there.
func (s *site) missing(w http.ResponseWriter, r *http.Request) {
	page, err := fs.ReadFile(s.files, "404.html")
	if err != nil { // there need not be one
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write(page) // the caller may be gone
}

// siteTypes are the types of files that the tables of hosts do not know, or take for
// something that no site has (IANA, "Media Types").
var siteTypes = map[string]string{
	".m3u8":        "application/vnd.apple.mpegurl",
	".map":         "application/json",
	".otf":         "font/otf",
	".ts":          "video/mp2t",
	".webm":        "video/webm",
	".webmanifest": "application/manifest+json",
}

// show answers with a file. Deployed files have no time of their own, and a time that
// every deployment gives them would have caches keep the one before: what they compare
// is a hash of the content, weak so that the gateway may compress it.
func (s *site) show(w http.ResponseWriter, r *http.Request, name string) {
	f, err := s.files.Open(name)
	if err != nil {
		s.missing(w, r)
		return
	}
	defer func() { _ = f.Close() }() // only read from
	content, ok := f.(io.ReadSeeker)
	if !ok {
		http.Error(w, name+" cannot be read from the middle", http.StatusInternalServerError)
		return
	}
	tag, err := s.tag(name, content)
	if err != nil {
		http.Error(w, name+" cannot be read", http.StatusInternalServerError)
		return
	}
	if kind := siteTypes[path.Ext(name)]; kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.Header().Set("Etag", tag)
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, name, time.Time{}, content)
}

// tag is the entity tag of a file, which is left at its beginning.
func (s *site) tag(name string, content io.ReadSeeker) (string, error) {
	s.mu.Lock()
	tag := s.tags[name]
	s.mu.Unlock()
	if tag != "" {
		return tag, nil
	}
	hash := sha256.New()
	_, err := io.Copy(hash, content)
	_, back := content.Seek(0, io.SeekStart)
	if err := errors.Join(err, back); err != nil {
		return "", err
	}
	tag = `W/"` + hex.EncodeToString(hash.Sum(nil)[:16]) + `"`
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[name] = tag
	return tag, nil
}

// hidden tells whether a part of name begins with a dot.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != ".well-known" {
			return true
		}
	}
	return false
}

func (s *site) isFile(name string) bool {
	info, err := fs.Stat(s.files, name)
	return err == nil && info.Mode().IsRegular()
}
