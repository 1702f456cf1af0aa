package pool

import (
	"fmt"
	"time"
)

// Processors bound starts as memory does, but they are shared: a call to an instance
// that there is goes on while they are busy, only slower, and the weights of the
// groups see to fairness. What makes an overload worse is to start more. So starts
// are slowed, and only when the processors had nothing to spare for seconds while
// starts were wanted: a burst of them on an idle host is over before.

// Load is what the host's processors have done, since whenever: differences count.
type Load struct {
	Busy, Total time.Duration // of all processors together
	Running     int           // tasks that run or could, at this moment
	Processors  int
	// Periods are those of the limit that the server itself is under, Throttled those
	// of them in which it was used up. Both are 0 where there is no limit.
	Periods, Throttled int64
}

// Processors reads the load; false where it cannot be told.
type Processors func() (Load, bool)

// Figures of the pace.
const (
	paceEvery  = 500 * time.Millisecond // between two readings
	paceWindow = 4 * paceEvery          // that a decision looks at
	paceTurn   = time.Second            // between two decisions to go slower

	shortBusy      = .95 // of the processors' time is used,
	shortQueue     = 2.  // and as many tasks wait as run
	shortThrottled = .5  // of the periods end early

	slowest = 2.  // starts per second and processor, of functions that have an instance
	usual   = 25. // the same where nothing is short and no limit is set
	faster  = 1.5 // times as many with each reading that finds nothing short
)

// pace is how fast calls may start instances. The zero value is as fast as the limit
// allows.
type pace struct {
	rate   float64 // starts per second; 0 is not slowed
	window []reading
	turned time.Time // when rate was last cut
	why    string    // it was
	few    int       // starts at the same time, one for each processor
}

// reading is one look at the processors.
type reading struct {
	at      time.Time
	load    Load
	started int // starts for calls until then
}

// learn takes a reading into account. full is the rate without pressure. wanted tells
// that there were starts since the last one, or that calls wait for one; while there
// are none, how busy the host is says nothing.
func (p *pace) learn(r reading, full float64, wanted bool) {
	if full == 0 {
		full = usual * float64(r.load.Processors)
	}
	if n := len(p.window); !wanted || n > 0 && r.at.Sub(p.window[n-1].at) > paceWindow {
		p.window = p.window[:0]
	}
	p.window = append(p.window, r)
	if !wanted {
		p.speedUp(full)
		return
	}
	if n := int(paceWindow/paceEvery) + 1; len(p.window) > n {
		p.window = append(p.window[:0], p.window[1:]...)
	} else if len(p.window) < n {
		return // not seen for long enough
	}
	s := short(p.window)
	switch {
	case !s.yes():
		p.speedUp(full)
	case r.at.Sub(p.turned) >= paceTurn:
		first := p.window[0]
		if p.rate == 0 {
			p.rate = min(full, float64(r.started-first.started)/r.at.Sub(first.at).Seconds())
		}
		p.rate = max(p.rate/2, min(full, slowest*float64(r.load.Processors)))
		p.few = max(1, r.load.Processors)
		p.turned, p.why = r.at, s.String()
	}
}

func (p *pace) speedUp(full float64) {
	if p.rate *= faster; p.rate >= full {
		p.rate = 0
	}
}

func (p *pace) slowed() bool { return p.rate > 0 }

// shortage is how short of processors the host was over a window.
type shortage struct {
	busy, queue, throttled float64
	over                   time.Duration
}

func short(window []reading) shortage {
	first, last := window[0], window[len(window)-1]
	s := shortage{over: last.at.Sub(first.at)}
	if total := last.load.Total - first.load.Total; total > 0 {
		s.busy = float64(last.load.Busy-first.load.Busy) / float64(total)
	}
	if periods := last.load.Periods - first.load.Periods; periods > 0 {
		s.throttled = float64(last.load.Throttled-first.load.Throttled) / float64(periods)
	}
	for _, r := range window[1:] {
		s.queue += float64(r.load.Running) / float64(max(1, r.load.Processors)) / float64(len(window)-1)
	}
	return s
}

func (s shortage) yes() bool {
	return s.throttled >= shortThrottled || s.busy >= shortBusy && s.queue >= shortQueue
}

func (s shortage) String() string {
	if s.throttled >= shortThrottled {
		return fmt.Sprintf("the server's own processor limit was used up in %.0f%% of its periods for %.0f s", 100*s.throttled, s.over.Seconds())
	}
	return fmt.Sprintf("processors were %.0f%% busy for %.0f s, with %.1f tasks for each", 100*s.busy, s.over.Seconds(), s.queue)
}

// gate is where starts pass, guarded by the pool's lock.
type gate struct {
	pace
	look    *time.Timer  // Run's; while there are starts
	looking bool         // it is set
	starts  int          // on their way, for calls or not
	started int          // for calls, since there is this pool
	seen    int          // of started, at the last look
	held    uint64       // starts for calls that had to wait
	gone    map[Key]Held // of versions that nothing else is left of; nil if of none
}

// Held tells how starts for a version's calls were held up because the host is short of
// processors, memory or tasks.
type Held struct {
	Times     int       // 0 is never
	Last      time.Time // when it happened last
	PerSecond float64   // starts on the host then; 0 when it was not for processors
	Why       string    // half a sentence

	now bool // the next one is, and is counted
}

// maxGone is of how many versions without a group is known how starts were held up.
const maxGone = 1000

// rememberLocked keeps how starts of g were held up beyond g, for who asks later.
func (p *Pool) rememberLocked(g *group) {
	if g.held.Times == 0 || g.stale {
		return
	}
	if p.gate.gone == nil {
		p.gate.gone = map[Key]Held{}
	}
	g.held.now = false
	p.gate.gone[g.key] = g.held
	if len(p.gate.gone) > maxGone {
		oldest := g.key
		for k, h := range p.gate.gone {
			if h.Last.Before(p.gate.gone[oldest].Last) {
				oldest = k
			}
		}
		delete(p.gate.gone, oldest)
	}
}

// holdsLocked tells whether g's next start has to wait for the processors' sake. A
// function that has no instance has nothing else to wait for: its first one does not
// wait for the rate while few others are on their way. Those may hang, so the rate
// holds for it, too.
func (p *Pool) holdsLocked(g *group, now time.Time) bool {
	if g.live()+g.starting == 0 && p.gate.starts < p.gate.few {
		return false
	}
	wait := p.rate.wait(now)
	hold := wait > 0
	if hold {
		p.wakeLocked(now.Add(wait))
	}
	if hold && !g.held.now {
		p.gate.held++
		g.held = Held{Times: g.held.Times + 1, Last: now, PerSecond: p.gate.rate, Why: p.gate.why, now: true}
	}
	return hold
}

// passLocked counts a start, and has the processors looked at as long as there are
// some.
func (p *Pool) passLocked(g *group, forCalls bool) {
	p.gate.starts++
	if forCalls {
		p.gate.started++
		p.rate.take()
		g.held.now = false
	}
	if p.o.Processors != nil && !p.gate.looking {
		p.gate.looking = true
		p.gate.look.Reset(paceEvery)
	}
}

// lookAtProcessors sets the pace, and says so when starts begin or cease to be slowed.
// Only Run calls it.
func (p *Pool) lookAtProcessors() {
	load, ok := p.o.Processors()
	p.mu.Lock()
	was := p.gate.slowed()
	p.paceLocked(load, ok)
	now := p.gate.pace
	p.mu.Unlock()
	switch {
	case !was && now.slowed():
		p.o.Log.Warn("starts of instances are slowed", "per_second", now.rate, "why", now.why)
	case was && !now.slowed():
		p.o.Log.Info("starts of instances are not slowed any more")
	}
}

func (p *Pool) paceLocked(load Load, ok bool) {
	g := &p.gate
	if g.looking = ok; !ok {
		g.pace = pace{}
		p.rate.slow(0)
		return
	}
	wanted := g.starts > 0 || len(p.starved) > 0 || g.started != g.seen
	g.seen = g.started
	g.learn(reading{time.Now(), load, g.started}, float64(p.rate.per10s)/10, wanted)
	p.rate.slow(g.rate)
	if g.looking = wanted || g.slowed(); g.looking {
		g.look.Reset(paceEvery)
	}
	p.feedLocked()
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
