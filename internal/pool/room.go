package pool

import (
	"fmt"
	"slices"
	"time"

	"lambent.dev/lambent"
)

// What bounds the instances that live and start: the sum of their memory sizes,
// what the host has left, and a rate. An instance counts with its whole size from
// its start, while it serves a call, and as long as it is kept for provisioned
// concurrency or a minimum. Idle otherwise, it counts with what it holds, and is
// charged the rest when a call comes: a host has room for many more idle instances
// than busy ones, and no busy one has less than its size.

// heldSlack is what an idle instance counts more than the most it has held so
// far, in MB: for what the kernel keeps on its account.
const heldSlack = 2

// idleCharge is what m counts with while it is idle, in MB.
func (m *member) idleCharge() int {
	if m.held == 0 || m.version.App != nil || m.group.target.firm() > 0 {
		return m.memory
	}
	return min(m.memory, m.held+heldSlack)
}

// rechargeLocked changes what m counts with.
func (p *Pool) rechargeLocked(m *member, mb int) {
	p.usedMB += mb - m.charged
	m.charged = mb
}

// takeIdleLocked takes out the instance that g used last, if there is memory for
// it to serve a call and nobody with less waits for that; what is provisioned has it in any
// case.
func (p *Pool) takeIdleLocked(g *group) *member {
	m := g.popIdle()
	for m != nil && isDone(m) { // many may have died at once
		p.endLocked(m, "ended")
		m = g.popIdle()
	}
	if m == nil {
		return nil
	}
	if need := m.memory - m.charged; p.cedesLocked(g) || need > 0 && g.target.firm() == 0 && !p.roomLocked(g, need, forCall, false) {
		g.idle = append(g.idle, m)
		return nil
	}
	p.rechargeLocked(m, m.memory)
	return m
}

func (g *group) popIdle() *member {
	n := len(g.idle)
	if n == 0 || g.crowded() {
		return nil
	}
	m := g.idle[n-1]
	g.idle[n-1] = nil
	g.idle = g.idle[:n-1]
	return m
}

// restLocked makes m idle.
func (p *Pool) restLocked(g *group, m *member, now time.Time) {
	m.idleAt = now
	if m.used {
		g.lastIdle = now
	}
	p.rechargeLocked(m, m.idleCharge())
	m.worth = worth(p.age, g.calls, g.lastCold, m.charged)
	g.idle = append(g.idle, m)
}

// startRate is the token bucket of starts. AWS starts 1,000 instances of a
// function per 10 s (Lambda developer guide, "Understanding Lambda function
// scaling"); here it is the host that has a limit.
type startRate struct {
	per10s int     // 0 is no limit
	slowed float64 // starts per second while processors are short; 0 is not slowed
	left   float64
	at     time.Time // when left was right
}

// slow changes the rate to that many per second; 0 is back to the limit.
func (r *startRate) slow(perSecond float64) {
	if perSecond > 0 {
		r.left = min(r.left, max(1, perSecond))
	}
	r.slowed = perSecond
}

// take is for a start. One that does not ask first leaves no debt.
func (r *startRate) take() { r.left = max(0, r.left-1) }

// wait is how long it is until there is a token.
func (r *startRate) wait(now time.Time) time.Duration {
	if r.per10s == 0 && r.slowed == 0 {
		return 0
	}
	perSecond, most := float64(r.per10s)/10, float64(r.per10s)
	if r.slowed > 0 {
		perSecond, most = r.slowed, max(1, r.slowed)
	}
	if r.at.IsZero() {
		r.left = most
	} else if past := now.Sub(r.at); past > 0 { // a clock that is set back gives nothing
		r.left = min(most, r.left+past.Seconds()*perSecond)
	}
	r.at = now
	if r.left >= 1 {
		return 0
	}
	return time.Duration((1-r.left)/perSecond*float64(time.Second)) + time.Millisecond
}

// mayStartLocked tells whether g may start another instance for a call now. If
// not, those that wait are looked at again when it may.
func (p *Pool) mayStartLocked(g *group, now time.Time) bool {
	if g.trouble.persistent() && g.starting > 0 {
		return false // one is enough to see whether it works again
	}
	wait := g.trouble.hold.Sub(now)
	if !p.gate.slowed() {
		wait = max(wait, p.rate.wait(now))
	} else if wait <= 0 && p.holdsLocked(g, now) {
		return false
	}
	if wait > 0 {
		p.wakeLocked(now.Add(wait))
	}
	return wait <= 0
}

// wakeLocked has the waiters that got nothing looked at again at that time.
func (p *Pool) wakeLocked(at time.Time) {
	if p.wakeAt.IsZero() || at.Before(p.wakeAt) {
		p.wakeAt = at
		p.wake.Reset(time.Until(at))
	}
}

// woken is the turn of those who wait for a time.
func (p *Pool) woken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakeAt = time.Time{}
	p.feedLocked()
}

// feedLocked gives what became free to the groups whose calls wait for it: one
// instance at a time to the namespace that has the least memory, and in it to the
// group that has.
func (p *Pool) feedLocked() {
	if len(p.starved) == 0 || p.closed {
		return
	}
	hungry := p.starved
	p.starved = nil
	for _, g := range hungry {
		g.starved = false
	}
	if len(hungry) == 1 {
		p.wantLocked(hungry[0])
		return
	}
	spaces := p.spacesLocked()
	for len(hungry) > 0 {
		g := slices.MinFunc(hungry, func(a, b *group) int {
			if d := spaces[a.key.Namespace] - spaces[b.key.Namespace]; d != 0 {
				return d
			}
			return a.busyMB() - b.busyMB()
		})
		if p.wantOneLocked(g) {
			spaces[g.key.Namespace] += g.version.MemoryMB
			continue
		}
		hungry = slices.DeleteFunc(hungry, func(o *group) bool { return o == g })
	}
}

// spacesLocked is what the namespaces' instances that serve calls count with, in MB.
func (p *Pool) spacesLocked() map[string]int {
	spaces := map[string]int{}
	for k, g := range p.groups {
		spaces[k.Namespace] += g.busyMB()
	}
	return spaces
}

// cedesLocked tells whether g has to leave memory to another group that waits for some:
// one that has, with an instance more, no more than g; of another namespace, if that
// namespace has no more than g's. Without it a version with a queue would serve it
// by the instances that it has, and others would get none until the queue is empty.
func (p *Pool) cedesLocked(g *group) bool {
	if len(p.starved) == 0 || g.target.firm() > len(g.busy) {
		return false
	}
	var spaces map[string]int // made when it is needed
	for _, h := range p.starved {
		if h == g || !h.short || h.unmet() <= 0 {
			continue
		}
		mine, theirs := g.busyMB(), h.busyMB()
		if h.key.Namespace != g.key.Namespace {
			if spaces == nil {
				spaces = p.spacesLocked()
			}
			mine, theirs = spaces[g.key.Namespace], spaces[h.key.Namespace]
		}
		if theirs+h.version.MemoryMB <= mine {
			return true
		}
	}
	return false
}

// starveLocked notes that g waits for what others give back.
func (p *Pool) starveLocked(g *group) {
	if !g.starved {
		g.starved = true
		p.starved = append(p.starved, g)
	}
}

// busyMB is what the instances that serve g's calls, or will, count with.
func (g *group) busyMB() int {
	return (len(g.busy) + len(g.settling) + g.starting) * g.version.MemoryMB
}

// unmet is how many waiters have no instance on its way. What was begun before a
// change is for those who came before it; who came after waits for none of it, because
// it may take its whole time to fail for what the change has mended.
func (g *group) unmet() int {
	waiting := len(g.waiters)
	if g.late > 0 {
		earlier := 0
		for _, w := range g.waiters {
			if w.print != g.print {
				earlier++
			}
		}
		waiting -= min(g.late, earlier)
	}
	return waiting - (g.starting-g.late)*g.capacity()
}

// lacks tells that w is one of the waiters that have no instance on its way.
func (g *group) lacks(w *waiter) bool {
	return slices.Index(g.waiters, w) >= len(g.waiters)-max(g.unmet(), 0)
}

// wantLocked sets instances on their way until each waiter has one coming.
func (p *Pool) wantLocked(g *group) {
	for p.wantOneLocked(g) {
	}
}

// wantOneLocked does one thing for g's waiters. It tells whether there may be more
// to do; if there is but cannot be done now, g is starved.
func (p *Pool) wantOneLocked(g *group) bool {
	if g.unmet() <= 0 || g.full() {
		g.held.now, g.short = false, false
		return false
	}
	g.short = false
	if m := p.takeIdleLocked(g); m != nil { // there was no memory for it to serve before
		g.serveLocked(outcome{m: m})
		return true
	}
	if p.bringLocked(g, forCall, "") {
		return true
	}
	p.starveLocked(g)
	return false
}

// noteShortLocked notes why g's next start for a call has to wait: for want of memory, or
// of what else the host is short of. It is the reason also where processors were before.
func (p *Pool) noteShortLocked(g *group, need int, c claim) {
	if c != forCall {
		return
	}
	var why string
	switch {
	case p.o.Headroom != nil && p.host.Tasks < StartTasks:
		why = p.host.TasksText
	case p.o.Headroom != nil && p.host.MB < need:
		why = p.host.MBText
	default:
		g.short = true
		why = fmt.Sprintf("instances that are needed have %d MB of the %d that all may have", p.usedMB, p.o.MemoryMB)
	}
	times := g.held.Times
	if !g.held.now {
		times++
	}
	g.held = Held{Times: times, Last: time.Now(), Why: why, now: true}
}

// Host is what the host can give to new instances; negative when it has given too
// much. The texts tell of it in half a sentence each.
type Host struct {
	MB     int
	MBText string
	// Tasks are processes and threads, of which a start needs StartTasks.
	Tasks     int
	TasksText string
}

// StartTasks is what an instance that starts counts with until it is seen what it has: a
// Node.js has about so many, a JVM somewhat more and the others less.
const StartTasks = 16

// Headroom reads what the host has left.
type Headroom func() Host

// lookAtHost asks what the host has left, once every few milliseconds at the most.
func (p *Pool) lookAtHost() {
	if p.o.Headroom == nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	fresh := now.Sub(p.lookedAt) < hostEvery
	if !fresh {
		p.lookedAt = now
	}
	p.mu.Unlock()
	if fresh {
		return
	}
	host := p.o.Headroom()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.host = host
	for _, g := range p.groups { // what they will take the host does not know yet
		p.host.give(g.starting, g.starting*g.version.MemoryMB)
	}
}

// give notes what instances take that the host does not know of yet; less than 0 are
// such as end.
func (h *Host) give(instances, mb int) {
	h.MB -= mb
	h.Tasks -= instances * StartTasks
}

// hostEvery is how long the host's figure is good for.
const hostEvery = 50 * time.Millisecond

// shortLocked is how many MB are lacking for mb more; starts tells that they are
// a new instance's, which the host must have.
func (p *Pool) shortLocked(mb int, starts bool) int {
	short := p.usedMB + mb - p.o.MemoryMB
	if starts && p.o.Headroom != nil {
		short = max(short, mb-p.host.MB)
		if p.host.Tasks < StartTasks { // one that ends gives about as many as one that starts needs
			short = max(short, mb)
		}
	}
	return short
}

func errNoMemory() error {
	return lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason("ConcurrentInvocationLimitExceeded")
}
