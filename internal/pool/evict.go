package pool

import (
	"time"
)

// claim is how strong a claim on memory is.
type claim int

const (
	// forGuess takes memory that is free.
	forGuess claim = iota
	// forTarget ends frozen instances too, and what is idle beyond all targets and
	// was not used lately.
	forTarget
	// forCall ends anything idle; targets go last.
	forCall
)

// hogged is how long an idle instance is spared from the calls of another version that
// has more than half of all memory: it would be ended between any two calls of its own.
const hogged = time.Second

// lately is how long an idle instance is spared from claims that are not calls.
const lately = 10 * time.Second

// roomLocked tells whether mb are free for g, and makes them so as far as the claim
// goes. While a call waits for memory, nobody else gets any, and no call of who has more.
func (p *Pool) roomLocked(g *group, mb int, c claim, starts bool) bool {
	if c != forCall && len(p.starved) > 0 || c == forCall && p.cedesLocked(g) {
		return false
	}
	short := p.shortLocked(mb, starts)
	if short <= 0 {
		return true
	}
	if c == forGuess || !p.evictLocked(g, short-p.leaving, c) {
		return false
	}
	// What lingers gives its memory later, and tells those who wait for it.
	return p.leaving == 0 || p.usedMB+mb <= p.o.MemoryMB
}

// evictLocked ends instances until mb are free for by: frozen ones first, then idle ones,
// those that are cheapest to bring back first and those that a target holds last.
// It tells whether that is possible, and ends none if not.
func (p *Pool) evictLocked(by *group, mb int, c claim) bool {
	now := time.Now()
	taker := taker{group: by, claim: c, hogs: 2*by.busyMB() > p.o.MemoryMB}
	have := 0
	for _, g := range p.groups {
		for _, m := range g.frozen {
			have += m.charged
		}
		for _, m := range g.idle[:g.evictable(taker, now)] {
			have += m.charged
		}
	}
	if have < mb {
		if taker.hogs {
			p.wakeLocked(now.Add(hogged)) // what was spared is so no more
		}
		return false
	}
	for mb > 0 {
		m := p.oldestFrozenLocked()
		if m == nil {
			m = p.popCheapestLocked(taker, now)
		}
		mb -= m.charged
		p.host.give(-1, -m.charged)
		p.endLocked(m, "evicted")
	}
	return true
}

// worth is what an idle instance is worth keeping: how often its function is
// called times what a start costs it, for each MB that it holds. age, which is the
// worth of what was evicted last, lets what is not called any more fall behind
// (GreedyDual-Size-Frequency, as FaasCache has it, ASPLOS '21).
func worth(age float64, calls int, cold time.Duration, mb int) float64 {
	return age + float64(calls)*cold.Seconds()/float64(max(mb, 1))
}

// taker is who wants idle instances ended; hogs tells that its calls have more than half
// of all memory.
type taker struct {
	group *group
	claim claim
	hogs  bool
}

// evictable is how many of g's idle instances, from the oldest on, t may end.
func (g *group) evictable(t taker, now time.Time) int {
	n, spared := len(g.idle), time.Duration(0)
	switch {
	case t.claim != forCall:
		n, spared = g.beyond(g.target.all()), lately
	case t.hogs && t.group != g:
		spared = hogged
	}
	for n > 0 && now.Sub(g.idle[n-1].idleAt) < spared {
		n--
	}
	return n
}

// popCheapestLocked takes out the instance that is worth least, of those that t
// may end; one beyond its group's target if there is any.
func (p *Pool) popCheapestLocked(t taker, now time.Time) *member {
	var spare, held *group
	for _, g := range p.groups {
		if g.evictable(t, now) == 0 {
			continue
		}
		best := &held
		if g.beyond(g.target.firm()) > 0 {
			best = &spare
		}
		if *best == nil || g.idle[0].cheaper((*best).idle[0]) {
			*best = g
		}
	}
	if spare == nil {
		spare = held
	}
	m := spare.idle[0]
	spare.idle = append(spare.idle[:0], spare.idle[1:]...)
	p.age = max(p.age, m.worth)
	return m
}

// cheaper tells whether m goes before o.
func (m *member) cheaper(o *member) bool {
	if m.worth != o.worth {
		return m.worth < o.worth
	}
	return m.idleAt.Before(o.idleAt)
}
