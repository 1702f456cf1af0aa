// Package predict guesses when a function will be called next, from when it was
// called before: how long an idle instance is worth keeping, whether to end it
// and start another shortly before it is needed, and which functions are called
// after which. It owns the learned histograms and the call graph; it starts and
// ends nothing, reads no clock and knows neither pool nor catalog: times come in
// as arguments. The scale room feeds it and acts on what it says; replay.go and
// trace.go hold its guesses against recorded loads.
package predict

import (
	"math/bits"
	"sync"
	"time"
)

// Key names what is predicted: one version of a function.
type Key struct{ Namespace, Function, Number string }

// Window says what becomes of an instance that has gone idle: it is ended and
// made anew after Prewarm (0: it stays), and is kept until Keep after that.
type Window struct{ Prewarm, Keep time.Duration }

// Keeping is a version's window, for the one instance that the next call takes, and
// how long those beside it are kept, which only calls at the same time take.
type Keeping struct {
	Window
	beside []time.Duration // by level, from 1 on; nil keeps them as long as the one
}

// For is how long an idle instance is kept that is needed when n calls, or more, come
// at once: the oldest of n.
func (k Keeping) For(n int) time.Duration {
	if n <= 1 || len(k.beside) == 0 {
		return k.Keep
	}
	return k.beside[min(levelOf(n), len(k.beside))-1]
}

// levels is how many sizes of crowds are told apart: one instance, two, up to four, up
// to eight and so on.
const levels = 12

func levelOf(instances int) int { return min(bits.Len(uint(max(instances-1, 0))), levels-1) }

// Cost is what a wrong guess about one version costs.
type Cost struct {
	Cold     time.Duration // of a cold start
	MemoryMB int           // of an instance that is kept
}

// Options of a [Predictor].
type Options struct {
	// Idle is the window for versions about which too little is known.
	Idle time.Duration
	// Longest bounds every window.
	Longest time.Duration
	// Price is how many megabyte-seconds of idle memory one second of cold start
	// is worth; 0 is [DefaultPrice].
	Price float64
}

// DefaultPrice makes a function of 128 MB with a cold start of 50 ms, called at
// random once in five minutes, just about worth keeping.
const DefaultPrice = 768_000

// shortest is how long an instance is kept even if that is not worth it: calls
// come in bursts that no histogram has seen yet.
const shortest = 30 * time.Second

// maxKeys bounds how many versions are remembered; the longest unused is
// forgotten first.
const maxKeys = 16384

// Predictor learns from arrivals. It is safe for use from any goroutine.
type Predictor struct {
	o Options

	mu      sync.Mutex // guards the rest
	history map[Key]*history
	graph   graph
}

// history is what is known of one version.
type history struct {
	cost   Cost
	levels []*level // at least one; the others as far as there were such crowds
}

// level is what is known of when so many instances are needed.
type level struct {
	last    time.Time // of the arrivals; of the first level, or of the instances that went idle
	idle    Histogram
	window  Window
	learned int // arrivals that window is made from
}

// New makes a predictor that knows nothing.
func New(o Options) *Predictor {
	if o.Price <= 0 {
		o.Price = DefaultPrice
	}
	if o.Longest <= 0 {
		o.Longest = 4 * time.Hour
	}
	return &Predictor{o: o, history: make(map[Key]*history), graph: newGraph()}
}

// Arrived learns from a call of k, with which so many instances are in use, and which
// was made from within by unless that is zero. It returns the versions that are likely
// to be called because of it.
func (p *Predictor) Arrived(k, by Key, at time.Time, inUse int) []Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.history[k]
	if h == nil {
		p.makeRoom()
		h = &history{}
		p.history[k] = h
	}
	for i := range levelOf(inUse) + 1 {
		if i == len(h.levels) {
			h.levels = append(h.levels, &level{last: at})
			continue
		}
		l := h.levels[i]
		if gap := at.Sub(l.last); gap > 0 {
			l.idle.Add(gap)
		}
		l.last = later(l.last, at)
	}
	return p.graph.arrived(k, by, at)
}

// makeRoom forgets the version that was called longest ago, if there are too
// many.
func (p *Predictor) makeRoom() {
	if len(p.history) < maxKeys {
		return
	}
	var oldest Key
	var at time.Time
	for k, h := range p.history {
		if last := h.levels[0].last; at.IsZero() || last.Before(at) {
			oldest, at = k, last
		}
	}
	delete(p.history, oldest)
	p.graph.forget(oldest)
}

// Keep says how long instances of k, of which one went idle at that time, are worth
// keeping. What it has learned from is at least four fifths of what is known. An
// instance beside the one is kept no longer than that, and where too little is known
// of such crowds no longer than Options.Idle.
func (p *Predictor) Keep(k Key, c Cost, at time.Time) Keeping {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.history[k]
	if h == nil {
		return Keeping{Window: Window{Keep: p.o.Idle}}
	}
	if h.cost != c {
		h.cost = c
		for _, l := range h.levels {
			l.learned = 0
		}
	}
	first := h.levels[0]
	first.last = later(first.last, at) // idle times count from here
	kept := Keeping{Window: first.best(bins, p.o, c), beside: make([]time.Duration, max(len(h.levels)-1, 1))}
	most := kept.Prewarm + kept.Keep
	for i := range kept.beside {
		keep := p.o.Idle
		if i+1 < len(h.levels) {
			keep = h.levels[i+1].best(1, p.o, c).Keep // it is the one that is ended and made anew
		}
		most = min(most, keep)
		kept.beside[i] = most
	}
	return kept
}

// best is the window for what is known by now, of those that begin with so many bins.
func (l *level) best(begins int, o Options, c Cost) Window {
	n := l.idle.Count()
	if n < enough {
		return Window{Keep: o.Idle}
	}
	if l.learned*5 < n*4 {
		l.window, l.learned = l.idle.best(begins, c, o.Price, o.Longest), n
		if l.window.Prewarm == 0 {
			l.window.Keep = max(l.window.Keep, shortest)
		}
	}
	return l.window
}

// Forget drops what is known of a function, all its versions if number is "".
func (p *Predictor) Forget(namespace, function, number string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.history {
		if k.Namespace == namespace && k.Function == function && (number == "" || k.Number == number) {
			delete(p.history, k)
			p.graph.forget(k)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
