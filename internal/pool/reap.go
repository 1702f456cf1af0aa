package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"
	"weak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
)

// stopTimeout bounds the end of one instance.
const stopTimeout = 10 * time.Second

// Run reaps idle and dead instances, and makes ready what targets and guesses ask
// for, until ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(min(max(p.o.Idle/10, 20*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.askPolicy()
			p.lookAtHost()
			p.reap(now)
		case <-p.wake.C:
			p.woken()
		case now := <-p.overdue.C:
			p.endOverdue(now)
		case <-p.gate.look.C:
			p.lookAtProcessors()
		}
	}
}

// reap ends the instances that died while idle or were idle for too long, beyond
// what a target holds, and forgets groups that hold nothing.
func (p *Pool) reap(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, g := range p.groups {
		p.buryLocked(g)
		p.reapLocked(g, now)
		if g.tmp != nil && now.Sub(g.tmpAt) >= p.o.Idle {
			p.dropTmpLocked(g)
		}
		if again := g.habit.again; !again.IsZero() && !now.Before(again) {
			g.habit.again = time.Time{}
			if !g.stale && !p.closed {
				p.guessLocked(g, ReasonHistogram, now)
			}
		}
		if g.empty(now) {
			p.rememberLocked(g)
			delete(p.groups, k)
			delete(p.targets, g)
		}
	}
	p.feedLocked()
	p.fillLocked(now)
}

// buryLocked ends g's instances that died while nobody used them.
func (p *Pool) buryLocked(g *group) {
	g.idle = slices.DeleteFunc(g.idle, func(m *member) bool {
		dead := isDone(m)
		if dead {
			p.endLocked(m, "ended")
		}
		return dead
	})
	for i := len(g.frozen) - 1; i >= 0; i-- {
		if m := g.frozen[i]; isDone(m) {
			p.endLocked(m, "died while frozen")
		}
	}
}

// reapLocked ends or freezes g's instances whose time is up, the oldest first.
func (p *Pool) reapLocked(g *group, now time.Time) {
	for n := g.beyond(g.target.all()); n > 0; n-- {
		m := g.idle[0]
		if !p.overLocked(g, m, now) {
			break
		}
		g.idle = append(g.idle[:0], g.idle[1:]...)
		if p.hibernates(m) {
			p.freezeLocked(m, now)
		} else {
			p.endLocked(m, "idle")
		}
	}
	for len(g.frozen) > 0 && now.Sub(g.frozen[0].frozenAt) >= p.o.Hibernation.Keep {
		p.endLocked(g.frozen[0], "idle")
	}
}

// empty tells that nothing is lost when g is forgotten.
func (g *group) empty(now time.Time) bool {
	return g.live()+len(g.waiters)+g.starting+g.freezing+g.legacies+len(g.frozen) == 0 &&
		g.tmp == nil && g.target.all() == 0 && g.habit.again.IsZero() && !now.Before(g.trouble.until)
}

// Retire ends the instances of a version that was changed or deleted; busy ones
// finish their call first. An empty number is all versions of the function.
func (p *Pool) Retire(namespace, function, number string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, g := range p.groups {
		if k.Namespace == namespace && k.Function == function && (number == "" || k.Number == number) {
			g.print, g.late = 0, g.starting // what comes back or is being started is out of date
			g.stale = true
			g.habit = habit{}
			p.retireLocked(g, "retired")
		}
	}
	if number == "" {
		maps.DeleteFunc(p.gate.gone, func(k Key, _ Held) bool { return k.Namespace == namespace && k.Function == function })
	}
	p.feedLocked()
}

// retireLocked ends g's idle and frozen instances. Those that are busy, or on
// their way, are ended where they arrive, which compares fingerprints.
func (p *Pool) retireLocked(g *group, reason string) {
	for _, m := range g.idle {
		p.endLocked(m, reason)
	}
	g.idle = nil
	for len(g.frozen) > 0 {
		p.endLocked(g.frozen[0], reason)
	}
	p.dropTmpLocked(g)
}

func (p *Pool) end(m *member, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.ended { // by another of its leases
		return
	}
	p.endLocked(m, reason)
	p.feedLocked()
	p.fillLocked(time.Now())
}

// endLocked gives up m: its memory is free at once, unless it lingers, and offering it
// to others is the caller's business; its sandbox is taken down in a goroutine of the
// pool.
func (p *Pool) endLocked(m *member, reason string) {
	m.ended = true
	delete(m.group.busy, m)
	delete(m.group.settling, m)
	if m.frozen {
		p.unfreezeLocked(m)
	}
	if m.lingers {
		p.leaving += m.charged
	} else {
		p.usedMB -= m.charged
		p.instance--
	}
	now := time.Now()
	p.wg.Go(func() {
		m.conclude()
		p.wasted(m, now)
		m.reportEnd(now)
		if m.overdue {
			tmp := keepTmp(m)
			p.stop(m)
			p.bequeath(m, tmp, true) // nothing writes to it any more
		} else {
			p.stop(m)
		}
		if m.release != nil {
			m.release()
		}
		p.closeLog(m)
		if m.lingers {
			p.left(m)
		}
		p.o.Log.Debug("instance ended", "fn", m.version.Function, "inst", m.cold.ID, "reason", reason)
	})
}

// reportEnd writes into m's log why the program of an application has ended by itself.
func (m *member) reportEnd(at time.Time) {
	if m.version.App == nil || m.inst == nil || !isDone(m) {
		return
	}
	if why := m.inst.Why(); why.Type != sandbox.ByPlatform {
		line := logs.FormatOf(m.version.Logging).InstanceEnd(nil, at, why.Type, why.Message)
		if len(line) > 0 {
			m.stream.WriteLine(at, line)
		}
	}
}

// left frees the memory of an instance that has lingered.
func (p *Pool) left(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving -= m.charged
	p.usedMB -= m.charged
	p.instance--
	p.feedLocked()
	p.fillLocked(time.Now())
}

func (p *Pool) closeLog(m *member) {
	if err := m.stream.Close(); err != nil {
		p.o.Log.Error("close log stream", "fn", m.version.Function, "inst", m.cold.ID, "err", err)
	}
}

// Close ends every instance: idle ones now, busy ones when their call is over
// or ctx ends. It returns when all of them are gone.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.cut() // nobody waits for what is being started
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
	var late <-chan time.Time // when nothing is waited for any more
	for drained := false; !drained; {
		select {
		case <-ctx.Done():
			p.killBusy()
			ctx, late = context.Background(), time.After(stopTimeout)
		case <-late:
			drained = true
		case <-tick.C:
			s := p.Stats()
			drained = s.Busy+s.Starting == 0
		}
	}
	p.wg.Wait()
	return nil
}

// killBusy ends the instances whose calls did not finish in time, all at once: each may
// take a while. Their leases are still to be released.
func (p *Pool) killBusy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		for m := range g.busy {
			p.wg.Go(func() { p.stop(m) })
		}
		for m := range g.settling { // no call will
			p.endLocked(m, "stopping")
		}
	}
}

// stop takes down m's sandbox.
func (p *Pool) stop(m *member) {
	if m.inst == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := m.inst.Stop(ctx); err != nil {
		p.o.Log.Error("stop instance", "fn", m.version.Function, "inst", m.cold.ID, "err", err)
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

// superseded tells that v was the group's version before another one took its place.
// Catalogs never bring one back: they make another one with the same content.
func (g *group) superseded(v *lambent.Version) bool {
	return slices.Contains(g.before, weak.Make(v))
}

// supersede makes v the group's version, unless it was before.
func (g *group) supersede(v *lambent.Version) {
	g.stale = false
	if g.version == v || g.superseded(v) {
		return
	}
	g.before = slices.DeleteFunc(g.before, func(w weak.Pointer[lambent.Version]) bool { return w.Value() == nil })
	g.before = append(g.before, weak.Make(g.version))
	g.version = v
}

// reprint gives g a print that none of its instances has.
func (g *group) reprint() {
	g.prints++
	g.print, g.late = g.prints, g.starting
}

// fingerprint is a hash of everything in v that an instance is started from: its role,
// too, whose keys it has.
func fingerprint(v *lambent.Version) string {
	started := *v
	started.RevisionID, started.Description = "", ""
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
