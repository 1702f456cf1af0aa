package kpa

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/aggregation"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"

	"lambent.dev/lambent/internal/predict"
	"lambent.dev/lambent/internal/scale/decide"
)

// knative is one of its autoscalers, fed with what ours is fed with.
type knative struct {
	scaler        scaling.UniScaler
	stable, panic *aggregation.TimedFloat64Buckets
	ready         int
	fed           time.Time
}

func newKnative(s decide.Settings) *knative {
	k := &knative{
		stable: aggregation.NewTimedFloat64Buckets(s.Stable, time.Second),
		panic:  aggregation.NewTimedFloat64Buckets(s.Panic, time.Second),
	}
	k.scaler = scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), "ns", "rev", k, k, &scaling.DeciderSpec{
		MaxScaleUpRate: s.UpRate, MaxScaleDownRate: s.DownRate, ScalingMetric: "concurrency",
		TargetValue: s.Target * s.Utilisation, TotalValue: s.Target, PanicThreshold: s.Threshold,
		StableWindow: s.Stable, ScaleDownDelay: s.DownDelay, InitialScale: int32(s.Initial), Reachable: true,
	})
	return k
}

func (k *knative) ReadyCount() (int, error)    { return k.ready, nil }
func (k *knative) NotReadyCount() (int, error) { return 0, nil }

func (k *knative) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (float64, float64, error) {
	if k.fed.IsZero() || k.stable.IsEmpty(now) {
		return 0, 0, metrics.ErrNoData
	}
	return k.stable.WindowAverage(now), k.panic.WindowAverage(now), nil
}

func (k *knative) StableAndPanicRPS(key types.NamespacedName, now time.Time) (float64, float64, error) {
	return k.StableAndPanicConcurrency(key, now)
}

// decide makes its decision from our input. Its own statistics come once a second.
func (k *knative) decide(in decide.Input) (int, bool) {
	for _, s := range in.Samples {
		if !s.At.After(k.fed) {
			continue
		}
		for at := s.At.Add(-s.Span).Truncate(time.Second).Add(time.Second); !at.After(s.At); at = at.Add(time.Second) {
			k.stable.Record(at, s.Value)
			k.panic.Record(at, s.Value)
		}
		k.fed = s.At
	}
	k.ready = in.Ready
	r := k.scaler.Scale(zap.NewNop().Sugar(), in.Now)
	return int(r.DesiredPodCount), r.ScaleValid
}

// load is one of the loads that both get: how many requests per second at a time.
type load struct {
	name string
	rate func(t time.Duration) float64
}

var loads = []load{
	{"steady", func(time.Duration) float64 { return 100 }},
	{"step up and down", func(t time.Duration) float64 {
		if t > 5*time.Minute && t < 15*time.Minute {
			return 300
		}
		return 20
	}},
	{"ramp", func(t time.Duration) float64 { return 10 + 300*t.Minutes()/20 }},
	{"spikes of 10 s", func(t time.Duration) float64 {
		if t%(3*time.Minute) < 10*time.Second {
			return 500
		}
		return 20
	}},
	{"waves of 30 s", func(t time.Duration) float64 {
		if t%(30*time.Second) < 15*time.Second {
			return 200
		}
		return 0
	}},
	{"a sine of 8 min", func(t time.Duration) float64 { return 150 + 140*math.Sin(2*math.Pi*t.Minutes()/8) }},
	{"rare", func(t time.Duration) float64 {
		if t%(5*time.Minute) < 5*time.Second {
			return 2
		}
		return 0
	}},
}

const length = 20 * time.Minute

// calls draws requests of 100 ms on average.
func (l load) calls() []predict.Call {
	r := rand.New(rand.NewPCG(7, 7))
	var out []predict.Call
	for t := time.Duration(0); t < length; {
		rate := l.rate(t)
		if rate <= 0 {
			t += 100 * time.Millisecond
			continue
		}
		t += time.Duration(r.ExpFloat64() / rate * float64(time.Second))
		out = append(out, predict.Call{At: t, Took: time.Duration(r.ExpFloat64() * float64(100*time.Millisecond))})
	}
	return out
}

// likeKnative are our settings with what Knative has otherwise.
func likeKnative() decide.Settings {
	s := decide.Settings{Scaling: decide.Defaults()}
	s.Target, s.Grace, s.DownDelay = 5, time.Minute, 0
	return s
}

// TestDecisionsOnTheSameInput lets both decide about each state that ours comes
// through, and sorts the differences.
func TestDecisionsOnTheSameInput(t *testing.T) {
	for _, l := range loads {
		t.Run(l.name, func(t *testing.T) {
			s := likeKnative()
			k := newKnative(s)
			same, total := 0, 0
			differences := map[string]int{}
			decide.Replay(l.calls(), decide.ReplayOptions{
				Settings: s, Capacity: 5, Cold: time.Second, Every: 2 * time.Second,
				Decide: func(in decide.Input, state decide.State) (decide.Decision, decide.State) {
					d, next := decide.Decide(in, state)
					theirs, valid := k.decide(in)
					total++
					switch {
					case !valid:
						differences["Knative has no data yet"]++
					case theirs == d.Desired:
						same++
					case d.Rule == decide.RuleZero || d.Rule == decide.RuleGrace || d.Rule == decide.RuleInitial || theirs == 0:
						differences["none or one: the grace is the decision's here, the reconciler's there"]++
					case abs(theirs-d.Desired) <= 1:
						differences["one more or less: averages of whole seconds"]++
					case theirs > d.Desired && !d.Panicking:
						differences["only Knative panics"]++
					case theirs < d.Desired && d.Panicking:
						differences["we panic, or for longer"]++
					default:
						differences[fmt.Sprintf("other (%s)", d.Rule)]++
						t.Logf("ours %d (%s), theirs %d", d.Desired, d.Sentence(), theirs)
					}
					return d, next
				},
			})
			t.Logf("%d of %d decisions are the same; %v", same, total, differences)
			explained := 0
			for why, n := range differences {
				if !strings.HasPrefix(why, "other") {
					explained += n
				}
			}
			if same+explained < total*98/100 || same < total*98/100 {
				t.Errorf("%d of %d decisions are the same, %d differences are explained", same, total, explained)
			}
		})
	}
}

func abs(n int) int { return max(n, -n) }

// TestLoopsOnTheSameLoad lets each run its own instances under the same loads.
func TestLoopsOnTheSameLoad(t *testing.T) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "LOAD\tALGORITHM\tINSTANCE HOURS\tSTARTS\tCHANGES\tWAIT P99\tLATE")
	for _, l := range loads {
		calls := l.calls()
		run := func(name string, s decide.Settings, how func(decide.Input, decide.State) (decide.Decision, decide.State)) *decide.Replayed {
			r := decide.Replay(calls, decide.ReplayOptions{Settings: s, Capacity: 5, Cold: time.Second, Every: 2 * time.Second, Decide: how})
			_, _ = fmt.Fprintf(w, "%s\t%s\t%.2f\t%d\t%d\t%v\t%.2f %%\n", l.name, name, r.InstanceTime.Hours(), r.Starts, r.Actions,
				r.Wait(.99).Round(time.Millisecond), 100*r.Late(100*time.Millisecond))
			return r
		}
		k := newKnative(likeKnative())
		theirs := run("knative", likeKnative(), func(in decide.Input, _ decide.State) (decide.Decision, decide.State) {
			n, valid := k.decide(in)
			if !valid {
				n = in.Ready
			}
			if in.Waiting > 0 { // the activator has one started
				n = max(n, 1)
			}
			return decide.Decision{At: in.Now, Desired: n}, decide.State{}
		})
		run("lambent, no delay", likeKnative(), nil)
		ours := likeKnative()
		ours.DownDelay = decide.Defaults().DownDelay
		if r := run("lambent", ours, nil); slices.Contains([]string{"waves of 30 s"}, l.name) && r.Actions > theirs.Actions {
			t.Errorf("%s: %d changes, Knative makes %d", l.name, r.Actions, theirs.Actions)
		}
	}
	_ = w.Flush()
}
