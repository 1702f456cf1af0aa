package auth

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// How long a body may take that the middleware or the doors read: patience, and as long as
// what has come takes at slowest, in bytes per second. Before the signature is known to
// hold it is a stranger's, and all the time that it takes its connection and memory are held.
const (
	patience = time.Minute
	slowest  = 8 << 10
)

// patient is a body that is read with that patience.
type patient struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
	left    int64 // bytes; below 0 where the length was not told
}

// patiently bounds the time of r's body. One that is there needs none.
func patiently(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return r.Body
	}
	if b, ok := r.Body.(interface{ Here() bool }); ok && b.Here() {
		return r.Body
	}
	return &patient{r.Body, http.NewResponseController(w), time.Now().Add(patience), r.ContentLength}
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(p.until) // only a connection has one
	n, err := p.ReadCloser.Read(b)
	p.until = p.until.Add(time.Duration(n) * time.Second / slowest)
	if p.left -= int64(n); p.left == 0 || errors.Is(err, io.EOF) {
		_ = p.control.SetReadDeadline(time.Time{}) // the connection keeps it else
	}
	return n, err
}
