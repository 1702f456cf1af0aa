package pool

import "time"

// Policy knows how often versions are called, and so how long an idle instance
// is worth keeping. Its methods are called from any goroutine.
type Policy interface {
	// Arrived tells of a call, made from within by unless that is zero, before anything
	// else is done about it: it must take next to no time.
	Arrived(k, by Key, at time.Time)
	// Keep is asked once after an instance of k went idle at that time. c is what a
	// wrong answer costs. With prewarm > 0 the instance may end now, and another
	// one is made ready after prewarm; keep counts from there.
	Keep(k Key, at time.Time, c Cost) (prewarm, keep time.Duration)
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
	keep    time.Duration
	again   time.Time // when an instance is made ready; zero if not
}

type question struct {
	g    *group
	key  Key
	at   time.Time
	cost Cost
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
		h := habit{asked: q.at, keep: p.o.Idle}
		if p.o.Settings == nil || !p.o.Settings(q.key.Namespace, q.key.Function).NoPrediction {
			h.prewarm, h.keep = p.o.Policy.Keep(q.key, q.at, q.cost)
		}
		p.mu.Lock()
		q.g.habit = h
		p.mu.Unlock()
	}
}

// idleFor is how long m, which is idle, stays so.
func (p *Pool) idleFor(m *member) time.Duration {
	keep := p.o.Idle
	if h := &m.group.habit; !h.asked.IsZero() {
		keep = h.keep
	}
	if after := p.o.Hibernation.After; after > 0 && after < keep && p.hibernates(m) {
		return after
	}
	return keep
}

// overLocked tells whether m, which is idle, has been so for long enough. When a
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
	return now.Sub(m.idleAt) >= p.idleFor(m)
}
