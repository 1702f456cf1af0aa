package pool

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Observation is what there is of a version at one moment.
type Observation struct {
	Version  *lambent.Version // latest seen
	Ready    int              // initialised instances that take calls
	Busy     int              // of Ready, those that have a call
	Surplus  int              // of Ready, those that take calls only when the others are full
	Draining int              // of Ready, those that are out of date and end with their last call
	Starting int
	Frozen   int
	Waiting  int           // calls without an instance
	Keep     time.Duration // how long the policy would keep one idle instance; 0 if it was not asked
	Target   Target
	Trouble  string // why the last starts have failed; "" if they have not
	Held     Held   // how starts had to wait because the host was short of something
}

// Observe tells what there is of a version; false if nothing is but what is known of
// its starts.
func (p *Pool) Observe(k Key) (Observation, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[k]
	if g == nil {
		return Observation{Held: p.gate.gone[k]}, false
	}
	return g.observe(), true
}

// Observed yields every version of which there is something, in no order.
func (p *Pool) Observed() iter.Seq2[Key, Observation] {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[Key]Observation, len(p.groups))
	for k, g := range p.groups {
		all[k] = g.observe()
	}
	return maps.All(all)
}

func (g *group) observe() Observation {
	o := Observation{
		Version: g.version, Ready: g.live(), Busy: len(g.busy) + len(g.settling), Starting: g.starting,
		Frozen: len(g.frozen) + g.freezing, Waiting: len(g.waiters), Target: g.target, Held: g.held,
	}
	if g.habit.prewarm == 0 && g.habit.keep != nil {
		o.Keep = g.habit.keep(1)
	}
	if g.trouble.failures > 0 {
		o.Trouble = g.trouble.reason
	}
	for m := range g.busy {
		switch {
		case m.print != g.print:
			o.Draining++
		case m.surplus:
			o.Surplus++
		}
	}
	for m := range g.settling {
		if m.print != g.print {
			o.Draining++
		}
	}
	return o
}

// Used is the processor time and the memory of an instance.
type Used struct {
	ID string
	sandbox.Usage
}

// Usage reads the counters of a version's instances.
func (p *Pool) Usage(k Key) []Used {
	p.mu.Lock()
	var members []*member
	if g := p.groups[k]; g != nil {
		members = append(members, g.idle...)
		members = slices.AppendSeq(members, maps.Keys(g.busy))
	}
	p.mu.Unlock()
	all := make([]Used, 0, len(members))
	for _, m := range members {
		all = append(all, Used{m.cold.ID, m.inst.Usage()})
	}
	return all
}

// pickSurplus marks the busy instances that a managed group has too many of, those
// with the fewest calls: they get no more as long as others have room, so that they
// end when their calls are over. Idle ones go first.
func (g *group) pickSurplus() {
	spare := 0
	if g.target.Managed {
		spare = max(0, g.live()-len(g.idle)-max(g.target.all(), 1))
	}
	busy := slices.Collect(maps.Keys(g.busy))
	slices.SortFunc(busy, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.leases, b.leases), cmp.Compare(a.cold.ID, b.cold.ID))
	})
	for i, m := range busy {
		m.surplus = i < spare
	}
}

// crowded tells that a managed group has idle instances that it should not use:
// there are more than wanted, and one that stays has room.
func (g *group) crowded() bool {
	return g.target.Managed && g.live() > max(g.target.all(), 1) && g.least(false) != nil
}

// least is the busy instance with the fewest calls that can take another; nil if
// there is none. surplus says which are looked at.
func (g *group) least(surplus bool) *member {
	capacity := g.capacity()
	var best *member
	for m := range g.busy {
		if m.surplus == surplus && !m.broken() && m.leases < capacity && (best == nil || m.leases < best.leases) && m.print == g.print && !isDone(m) {
			best = m
		}
	}
	return best
}

// full tells that the settings allow no more instances.
func (g *group) full() bool {
	return g.target.Most > 0 && g.live()+g.starting >= g.target.Most
}
