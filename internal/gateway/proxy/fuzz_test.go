package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/httpwire"
)

// canned is a connection from which some bytes can be read.
type canned struct {
	net.Conn
	io.Reader
}

func (c canned) Read(p []byte) (int, error)      { return c.Reader.Read(p) }
func (c canned) SetReadDeadline(time.Time) error { return nil }

// FuzzAnswer has an application answer with anything: what is passed on is sound,
// and where the standard library reads the same bytes it reads the same body.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 200 OK\n\nhello", "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200\r\nConnection: x-a, close\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		u := &upstream{nc: canned{Reader: bytes.NewReader(answer)}, b: make([]byte, 64)}
		d := &way{x: &exchange{inv: &lambent.Invocation{}, w: w, r: r}, h: &home{version: &lambent.Version{Timeout: time.Minute}, idle: time.Minute}, u: u, ctx: r.Context()}
		if _, err := d.answer(); err != nil {
			return
		}
		for name, values := range w.Header() {
			if !httpwire.IsToken(strings.TrimPrefix(name, http.TrailerPrefix)) || strings.ContainsAny(strings.Join(values, ""), "\r\n") {
				t.Errorf("header %q: %q", name, values)
			}
		}
		theirs := bytes.NewReader(answer)
		in := bufio.NewReader(theirs)
		res, err := http.ReadResponse(in, r)
		for err == nil && res.StatusCode < 200 {
			res, err = http.ReadResponse(in, r)
		}
		if err != nil {
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err == nil && (w.Code != res.StatusCode || !bytes.Equal(body, w.Body.Bytes())) {
			t.Errorf("passed %d %q, the standard library reads %d %q", w.Code, w.Body, res.StatusCode, body)
		}
	})
}
