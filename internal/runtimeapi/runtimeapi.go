// Package runtimeapi speaks the AWS Lambda Runtime API to the process in one
// sandbox. A [Session] belongs to one instance: it owns the state machine of the
// Runtime API (AWS Lambda developer guide, "Using the Lambda runtime API for
// custom runtimes"), refuses every request that is out of order or out of
// bounds, and hands events and answers between the driver's side (Init, Invoke)
// and the runtime's side (HTTP). It starts and ends no process and keeps no log;
// its one neighbour is the sandbox driver above it.
package runtimeapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi/relay"
	"lambent.dev/lambent/internal/sandbox"
)

// Options say whose session it is. The names are what a registration with the
// Extensions API is answered with; all of them may be empty.
type Options struct {
	FunctionName    string
	FunctionVersion string
	Handler         string
	AccountID       string
	// Extensions are the names of programs that run beside the runtime: no event is
	// handed out before each of them has registered and asked for one.
	Extensions []string
	// GiveUp, if set, is called when an extension has reported that it cannot go on; it
	// does not block.
	GiveUp func(f sandbox.Failure)
	// Telemetry is for extensions that want to be told of what happens.
	Telemetry Telemetry
	// Calls takes a connection on which the function does not speak to its runtime's
	// API but to the one that everybody calls, from the beginning of that request on.
	// It must not wait for the function; nil has such requests answered as not found.
	Calls func(c net.Conn)
	// CallsOnly tells that the process has no runtime's API: with Calls, whatever it
	// asks for is theirs.
	CallsOnly bool
	// Log gets what a runtime did wrong, at debug level; nil discards it.
	Log *slog.Logger
	// NewID makes the id of one hand-over (Lambda-Runtime-Invocation-Id); it must
	// never return the same twice. Nil is a random UUID.
	NewID func() string
}

// Session is the Runtime API of one instance, for the life of one runtime
// process. Its methods may be called from any goroutine.
type Session struct {
	opts   Options
	inited chan struct{} // closed when initialisation has ended
	closed chan struct{} // closed by Close
	// registered is closed when all of opts.Extensions have, with mu held.
	registered chan struct{}
	// relay has what extensions are told by the Telemetry API; nil until one may come.
	relay atomic.Pointer[relay.Relay]

	// mu guards what follows.
	mu         sync.Mutex
	state      state
	started    time.Time           // when the session was made
	init       sandbox.InitResult  // valid once inited is closed
	current    *exchange           // the event that went last, nil before the first
	waiter     *waiter             // the /next that is blocked, if one is
	extensions []*extension        // that have registered
	last       *reply              // what those that want to know are told of the end
	ready      chan struct{}       // see Ready
	whenReady  func()              // to be called once when ready is closed; nil is nobody
	gone       *sandbox.Failure    // set once no event can be taken any more
	conns      map[closer]struct{} // open connections and the listener of Serve
	serving    sync.WaitGroup      // one for each connection's goroutine
}

// exchange is one event on its way through the runtime.
type exchange struct {
	event   sandbox.Event
	id      string    // Lambda-Runtime-Invocation-Id
	offered time.Time // when Invoke was called
	handed  time.Time // when the runtime got it, or the same as offered
	// done has room for the one outcome; settled tells that it was sent or that
	// nobody waits for it any more. Guarded by Session.mu.
	done    chan outcome
	settled bool
	// Of an answer that is streamed, guarded by Session.mu: sending is closed at
	// the end of the call of the event's Stream that is on its way, nil between
	// calls; streamed counts the bytes, first is when they began, after handed.
	sending  chan struct{}
	streamed int64
	first    time.Duration
	// halt breaks off the reading of such an answer; left tells that its caller has
	// gone. Guarded by Session.mu.
	halt func(bool)
	left bool
	// back is how long after the hand-over the runtime had done what was left after the
	// answer, through when extensions had, too; 0 before, and where there are none.
	// Guarded by Session.mu.
	back, through time.Duration
}

// outcome ends an exchange: an answer, or err when the event never reached the
// function.
type outcome struct {
	answer sandbox.Answer
	err    error
}

// waiter is a blocked /next. answer is called at most once each time that it is
// registered, without mu, by whoever has taken it from the session; it does not
// block.
type waiter struct{ answer func(reply) }

// NewSession makes the session of an instance whose runtime is about to start.
func NewSession(o Options) *Session {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.NewID == nil {
		o.NewID = uuid.NewString
	}
	s := &Session{
		opts:       o,
		inited:     make(chan struct{}),
		closed:     make(chan struct{}),
		ready:      make(chan struct{}),
		registered: make(chan struct{}),
		started:    time.Now(),
		conns:      map[closer]struct{}{},
	}
	if len(o.Extensions) > 0 {
		s.openRelay()
	} else {
		close(s.registered)
	}
	return s
}

// Init waits until the runtime has asked for its first event, has reported an
// init error, or is gone; the latter two are in the result's Failure. Took
// counts from NewSession. The error is ctx's, as CodeTimeout or CodeCanceled.
func (s *Session) Init(ctx context.Context) (sandbox.InitResult, error) {
	select {
	case <-s.inited:
	case <-ctx.Done():
		select {
		case <-s.inited: // both happened: the runtime's word counts
		default:
			return sandbox.InitResult{}, contextError(ctx, "wait for the runtime to initialise")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.init, nil
}

// Invoke hands ev to the runtime as soon as it asks for it, and waits for the
// answer. When ctx's deadline passes the answer is a Sandbox.Timedout failure,
// whether or not the runtime has come for the event; when ctx is canceled it is
// a Sandbox.Failure; the event's Stream is not used any more. After either the session takes no further event: its
// process is in an unknown state and is the caller's to end. An error means that
// the event never reached the function.
func (s *Session) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	x, w, err := s.offer(ev)
	if err != nil {
		return sandbox.Answer{}, err
	}
	if w != nil {
		w.answer(reply{status: http.StatusOK, event: x})
	}
	out := s.await(ctx, x)
	if ev.Stream != nil {
		s.hush(x, &out.answer)
	}
	return out.answer, out.err
}

// await waits for what comes of x.
func (s *Session) await(ctx context.Context, x *exchange) outcome {
	for left := x.event.Left; ; {
		select {
		case out := <-x.done:
			return out
		case <-ctx.Done():
			return s.giveUp(ctx, x)
		case <-left:
			left = nil
			s.callerLeft(x)
		}
	}
}

// offer makes ev the current event. The waiter, if there is one, is the caller's
// to answer with it.
func (s *Session) offer(ev sandbox.Event) (*exchange, *waiter, error) {
	now := time.Now()
	x := &exchange{event: ev, id: s.opts.NewID(), offered: now, handed: now, done: make(chan outcome, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone != nil:
		return nil, nil, lambent.Errorf(lambent.CodeUnavailable, "hand over the event: the runtime is gone (%s)", s.gone.Type)
	case s.current != nil && !s.current.settled:
		return nil, nil, lambent.Errorf(lambent.CodeConflict, "hand over the event: the instance is busy with another")
	}
	s.current = x
	w := s.waiter // nil when it is not in /next, or its connection broke
	if w != nil {
		s.waiter = nil
		s.handOver(x)
	}
	return x, w, nil
}

// handOver notes that x is on its way. The caller holds mu.
func (s *Session) handOver(x *exchange) {
	s.state = running
	s.renewReady()
	x.handed = time.Now()
	if len(s.extensions) > 0 {
		s.tell(x)
	}
}

// renewReady makes Ready speak of the event that was just offered. The caller
// holds mu.
func (s *Session) renewReady() {
	select {
	case <-s.ready:
		s.ready = make(chan struct{})
	default:
	}
}

// giveUp ends x because ctx ended, unless it was settled meanwhile.
func (s *Session) giveUp(ctx context.Context, x *exchange) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.settled {
		return <-x.done
	}
	x.settled = true
	reached := s.state == running || s.state == responding || s.state == reporting
	timeout := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if !timeout && !reached {
		s.current = nil // the instance is as good as before
		return outcome{err: contextError(ctx, "wait for the runtime to take the event")}
	}
	f := &sandbox.Failure{Type: "Sandbox.Failure", Message: "The invocation was canceled"}
	if timeout {
		f = sandbox.TimedOut(x.timeout(ctx))
	}
	s.state = expired
	s.die(*f)
	return outcome{answer: sandbox.Answer{Failure: f, Took: time.Since(x.handed)}}
}

// timeout is the time that the function had. The caller knows that ctx has a
// deadline.
func (x *exchange) timeout(ctx context.Context) time.Duration {
	at := x.event.Deadline
	if at.IsZero() {
		at, _ = ctx.Deadline()
	}
	return at.Sub(x.offered)
}

// Ready is closed when the runtime waits for an event or is gone. It speaks of
// the invocation that went last, or before the first one of the initialisation;
// it is asked after Invoke has returned.
func (s *Session) Ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Trace is the tracing header of the event that went last; "" before the first.
func (s *Session) Trace() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return ""
	}
	return s.current.event.TraceID
}

// WhenReady has f called once, soon after the channel that Ready returns is closed,
// by a goroutine of the session that f must not hold up. It is false, and f is not
// called, if that is so already.
func (s *Session) WhenReady(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
		return false
	default:
		s.whenReady = f
		return true
	}
}

// Exited tells the session that the runtime process is gone, and why. An event
// that the runtime had taken gets f as its answer, one that it had not is
// returned as an error. An answer whose upload has begun is still read to its
// end: everything that a dead process has sent is in the socket.
func (s *Session) Exited(f sandbox.Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == responding || s.state == reporting {
		if s.gone == nil {
			s.gone = &f // finish does the rest
		}
		return
	}
	s.end(f)
}

// Gone is why no event can be taken any more; nil while one can.
func (s *Session) Gone() *sandbox.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// end settles whatever is open with f. The caller holds mu.
func (s *Session) end(f sandbox.Failure) {
	x, reached := s.current, s.state == running || s.state == responding || s.state == reporting
	s.state = exited
	s.die(f)
	if x == nil || x.settled {
		return
	}
	if !reached {
		s.settle(x, outcome{err: lambent.Errorf(lambent.CodeUnavailable,
			"hand over the event: the runtime ended before it took it (%s)", f.Type)})
		return
	}
	s.settle(x, outcome{answer: sandbox.Answer{Failure: &f, Took: time.Since(x.handed)}})
}

// die marks the session as one that takes no event. The caller holds mu.
func (s *Session) die(f sandbox.Failure) {
	if s.gone == nil {
		s.gone = &f
	}
	s.endInit(&f)
	s.tellSoon(s.signalReady())
}

// endInit ends the initialisation, if it has not ended. The caller holds mu.
func (s *Session) endInit(f *sandbox.Failure) {
	select {
	case <-s.inited:
	default:
		s.init = sandbox.InitResult{Took: time.Since(s.started), Failure: f}
		if f != nil {
			s.noteInit("platform.initRuntimeDone", f, 0)
		}
		s.noteInit("platform.initReport", f, s.init.Took)
		if r := s.relay.Load(); r != nil {
			r.Seal()
		}
		close(s.inited)
	}
}

// signalReady closes ready, if it is open, and gives who is to be called then; nil is
// nobody. The caller holds mu.
func (s *Session) signalReady() (tell func()) {
	select {
	case <-s.ready:
		return nil
	default:
	}
	close(s.ready)
	tell, s.whenReady = s.whenReady, nil
	return tell
}

// tellSoon calls f from a goroutine of the session. The caller holds mu. Close does so,
// too: nobody has to be told once Serve waits for its goroutines.
func (s *Session) tellSoon(f func()) {
	if f != nil {
		s.serving.Go(f)
	}
}

// settle gives x its outcome. The caller holds mu and knows x is not settled.
func (s *Session) settle(x *exchange, out outcome) {
	x.settled = true
	x.done <- out // has room: an exchange is settled once
}

// contextError is ctx's end as an error of ours.
func contextError(ctx context.Context, doing string) error {
	code := lambent.CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = lambent.CodeTimeout
	}
	return lambent.Errorf(code, "%s: %w", doing, context.Cause(ctx))
}
