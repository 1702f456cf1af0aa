package auth

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// queryOrder is how repeated query parameters are sorted.
type queryOrder int

const (
	// byEncoded sorts by encoded name, then encoded value: the specification.
	byEncoded queryOrder = iota
	// byDecoded sorts the values of one name before they are encoded, as
	// aws-sdk-go-v2 does.
	byDecoded
)

// spelling is one of the ways in which clients write the same request down.
type spelling struct {
	order queryOrder
	// collapsed leaves empty segments of the path and those of one dot out.
	collapsed bool
}

// appendCanonical appends the canonical request of AWS General Reference,
// "Create a signed AWS API request", step 1. It reports false if a header that is to be signed is absent.
func (c *claim) appendCanonical(dst []byte, r *http.Request, payload string, as spelling) ([]byte, bool) {
	dst = append(append(dst, r.Method...), '\n')
	path := wirePath(r)
	if as.collapsed {
		path = collapse(path)
	}
	dst = append(appendPath(dst, path, c.service != "s3"), '\n')
	dst = append(appendQuery(dst, r.URL.RawQuery, c.presigned, as.order), '\n')
	for rest, more := c.signed, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		dst = append(append(dst, name...), ':')
		var ok bool
		if dst, ok = appendHeader(dst, r, name); !ok {
			return dst, false
		}
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = append(append(dst, c.signed...), '\n')
	return append(dst, payload...), true
}

// wirePath is the path as the client sent it, still escaped.
func wirePath(r *http.Request) string {
	path := r.RequestURI
	if !strings.HasPrefix(path, "/") { // absolute form, or not from a server
		path = r.URL.EscapedPath()
	}
	path, _, _ = strings.Cut(path, "?")
	if path == "" {
		return "/"
	}
	return path
}

// collapses tells whether clients may have signed another path than they sent. AWS
// General Reference has redundant and relative segments removed, which botocore, the
// SDK for JavaScript and others do, and the SDK for Go does not: both are taken. Paths
// that lead upwards have to be signed as they are: the same signature would be good for
// another function.
func collapses(path string) bool {
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return false
	}
	return !slices.Contains(strings.Split(path, "/"), "..")
}

// collapse leaves out the empty segments of a path and those of one dot; a slash at its
// end stays.
func collapse(path string) string {
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" || part == "." })
	if len(parts) > 0 && strings.HasSuffix(path, "/") {
		parts = append(parts, "")
	}
	return "/" + strings.Join(parts, "/")
}

// appendPath encodes an escaped path: once more for every service, but S3, which
// encodes once.
func appendPath(dst []byte, escaped string, twice bool) []byte {
	if !twice {
		if plain, err := url.PathUnescape(escaped); err == nil {
			escaped = plain
		}
	}
	return appendEncoded(dst, escaped, true)
}

const upperHex = "0123456789ABCDEF"

// appendEncoded percent-encodes all but the unreserved characters of RFC 3986,
// section 2.3, and optionally the slash.
func appendEncoded(dst []byte, s string, slash bool) []byte {
	for i := range len(s) {
		b := s[i]
		if unreserved(b) || slash && b == '/' {
			dst = append(dst, b)
			continue
		}
		dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
	}
	return dst
}

func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
		b == '-' || b == '.' || b == '_' || b == '~'
}

// parameter is one of the query's; both parts are encoded.
type parameter struct{ name, value, plain string }

// appendQuery appends the canonical query string. Escapes that do not parse are
// taken literally, so that they can only match a client that did the same.
func appendQuery(dst []byte, raw string, presigned bool, order queryOrder) []byte {
	if raw == "" {
		return dst
	}
	params := make([]parameter, 0, 8)
	for more := true; more; {
		var pair string
		pair, raw, more = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescape(name), unescape(value)
		if presigned && name == "X-Amz-Signature" {
			continue
		}
		params = append(params, parameter{encode(name), encode(value), value})
	}
	slices.SortStableFunc(params, func(a, b parameter) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		if order == byDecoded {
			return strings.Compare(a.plain, b.plain)
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range params {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(append(append(dst, p.name...), '='), p.value...)
	}
	return dst
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func encode(s string) string {
	for i := range len(s) {
		if !unreserved(s[i]) {
			return string(appendEncoded(make([]byte, 0, len(s)+16), s, false))
		}
	}
	return s
}

// appendHeader appends the values of the header with this lower-case name,
// joined by commas, each trimmed and with runs of spaces made one.
func appendHeader(dst []byte, r *http.Request, name string) ([]byte, bool) {
	switch name {
	case "host":
		return appendTrimmed(dst, r.Host), r.Host != ""
	case "content-length":
		if r.ContentLength < 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, r.ContentLength, 10), true
	case "transfer-encoding": // net/http takes it out of the header
		return append(dst, strings.Join(r.TransferEncoding, ",")...), len(r.TransferEncoding) > 0
	}
	values := headerValues(r.Header, name)
	if len(values) == 0 {
		return dst, false
	}
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTrimmed(dst, v)
	}
	return dst, true
}

// headerValues looks a lower-case name up without allocating its canonical form.
func headerValues(h http.Header, name string) []string {
	var buf [64]byte
	if len(name) > len(buf) {
		return h[http.CanonicalHeaderKey(name)]
	}
	up := true
	for i := range len(name) {
		b := name[i]
		if up && 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		buf[i] = b
		up = b == '-'
	}
	return h[string(buf[:len(name)])]
}

func appendTrimmed(dst []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return append(dst, v...)
	}
	space := false
	for i := range len(v) {
		if v[i] == ' ' && space {
			continue
		}
		space = v[i] == ' '
		dst = append(dst, v[i])
	}
	return dst
}

// signs tells whether the list of signed headers has this lower-case name.
func signs(list, name string) bool {
	for more := true; more; {
		var n string
		n, list, more = strings.Cut(list, ";")
		if n == name {
			return true
		}
	}
	return false
}

// unsignedHeader finds a header whose meaning the signature must cover and does
// not: host, the date, and all of X-Amz- (same source, "Add the canonical
// headers"). A header that a proxy on the way adds about itself is let through.
func (c *claim) unsignedHeader(r *http.Request) string {
	if !signs(c.signed, "host") {
		return "host"
	}
	if !c.presigned && first(r.Header["X-Amz-Date"]) == "" && !signs(c.signed, "date") {
		return "date"
	}
	for name := range r.Header {
		if len(name) < 6 || !strings.EqualFold(name[:6], "x-amz-") || name == "X-Amz-Cf-Id" {
			continue
		}
		if !signsFold(c.signed, name) {
			return strings.ToLower(name)
		}
	}
	return ""
}

// signsFold is signs for a name in any case.
func signsFold(list, name string) bool {
	for more := true; more; {
		var n string
		n, list, more = strings.Cut(list, ";")
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
