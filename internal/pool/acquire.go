package pool

import (
	"context"
	"slices"
	"time"

	"lambent.dev/lambent"
)

// Acquire returns a lease on an instance of v: an idle one, newest first, else
// whichever comes first, one that is freed, one that is woken or a cold one. It fails with
// CodeThrottled when the host has no room for another instance within MaxWait, and
// with ctx's error when the caller goes away.
func (p *Pool) Acquire(ctx context.Context, v *lambent.Version) (*Lease, error) {
	most, asked := 0, p.o.Most == nil
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, errStopping()
		}
		g := p.groupOf(v)
		if m, idle := p.atHandLocked(g); m != nil {
			g.calls++
			inUse := len(g.busy)
			p.mu.Unlock()
			p.arrived(ctx, v, inUse)
			if idle {
				p.firstUse(m)
			}
			return &Lease{pool: p, m: m}, nil
		}
		if asked {
			if p.o.Most != nil {
				g.target.Most = most
			}
			return p.queue(ctx, g, v)
		}
		p.mu.Unlock() // to call out, and look again
		most, asked = p.o.Most(v), true
	}
}

// atHandLocked takes an instance that can have a call now; idle tells that it had none.
func (p *Pool) atHandLocked(g *group) (m *member, idle bool) {
	if m := p.takeIdleLocked(g); m != nil {
		g.busy[m] = struct{}{}
		m.leases = 1
		return m, true
	}
	if m := g.roomiest(); m != nil {
		m.leases++
		return m, false
	}
	return nil, false
}

// queue has a call wait for an instance, and one come for it. It gives p.mu back.
func (p *Pool) queue(ctx context.Context, g *group, v *lambent.Version) (*Lease, error) {
	g.calls++
	g.habit.again = time.Time{} // the call is here before the guess
	w := &waiter{out: make(chan outcome, 1), print: g.print}
	g.waiters = append(g.waiters, w)
	var grace time.Duration
	if len(g.settling) >= len(g.waiters) {
		grace = min(max(g.lastCold, minGrace), maxGrace)
		if len(g.frozen) > 0 { // waking one costs little
			grace = minGrace
		}
	} else {
		p.wantLocked(g)
	}
	inUse := len(g.busy) + (len(g.waiters)+g.capacity()-1)/g.capacity()
	p.mu.Unlock()
	p.arrived(ctx, v, inUse)
	return p.await(ctx, g, w, grace)
}

// await waits for w's outcome. With grace, an instance is about to be free and a
// cold start is only asked for after a moment; a call that still waits for
// memory after MaxWait is throttled.
func (p *Pool) await(ctx context.Context, g *group, w *waiter, grace time.Duration) (*Lease, error) {
	wait := p.o.MaxWait
	if grace > 0 {
		wait = grace
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case out := <-w.out:
			return p.leaseOf(out)
		case <-ctx.Done():
			return p.abandon(g, w, lambent.Errorf(lambent.CodeCanceled, "wait for an instance of %s: %w", g.key.Function, ctx.Err()))
		case <-timer.C:
			p.mu.Lock()
			p.wantLocked(g)
			lacks := g.lacks(w)
			p.mu.Unlock()
			if lacks && grace == 0 {
				return p.abandon(g, w, errNoMemory())
			}
			grace = 0
			timer.Reset(p.o.MaxWait)
		}
	}
}

// abandon takes w out of the queue; an outcome that came meanwhile goes back.
func (p *Pool) abandon(g *group, w *waiter, err error) (*Lease, error) {
	p.mu.Lock()
	if i := slices.Index(g.waiters, w); i >= 0 {
		g.waiters = slices.Delete(g.waiters, i, i+1)
		p.feedLocked() // others may have waited for what it was to get
	}
	p.mu.Unlock()
	select {
	case out := <-w.out:
		switch {
		case out.err != nil:
		case out.failure != nil:
			p.end(out.m, "failed to start")
		default:
			p.giveBack(out.m)
		}
	default:
	}
	return nil, err
}

func (p *Pool) leaseOf(out outcome) (*Lease, error) {
	if out.err != nil {
		return nil, out.err
	}
	if out.failure == nil && !out.sharer {
		p.firstUse(out.m)
	}
	m := out.m
	if out.failure != nil && out.sharer && m.version.App == nil {
		m = p.stub(m)
	}
	return &Lease{pool: p, m: m, failure: out.failure, cold: out.came == started, thaw: out.thaw}, nil
}

// stub stands for an instance that failed to start, for another call that waited
// for the same start. All it has is a log of its own for that call.
func (p *Pool) stub(m *member) *member {
	stream := streamName(m.cold.Began, m.version.Number, p.o.NewID())
	return &member{
		group: m.group, version: m.version, memory: m.memory, ended: true, cold: m.cold,
		stream: p.o.Logs.Open(m.version.Namespace, m.version.LogGroup(), stream),
	}
}
