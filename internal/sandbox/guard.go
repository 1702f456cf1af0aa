package sandbox

import (
	"context"
	"errors"
	"net"
	"sync"

	"lambent.dev/lambent"
)

// Guard wraps a driver so that its instances keep three promises, whatever the
// driver does: invocations on one instance go one after the other; the first
// error of the platform ends the instance, because nobody knows what state it is
// in; and a dead instance does nothing more, at no cost. The pool relies on them
// and so needs no code for half-working instances. The caller's own impatience
// (its ctx ended) is not a fault of the platform.
func Guard(d Driver) Driver { return &guard{Driver: d} }

type guard struct{ Driver }

// Prepare passes on; a driver that cannot has nothing to prepare.
func (g *guard) Prepare(ctx context.Context, spec Spec) error {
	if p, ok := g.Driver.(Preparer); ok {
		return p.Prepare(ctx, spec)
	}
	return nil
}

// Expect passes on; a driver without a reserve does nothing.
func (g *guard) Expect(rt Runtime) {
	if r, ok := g.Driver.(Reserver); ok {
		r.Expect(rt)
	}
}

// Reserves passes on; a driver without a reserve has none.
func (g *guard) Reserves() []Reserve {
	if r, ok := g.Driver.(Reserver); ok {
		return r.Reserves()
	}
	return nil
}

func (g *guard) Start(ctx context.Context, spec Spec) (Instance, error) {
	i, err := g.Driver.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	w := &guarded{Instance: i, turn: make(chan struct{}, 1)}
	if f, ok := i.(Freezer); ok {
		return &guardedFreezer{guarded: w, freezer: f}, nil
	}
	return w, nil
}

// guarded is an instance behind the guard. What it does not define is the
// instance's own.
type guarded struct {
	Instance
	turn chan struct{} // holds a token while an Init or Invoke runs

	mu  sync.Mutex // guards why
	why *Failure   // set when the guard ended the instance
}

// enter waits for the instance's turn. leave ends it.
func (g *guarded) enter(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
	}
	code := lambent.CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = lambent.CodeTimeout
	}
	return lambent.Errorf(code, "wait for the instance: %w", ctx.Err())
}

func (g *guarded) leave() { <-g.turn }

func (g *guarded) dead() bool {
	select {
	case <-g.Done():
		return true
	default:
		return false
	}
}

// Init passes on, once more after a death: the driver has the result that says
// what the instance died of. Only an instance that the guard ended has none.
func (g *guarded) Init(ctx context.Context) (InitResult, error) {
	if err := g.enter(ctx); err != nil {
		return InitResult{}, err
	}
	defer g.leave()
	if why := g.ended(); why != nil {
		return InitResult{}, errDead(why)
	}
	r, err := g.Instance.Init(ctx)
	g.judge(ctx, err)
	return r, err
}

// Invoke passes on to a living instance.
func (g *guarded) Invoke(ctx context.Context, ev Event) (Answer, error) {
	if err := g.enter(ctx); err != nil {
		return Answer{}, err
	}
	defer g.leave()
	if g.dead() {
		return Answer{}, errDead(g.Why())
	}
	a, err := g.Instance.Invoke(ctx, ev)
	g.judge(ctx, err)
	return a, err
}

func errDead(why *Failure) error {
	kind := "unknown"
	if why != nil {
		kind = why.Type
	}
	return lambent.Errorf(lambent.CodeUnavailable, "the instance has ended (%s)", kind)
}

// judge ends the instance if err is the platform's. The owner's Stop waits for
// what is only begun here.
func (g *guarded) judge(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	first := g.why == nil
	if first {
		g.why = &Failure{Type: "Sandbox.Failure", Message: "The sandbox failed"}
	}
	g.mu.Unlock()
	if !first {
		return
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = g.Stop(over)
}

func (g *guarded) ended() *Failure {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why
}

// Why prefers the guard's reason, which came first.
func (g *guarded) Why() *Failure {
	if why := g.ended(); why != nil {
		return why
	}
	return g.Instance.Why()
}

// Dial passes on to an application. Many requests are on it at the same time, and
// one that cannot be reached for once may be the next time: neither turn nor
// judgement.
func (g *guarded) Dial(ctx context.Context) (net.Conn, error) {
	d, ok := g.Instance.(Dialer)
	if !ok {
		return nil, lambent.Errorf(lambent.CodeUnsupported, "the instance is not an HTTP application")
	}
	if g.dead() {
		return nil, errDead(g.Why())
	}
	return d.Dial(ctx)
}

// WhenReady passes on; it is false for an instance that cannot.
func (g *guarded) WhenReady(f func()) bool {
	a, ok := g.Instance.(Announcer)
	return ok && a.WhenReady(f)
}

// Listening passes on; in an instance that cannot tell, nobody listens.
func (g *guarded) Listening() bool {
	t, ok := g.Instance.(Teller)
	return ok && t.Listening()
}

// Tell passes on.
func (g *guarded) Tell(event []byte) {
	if t, ok := g.Instance.(Teller); ok {
		t.Tell(event)
	}
}

// Lingers passes on; an instance that cannot ends at once.
func (g *guarded) Lingers() bool {
	l, ok := g.Instance.(Lingerer)
	return ok && l.Lingers()
}

// KeepTmp passes on; an instance that cannot has nothing to keep.
func (g *guarded) KeepTmp() Tmp {
	if k, ok := g.Instance.(Keeper); ok {
		return k.KeepTmp()
	}
	return nil
}

// Collect passes on; of an instance that cannot there is nothing to take.
func (g *guarded) Collect(name, dst string, limit int64) error {
	if c, ok := g.Instance.(Collector); ok {
		return c.Collect(name, dst, limit)
	}
	return lambent.Errorf(lambent.CodeUnsupported, "collect %s: this sandbox cannot", name)
}

// guardedFreezer is a guarded instance that can be frozen.
type guardedFreezer struct {
	*guarded
	freezer Freezer
}

func (g *guardedFreezer) Freeze() error { return g.halt(g.freezer.Freeze) }
func (g *guardedFreezer) Thaw() error   { return g.halt(g.freezer.Thaw) }

// PageOut passes on; an instance that cannot frees nothing. A failure leaves the
// instance as it was.
func (g *guardedFreezer) PageOut() (freed int64, err error) {
	if p, ok := g.Instance.(Pager); ok && !g.dead() {
		return p.PageOut()
	}
	return 0, nil
}

func (g *guardedFreezer) halt(f func() error) error {
	if g.dead() {
		return nil
	}
	err := f()
	g.judge(context.Background(), err)
	return err
}
