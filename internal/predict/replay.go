package predict

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Load is what one function had to do: its calls in order of arrival.
type Load struct {
	Function string
	Calls    []Call
}

// Length is when the last of some calls is over.
func Length(calls []Call) (end time.Duration) {
	for _, c := range calls {
		end = max(end, c.At+c.Took)
	}
	return end
}

// Call is one invocation, its arrival counted from the beginning of the trace.
type Call struct{ At, Took time.Duration }

// Policy is a way to choose windows. New makes the state for one function.
type Policy struct {
	Name string
	New  func(Cost) Learner
}

// Learner is a policy at work for one function.
type Learner interface {
	// Called tells of a call and of how long no other had run, if that is more than 0,
	// and with which so many instances are in use.
	Called(at, idle time.Duration, inUse int)
	// Ended tells of a call's end.
	Ended(at time.Duration) Keeping
}

// Outcome is what a policy would have made of a trace.
type Outcome struct {
	Policy    string
	Functions int
	Calls     int
	Cold      int
	Wasted    float64 // megabyte-seconds that instances were kept and not used
	rates     []float64
}

// Rate is the share of the calls that were cold.
func (o *Outcome) Rate() float64 { return float64(o.Cold) / float64(max(o.Calls, 1)) }

// Quantile is the cold-start rate that the share q of the functions stay within.
func (o *Outcome) Quantile(q float64) float64 {
	if len(o.rates) == 0 {
		return 0
	}
	slices.Sort(o.rates)
	return o.rates[min(int(q*float64(len(o.rates))), len(o.rates)-1)]
}

// Simulator replays functions one by one under several policies.
type Simulator struct {
	Cost     Cost
	outcomes []*Outcome
	policies []Policy
}

// NewSimulator compares these policies.
func NewSimulator(c Cost, policies ...Policy) *Simulator {
	s := &Simulator{Cost: c, policies: policies}
	for _, p := range policies {
		s.outcomes = append(s.outcomes, &Outcome{Policy: p.Name})
	}
	return s
}

// Replay adds one function's load.
func (s *Simulator) Replay(l Load) {
	if len(l.Calls) == 0 {
		return
	}
	for i, p := range s.policies {
		o := s.outcomes[i]
		cold, wasted := replay(l, p.New(s.Cost))
		o.Functions++
		o.Calls += len(l.Calls)
		o.Cold += cold
		o.Wasted += wasted * float64(s.Cost.MemoryMB)
		o.rates = append(o.rates, float64(cold)/float64(len(l.Calls)))
	}
}

// Outcomes are the results so far, in the order of the policies.
func (s *Simulator) Outcomes() []*Outcome { return s.outcomes }

// kept is an instance in a replay: idle from free on, there from then on.
type kept struct{ free, from time.Duration }

// replay serves l, one call per instance at a time, newest idle instance first,
// and returns the cold starts and the seconds that instances waited.
func replay(l Load, p Learner) (cold int, wasted float64) {
	var live []kept // by when they are free
	var habit Keeping
	var ended time.Duration // when the last call so far was over
	for n, c := range l.Calls {
		var waited time.Duration
		live, waited = expire(live, habit, c.At)
		free := 0 // so many of them are idle, the newest last
		for free < len(live) && live[free].free <= c.At {
			free++
		}
		idle := time.Duration(0)
		if n > 0 {
			idle = c.At - ended
		}
		p.Called(c.At, idle, len(live)-free+1)
		switch {
		case free == 0:
			cold++
		case live[free-1].from > c.At: // it was to be made anew later, and is not
			cold++
			live = slices.Delete(live, free-1, free)
		default:
			waited += c.At - live[free-1].from
			live = slices.Delete(live, free-1, free)
		}
		over := c.At + c.Took
		ended = max(ended, over)
		habit = p.Ended(over)
		at, _ := slices.BinarySearchFunc(live, over, func(k kept, at time.Duration) int { return cmp.Compare(k.free, at) })
		live = slices.Insert(live, at, kept{free: over, from: over})
		wasted += waited.Seconds()
	}
	_, waited := expire(live, habit, math.MaxInt64)
	return cold, wasted + waited.Seconds()
}

// expire ends the instances whose time is up, the oldest first, and tells how long
// they have waited. If one is to be made anew later, it is the only one, and is there
// from then on.
func expire(live []kept, habit Keeping, at time.Duration) (left []kept, waited time.Duration) {
	if n := len(live); n > 0 && habit.Prewarm > 0 && live[n-1].free <= at {
		last := live[n-1].free
		for _, k := range live {
			waited += max(last-k.from, 0)
		}
		live = append(live[:0], kept{free: last, from: last + habit.Prewarm})
	}
	for len(live) > 0 && live[0].free <= at {
		until := live[0].from + habit.For(len(live))
		if until >= at {
			break
		}
		waited += until - live[0].from
		live = live[1:]
	}
	return live, waited
}

// Fixed keeps every instance for the same time.
func Fixed(keep time.Duration) Policy {
	return Policy{Name: "fixed " + short(keep), New: func(Cost) Learner { return fixed(keep) }}
}

type fixed time.Duration

func (fixed) Called(time.Duration, time.Duration, int) {}

func (f fixed) Ended(time.Duration) Keeping {
	return Keeping{Window: Window{Keep: time.Duration(f)}}
}

// Ours is what lambent does, see [Predictor.Keep].
func Ours(idle time.Duration) Policy {
	return Policy{Name: "lambent", New: func(c Cost) Learner {
		return &ours{p: New(Options{Idle: idle}), cost: c}
	}}
}

// ours runs the very code that the server runs, on a clock of its own.
type ours struct {
	p    *Predictor
	cost Cost
}

func clock(at time.Duration) time.Time { return time.Unix(0, 0).Add(at) }

func (o *ours) Called(at, _ time.Duration, inUse int) { o.p.Arrived(Key{}, Key{}, clock(at), inUse) }

func (o *ours) Ended(at time.Duration) Keeping { return o.p.Keep(Key{}, o.cost, clock(at)) }

// Hybrid is the hybrid histogram policy of Shahrad et al., "Serverless in the
// Wild" (USENIX ATC 2020), with the parameters given there: bins of a minute up
// to four hours, the 5th and the 99th percentile with a margin of 10 %, and
// standard keep-alive while the histogram is not representative. Where the paper
// fits an ARIMA model to functions that are mostly called after more than four
// hours, this takes the median of the last idle times, with the paper's margin of
// 15 %.
func Hybrid() Policy {
	return Policy{Name: "histogram", New: func(Cost) Learner { return &hybrid{} }}
}

const hybridBins = 240

type hybrid struct {
	counts [hybridBins]float64
	total  float64
	over   float64
	rare   []time.Duration // the last idle times beyond the histogram
}

func (h *hybrid) Called(_, idle time.Duration, _ int) {
	if idle <= 0 {
		return
	}
	h.total++
	b := int(idle / time.Minute)
	if b < hybridBins {
		h.counts[b]++
		return
	}
	h.over++
	if h.rare = append(h.rare, idle); len(h.rare) > 16 {
		h.rare = h.rare[1:]
	}
}

func (h *hybrid) Ended(time.Duration) Keeping { return Keeping{Window: h.window()} }

func (h *hybrid) window() Window {
	standard := Window{Keep: hybridBins * time.Minute}
	if h.over > h.total/2 && len(h.rare) >= 2 {
		sorted := slices.Clone(h.rare)
		slices.SortFunc(sorted, cmp.Compare[time.Duration])
		m := sorted[len(sorted)/2]
		return Window{Prewarm: m / 100 * 85, Keep: m / 100 * 30} // years times 85 are too many nanoseconds
	}
	inside := h.total - h.over
	if inside < 2 || h.variation(inside) < 2 {
		return standard
	}
	head, tail := h.percentile(.05, inside), h.percentile(.99, inside)+1
	from := time.Duration(head) * time.Minute * 9 / 10
	return Window{Prewarm: from, Keep: time.Duration(tail)*time.Minute*11/10 - from}
}

// variation is the coefficient of variation of the bins' counts.
func (h *hybrid) variation(inside float64) float64 {
	mean := inside / hybridBins
	square := 0.0
	for _, c := range h.counts {
		square += (c - mean) * (c - mean)
	}
	return math.Sqrt(square/hybridBins) / mean
}

// percentile is the bin in which the share q of the idle times is reached.
func (h *hybrid) percentile(q, inside float64) int {
	sum := 0.0
	for i, c := range h.counts {
		if sum += c; sum >= q*inside {
			return i
		}
	}
	return hybridBins - 1
}

// short writes a duration without zero parts: 10m, 1h.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"0s", "0m"} {
		if len(s) > 2 && s[len(s)-2:] == zero && (s[len(s)-3] == 'm' || s[len(s)-3] == 'h') {
			s = s[:len(s)-2]
		}
	}
	return s
}
