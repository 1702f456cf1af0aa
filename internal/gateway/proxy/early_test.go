package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// TestHintsArePassed has an application answer 103 before it answers: its caller gets
// that at once and unmixed, over either protocol; one of HTTP/1.0 does not.
func TestHintsArePassed(t *testing.T) {
	for _, version := range []string{"1.0", "1.1", "2"} {
		told := make(chan struct{})
		r := app(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			select {
			case <-told:
			case <-r.Context().Done():
			}
			w.Header().Del("Link")
			w.Header().Set("X-Last", "yes")
			w.WriteHeader(http.StatusAccepted)
		})
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h))
			close(told)
			return nil
		}})
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(version != "2")
		transport.Protocols.SetUnencryptedHTTP2(version == "2")
		defer transport.CloseIdleConnections()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if version == "1.0" {
			close(told)
			c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			if all, err := io.ReadAll(c); !strings.HasPrefix(string(all), "HTTP/1.0 202") || strings.Contains(string(all), "103") {
				t.Errorf("over HTTP/1.0: %q, %v", all, err)
			}
			continue
		}
		res, err := transport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusAccepted || res.Header["Link"] != nil || res.Header.Get("X-Last") != "yes" {
			t.Errorf("over HTTP/%s: %d %v", version, res.StatusCode, res.Header)
		}
		if want := "103 map[Link:[</a.css>; rel=preload]]"; len(hints) != 1 || hints[0] != want {
			t.Errorf("over HTTP/%s the hints are %q, want %q", version, hints, want)
		}
	}
}

// TestHeadDoesNotWait has an application send a head, and then a part of the body,
// long before the rest: the caller gets each when it is there.
func TestHeadDoesNotWait(t *testing.T) {
	for name, length := range map[string]string{"events": "", "a length": "8"} {
		next := make(chan struct{})
		r := app(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			for _, part := range []string{"", "one:", "two:"} {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-next:
				case <-r.Context().Done():
				}
			}
		})
		res, err := (&http.Client{Timeout: 10 * time.Second}).Get(r.url)
		if err != nil {
			t.Fatal(err)
		}
		body := bufio.NewReader(res.Body)
		for _, want := range []string{"one:", "two:"} {
			next <- struct{}{}
			if got, err := body.ReadString(':'); err != nil || got != want {
				t.Fatalf("with %s: %q, %v, want %q", name, got, err, want)
			}
		}
		next <- struct{}{}
		if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
			t.Errorf("with %s, after the end: %q, %v", name, rest, err)
		}
		_ = res.Body.Close()
	}
}

// TestPartsAreAcknowledgedAtOnce has an application send the head, the body and its rest
// apart and without TCP_NODELAY, as Python's http.server does: each part after the first
// waits for an acknowledgement, which the kernel delays by 40 ms or more.
func TestPartsAreAcknowledgedAtOnce(t *testing.T) {
	r := raw(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetNoDelay(false)
		in := bufio.NewReader(c)
		for {
			q, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_ = q.Body.Close()
			for _, part := range []string{"HTTP/1.1 200 OK\r\n", "Content-Length: 4\r\n\r\n", "body"} {
				_, _ = io.WriteString(c, part)
			}
		}
	})
	const warm, tries = 20, 10 // the kernel delays nothing at first
	best := time.Hour
	for n := range warm + tries {
		began := time.Now()
		if res, body := get(t, r.url); res.StatusCode != http.StatusOK || body != "body" {
			t.Fatalf("%d %q", res.StatusCode, body)
		}
		if n >= warm {
			best = min(best, time.Since(began))
		}
	}
	if best > 30*time.Millisecond {
		t.Errorf("an answer in parts took %v at best", best)
	}
}
