package pool

import (
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// Hibernation is what becomes of idle instances whose start was expensive: they
// are frozen, their memory is pushed out of RAM as far as the host can, and they
// are woken when a call finds nothing better. The zero value is none.
type Hibernation struct {
	// Init is how long the function's initialisation must have taken; 0 is no
	// hibernation.
	Init time.Duration
	// After is how long the instance must have been idle; 0 is until it would be
	// reaped.
	After time.Duration
	// Keep is how long it then stays frozen.
	Keep time.Duration
	// MemoryMB is how much RAM all of them may hold, and Count how many there may
	// be. The longest frozen goes first.
	MemoryMB int
	Count    int
}

// frozenMinMB is what a frozen instance counts at least: its processes' kernel
// memory.
const frozenMinMB = 1

// hibernates tells whether m is worth keeping frozen.
func (p *Pool) hibernates(m *member) bool {
	h := p.o.Hibernation
	if h.Init <= 0 || h.Count <= 0 || m.cold.Init < h.Init {
		return false
	}
	_, able := m.inst.(sandbox.Freezer)
	return able
}

// freezeLocked sends an instance that was idle into hibernation. Until it is
// there, it can do nothing.
func (p *Pool) freezeLocked(m *member, now time.Time) {
	m.group.freezing++
	p.wg.Go(func() {
		p.wasted(m, now)
		p.freeze(m)
	})
}

// freeze halts the instance and pushes its memory out. What cannot be frozen is
// ended; what cannot be pushed out counts for what it holds.
func (p *Pool) freeze(m *member) {
	err := m.inst.(sandbox.Freezer).Freeze()
	held := m.memory
	if err == nil {
		if pager, ok := m.inst.(sandbox.Pager); ok {
			if _, err := pager.PageOut(); err != nil {
				p.o.Log.Debug("page out instance", "fn", m.version.Function, "inst", m.cold.ID, "err", err)
			}
		}
		const mb = 1 << 20
		held = min(held, max(frozenMinMB, int((m.inst.Usage().MemoryBytes+mb-1)/mb)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := m.group
	g.freezing--
	switch {
	case err != nil, isDone(m):
		p.endLocked(m, "could not be frozen")
	case p.closed, m.print != g.print:
		p.endLocked(m, "updated")
	default:
		p.usedMB += held - m.charged
		m.charged = held
		m.frozenAt = time.Now()
		p.shelveLocked(m)
		for p.frozen > p.o.Hibernation.Count || p.frozenMB > p.o.Hibernation.MemoryMB {
			p.endLocked(p.oldestFrozenLocked(), "evicted")
		}
	}
	p.feedLocked()
}

// thaw wakes an instance for a waiter, or ahead of one. It may have died
// meanwhile: then the waiters get another one.
func (p *Pool) thaw(m *member, ahead string) {
	began := time.Now()
	m.ahead, m.aheadAt = ahead, began
	err := m.inst.(sandbox.Freezer).Thaw()
	if err == nil && !isDone(m) {
		took := max(time.Since(began), time.Nanosecond)
		p.o.Metrics.Thawed(m.version.Runtime, took)
		p.deliver(m.group, outcome{m: m, came: thawed, thaw: took})
		return
	}
	m.ahead = "" // it could not be used: nobody's waste
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrivedLocked(m.group, outcome{m: m, came: thawed})
	p.endLocked(m, "died while frozen")
	p.wantLocked(m.group)
	p.feedLocked()
}

func (g *group) newestFrozen() *member {
	if n := len(g.frozen); n > 0 {
		return g.frozen[n-1]
	}
	return nil
}

// shelveLocked counts m as frozen, in the order of frozenAt.
func (p *Pool) shelveLocked(m *member) {
	g := m.group
	at := len(g.frozen)
	for at > 0 && g.frozen[at-1].frozenAt.After(m.frozenAt) {
		at--
	}
	g.frozen = append(g.frozen, nil)
	copy(g.frozen[at+1:], g.frozen[at:])
	g.frozen[at] = m
	m.frozen = true
	p.frozen++
	p.frozenMB += m.charged
}

// unfreezeLocked ceases to count m as frozen; what becomes of it is the caller's
// business.
func (p *Pool) unfreezeLocked(m *member) {
	g := m.group
	for i, other := range g.frozen {
		if other == m {
			g.frozen = append(g.frozen[:i], g.frozen[i+1:]...)
			break
		}
	}
	m.frozen = false
	p.frozen--
	p.frozenMB -= m.charged
}

func (p *Pool) oldestFrozenLocked() *member {
	var oldest *member
	for _, g := range p.groups {
		if len(g.frozen) > 0 && (oldest == nil || g.frozen[0].frozenAt.Before(oldest.frozenAt)) {
			oldest = g.frozen[0]
		}
	}
	return oldest
}
