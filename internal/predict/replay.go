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

// Call is one invocation, its arrival counted from the beginning of the trace.
type Call struct{ At, Took time.Duration }

// Policy is a way to choose windows. New makes the state for one function.
type Policy struct {
	Name string
	New  func(Cost) Learner
}

// Learner is a policy at work for one function.
type Learner interface {
	Add(idle time.Duration)
	Window() Window
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

// kept is an instance in a replay: idle from free on, there from, until.
type kept struct{ free, from, until time.Duration }

// replay serves l, one call per instance at a time, newest idle instance first,
// and returns the cold starts and the seconds that instances waited.
func replay(l Load, p Learner) (cold int, wasted float64) {
	var live []kept
	var ended time.Duration // when the last call so far was over
	for n, c := range l.Calls {
		if gap := c.At - ended; n > 0 && gap > 0 {
			p.Add(gap)
		}
		live = slices.DeleteFunc(live, func(k kept) bool {
			gone := k.until < c.At
			if gone {
				wasted += (k.until - k.from).Seconds()
			}
			return gone
		})
		use := -1
		for i, k := range live {
			if k.free <= c.At && k.from <= c.At && (use < 0 || k.free > live[use].free) {
				use = i
			}
		}
		switch {
		case use >= 0:
			wasted += (c.At - live[use].from).Seconds()
			live = slices.Delete(live, use, use+1)
		default:
			cold++
			// One that was to be made anew later is not: the cold one is there.
			live = slices.DeleteFunc(live, func(k kept) bool { return k.free <= c.At && k.from > c.At })
		}
		ended = max(ended, c.At+c.Took)
		live = append(live, idleFrom(c.At+c.Took, p.Window(), len(live) > 0))
	}
	for _, k := range live {
		wasted += (k.until - k.from).Seconds()
	}
	return cold, wasted
}

// idleFrom is an instance that goes idle at that time. Beside others, only its
// keeping is up to the policy: what is made anew later is one.
func idleFrom(at time.Duration, w Window, others bool) kept {
	if others {
		return kept{free: at, from: at, until: at + w.Keep}
	}
	return kept{free: at, from: at + w.Prewarm, until: at + w.Prewarm + w.Keep}
}

// Fixed keeps every instance for the same time.
func Fixed(keep time.Duration) Policy {
	return Policy{Name: "fixed " + short(keep), New: func(Cost) Learner { return fixed(keep) }}
}

type fixed time.Duration

func (fixed) Add(time.Duration) {}

func (f fixed) Window() Window { return Window{Keep: time.Duration(f)} }

// Ours is what lambent does, see [Best].
func Ours(idle time.Duration) Policy {
	return Policy{Name: "lambent", New: func(c Cost) Learner {
		return &ours{p: New(Options{Idle: idle}), cost: c}
	}}
}

// ours runs the very code that the server runs, on a clock of its own.
type ours struct {
	p    *Predictor
	cost Cost
	now  time.Time
}

func (o *ours) Add(idle time.Duration) {
	o.begin()
	o.now = o.now.Add(idle)
	o.p.Arrived(Key{}, Key{}, o.now)
}

func (o *ours) begin() {
	if o.now.IsZero() {
		o.now = time.Unix(0, 0)
		o.p.Arrived(Key{}, Key{}, o.now)
	}
}

func (o *ours) Window() Window {
	o.begin()
	return o.p.Keep(Key{}, o.cost, o.now)
}

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

func (h *hybrid) Add(idle time.Duration) {
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

func (h *hybrid) Window() Window {
	standard := Window{Keep: hybridBins * time.Minute}
	if h.over > h.total/2 && len(h.rare) >= 2 {
		sorted := slices.Clone(h.rare)
		slices.SortFunc(sorted, cmp.Compare[time.Duration])
		m := sorted[len(sorted)/2]
		return Window{Prewarm: m * 85 / 100, Keep: m * 30 / 100}
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
