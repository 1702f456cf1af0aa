package pool

// Stats is a count of instances by what they do.
type Stats struct {
	Instances, Idle, Busy, Starting, Frozen, Waiting int

	MemoryMB int // of all of them
	FrozenMB int // RAM that the frozen ones hold

	Held      uint64  // starts for calls that had to wait because processors were short
	StartRate float64 // starts per second that calls are held to for that; 0 is none
}

// Stats tells what the pool holds at this moment.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Instances: p.instance, MemoryMB: p.usedMB, FrozenMB: p.frozenMB, Held: p.gate.held, StartRate: p.gate.rate}
	for _, g := range p.groups {
		s.Idle += len(g.idle)
		s.Busy += len(g.busy) + len(g.settling)
		s.Starting += g.starting
		s.Frozen += len(g.frozen) + g.freezing
		s.Waiting += len(g.waiters)
	}
	return s
}
