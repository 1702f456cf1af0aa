package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/invoke"
	"lambent.dev/lambent/internal/sandbox"
)

// backend is an instance whose application listens on this host.
type backend struct {
	addr    string
	version atomic.Pointer[lambent.Version]
	done    chan struct{}
	why     *sandbox.Failure
	dials   atomic.Int32
}

func (b *backend) Dial(ctx context.Context) (net.Conn, error) {
	b.dials.Add(1)
	var d net.Dialer
	return d.DialContext(ctx, "tcp", b.addr)
}
func (b *backend) ID() string                { return b.addr }
func (b *backend) Version() *lambent.Version { return b.version.Load() }
func (b *backend) Done() <-chan struct{}     { return b.done }
func (b *backend) Why() *sandbox.Failure     { return b.why }

// rig is a proxy behind the server that the gateway has, in front of a backend.
type rig struct {
	*backend
	url   string
	errs  chan error // what became of each request
	tries atomic.Int32
	trace atomic.Value // that the spine gives to each request; none, or "", leaves it alone
}

// Forward implements Forwarder as package invoke does.
func (r *rig) Forward(ctx context.Context, inv *lambent.Invocation, send invoke.Send) error {
	if trace, _ := r.trace.Load().(string); trace != "" {
		inv.TraceID = trace
	}
	var err error
	for range 3 {
		r.tries.Add(1)
		err = send(ctx, r.backend)
		var unsent invoke.UnsentError
		if !errors.As(err, &unsent) {
			break
		}
	}
	select {
	case r.errs <- err:
	default:
	}
	return err
}

// serve puts a proxy in front of an application on addr.
func serve(t *testing.T, addr string, timeout, idle time.Duration) *rig {
	t.Helper()
	r := &rig{backend: &backend{addr: addr, done: make(chan struct{})}, errs: make(chan error, 64)}
	r.version.Store(&lambent.Version{Function: "app", Timeout: timeout, App: &lambent.App{Concurrency: 80}})
	p := New(Options{Forwarder: r, Idle: idle})
	h := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		path, query, _ := strings.Cut(q.RequestURI, "?")
		w.Header().Set("X-Amzn-Requestid", "id")
		if origin := q.Header.Get("Origin"); origin != "" { // as a route answers browsers
			w.Header().Set("Access-Control-Allow-Origin", origin)
		}
		if q.Header["X-Limit"] != nil || strings.HasPrefix(q.UserAgent(), "X-Limit") { // as a route bounds bodies
			q.Body = full{q.Body}
		}
		p.Serve(w, q, Target{Function: "app", Path: path, Query: query, RequestID: "id"})
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	other := &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: time.Second}
	s := httpwire.NewServer(httpwire.Options{Handler: h, Takes: func(method string, _ []byte) bool { return method != http.MethodHead },
		Other: other, Header: 64 << 10, HeaderTimeout: time.Second, Idle: time.Minute, Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		_ = other.Close()
		<-served
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	r.url = "http://" + l.Addr().String()
	return r
}

// app puts a proxy in front of h.
func app(t *testing.T, h http.HandlerFunc) *rig {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return serve(t, s.Listener.Addr().String(), 5*time.Second, time.Minute)
}

// raw puts a proxy in front of a listener whose connections script has.
func raw(t *testing.T, script func(c net.Conn)) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				script(c)
			}()
		}
	}()
	return serve(t, l.Addr().String(), time.Second, 300*time.Millisecond)
}
