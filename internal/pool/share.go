package pool

import (
	"context"
	"net"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Instances of applications take several requests at the same time. Those that
// have at least one are in group.busy, however many more they could take; what
// follows is all that differs from functions.

// appSlack is how much longer than the application's own time-out its start may
// take: for the sandbox, and for the driver to say what went wrong.
const appSlack = 10 * time.Second

// capacity is how many leases an instance of g takes.
func (g *group) capacity() int {
	if a := g.version.App; a != nil {
		return max(1, a.Concurrency)
	}
	return 1
}

// roomiest is the busy instance with the fewest requests that can take another;
// nil if there is none, as always for functions.
func (g *group) roomiest() *member {
	capacity := g.capacity()
	if capacity == 1 {
		return nil
	}
	if m := g.least(false); m != nil {
		return m
	}
	return g.least(true)
}

// serveLocked hands an outcome to the first waiter, and to as many more as the
// instance has room for. There is at least one. A failure is theirs as well: they
// have waited for the same start.
func (g *group) serveLocked(out outcome) {
	room := 1
	switch failed := out.err != nil || out.failure != nil; {
	case failed && g.trouble.persistent():
		room = len(g.waiters)
	case out.err == nil:
		room = g.capacity() - out.m.leases
	}
	n := min(room, len(g.waiters))
	for _, w := range g.waiters[:n] {
		if out.err == nil {
			g.busy[out.m] = struct{}{}
			out.m.leases++
		}
		w.out <- out
		out.sharer = true
	}
	clear(g.waiters[:n])
	g.waiters = g.waiters[n:]
}

// serveEarlierLocked gives an instance that is out of date to a call that came before
// the change: it may still have what it has waited for. It tells whether there is
// one.
func (g *group) serveEarlierLocked(out outcome) bool {
	i := slices.IndexFunc(g.waiters, func(w *waiter) bool { return w.print == out.m.print })
	if i < 0 {
		return false
	}
	w := g.waiters[i]
	g.waiters = slices.Delete(g.waiters, i, i+1)
	g.busy[out.m] = struct{}{}
	out.m.leases++
	w.out <- out
	return true
}

// giveBack ends one lease on m: the last one makes it idle.
func (p *Pool) giveBack(m *member) {
	if m.version.App == nil {
		p.settled(m)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.used = true
	m.leases--
	g := m.group
	switch {
	case m.ended:
	case isDone(m):
		p.breakLocked(m, "ended")
	case m.leases == 0 && m.broken():
		p.breakLocked(m, "answers no requests")
	case m.broken():
	case m.leases == 0:
		p.deliverLocked(g, outcome{m: m})
	case len(g.waiters) > 0 && m.print == g.print:
		g.serveLocked(outcome{m: m, sharer: true}) // others have it, and it has been used
	}
}

// Dial connects to the application.
func (l *Lease) Dial(ctx context.Context) (net.Conn, error) {
	d, ok := l.m.inst.(sandbox.Dialer)
	if !ok {
		return nil, lambent.Errorf(lambent.CodeUnsupported, "%s cannot be connected to", l.m.version.Function)
	}
	return d.Dial(ctx)
}

// ID is the instance's.
func (l *Lease) ID() string { return l.m.cold.ID }

// Done is closed when the instance has ended.
func (l *Lease) Done() <-chan struct{} { return l.m.inst.Done() }

// Why tells what ended it.
func (l *Lease) Why() *sandbox.Failure { return l.m.inst.Why() }

// Version is what the instance runs.
func (l *Lease) Version() *lambent.Version { return l.m.version }
