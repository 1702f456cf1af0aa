package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"lambent.dev/lambent"
)

// stopTimeout bounds the end of one instance.
const stopTimeout = 10 * time.Second

// Run reaps idle and dead instances until ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(max(p.o.Idle/10, 20*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.reap(now)
		}
	}
}

// reap ends the instances that died while idle or were idle for too long, and
// forgets groups that hold nothing.
func (p *Pool) reap(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, g := range p.groups {
		kept := g.idle[:0]
		for _, m := range g.idle {
			switch {
			case isDone(m):
				p.endLocked(m, "ended")
			case now.Sub(m.idleAt) >= p.o.Idle:
				p.endLocked(m, "idle")
			default:
				kept = append(kept, m)
			}
		}
		clear(g.idle[len(kept):])
		g.idle = kept
		if g.tmp != nil && now.Sub(g.tmpAt) >= p.o.Idle {
			p.dropTmpLocked(g)
		}
		if len(g.idle)+len(g.busy)+len(g.settling)+len(g.waiters)+g.starting == 0 && g.tmp == nil {
			delete(p.groups, k)
		}
	}
	p.feedLocked()
}

// Retire ends the instances of a version that was changed or deleted; busy ones
// finish their call first. An empty number is all versions of the function.
func (p *Pool) Retire(namespace, function, number string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, g := range p.groups {
		if k.namespace == namespace && k.function == function && (number == "" || k.number == number) {
			g.print = "" // what comes back or is being started is out of date
			g.stale = true
			p.retireLocked(g, "retired")
		}
	}
	p.feedLocked()
}

// retireLocked ends g's idle instances. Busy and starting ones are ended by
// deliver, which compares fingerprints.
func (p *Pool) retireLocked(g *group, reason string) {
	for _, m := range g.idle {
		p.endLocked(m, reason)
	}
	g.idle = nil
	p.dropTmpLocked(g)
}

// evictLocked ends the longest idle instances until mb are free; it tells
// whether that is possible, and ends none if not.
func (p *Pool) evictLocked(mb int) bool {
	idle := 0
	for _, g := range p.groups {
		for _, m := range g.idle {
			idle += m.memory
		}
	}
	if idle < mb {
		return false
	}
	for mb > 0 {
		var oldest *group
		for _, g := range p.groups {
			if len(g.idle) > 0 && (oldest == nil || g.idle[0].idleAt.Before(oldest.idle[0].idleAt)) {
				oldest = g
			}
		}
		m := oldest.idle[0]
		oldest.idle = append(oldest.idle[:0], oldest.idle[1:]...)
		mb -= m.memory
		p.endLocked(m, "evicted")
	}
	return true
}

func (p *Pool) end(m *member, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(m, reason)
	p.feedLocked()
}

// endLocked gives up m: its memory is free at once, and offering it to others is
// the caller's business; its sandbox is taken down in a goroutine of the pool.
func (p *Pool) endLocked(m *member, reason string) {
	delete(m.group.busy, m)
	delete(m.group.settling, m)
	p.usedMB -= m.memory
	p.instance--
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if m.inst != nil {
			if err := m.inst.Stop(ctx); err != nil {
				p.o.Log.Error("stop instance", "fn", m.version.Function, "inst", m.cold.ID, "err", err)
			}
		}
		if m.release != nil {
			m.release()
		}
		if err := m.stream.Close(); err != nil {
			p.o.Log.Error("close log stream", "fn", m.version.Function, "inst", m.cold.ID, "err", err)
		}
		p.o.Log.Debug("instance ended", "fn", m.version.Function, "inst", m.cold.ID, "reason", reason)
	})
}

// Close ends every instance: idle ones now, busy ones when their call is over
// or ctx ends. It returns when all of them are gone.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	for _, g := range p.groups {
		p.retireLocked(g, "stopping")
		for _, w := range g.waiters {
			w.out <- outcome{err: errStopping()}
		}
		g.waiters = nil
	}
	p.mu.Unlock()

	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for drained := false; !drained; {
		select {
		case <-ctx.Done():
			p.killBusy()
			drained = true
		case <-tick.C:
			s := p.Stats()
			drained = s.Busy+s.Starting == 0
		}
	}
	p.wg.Wait()
	return nil
}

// killBusy ends the instances whose calls did not finish in time.
func (p *Pool) killBusy() {
	p.mu.Lock()
	var members []*member
	for _, g := range p.groups {
		members = slices.AppendSeq(members, maps.Keys(g.busy))
		members = slices.AppendSeq(members, maps.Keys(g.settling))
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, m := range members {
		if m.inst == nil {
			continue
		}
		if err := m.inst.Stop(ctx); err != nil {
			p.o.Log.Error("stop instance", "fn", m.version.Function, "inst", m.cold.ID, "err", err)
		}
	}
}

func isDone(m *member) bool {
	select {
	case <-m.inst.Done():
		return true
	default:
		return false
	}
}

// fingerprint is a hash of everything in v that an instance is started from.
func fingerprint(v *lambent.Version) string {
	started := *v
	started.RevisionID, started.Description, started.Role = "", "", ""
	started.LastModified = time.Time{}
	started.State, started.StateReason, started.StateReasonCode = "", "", ""
	started.UpdateStatus, started.UpdateReason, started.UpdateReasonCode = "", "", ""
	h := sha256.New()
	// Maps are written in key order, so equal versions hash alike.
	if err := json.NewEncoder(h).Encode(started); err != nil {
		panic("fingerprint: " + err.Error()) // a Version always encodes
	}
	return hex.EncodeToString(h.Sum(nil))
}
