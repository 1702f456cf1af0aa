package runtimeapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Options say whose session it is. Only Log may not be nil; the names are what
// the Extensions API tells about the function.
type Options struct {
	FunctionName    string
	FunctionVersion string
	Handler         string
	AccountID       string
	Log             *slog.Logger
	// NewID makes the id of one hand-over (Lambda-Runtime-Invocation-Id); it is
	// never the same twice. Nil is a random UUID.
	NewID func() string
}

// Session is the Runtime API of one instance.
type Session struct {
	opts  Options
	ready chan struct{}
}

// NewSession makes the session of an instance whose runtime is about to start.
func NewSession(o Options) *Session {
	return &Session{opts: o, ready: make(chan struct{})}
}

// Handler answers the runtime's requests.
func (s *Session) Handler() http.Handler { return http.NotFoundHandler() }

// Serve answers the runtime on l until Close, which also closes l. It returns
// nil after Close, otherwise the listener's error. Every connection's goroutine
// has ended when it returns.
func (s *Session) Serve(l net.Listener) error { return http.Serve(l, s.Handler()) }

// Init waits until the runtime has asked for its first event, has reported an
// init error, or is gone.
func (s *Session) Init(ctx context.Context) (sandbox.InitResult, error) {
	<-ctx.Done()
	return sandbox.InitResult{}, ctx.Err()
}

// Invoke hands ev to the runtime and waits for its answer.
func (s *Session) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	return sandbox.Answer{}, lambent.Errorf(lambent.CodeUnsupported, "invoke %s: not yet", ev.RequestID)
}

// Ready is closed when the runtime waits for the next event or is gone.
func (s *Session) Ready() <-chan struct{} { return s.ready }

// Exited tells the session that the runtime process is gone, and why.
func (s *Session) Exited(f sandbox.Failure) {}

// Close ends every request that is open and makes Serve return.
func (s *Session) Close() {}
