package auth

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	basicISO   = "20060102T150405Z" // ISO 8601 basic, as X-Amz-Date is written
	maxExpires = 604800             // seconds, of a presigned request
	// usualExpires is for presigned requests that do not say: the SDKs for Go leave
	// it out for all services but S3, and AWS takes those for a quarter of an hour.
	usualExpires = "900"
)

// claim is what a request says about its own signature. Its strings are parts of
// the request's own.
type claim struct {
	access, date, region, service string // of the credential
	signed                        string // names of signed headers, "host;x-amz-date"
	signature                     [sha256.Size]byte
	stamp                         string // X-Amz-Date, in the basic form
	at                            time.Time
	presigned                     bool
	expires                       time.Duration // of a presigned request
	token                         string
}

// scope is the credential's scope, as the string to sign holds it.
func (c *claim) appendScope(dst []byte) []byte {
	dst = append(append(dst, c.date...), '/')
	dst = append(append(dst, c.region...), '/')
	dst = append(append(dst, c.service...), '/')
	return append(dst, terminator...)
}

// parseClaim reads the signature of either form: the Authorization header, or
// the X-Amz- parameters of a presigned URL. Rules and texts are those of AWS
// General Reference, "Signature Version 4 request troubleshooting".
func parseClaim(r *http.Request) (claim, *lambent.Error) {
	auth := r.Header["Authorization"]
	presigned := r.URL != nil && strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=")
	switch {
	case len(auth) == 0 && !presigned:
		return claim{}, denied(reasonMissing, "Missing Authentication Token")
	case len(auth) > 1 || len(auth) == 1 && presigned:
		return claim{}, denied(reasonIncomplete, "Only one authentication mechanism is allowed in a request.")
	case presigned:
		return parseQuery(r.URL.RawQuery)
	}
	c, refusal := parseAuthorization(auth[0])
	if refusal != nil {
		return claim{}, refusal
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	stamp := first(r.Header["X-Amz-Date"])
	if stamp == "" {
		if stamp = r.Header.Get("Date"); stamp == "" {
			return claim{}, denied(reasonIncomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "+hashed(auth[0]))
		}
	}
	return c, c.setTime(stamp)
}

// parseAuthorization reads
// "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...".
func parseAuthorization(h string) (claim, *lambent.Error) {
	var c claim
	alg, rest, _ := strings.Cut(h, " ")
	if strings.HasPrefix(alg, "AWS4-") && alg != algorithm {
		return c, denied(reasonIncomplete, "Unsupported AWS 'algorithm': '"+clip(alg)+"'.")
	}
	if alg != algorithm {
		rest = h
	}
	var credential, signature string
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ",")
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return c, denied(reasonIncomplete, "Invalid key=value pair (missing equal-sign) in Authorization header "+hashedOnly(h)+".")
		}
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			c.signed = value
		case "Signature":
			signature = value
		}
	}
	if alg != algorithm || credential == "" || signature == "" || c.signed == "" {
		return c, missingParts(h, credential, signature, c.signed)
	}
	if refusal := c.setCredential(credential); refusal != nil {
		return c, refusal
	}
	return c, c.setSignature(signature)
}

// parseQuery reads the parameters of a presigned URL.
func parseQuery(raw string) (claim, *lambent.Error) {
	c := claim{presigned: true}
	var alg, credential, stamp, expires, signature string
	fields := map[string]*string{
		"X-Amz-Algorithm": &alg, "X-Amz-Credential": &credential, "X-Amz-Date": &stamp,
		"X-Amz-Expires": &expires, "X-Amz-SignedHeaders": &c.signed, "X-Amz-Signature": &signature,
		"X-Amz-Security-Token": &c.token,
	}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		into, ok := fields[name]
		if !ok {
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil || *into != "" {
			return c, denied(reasonIncomplete, "AWS query-string parameter '"+name+"' is malformed or repeated. Re-examine the query-string parameters.")
		}
		*into = plain
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if *fields[name] == "" {
			return c, denied(reasonIncomplete, "AWS query-string parameters must include '"+name+"'. Re-examine the query-string parameters.")
		}
	}
	if alg != algorithm {
		return c, denied(reasonIncomplete, "Unsupported AWS 'algorithm': '"+clip(alg)+"'.")
	}
	seconds, err := strconv.Atoi(cmp.Or(expires, usualExpires))
	if err != nil || seconds < 1 || seconds > maxExpires {
		return c, denied(reasonIncomplete, "X-Amz-Expires must be a number of seconds between 1 and "+strconv.Itoa(maxExpires)+".")
	}
	c.expires = time.Duration(seconds) * time.Second
	if refusal := c.setCredential(credential); refusal != nil {
		return c, refusal
	}
	if refusal := c.setSignature(signature); refusal != nil {
		return c, refusal
	}
	return c, c.setTime(stamp)
}

// setCredential takes "key/date/region/service/aws4_request" apart.
func (c *claim) setCredential(s string) *lambent.Error {
	if strings.Count(s, "/") != 4 {
		return denied(reasonIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '"+clip(s)+"'.")
	}
	var term string
	c.access, term, _ = strings.Cut(s, "/")
	c.date, term, _ = strings.Cut(term, "/")
	c.region, term, _ = strings.Cut(term, "/")
	c.service, term, _ = strings.Cut(term, "/")
	if term != terminator {
		return denied(reasonInvalid, "Credential should be scoped with a valid terminator: '"+terminator+"', not '"+clip(term)+"'.")
	}
	return nil
}

// setSignature decodes the signature. One that is not a hash cannot match.
func (c *claim) setSignature(s string) *lambent.Error {
	if len(s) != hex.EncodedLen(len(c.signature)) {
		return mismatch()
	}
	var text [2 * sha256.Size]byte
	copy(text[:], s)
	if _, err := hex.Decode(c.signature[:], text[:]); err != nil {
		return mismatch()
	}
	return nil
}

// setTime takes X-Amz-Date, or the Date header of RFC 9110, section 5.6.7, which
// the string to sign holds in the basic form too.
func (c *claim) setTime(s string) *lambent.Error {
	if at, ok := parseBasic(s); ok {
		c.at, c.stamp = at, s
		return nil
	}
	at, err := http.ParseTime(s)
	if err != nil || c.presigned {
		return denied(reasonIncomplete, "Date must be in ISO-8601 'basic format'. Got '"+clip(s)+"'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	c.at = at.UTC()
	c.stamp = c.at.Format(basicISO)
	return nil
}

// parseBasic is time.Parse for exactly "20060102T150405Z".
func parseBasic(s string) (time.Time, bool) {
	if len(s) != len(basicISO) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	at, err := time.Parse(basicISO, s)
	return at, err == nil
}

// missingParts lists what the header lacks, all at once.
func missingParts(h, credential, signature, signed string) *lambent.Error {
	var b strings.Builder
	for _, p := range []struct{ name, value string }{
		{"Credential", credential}, {"Signature", signature}, {"SignedHeaders", signed},
	} {
		if p.value == "" {
			b.WriteString("Authorization header requires '" + p.name + "' parameter. ")
		}
	}
	return denied(reasonIncomplete, b.String()+hashed(h))
}

// hashed stands for a header in a message: what does not parse may be a secret
// of another scheme.
func hashed(h string) string {
	sum := sha256.Sum256([]byte(h))
	return "(Hashed with SHA-256 and encoded with Base64) Authorization=" + base64.StdEncoding.EncodeToString(sum[:])
}

func hashedOnly(h string) string {
	sum := sha256.Sum256([]byte(h))
	return "(hashed with SHA-256 and encoded with Base64): '" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// clip bounds what a message repeats of the request.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "?")
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}
