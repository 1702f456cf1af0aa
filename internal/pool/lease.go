package pool

import (
	"context"
	"sync"
	"time"

	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
)

// Lease is the right to send one invocation to an instance. Release ends it.
type Lease struct {
	pool     *Pool
	m        *member
	failure  *sandbox.Failure
	cold     bool          // the call waited for the instance's start
	thaw     time.Duration // the call waited for it to wake
	ended    string        // type of the failure that ended the instance, if any
	released bool
}

// Failed tells that the cold start for this call ended in a failure of the
// function; the instance is then good for nothing but its log.
func (l *Lease) Failed() *sandbox.Failure { return l.failure }

// Cold returns the cold start that the call has waited for, if it has.
func (l *Lease) Cold() (ColdStart, bool) {
	return l.m.cold, l.cold
}

// Init is the time of the function's own initialisation if this is the
// instance's first invocation, whether the call has waited for it or not;
// provisioned tells that it was paid for by provisioned concurrency.
func (l *Lease) Init() (took time.Duration, provisioned bool) {
	if l.m.used {
		return 0, false
	}
	return l.m.cold.Init, l.m.cold.Ahead == ReasonProvisioned
}

// Thaw is how long the call waited for a frozen instance to wake; zero if it did
// not.
func (l *Lease) Thaw() time.Duration { return l.thaw }

// Log is the instance's log stream.
func (l *Lease) Log() logs.Stream {
	return l.m.stream
}

// Teller is there when programs in the instance want to be told what the platform
// reports of an invocation; nil otherwise.
func (l *Lease) Teller() sandbox.Teller { return l.m.teller }

// Invoke hands the event to the instance. See [sandbox.Instance.Invoke].
func (l *Lease) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	a, err := l.m.inst.Invoke(ctx, ev)
	if a.Failure != nil {
		l.ended = a.Failure.Type
	}
	return a, err
}

// memoryFresh is how long an instance may run until its memory is looked at again.
// Asking the kernel takes longer than all else that is done for a report, and in
// this time a program can hardly touch as many new pages as would show in it.
const memoryFresh = 4 * time.Millisecond

// MaxMemoryMB is the most memory the instance has used so far, rounded up, after it
// has run for took more. What it has used in its last few milliseconds may be
// missing, unless they were its last.
func (l *Lease) MaxMemoryMB(took time.Duration) int {
	m := l.m
	if m.inst == nil { // see [Pool.stub]
		return 0
	}
	alone := m.version.App == nil // nobody else has the instance
	if alone && m.held > 0 && l.ended == "" && m.unseen+took < memoryFresh {
		m.unseen += took
		return m.held
	}
	mb := int((m.inst.MaxMemory() + 1<<20 - 1) >> 20)
	if alone {
		m.held, m.unseen = mb, 0
	}
	return mb
}

// After has f called when the invocation is over for the instance, too: when it is
// ready again, or before it is ended, and before anybody else has it. It is for
// answers with a [sandbox.Answer.Rest], and comes before Release.
func (l *Lease) After(f func()) { l.m.after = sync.OnceFunc(f) }

// Release gives the instance back: to the next caller as soon as its runtime
// asks for an event, or to its end when it is dead. deadline is when the
// invocation's time is up: a runtime that is still not back by then is ended.
func (l *Lease) Release(deadline time.Time) {
	if l.released {
		return
	}
	l.released = true
	m := l.m
	if l.failure != nil {
		if m.inst == nil {
			l.pool.closeLog(m)
			return
		}
		l.pool.end(m, "failed to start")
		return
	}
	if m.version.App != nil {
		l.pool.giveBack(m)
		return
	}
	m.used = true
	if isDone(m) { // Ready is closed too then
		l.pool.settled(m)
		return
	}
	select {
	case <-m.inst.Ready():
		l.pool.settled(m)
	default:
		l.pool.settle(m, deadline)
	}
}

// settle has the instance go to the next caller when its runtime comes back, which
// tells that by itself. Run ends one that is not back in time.
func (p *Pool) settle(m *member, deadline time.Time) {
	p.mu.Lock()
	delete(m.group.busy, m)
	m.group.settling[m] = struct{}{}
	m.due = deadline
	if p.overdueAt.IsZero() || deadline.Before(p.overdueAt) {
		p.overdueAt = deadline
		p.overdue.Reset(time.Until(deadline))
	}
	p.mu.Unlock()
	if a, ok := m.inst.(sandbox.Announcer); ok && m.after == nil && a.WhenReady(m.back) {
		return
	}
	select {
	case <-m.inst.Ready():
		p.settled(m)
	default:
		p.wg.Go(func() { // ends with the instance at the latest
			<-m.inst.Ready()
			p.settled(m)
		})
	}
}

// settled puts an instance that waits for an event to use again.
func (p *Pool) settled(m *member) {
	m.conclude()
	if isDone(m) {
		if why := m.inst.Why().Type; why == "Sandbox.Timedout" || why == "Runtime.ExitError" {
			p.bequeath(m, keepTmp(m), false)
		}
		p.end(m, "ended")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.ended { // it was back too late
		m.after = nil
		p.deliverLocked(m.group, outcome{m: m})
	}
}

// conclude calls what waits for the end of m's invocation, or waits until it has been.
func (m *member) conclude() {
	if m.after != nil {
		m.after()
	}
}

// endOverdue ends the instances whose runtimes are not back after their answer when
// the time of their call is over.
func (p *Pool) endOverdue(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.overdueAt = time.Time{}
	var late []*member
	for _, g := range p.groups {
		for m := range g.settling {
			switch {
			case !now.Before(m.due):
				late = append(late, m)
			case p.overdueAt.IsZero() || m.due.Before(p.overdueAt):
				p.overdueAt = m.due
			}
		}
	}
	if !p.overdueAt.IsZero() {
		p.overdue.Reset(p.overdueAt.Sub(now))
	}
	if len(late) == 0 {
		return
	}
	for _, m := range late {
		m.overdue = true
		m.group.legacies++
		p.endLocked(m, "ended")
	}
	p.feedLocked()
	p.fillLocked(now)
}

// keepTmp takes the /tmp out of an instance whose runtime timed out or exited, for the
// next one of the same version: on AWS they share an environment.
func keepTmp(m *member) sandbox.Tmp {
	if keeper, ok := m.inst.(sandbox.Keeper); ok {
		return keeper.KeepTmp()
	}
	return nil
}

// bequeath saves what keepTmp has taken, if anything. promised tells that it has been
// waited for.
func (p *Pool) bequeath(m *member, tmp sandbox.Tmp, promised bool) {
	p.mu.Lock()
	if promised {
		m.group.legacies--
	}
	if tmp != nil && m.print == m.group.print && !p.closed {
		tmp, m.group.tmp = m.group.tmp, tmp
		m.group.tmpAt = time.Now()
	}
	p.mu.Unlock()
	p.closeTmp(tmp)
}

// heirloom takes the group's saved /tmp for a cold start.
func (p *Pool) heirloom(m *member) sandbox.Tmp {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.print != m.group.print {
		return nil
	}
	tmp := m.group.tmp
	m.group.tmp = nil
	return tmp
}

// dropTmpLocked closes the group's saved /tmp.
func (p *Pool) dropTmpLocked(g *group) {
	if tmp := g.tmp; tmp != nil {
		g.tmp = nil
		p.wg.Go(func() { p.closeTmp(tmp) })
	}
}

func (p *Pool) closeTmp(tmp sandbox.Tmp) {
	if tmp == nil {
		return
	}
	if err := tmp.Close(); err != nil {
		p.o.Log.Error("close a saved /tmp", "err", err)
	}
}
