// Package predict guesses when a function will be called next, from when it was
// called before: how long an idle instance is worth keeping, whether to end it
// and start another shortly before it is needed, and which functions are called
// after which. It owns the learned histograms and the call graph; it starts and
// ends nothing, reads no clock and knows neither pool nor catalog: times come in
// as arguments. The scale room feeds it and acts on what it says; replay.go and
// trace.go hold its guesses against recorded loads.
package predict

import (
	"sync"
	"time"
)

// Key names what is predicted: one version of a function.
type Key struct{ Namespace, Function, Number string }

// Window says what becomes of an instance that has gone idle: it is ended and
// made anew after Prewarm (0: it stays), and is kept until Keep after that.
type Window struct{ Prewarm, Keep time.Duration }

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
	last    time.Time // of the arrivals, or of the instances that went idle
	idle    Histogram
	window  Window
	learned int // arrivals that window is made from
	cost    Cost
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

// Arrived learns from a call of k, which was made from within by unless that is zero,
// and returns the versions that are likely to be called because of it.
func (p *Predictor) Arrived(k, by Key, at time.Time) []Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.history[k]
	if h == nil {
		p.makeRoom()
		h = &history{}
		p.history[k] = h
	} else if gap := at.Sub(h.last); gap > 0 {
		h.idle.Add(gap)
	}
	h.last = later(h.last, at)
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
		if at.IsZero() || h.last.Before(at) {
			oldest, at = k, h.last
		}
	}
	delete(p.history, oldest)
	p.graph.forget(oldest)
}

// Keep says how long an instance of k that went idle at that time is worth
// keeping. What it has learned from is at least four fifths of what is known.
func (p *Predictor) Keep(k Key, c Cost, at time.Time) Window {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.history[k]
	if h != nil {
		h.last = later(h.last, at) // idle times count from here
	}
	if h == nil || h.idle.Count() < enough {
		return Window{Keep: p.o.Idle}
	}
	if n := h.idle.Count(); h.learned*5 < n*4 || h.cost != c {
		h.window = Best(&h.idle, c, p.o.Price, p.o.Longest)
		if h.window.Prewarm == 0 {
			h.window.Keep = max(h.window.Keep, shortest)
		}
		h.learned, h.cost = n, c
	}
	return h.window
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
