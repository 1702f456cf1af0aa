package conformance

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSlowClients say half of what they have to say, and keep the connection: the
// gateway lets go of them, and serves others meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel() // it is waiting that takes its time
	s, secure := server(t)
	plain, secure := strings.TrimPrefix(s.Gateway, "http://"), strings.TrimPrefix(secure, "https://")
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	var work sync.WaitGroup
	for name, c := range map[string]struct{ way, say string }{
		"half a head":                {plain, "GET / HTTP/1.1\r\nHost: x\r\nX-A"},
		"half a request line":        {plain, "GE"},
		"half of HTTP/2's preface":   {plain, preface[:20]},
		"no settings after it":       {plain, preface},
		"a head that never ends":     {plain, ""}, // see below
		"no handshake":               {secure, ""},
		"half a handshake":           {secure, "\x16\x03\x01\x02\x00\x01"},
		"half a head within TLS":     {"tls", "GET / HTTP/1.1\r\nHost: localhost\r\nX-A"},
		"a handshake of another age": {secure, "\x16\x03\x00\x00\x01\x00"},
	} {
		work.Go(func() {
			var conn net.Conn
			var err error
			if c.way == "tls" {
				conn, err = tls.Dial("tcp", secure, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}) //nolint:gosec // it signs itself
			} else {
				conn, err = net.Dial("tcp", c.way)
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			began := time.Now()
			_ = conn.SetDeadline(began.Add(40 * time.Second))
			if _, err := io.WriteString(conn, c.say); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if name == "a head that never ends" {
				work.Go(func() {
					for range 100 { // a byte at a time is no progress
						if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-A: b"[:1]); err != nil {
							return
						}
						time.Sleep(300 * time.Millisecond)
					}
				})
			}
			if _, err := io.Copy(io.Discard, conn); err != nil && time.Since(began) > 35*time.Second {
				t.Errorf("%s: it is still waited for after %v", name, time.Since(began))
			}
		})
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Gateway, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	work.Wait()
}

// TestHeaderBombs over each protocol get a refusal, and no function.
func TestHeaderBombs(t *testing.T) {
	s, secure := server(t)
	two := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true} //nolint:gosec // it signs itself
	plainTwo := &http.Transport{Protocols: new(http.Protocols)}
	plainTwo.Protocols.SetUnencryptedHTTP2(true)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(secure, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		address string
		by      *http.Transport
	}{
		"HTTP/1.1": {s.Gateway, &http.Transport{}}, "HTTP/2": {s.Gateway, plainTwo}, "HTTP/2 with TLS": {"https://localhost:" + port, two},
	} {
		for bomb, header := range map[string]http.Header{
			"one large": {"X-A": {strings.Repeat("x", 200<<10)}}, "many": {"X-A": strings.Split(strings.Repeat("y,", 20000), ",")},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.address+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header
			res, err := c.by.RoundTrip(r)
			if err != nil {
				continue // it was cut off
			}
			if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s, %s: %d", name, bomb, res.StatusCode)
			}
			_ = res.Body.Close()
		}
		c.by.CloseIdleConnections()
	}
}
