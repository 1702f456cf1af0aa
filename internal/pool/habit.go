package pool

import (
	"context"
	"time"

	"lambent.dev/lambent"
)

// Policy knows how often versions are called, and so how long an idle instance
// is worth keeping. Its methods are called from any goroutine.
type Policy interface {
	// Arrived tells of a call, made from within by unless that is zero, with which so
	// many instances are in use or wanted. The call waits for it: it must take next to
	// no time.
	Arrived(k, by Key, at time.Time, inUse int)
	// Keep is asked once after an instance of k went idle at that time. c is what a
	// wrong answer costs. With prewarm > 0 all instances may end now, and one is
	// made ready after prewarm; keep counts from there. It tells how long that one
	// stays, which is the first of n = 1, and the oldest of n instances.
	Keep(k Key, at time.Time, c Cost) (prewarm time.Duration, keep func(n int) time.Duration)
}

// Cost is what a wrong guess about a version costs.
type Cost struct {
	Cold     time.Duration // the last cold start, in all
	MemoryMB int           // of an instance that waits in vain
}

// habit is what the policy said of a group.
type habit struct {
	asked   time.Time // the group's lastIdle that it was asked about
	prewarm time.Duration
	keep    func(n int) time.Duration
	again   time.Time // when an instance is made ready; zero if not
}

type question struct {
	g    *group
	key  Key
	at   time.Time
	cost Cost
}

// arrived tells the policy of a call.
func (p *Pool) arrived(ctx context.Context, v *lambent.Version, inUse int) {
	if p.o.Policy != nil {
		p.o.Policy.Arrived(KeyOf(v), Key(lambent.CauseOf(ctx)), time.Now(), inUse)
	}
}

// askPolicy brings the groups' habits up to date.
func (p *Pool) askPolicy() {
	if p.o.Policy == nil {
		return
	}
	var open []question
	p.mu.Lock()
	for k, g := range p.groups {
		if len(g.idle) > 0 && !g.lastIdle.IsZero() && !g.habit.asked.Equal(g.lastIdle) {
			open = append(open, question{g, k, g.lastIdle, Cost{g.lastCold, g.version.MemoryMB}})
		}
	}
	p.mu.Unlock()
	for _, q := range open {
		h := habit{asked: q.at}
		if p.o.Settings == nil || !p.o.Settings(q.key.Namespace, q.key.Function).NoPrediction {
			h.prewarm, h.keep = p.o.Policy.Keep(q.key, q.at, q.cost)
		}
		p.mu.Lock()
		q.g.habit = h
		p.mu.Unlock()
	}
}

// idleFor is how long m, the oldest of g's idle instances, stays so.
func (p *Pool) idleFor(g *group, m *member) time.Duration {
	keep := p.o.Idle
	if g.habit.keep != nil {
		keep = g.habit.keep(len(g.busy) + len(g.idle))
	}
	if after := p.o.Hibernation.After; after > 0 && after < keep && p.hibernates(m) {
		return after
	}
	return keep
}

// overLocked tells whether m, the oldest of g's idle instances, has been so for long enough. When a
// policy says that the next call is far off, it is so at once, and g notes when
// to make an instance ready again.
func (p *Pool) overLocked(g *group, m *member, now time.Time) bool {
	h := &g.habit
	if m.ahead == ReasonTimer {
		return now.After(g.expected)
	}
	if g.target.Managed { // what is beyond its target goes
		return true
	}
	if h.prewarm > 0 && m.used && h.asked.Equal(g.lastIdle) && len(g.busy)+len(g.settling)+g.starting == 0 {
		if at := g.lastIdle.Add(h.prewarm); now.Before(at) {
			h.again = at
			return true
		}
	}
	return now.Sub(m.idleAt) >= p.idleFor(g, m)
}
