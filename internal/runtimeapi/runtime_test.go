package runtimeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a session that is served on loopback, and a client that plays the
// runtime.
type rig struct {
	*testing.T
	s    *Session
	url  string
	http *http.Client
}

// newRig serves a session, of an instance with these extensions.
func newRig(t *testing.T, extensions ...string) *rig {
	t.Helper()
	return newRigWith(t, Options{FunctionName: "fn", FunctionVersion: "7", Handler: "h.h", AccountID: "000000000000", Extensions: extensions})
}

func newRigWith(t *testing.T, o Options) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, s: NewSession(o), url: "http://" + l.Addr().String(), http: &http.Client{Transport: &http.Transport{}}}
	served := make(chan error, 1)
	go func() { served <- r.s.Serve(l) }()
	t.Cleanup(func() {
		r.s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		r.http.CloseIdleConnections()
	})
	return r
}

// said is an answer of the Runtime API.
type said struct {
	status int
	header http.Header
	body   []byte
}

func (s said) errorType() string {
	var e struct{ ErrorType, ErrorMessage string }
	_ = json.Unmarshal(s.body, &e) // what is no JSON has no type
	return e.ErrorType
}

func (s said) id() string         { return s.header.Get(headerRequestID) }
func (s said) invocation() string { return s.header.Get(headerInvocationID) }

func (r *rig) do(method, path string, header http.Header, body io.Reader) said {
	r.Helper()
	req, err := http.NewRequest(method, r.url+path, body)
	if err != nil {
		r.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := r.http.Do(req)
	if err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatalf("%s %s: read: %v", method, path, err)
	}
	return said{res.StatusCode, res.Header, b}
}

func (r *rig) next() said { r.Helper(); return r.do("GET", baseInvoke+"next", nil, nil) }

func (r *rig) post(path, body string, header ...string) said {
	r.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return r.do("POST", path, h, bytes.NewBufferString(body))
}

func (r *rig) respond(id, body string, header ...string) said {
	r.Helper()
	return r.post(baseInvoke+id+"/response", body, header...)
}

// loop plays a runtime that answers every event with handle, until the session
// ends.
func (r *rig) loop(handle func(said) said) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			res, err := r.http.Get(r.url + baseInvoke + "next")
			if err != nil {
				return
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				return
			}
			handle(said{res.StatusCode, res.Header, b})
		}
	}()
	return done
}

// invoked is what Invoke returned.
type invoked struct {
	answer sandbox.Answer
	err    error
}

func (r *rig) invoke(ev sandbox.Event, timeout time.Duration) <-chan invoked {
	out := make(chan invoked, 1)
	if ev.Deadline.IsZero() {
		ev.Deadline = time.Now().Add(timeout)
	}
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), ev.Deadline)
		defer cancel()
		a, err := r.s.Invoke(ctx, ev)
		out <- invoked{a, err}
	}()
	return out
}

func event(id, payload string) sandbox.Event {
	return sandbox.Event{RequestID: id, Payload: []byte(payload)}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func waitClosed(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: not closed", what)
	}
}

// busy tells whether an event is open, taken or not.
func (s *Session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil && !s.current.settled
}

func (s *Session) at() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
