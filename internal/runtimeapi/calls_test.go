package runtimeapi

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// takeCalls has a session hand over the connections of calls.
func takeCalls(conns chan net.Conn) Options {
	return Options{Calls: func(c net.Conn) { conns <- c }}
}

// A connection goes to the API with the whole request, whatever was sent on it
// before, and is not read any more.
func TestCallsAreHandedOver(t *testing.T) {
	conns := make(chan net.Conn, 1)
	r := newRigWith(t, takeCalls(conns))
	c := r.dial()
	const post = "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"
	if _, err := io.WriteString(c, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"+post); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusOK || res.ContentLength != 4 {
		t.Fatalf("ping: %v %v", res, err)
	} else if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	call := receiveCall(t, conns)
	if _, err := io.WriteString(c, "llo"); err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(call))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(req.Body); err != nil || req.URL.Path != "/2015-03-31/functions/f/invocations" || string(body) != "hello" {
		t.Errorf("%s %q %v", req.URL, body, err)
	}
	if _, err := io.WriteString(call, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusNoContent {
		t.Errorf("answer: %v %v", res, err)
	}
	_ = call.Close()
	if _, err := in.ReadByte(); err == nil {
		t.Error("the connection is open after its owner closed it")
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if n := len(r.s.conns); n != 1 { // the listener
		t.Errorf("%d connections are counted", n)
	}
}

// What is of the instance's own APIs stays here, and so does all of it where nobody
// takes calls.
func TestOwnPathsAreNotHandedOver(t *testing.T) {
	conns := make(chan net.Conn, 1)
	r := newRigWith(t, takeCalls(conns))
	for _, path := range []string{"/2018-06-01/nothing", "/2020-01-01/extension/nothing", "/2022-07-01/telemetry/x", "/2020-08-15/logs/x", "/lambent/v1/x", "/2018-06-01/runtime/invocation/x/y"} {
		if out := r.talk("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 404 ") {
			t.Errorf("%s: %.60q", path, out)
		}
	}
	alone := newRig(t)
	if out := alone.talk("GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 404 ") {
		t.Errorf("nobody takes calls: %.60q", out)
	}
	if len(conns) != 0 {
		t.Error("a connection was handed over")
	}
}

// The end of the session ends calls and does not wait for who answers them.
func TestCloseEndsCalls(t *testing.T) {
	conns := make(chan net.Conn, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, served := NewSession(takeCalls(conns)), make(chan error)
	go func() { served <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	call := receiveCall(t, conns)
	s.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := io.ReadAll(call); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the call's connection after the session: %v", err)
	}
}

func receiveCall(t *testing.T, conns chan net.Conn) net.Conn {
	t.Helper()
	select {
	case c := <-conns:
		t.Cleanup(func() { _ = c.Close() })
		return c
	case <-time.After(long):
		t.Fatal("no connection was handed over")
		return nil
	}
}

// Trace is of the event that went last.
func TestTrace(t *testing.T) {
	s := NewSession(Options{})
	if got := s.Trace(); got != "" {
		t.Errorf("before the first event: %q", got)
	}
	if _, _, err := s.offer(sandbox.Event{RequestID: "a", TraceID: "Root=1-1"}); err != nil {
		t.Fatal(err)
	}
	if got := s.Trace(); got != "Root=1-1" {
		t.Errorf("with an event: %q", got)
	}
}
