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

// lately is how long an idle instance is spared from claims that are not calls.
const lately = 10 * time.Second

// roomLocked tells whether mb are free, and makes them so as far as the claim
// goes. While a call waits for memory, nobody else gets any.
func (p *Pool) roomLocked(mb int, c claim) bool {
	if c != forCall && len(p.starved) > 0 {
		return false
	}
	short := p.usedMB + mb - p.o.MemoryMB
	return short <= 0 || c != forGuess && p.evictLocked(short, c)
}

// evictLocked ends instances until mb are free: frozen ones first, then idle ones,
// the longest idle first and those that a target holds last. It tells whether
// that is possible, and ends none if not.
func (p *Pool) evictLocked(mb int, c claim) bool {
	now := time.Now()
	have := 0
	for _, g := range p.groups {
		for _, m := range g.frozen {
			have += m.charged
		}
		for _, m := range g.idle[:g.evictable(c, now)] {
			have += m.charged
		}
	}
	if have < mb {
		return false
	}
	for mb > 0 {
		m := p.oldestFrozenLocked()
		if m == nil {
			m = p.popOldestLocked(c, now)
		}
		mb -= m.charged
		p.endLocked(m, "evicted")
	}
	return true
}

// evictable is how many of g's idle instances, from the oldest on, the claim may
// end.
func (g *group) evictable(c claim, now time.Time) int {
	if c == forCall {
		return len(g.idle)
	}
	n := g.beyond(g.target.all())
	for n > 0 && now.Sub(g.idle[n-1].idleAt) < lately {
		n--
	}
	return n
}

// popOldestLocked takes out the instance that has been idle for longest, of those
// that the claim may end; one beyond its group's target if there is any.
func (p *Pool) popOldestLocked(c claim, now time.Time) *member {
	var spare, held *group
	for _, g := range p.groups {
		if g.evictable(c, now) == 0 {
			continue
		}
		best := &held
		if g.beyond(g.target.firm()) > 0 {
			best = &spare
		}
		if *best == nil || g.idle[0].idleAt.Before((*best).idle[0].idleAt) {
			*best = g
		}
	}
	if spare == nil {
		spare = held
	}
	m := spare.idle[0]
	spare.idle = append(spare.idle[:0], spare.idle[1:]...)
	return m
}
