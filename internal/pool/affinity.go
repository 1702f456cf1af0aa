package pool

import (
	"context"
	"hash/maphash"
	"slices"

	"lambent.dev/lambent"
)

// maxNear bounds the callers of one version that are remembered. When there are
// more, all are forgotten, and found an instance for anew.
const maxNear = 1 << 14

var nearSeed = maphash.MakeSeed()

// AcquireNear is Acquire for a caller that shall stay with the instance that it had
// before, as long as there is that instance and it has room. key says who it is;
// "" is nobody.
func (p *Pool) AcquireNear(ctx context.Context, v *lambent.Version, key string) (*Lease, error) {
	if key == "" {
		return p.Acquire(ctx, v)
	}
	sum := maphash.String(nearSeed, key)
	l, known := p.near(ctx, v, sum)
	if l != nil {
		return l, nil
	}
	l, err := p.Acquire(ctx, v)
	if err != nil || known || l.Failed() != nil {
		return l, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := l.m.group
	if g.near == nil || len(g.near) >= maxNear {
		g.near = map[uint64]string{}
	}
	g.near[sum] = l.m.cold.ID
	return l, nil
}

// near leases the instance that a caller had before. known tells that there is that
// instance, also when it has no room now.
func (p *Pool) near(ctx context.Context, v *lambent.Version, sum uint64) (l *Lease, known bool) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false
	}
	g := p.groupOf(v)
	m, idle := g.member(g.near[sum])
	if m == nil {
		delete(g.near, sum)
		p.mu.Unlock()
		return nil, false
	}
	if !idle && m.leases >= g.capacity() {
		p.mu.Unlock()
		return nil, true
	}
	if idle { // it is the next to be taken
		g.idle = append(slices.DeleteFunc(g.idle, func(o *member) bool { return o == m }), m)
		if p.takeIdleLocked(g) == nil {
			p.mu.Unlock()
			return nil, true
		}
		m.leases = 0
		g.busy[m] = struct{}{}
	}
	m.leases++
	g.calls++
	inUse := len(g.busy)
	p.mu.Unlock()
	p.arrived(ctx, v, inUse)
	if idle {
		p.firstUse(m)
	}
	return &Lease{pool: p, m: m}, true
}

// member finds an instance that takes requests, by its id.
func (g *group) member(id string) (m *member, idle bool) {
	if id == "" {
		return nil, false
	}
	fits := func(m *member) bool {
		return m.cold.ID == id && m.print == g.print && !m.ended && !m.broken() && !isDone(m)
	}
	for _, m := range g.idle {
		if fits(m) {
			return m, true
		}
	}
	for m := range g.busy {
		if fits(m) {
			return m, false
		}
	}
	return nil, false
}
