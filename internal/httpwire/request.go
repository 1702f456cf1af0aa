package httpwire

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

// request makes the http.Request of one request after another. The header's map
// and the body are used again.
type request struct {
	c      *conn
	life   *life
	header http.Header
	values []string // backing of header
	host   string
	blank  http.Request
}

// begin makes the request whose head was read, as net/http's server would.
func (q *request) begin(c *conn) (*http.Request, error) {
	r := c.r
	// All strings of the request are parts of one.
	head := string(r.buf.b[:r.buf.keep])
	from := len(r.Head.Method) + 1
	target := head[from : from+len(r.Head.Target)]
	link, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	q.c, q.life = c, &life{c: c, body: r.Ended()}
	if q.header == nil {
		q.header = make(http.Header, 16)
	}
	q.fillHeader(head)
	req := q.blank.WithContext(q.life)
	req.Method, req.URL, req.RequestURI = r.Head.Method, link, target
	req.Proto, req.ProtoMajor, req.ProtoMinor = "HTTP/1.1", 1, 1
	req.Header, req.RemoteAddr = q.header, c.remote
	req.Host, req.Close = q.host, !r.Head.KeepAlive
	req.ContentLength = r.Head.Length
	req.Body = q
	if r.Ended() {
		req.Body = http.NoBody
	}
	if r.Head.Chunked {
		req.TransferEncoding = []string{"chunked"}
	}
	return req, nil
}

// fillHeader makes the header's map; head is the text that the fields lie in.
func (q *request) fillHeader(head string) {
	clear(q.header)
	q.values = q.values[:0]
	length := false
	for _, f := range q.c.r.fields {
		name := Canonical(head[f.name:f.nameEnd])
		switch name {
		case "Host":
			q.host = head[f.value:f.valueEnd]
			continue
		case "Transfer-Encoding":
			continue
		case "Content-Length": // all of them are the same
			if length {
				continue
			}
			length = true
		}
		if before := q.header[name]; before != nil {
			q.header[name] = append(before, head[f.value:f.valueEnd])
			continue
		}
		n := len(q.values)
		q.values = append(q.values, head[f.value:f.valueEnd])
		q.header[name] = q.values[n : n+1 : n+1]
	}
}

// Canonical is http.CanonicalHeaderKey, for a name that is a token, without its
// work where it is in that form already.
func Canonical(name string) string {
	up := true
	for i := range len(name) {
		c := name[i]
		if up && 'a' <= c && c <= 'z' || !up && 'A' <= c && c <= 'Z' {
			return http.CanonicalHeaderKey(name)
		}
		up = c == '-'
	}
	return name
}

// parseTarget is url.ParseRequestURI, with a short way for a path that has
// nothing to decode. The target has no controls: Reader has seen to that.
func parseTarget(target string) (*url.URL, error) {
	path, query, found := strings.Cut(target, "?")
	if strings.HasPrefix(path, "//") || !all(path, plain) || found && query == "" {
		return url.ParseRequestURI(target)
	}
	return &url.URL{Path: path, RawQuery: query}, nil
}

// Read implements io.Reader: it reads the body.
func (q *request) Read(p []byte) (int, error) {
	n, err := q.c.r.Read(p)
	if q.c.r.Ended() {
		q.life.bodyEnded()
		if n > 0 {
			err = nil // the end comes with the next call
		}
	}
	return n, err
}

// Here tells that reading the body to its end will not wait for the client: all of
// it was read ahead.
func (q *request) Here() bool { return q.c.r.here() }

// Close implements io.Closer. What was not read is read when the request has been
// answered.
func (*request) Close() error { return nil }

var _ io.ReadCloser = (*request)(nil)
