// Package proxy passes requests through to HTTP applications: it takes a request
// that the gateway has found a target for, has package invoke find an instance,
// and puts the two ends together, whatever flows between them: bodies of any
// length, streams, WebSockets, gRPC. It owns the connections to instances and the
// rules of a proxy (RFC 9110, section 7.6). It refuses to decide who may call and
// to change what is passed. Ordinary HTTP/1.1, which is most of it, is read and
// written here; upgrades and HTTP/2 go by net/http.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/event"
	"lambent.dev/lambent/internal/invoke"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Forwarder finds an instance for a request.
type Forwarder interface {
	Forward(ctx context.Context, inv *lambent.Invocation, send invoke.Send) error
}

// Options are what a Proxy is made of. Forwarder is required.
type Options struct {
	Forwarder Forwarder
	// Idle is how long a stream may carry nothing in either direction; 0 is
	// DefaultIdle. An application whose time-out is longer has that, and one that
	// says how long has what it says.
	Idle time.Duration
	Log  *slog.Logger // discarded when nil
}

// DefaultIdle bounds silence on a stream.
const DefaultIdle = 5 * time.Minute

// Target is the application that a request is for, and the request as it looks
// from there.
type Target struct {
	Namespace, Function, Qualifier string
	// Path and Query are as the caller wrote them, without Prefix, which led here.
	Path, Query, Prefix string
	RequestID           string
	// Affinity keeps the caller with one instance; "" is nothing.
	Affinity string
	// Version is what a rule of the alias has chosen; "" is none.
	Version string
}

// Proxy is safe for use from any goroutine.
type Proxy struct {
	o Options

	mu     sync.Mutex // guards the rest
	homes  map[string]*home
	closed bool
}

// New makes a proxy.
func New(o Options) *Proxy {
	if o.Idle <= 0 {
		o.Idle = DefaultIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Proxy{o: o, homes: make(map[string]*home)}
}

// Serve answers a request by the application. It returns when the answer is over,
// which for a stream or a WebSocket is when either side has ended it.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, t Target) {
	inv := &lambent.Invocation{RequestID: t.RequestID, Namespace: t.Namespace, Function: t.Function, Qualifier: t.Qualifier, Version: t.Version,
		TraceID: telemetry.Caller(r.Header), Source: "url", Affinity: t.Affinity}
	x := &exchange{p: p, w: w, r: r, t: &t, inv: inv, trace: inv.TraceID}
	err := p.o.Forwarder.Forward(r.Context(), inv, x.send)
	switch {
	case err == nil:
	case x.begun:
		p.o.Log.Debug("answer of an application broke off", "fn", t.Function, "request", t.RequestID, "err", err)
		if f := failureOf(err); !errors.Is(err, errGone) && event.EndGRPC(w, r, f.status, f.message) {
			return
		}
		// The caller must not take what it has for the whole (RFC 9112, section 8).
		panic(http.ErrAbortHandler)
	default:
		p.o.Log.Debug("request to an application failed", "fn", t.Function, "request", t.RequestID, "err", err)
		refuse(w, r, err)
	}
}

// Close gives back the connections that are kept.
func (p *Proxy) Close() error {
	p.mu.Lock()
	homes := p.homes
	p.homes, p.closed = nil, true
	p.mu.Unlock()
	for _, h := range homes {
		h.close()
	}
	return nil
}

// exchange is one request on its way.
type exchange struct {
	p *Proxy
	w http.ResponseWriter
	r *http.Request
	t *Target
	// inv is the request as the spine has it; trace is what the caller has sent as
	// its trace, if it has.
	inv   *lambent.Invocation
	trace string
	// begun tells that the caller has got a part of the answer.
	begun bool
	small []byte // the body, when it is short; nil until it is read
}

// send passes the request to an instance. It implements [invoke.Send].
func (x *exchange) send(ctx context.Context, to invoke.Backend) error {
	h := x.p.homeOf(to)
	if x.inv.TraceID != x.trace { // the request is recorded, and what the application does is below that
		telemetry.Carry(x.r.Header, x.inv.TraceID)
	}
	if x.r.ProtoMajor == 1 && !upgrades(x.r) {
		return x.direct(ctx, h)
	}
	return x.general(ctx, h)
}

// upgrades tells whether the request wants to go on in another protocol, and may. It
// may not where that is HTTP again: nobody would look at the requests that follow.
func upgrades(r *http.Request) bool {
	list, ok := r.Header["Upgrade"]
	for _, v := range list {
		for protocol := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(protocol)), "/")
			if name == "h2c" || name == "http" || name == "tls" {
				return false
			}
		}
	}
	return ok
}

// home is the connections to one instance.
type home struct {
	to      invoke.Backend
	version *lambent.Version
	idle    time.Duration
	idleOf  string             // the layer whose bound idle is
	slow    func() *transports // made when first needed

	mu      sync.Mutex // guards the rest
	free    []*upstream
	sweeper *time.Timer // nil when there is nothing to sweep
	closed  bool
}

// homeOf finds the connections to an instance. With a new one, those to instances
// that have ended are given back.
func (p *Proxy) homeOf(to invoke.Backend) *home {
	id := to.ID()
	p.mu.Lock()
	h := p.homes[id]
	if h != nil {
		p.mu.Unlock()
		return h
	}
	h = newHome(to, p.o.Idle)
	var ended []*home
	if !p.closed {
		for id, other := range p.homes {
			if other.ended() {
				ended = append(ended, other)
				delete(p.homes, id)
			}
		}
		p.homes[id] = h
	}
	p.mu.Unlock()
	for _, other := range ended {
		other.close()
	}
	return h
}

func newHome(to invoke.Backend, idle time.Duration) *home {
	v := to.Version()
	h := &home{to: to, version: v, idle: max(idle, v.Timeout), idleOf: "gateway"}
	if v.App != nil && v.App.IdleTimeout > 0 {
		h.idle, h.idleOf = v.App.IdleTimeout, "function"
	}
	h.slow = sync.OnceValue(h.makeTransports)
	return h
}

func (h *home) ended() bool {
	select {
	case <-h.to.Done():
		return true
	default:
		return false
	}
}

func (h *home) close() {
	h.mu.Lock()
	free := h.free
	h.free, h.closed = nil, true
	if h.sweeper != nil {
		h.sweeper.Stop()
	}
	h.mu.Unlock()
	for _, u := range free {
		u.close()
	}
	h.slow().close()
}

// failure is why an application gives no answer, or not all of it. The caller gets
// layer and limit.
type failure struct {
	status       int
	layer, limit string
	message      string
	cause        error
}

func (f *failure) Error() string {
	if f.cause == nil {
		return f.message
	}
	return f.message + ": " + f.cause.Error()
}

func (f *failure) Unwrap() error { return f.cause }

// endNoticed is how long after a process's sockets its end may be noticed.
const endNoticed = 100 * time.Millisecond

// broken words the loss of the connection to an instance.
func (h *home) broken(cause error) error {
	if errors.Is(cause, errAnswer) {
		return &failure{http.StatusBadGateway, "application", "malformed answer", "The application's answer is not valid HTTP, or could be read in two ways", cause}
	}
	f := &failure{http.StatusBadGateway, "application", "connection", "The application closed the connection without a complete answer", cause}
	select {
	case <-h.to.Done():
	case <-time.After(endNoticed):
	}
	if h.ended() {
		f.limit = "instance ended"
		if why := h.to.Why(); why != nil {
			f.message = "The application's instance ended during the request: " + why.Message
			if why.Type == sandbox.OutOfMemory {
				f.layer, f.limit = "function", fmt.Sprintf("memory %d MB", h.version.MemoryMB)
			}
		}
	}
	return f
}

// late words the end of an application's time.
func (h *home) late() error {
	return &failure{http.StatusGatewayTimeout, "function", "timeout " + h.version.Timeout.String(),
		"The application did not begin its answer within " + h.version.Timeout.String(), nil}
}

// quiet words the end of a stream that carried nothing.
func (h *home) quiet() error {
	return &failure{http.StatusGatewayTimeout, h.idleOf, "idle " + h.idle.String(), "Nothing was sent for " + h.idle.String(), nil}
}

// errGone is the end of a request whose caller has gone.
var errGone = errors.New("the caller has gone")
