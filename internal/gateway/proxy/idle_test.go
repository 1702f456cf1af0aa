package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lambent.dev/lambent"
)

// TestIdleOfApplication ends what is silent for longer than the application allows,
// and names whose bound it was.
func TestIdleOfApplication(t *testing.T) {
	r := raw(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		_, _ = io.Copy(io.Discard, c) // says nothing more
	})
	r.version.Store(&lambent.Version{Function: "app", Timeout: time.Minute, App: &lambent.App{Concurrency: 80, IdleTimeout: 200 * time.Millisecond}})
	began := time.Now()
	res, err := http.Get(r.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil || string(body) != "hello" || time.Since(began) > 5*time.Second {
		t.Errorf("a silent stream gave %q, %v after %v", body, err, time.Since(began))
	}
	var f *failure
	if err := <-r.errs; !errors.As(err, &f) || f.layer != "function" || f.limit != "idle 200ms" {
		t.Errorf("the stream ended with %+v", err)
	}
}

// TestIdleWebSocket is kept by what flows in either direction, and ends without.
func TestIdleWebSocket(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, q *http.Request) {
		c, err := websocket.Accept(w, q, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			if _, _, err := c.Read(q.Context()); err != nil {
				return
			}
		}
	})
	r.version.Store(&lambent.Version{Function: "app", Timeout: time.Minute, App: &lambent.App{Concurrency: 80, IdleTimeout: 300 * time.Millisecond}})
	c, res, err := websocket.Dial(t.Context(), r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if res.Body != nil {
		_ = res.Body.Close()
	}
	for range 8 { // longer than the bound, and nothing comes back
		if err := c.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	began := time.Now()
	if _, _, err := c.Read(t.Context()); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("a silent WebSocket ends with %v after %v", err, time.Since(began))
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it ended after %v already", took)
	}
	var f *failure
	if err := <-r.errs; err != nil && !errors.As(err, &f) {
		t.Errorf("it ended with %v", err)
	}
}
