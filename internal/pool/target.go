package pool

import (
	"fmt"
	"time"

	"lambent.dev/lambent"
)

// Reasons for which an instance is made ready before a call asks for it, as
// metrics and cold starts name them. A caller of [Pool.Warm] gives its own.
const (
	ReasonProvisioned = "provisioned-concurrency" // also AWS's name of the initialization type
	ReasonMinimum     = "min-instances"
	ReasonSibling     = "alias-weights"
	ReasonHistogram   = "histogram"
	ReasonLoad        = "autoscaler"
	ReasonTimer       = "timer"
)

// Target is how many initialised instances of a version there shall be at least,
// busy ones included, by who asks for them; the largest number holds. The zero
// value is none.
type Target struct {
	Provisioned int // provisioned concurrency
	Minimum     int // the function's settings
	// Likely are kept while there is memory: they are not reaped, but evicted like
	// any idle instance.
	Likely int
	// Scaled is how many the load asks for. Where it is Managed, idle instances
	// beyond all of these do not wait for their time but go, and busy ones get no
	// more calls while others have room.
	Scaled  int
	Managed bool
	// Most is how many there may be for calls and by guesses; 0 is no bound. Who asks for
	// instances by name gets them, even beyond it.
	Most int
}

func (t Target) all() int { return max(t.Provisioned, t.Minimum, t.Likely, t.Scaled) }

// firm is how many are evicted only when a call finds nothing else.
func (t Target) firm() int { return max(t.Provisioned, t.Minimum) }

// missing says for whom another instance is needed when there are n, and how
// strong its claim is; "" for nobody.
func (t Target) missing(n int) (string, claim) {
	switch {
	case n < t.Provisioned:
		return ReasonProvisioned, forTarget
	case n < t.Minimum:
		return ReasonMinimum, forTarget
	case n < t.Scaled:
		return ReasonLoad, forTarget
	case n < t.Likely:
		return ReasonSibling, forGuess
	}
	return "", forGuess
}

// trouble is what keeps a group from its target.
type trouble struct {
	failures int // starts in a row
	reason   string
	until    time.Time // nothing is started ahead before
	hold     time.Time // nothing is started for calls before
	memory   bool      // there is none for what is missing
}

// Back-off between starts ahead of demand that fail.
const (
	firstBackoff = time.Second
	lastBackoff  = 2 * time.Minute
)

// Calls go on starting instances where starts fail, as on AWS. After that many
// failures in a row they do so one at a time and with pauses, and all that wait
// for the same start are told how it failed.
const (
	fewFailures = 3
	firstHold   = 100 * time.Millisecond
	doublings   = 5 // of it
)

// persistent tells that it is not worth trying more than once at a time.
func (t *trouble) persistent() bool { return t.failures >= fewFailures }

// learn takes in how a cold start ended.
func (t *trouble) learn(out outcome, now time.Time) {
	switch {
	case out.failure != nil:
		// The first word is AWS's.
		t.reason = fmt.Sprintf("FUNCTION_ERROR_INIT_FAILURE: %s: %s", out.failure.Type, out.failure.Message)
	case out.err != nil:
		t.reason = out.err.Error()
	default:
		*t = trouble{}
		return
	}
	t.failures++
	wait := lastBackoff
	if t.failures < 8 {
		wait = min(firstBackoff<<(t.failures-1), lastBackoff)
	}
	t.until = now.Add(wait)
	if t.persistent() {
		t.hold = now.Add(firstHold << min(t.failures-fewFailures, doublings))
	}
}

// Trouble tells how often in a row a version has failed to start, why the last time,
// and until when nothing is tried for a call.
func (p *Pool) Trouble(k Key) (failures int, reason string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.groups[k]; g != nil {
		return g.trouble.failures, g.trouble.reason, g.trouble.hold
	}
	return 0, "", time.Time{}
}

// Target sets what is kept of v from now on; instances that there are count. It
// starts those that are missing in the background, a few at a time, and again
// when one ends or v is changed, later each time when they fail to start. What is
// then too much goes the way of any idle instance. It is cheap when nothing
// changes, and notices dead instances: call it often.
func (p *Pool) Target(v *lambent.Version, t Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t == (Target{}) {
		if g := p.groups[KeyOf(v)]; g != nil {
			g.target = Target{}
			g.trouble.memory = false
			delete(p.targets, g)
			g.pickSurplus()
		}
		return
	}
	if p.closed {
		return
	}
	g := p.groupOf(v)
	g.target = t
	g.pickSurplus()
	p.targets[g] = struct{}{}
	p.buryLocked(g)
	p.fillLocked(time.Now())
}

// Provisioned tells how far a version's provisioned concurrency has come: how
// many instances are there or starting, how many of them are initialised, busy
// ones included, and why there are not more, if something is wrong.
func (p *Pool) Provisioned(k Key) (allocated, available int, failure string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[k]
	if g == nil {
		return 0, 0, ""
	}
	available = min(g.live(), g.target.Provisioned)
	allocated = min(g.live()+g.starting, g.target.Provisioned)
	switch {
	case available == g.target.Provisioned:
	case g.trouble.failures > 0:
		failure = g.trouble.reason
	case g.trouble.memory:
		failure = "the host has no memory for more instances"
	}
	return allocated, available, failure
}

// InUse tells when the version was last at work: now if it is, the zero time if
// that is not known.
func (p *Pool) InUse(k Key, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[k]
	switch {
	case g == nil:
		return time.Time{}
	case len(g.busy)+len(g.settling)+len(g.waiters) > 0:
		return now
	}
	return g.lastIdle
}

// Warm makes an instance of v ready ahead of demand, if none is idle or on its
// way and memory is free: it takes none from others. It tells whether one is on
// its way now. reason is a word for the metrics. Functions that want no
// prediction get none.
func (p *Pool) Warm(v *lambent.Version, reason string) bool {
	if p.settings(v).NoPrediction {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	return p.guessLocked(p.groupOf(v), reason, time.Now())
}

func (p *Pool) guessLocked(g *group, reason string, now time.Time) bool {
	if len(g.idle)+len(g.settling)+g.starting > 0 || g.full() || now.Before(g.trouble.until) || p.ahead >= p.o.Ahead || p.gate.slowed() {
		return false
	}
	return p.bringLocked(g, forGuess, reason)
}

// fillLocked sets on their way what the targets lack.
func (p *Pool) fillLocked(now time.Time) {
	if p.closed {
		return
	}
	most := p.o.Ahead
	if p.gate.slowed() {
		most = 1
	}
	for g := range p.targets {
		g.trouble.memory = false
		for !g.stale && !now.Before(g.trouble.until) && p.ahead < most {
			reason, c := g.target.missing(g.live() + g.starting)
			if reason == "" || c == forGuess && g.full() {
				break
			}
			if !p.bringLocked(g, c, reason) {
				g.trouble.memory = true
				break
			}
		}
	}
}

// aheadPatience is how long a start ahead of demand may keep others from theirs. What
// takes longer most likely waits for something, and may do so for provisionedInit.
const aheadPatience = lambent.InitTimeout

// countLocked counts a start or thaw that is ahead of demand.
func (p *Pool) countLocked(m *member, ahead string) {
	if m.counted = ahead != ""; m.counted {
		p.ahead++
	}
}

// uncountLocked ends that, once.
func (p *Pool) uncountLocked(m *member) {
	if m.counted {
		m.counted = false
		p.ahead--
	}
}

// overstay lets others start although m still does.
func (p *Pool) overstay(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncountLocked(m)
	p.fillLocked(time.Now())
}

// live counts the initialised instances that take calls.
func (g *group) live() int { return len(g.idle) + len(g.busy) + len(g.settling) }

// beyond is how many idle instances may go so that n are left.
func (g *group) beyond(n int) int {
	return max(0, min(len(g.idle), g.live()-n))
}

// firstUse counts an instance that was made ready ahead, and rightly so.
func (p *Pool) firstUse(m *member) {
	if m.ahead != "" {
		p.o.Metrics.AheadHit(m.ahead)
		m.ahead = ""
	}
}

// wasted counts one that was made ready ahead in vain.
func (p *Pool) wasted(m *member, now time.Time) {
	if m.ahead != "" {
		p.o.Metrics.AheadWasted(m.ahead, m.memory, now.Sub(m.aheadAt))
		m.ahead = ""
	}
}
