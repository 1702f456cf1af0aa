package httpwire

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPreface hands the first line of HTTP/2 on, and only that.
func TestPreface(t *testing.T) {
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }), func(o *Options) {
		o.Other.Protocols = new(http.Protocols)
		o.Other.Protocols.SetHTTP1(true)
		o.Other.Protocols.SetUnencryptedHTTP2(true)
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Post("http://"+r.ours+"/hot", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); string(body) != "HTTP/2.0" {
		t.Errorf("answered over %s, %v", body, err)
	}
	for _, line := range []string{"PRI * HTTP/2.1", "PRI / HTTP/2.0", "GET * HTTP/2.0"} {
		c := r.dial(r.ours)
		_, _ = io.WriteString(c, line+"\r\n\r\nSM\r\n\r\n")
		if got, _ := bufio.NewReader(c).ReadString('\n'); got != "HTTP/1.1 505 HTTP Version Not Supported\r\n" {
			t.Errorf("%s answers %q", line, got)
		}
	}
	reader := NewReader(strings.NewReader("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), io.Discard, Limits{Header: 1000, Line: 1000})
	if err := reader.Next(); err != errVersion { //nolint:errorlint // it is this one
		t.Errorf("a reader says %v", err)
	}
}

// TestTrailers sends what a handler sets behind a body, as net/http does.
func TestTrailers(t *testing.T) {
	for name, body := range map[string]string{"none": "", "short": "short", "long": strings.Repeat("long", hold)} {
		r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
			w.Header().Set(http.TrailerPrefix+"X-Sum", "42")
			w.Header().Add(http.TrailerPrefix+"X-Other", "a\r\nb")
		}))
		for range 2 { // the connection is good for another
			res, err := http.Post("http://"+r.ours+"/hot", "text/plain", nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || string(got) != body || res.Trailer.Get("X-Sum") != "42" || strings.ContainsAny(res.Trailer.Get("X-Other"), "\r\n") {
				t.Errorf("%s: %d bytes, %v, %v", name, len(got), res.Trailer, err)
			}
		}
	}
}

// TestFullDuplex answers while another goroutine reads the body.
func TestFullDuplex(t *testing.T) {
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		lines := make(chan string)
		go func() {
			defer close(lines)
			for in := bufio.NewReader(r.Body); ; {
				_ = control.SetReadDeadline(time.Now().Add(long))
				line, err := in.ReadString('\n')
				if err != nil {
					_ = control.SetReadDeadline(time.Time{})
					return
				}
				lines <- line
			}
		}()
		for line := range lines {
			_, _ = io.WriteString(w, strings.ToUpper(line))
			_ = control.Flush()
		}
	}))
	c := r.dial(r.ours)
	_ = c.SetDeadline(time.Now().Add(long))
	for range 2 { // the connection is good for another
		_, _ = io.WriteString(c, "POST /hot HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		for _, line := range []string{"one\n", "two\n"} {
			_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(line), line)
			expect(t, c, strings.ToUpper(line))
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
		expect(t, c, "0\r\n\r\n")
	}
}

// expect reads until text comes.
func expect(t *testing.T, in io.Reader, text string) {
	t.Helper()
	seen, b := "", make([]byte, 1)
	for !strings.HasSuffix(seen, text) {
		n, err := in.Read(b)
		if err != nil {
			t.Fatalf("%q does not come, but %q and %v", text, seen, err)
		}
		seen += string(b[:n])
	}
}
