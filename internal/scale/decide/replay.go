package decide

import (
	"container/heap"
	"slices"
	"time"

	"lambent.dev/lambent/internal/predict"
)

// ReplayOptions are under what a load is replayed.
type ReplayOptions struct {
	Name     string
	Settings Settings
	Capacity int           // requests that an instance takes at the same time
	Cold     time.Duration // from the start of an instance to its first request
	Every    time.Duration // between decisions
	// OnDemand lets requests that wait start instances, as many as they need, the
	// way the pool does; otherwise only decisions start any, but for the first one.
	OnDemand bool
	Forecast *predict.Forecast // nil expects nothing
	// Decide makes the decisions; nil is [Decide].
	Decide func(Input, State) (Decision, State)
}

// Point is what there was at a decision.
type Point struct {
	At       time.Duration // since the beginning
	Desired  int
	Ready    int
	Starting int
	Running  int // requests on instances
	Waiting  int
	Wait     time.Duration // the longest that a request has waited since the point before
}

// Replayed is what came of a replay.
type Replayed struct {
	Name      string
	Calls     int
	Points    []Point
	Decisions []Decision
	Starts    int // of instances
	Actions   int // decisions that changed the number of instances
	// InstanceTime is the sum of the lives of all instances, their starts included.
	InstanceTime time.Duration
	waits        []time.Duration
}

// Wait is what the share q of the requests have waited at most.
func (r *Replayed) Wait(q float64) time.Duration {
	if len(r.waits) == 0 {
		return 0
	}
	return r.waits[min(int(q*float64(len(r.waits))), len(r.waits)-1)]
}

// epoch is when replays begin.
var epoch = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// Replay runs a load, in order of arrival, through instances that a version would
// have. It takes no time but the processor's.
func Replay(calls []predict.Call, o ReplayOptions) *Replayed {
	if o.Decide == nil {
		o.Decide = Decide
	}
	o.Capacity = max(o.Capacity, 1)
	r := &replay{o: o, out: &Replayed{Name: o.Name, Calls: len(calls)}}
	next := o.Every
	// Long enough to see the instances go.
	end := predict.Length(calls) + o.Settings.Stable + o.Settings.Grace + o.Settings.DownDelay + 2*o.Every
	for i := 0; next <= end; {
		switch at := r.ahead(next); {
		case i < len(calls) && calls[i].At <= at:
			r.forward(calls[i].At)
			r.arrive(calls[i])
			i++
		case at < next:
			r.forward(at)
			r.happen()
		default:
			r.forward(next)
			r.decide()
			next += o.Every
		}
	}
	for _, m := range r.instances {
		r.out.InstanceTime += r.now - m.began
	}
	slices.Sort(r.out.waits)
	return r.out
}

// replay is one run.
type replay struct {
	o         ReplayOptions
	out       *Replayed
	now       time.Duration
	instances []*replayed
	events    eventHeap
	queue     []predict.Call
	running   int
	desired   int

	samples []Sample
	state   State
	load    float64 // what is to be measured, times seconds, since the last decision
	used    bool
	arrived int
	wait    time.Duration
}

// replayed is one instance.
type replayed struct {
	began   time.Duration
	running int
	ready   bool
}

// event is the end of a request, or of a start when the instance is not ready.
type event struct {
	at time.Duration
	on *replayed
}

type eventHeap []event

func (h eventHeap) Len() int           { return len(h) }
func (h eventHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h eventHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)        { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// ahead is when the next event is, or limit.
func (r *replay) ahead(limit time.Duration) time.Duration {
	if len(r.events) == 0 {
		return limit
	}
	return min(r.events[0].at, limit)
}

func (r *replay) forward(to time.Duration) {
	if to > r.now {
		r.load += float64(r.running+len(r.queue)) * (to - r.now).Seconds()
		r.now = to
	}
}

func (r *replay) arrive(c predict.Call) {
	r.arrived++
	r.used = true
	r.queue = append(r.queue, c)
	r.serve()
	starting := len(r.instances) - r.ready()
	switch {
	case len(r.queue) == 0:
	case len(r.instances) == 0:
		// At zero the decision is made at once.
		r.start()
		r.decide()
	case r.o.OnDemand && starting*r.o.Capacity < len(r.queue) && r.below():
		r.start()
	}
}

// below tells whether the settings allow another instance.
func (r *replay) below() bool {
	return r.o.Settings.Max == 0 || len(r.instances) < r.o.Settings.Max
}

func (r *replay) start() {
	m := &replayed{began: r.now}
	r.instances = append(r.instances, m)
	r.out.Starts++
	heap.Push(&r.events, event{r.now + r.o.Cold, m})
}

// happen takes the next event.
func (r *replay) happen() {
	e := heap.Pop(&r.events).(event)
	if e.on.ready {
		e.on.running--
		r.running--
	} else {
		e.on.ready = true
	}
	r.serve()
	r.shed()
}

// serve gives requests that wait to instances with room, the least loaded first.
func (r *replay) serve() {
	for len(r.queue) > 0 {
		var best *replayed
		for i, m := range r.instances {
			if !m.ready || m.running >= r.o.Capacity || i >= max(r.desired, 1) && best != nil {
				continue
			}
			if best == nil || m.running < best.running {
				best = m
			}
		}
		if best == nil {
			return
		}
		c := r.queue[0]
		r.queue = r.queue[1:]
		best.running++
		r.running++
		waited := r.now - c.At
		r.wait = max(r.wait, waited)
		r.out.waits = append(r.out.waits, waited)
		heap.Push(&r.events, event{r.now + c.Took, best})
	}
}

// shed ends idle instances beyond what is wanted, the newest first.
func (r *replay) shed() {
	for i := len(r.instances) - 1; i >= 0 && len(r.instances) > r.desired && len(r.queue) == 0; i-- {
		m := r.instances[i]
		if !m.ready || m.running > 0 {
			continue
		}
		r.out.InstanceTime += r.now - m.began
		r.instances = slices.Delete(r.instances, i, i+1)
	}
}

func (r *replay) ready() (n int) {
	for _, m := range r.instances {
		if m.ready {
			n++
		}
	}
	return n
}

// decide takes a sample, and does what the decision says.
func (r *replay) decide() {
	now := epoch.Add(r.now)
	r.sample(now)
	in := Input{Now: now, Samples: r.samples, Ready: r.ready(), Waiting: len(r.queue), Settings: r.o.Settings}
	if r.o.Forecast != nil {
		in.Expected = r.o.Forecast.At(now)
	}
	var d Decision
	d, r.state = r.o.Decide(in, r.state)
	if d.Desired != r.desired {
		r.out.Actions++
	}
	r.desired = d.Desired
	for len(r.instances) < d.Desired {
		r.start()
	}
	r.shed()
	r.out.Decisions = append(r.out.Decisions, d)
	r.out.Points = append(r.out.Points, Point{At: r.now, Desired: d.Desired, Ready: r.ready(),
		Starting: len(r.instances) - r.ready(), Running: r.running, Waiting: len(r.queue), Wait: r.wait})
	r.wait = 0
}

// sample ends what was measured since the last decision.
func (r *replay) sample(now time.Time) {
	span := r.now
	if n := len(r.samples); n > 0 {
		span = now.Sub(r.samples[n-1].At)
	}
	if span <= 0 {
		return
	}
	value := r.load / span.Seconds()
	if r.o.Settings.Mode == "rps" {
		value = float64(r.arrived) / span.Seconds()
	}
	if r.o.Forecast != nil {
		r.o.Forecast.Add(now, span, value)
	}
	r.samples = append(r.samples, Sample{At: now, Span: span, Value: value, Used: r.used || r.running > 0})
	r.samples = Recent(r.samples, now.Add(-r.o.Settings.Stable))
	r.load, r.arrived, r.used = 0, 0, false
}

// Recent drops samples that ended before a moment, in place.
func Recent(samples []Sample, from time.Time) []Sample {
	kept := since(samples, from)
	return append(samples[:0], kept...)
}

// Late is the share of the requests that have waited for longer than a time.
func (r *Replayed) Late(limit time.Duration) float64 {
	i, _ := slices.BinarySearch(r.waits, limit+1)
	return float64(len(r.waits)-i) / float64(max(len(r.waits), 1))
}
