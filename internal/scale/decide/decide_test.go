package decide

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/predict"
)

// settings are the defaults for an application that takes ten requests at a time.
func settings(change func(*Settings)) Settings {
	s := Settings{Scaling: Defaults()}
	s.Target, s.Grace, s.DownDelay = 10, 30*time.Second, 0
	if change != nil {
		change(&s)
	}
	return s
}

// steady is a load that has been the same for a minute.
func steady(value float64) []Sample {
	var all []Sample
	for i := range 30 {
		all = append(all, Sample{At: epoch.Add(time.Duration(i-29) * 2 * time.Second), Span: 2 * time.Second, Value: value, Used: value > 0})
	}
	return all
}

func TestDecide(t *testing.T) {
	surge := steady(7)
	for i := len(surge) - 3; i < len(surge); i++ {
		surge[i].Value = 70
	}
	tests := []struct {
		name    string
		change  func(*Settings)
		samples []Sample
		ready   int
		waiting int
		state   State
		want    int
		rule    Rule
	}{
		{"what the load asks for", nil, steady(35), 5, 0, State{}, 5, RuleStable},
		{"one more", nil, steady(36), 5, 0, State{}, 6, RuleStable},
		{"a surge", nil, surge, 1, 0, State{}, 10, RulePanic},
		{"a surge that is met", nil, surge, 6, 0, State{}, 3, RuleDownRate},
		{"nothing is taken away in a surge", nil, steady(7), 10, 0, State{Panicked: epoch.Add(-10 * time.Second), Most: 10}, 10, RulePanic},
		{"a surge is over", nil, steady(7), 2, 0, State{Panicked: epoch.Add(-61 * time.Second), Most: 10}, 1, RuleStable},
		{"no faster up than allowed", func(s *Settings) { s.UpRate = 2 }, steady(70), 3, 0, State{}, 6, RuleUpRate},
		{"one more is always allowed", func(s *Settings) { s.UpRate = 1.1 }, steady(70), 1, 0, State{}, 2, RuleUpRate},
		{"no faster down than allowed", nil, steady(7), 8, 0, State{}, 4, RuleDownRate},
		{"none", nil, steady(0), 1, 0, State{Used: epoch.Add(-30 * time.Second)}, 0, RuleZero},
		{"not yet none", nil, steady(0), 1, 0, State{Used: epoch.Add(-29 * time.Second)}, 1, RuleGrace},
		{"from none", func(s *Settings) { s.Initial = 3 }, nil, 0, 1, State{}, 3, RuleInitial},
		{"at least", func(s *Settings) { s.Min = 2 }, steady(0), 2, 0, State{Used: epoch.Add(-time.Hour)}, 2, RuleMin},
		{"at most", func(s *Settings) { s.Max = 4 }, steady(70), 4, 0, State{}, 4, RuleMax},
		{"not yet fewer", func(s *Settings) { s.DownDelay = time.Minute }, steady(7), 6, 0, State{Wanted: []Want{{epoch.Add(-59 * time.Second), 6}}}, 6, RuleDelay},
		{"now fewer", func(s *Settings) { s.DownDelay = time.Minute }, steady(7), 2, 0, State{Wanted: []Want{{epoch.Add(-time.Minute), 6}}}, 1, RuleStable},
		{"nothing is known", nil, nil, 3, 0, State{}, 3, RuleHold},
		{"by requests per second", func(s *Settings) { s.Mode, s.Target = lambent.ScaleRPS, 100 }, steady(210), 2, 0, State{}, 3, RuleStable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := Decide(Input{Now: epoch, Samples: tt.samples, Ready: tt.ready, Waiting: tt.waiting, Settings: settings(tt.change)}, tt.state)
			if d.Desired != tt.want || d.Rule != tt.rule {
				t.Errorf("%d by %s, want %d by %s: %s", d.Desired, d.Rule, tt.want, tt.rule, d.Sentence())
			}
			if s := d.Sentence(); strings.Contains(s, "%!") || strings.Contains(s, "NaN") || !strings.HasSuffix(s, ".") {
				t.Errorf("says %q", s)
			}
		})
	}
}

// anySettings draws settings that may be set.
func anySettings(t *rapid.T) Settings {
	s := settings(nil)
	s.Target = rapid.Float64Range(0.5, 100).Draw(t, "target")
	s.Utilisation = rapid.Float64Range(0.05, 1).Draw(t, "utilisation")
	s.Threshold = rapid.Float64Range(1.1, 10).Draw(t, "threshold")
	s.UpRate = rapid.Float64Range(1.1, 1000).Draw(t, "up")
	s.DownRate = rapid.Float64Range(1.1, 10).Draw(t, "down")
	s.Initial = rapid.IntRange(1, 5).Draw(t, "initial")
	s.Min = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "min")
	s.Max = rapid.SampledFrom([]int{0, 4, 10}).Draw(t, "max")
	s.DownDelay = time.Duration(rapid.IntRange(0, 60).Draw(t, "delay")) * time.Second
	s.Grace = time.Duration(rapid.IntRange(1, 120).Draw(t, "grace")) * time.Second
	return s
}

// TestPropertiesOverTime lets a load change at will and holds each decision against
// what is promised.
func TestPropertiesOverTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySettings(t)
		loads := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 0, 0, 1, 5, 20, 100}), 5, 120).Draw(t, "loads")
		var state State
		var samples []Sample
		ready, used := 0, time.Time{}
		var wanted []Want
		for i, load := range loads {
			now := epoch.Add(time.Duration(i) * 2 * time.Second)
			samples = append(samples, Sample{At: now, Span: 2 * time.Second, Value: load, Used: load > 0})
			if load > 0 {
				used = now
			}
			in := Input{Now: now, Samples: samples, Ready: ready, Settings: s}
			before := slices.Clone(state.Wanted)
			free := in
			free.Settings.DownDelay = 0
			d, next := Decide(in, state)
			if !slices.Equal(before, state.Wanted) {
				t.Fatal("the state that came in was changed")
			}
			if d.Desired < s.Min || s.Max > 0 && d.Desired > max(s.Max, s.Min) {
				t.Fatalf("%d is out of %d to %d", d.Desired, s.Min, s.Max)
			}
			if d.Desired == 0 && !used.IsZero() && now.Sub(used) < s.Grace {
				t.Fatalf("none %v after a request, the grace is %v", now.Sub(used), s.Grace)
			}
			if load > 0 && d.Desired == 0 {
				t.Fatal("none under load")
			}
			n := min(d.Desired, ready)
			for _, w := range wanted {
				if d.Idle >= s.Grace { // then it is the grace's
					break
				}
				if now.Sub(w.At) < s.DownDelay && n > 0 && w.N > n && n < min(w.N, ready) && (s.Max == 0 || n < s.Max) {
					t.Fatalf("%d kept, though %d were wanted %v ago and the delay is %v", n, w.N, now.Sub(w.At), s.DownDelay)
				}
			}
			f, _ := Decide(free, state)
			wanted = append(wanted, Want{now, f.Desired})
			ready, state = d.Desired, next
		}
	})
}

// TestClockThatJumps sets the clock back and ahead, by more than any window: what is
// under load has instances, and not more than it may. The clock of a server does not
// jump, for Go's times have a monotonic one in them; that of a replayed load may.
func TestClockThatJumps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySettings(t)
		jumps := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{2 * time.Second, 2 * time.Second, 2 * time.Second, -time.Hour, -time.Second, 1000 * time.Hour}), 5, 80).Draw(t, "jumps")
		var state State
		var samples []Sample
		now, ready := epoch, 0
		for _, jump := range jumps {
			now = now.Add(jump)
			samples = append(samples, Sample{At: now, Span: 2 * time.Second, Value: 20, Used: true})
			d, next := Decide(Input{Now: now, Samples: samples, Ready: ready, Settings: s}, state)
			if d.Desired < max(1, s.Min) || s.Max > 0 && d.Desired > max(s.Max, s.Min) {
				t.Fatalf("%d is out of %d to %d", d.Desired, max(1, s.Min), s.Max)
			}
			if most := max(ceil(20/(s.Target*s.Utilisation)), s.Initial, s.Min); d.Desired > most {
				t.Fatalf("%d for a load that needs %d", d.Desired, most)
			}
			ready, state = d.Desired, next
		}
	})
}

// TestMoreLoadNeverWantsLess compares two loads of which one is everywhere at least
// the other.
func TestMoreLoadNeverWantsLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySettings(t)
		ready := rapid.IntRange(0, 20).Draw(t, "ready")
		less := steady(0)
		for i := range less {
			less[i].Value = rapid.Float64Range(0, 200).Draw(t, "load")
			less[i].Used = less[i].Value > 0
		}
		more := slices.Clone(less)
		for i := range more {
			more[i].Value += rapid.Float64Range(0, 100).Draw(t, "more")
			more[i].Used = more[i].Value > 0
		}
		a, _ := Decide(Input{Now: epoch, Samples: less, Ready: ready, Settings: s}, State{})
		b, _ := Decide(Input{Now: epoch, Samples: more, Ready: ready, Settings: s}, State{})
		if b.Desired < a.Desired {
			t.Fatalf("more load wants %d (%s), less wants %d (%s)", b.Desired, b.Rule, a.Desired, a.Rule)
		}
	})
}

// square is a load of n requests at a time in the first half of each period, and
// none in the second.
func square(n int, period, length time.Duration) []predict.Call {
	var calls []predict.Call
	for at := time.Duration(0); at < length; at += 100 * time.Millisecond {
		if at%period < period/2 {
			for range n {
				calls = append(calls, predict.Call{At: at, Took: 100 * time.Millisecond})
			}
		}
	}
	return calls
}

// TestSquareWave counts how often a load that comes and goes makes the instances
// come and go.
func TestSquareWave(t *testing.T) {
	const length = 20 * time.Minute
	for _, tt := range []struct {
		period  time.Duration
		actions int // at most: one rise, then what each wave may cost
	}{
		{10 * time.Second, 4}, {30 * time.Second, 4}, {time.Minute, 4}, {4 * time.Minute, 5 * 10},
	} {
		s := settings(func(s *Settings) { s.DownDelay = Defaults().DownDelay })
		r := Replay(square(50, tt.period, length), ReplayOptions{Settings: s, Capacity: 10, Cold: time.Second, Every: 2 * time.Second})
		if r.Actions > tt.actions+4 { // and down at the end
			t.Errorf("waves of %v: %d changes of the number of instances in %v, want at most %d", tt.period, r.Actions, length, tt.actions+4)
		}
		t.Logf("waves of %v: %d changes, %d starts, waits p50 %v p99 %v", tt.period, r.Actions, r.Starts, r.Wait(.5), r.Wait(.99))
		if last := r.Points[len(r.Points)-1]; last.Ready+last.Starting != 0 {
			t.Errorf("waves of %v: %+v at the end", tt.period, last)
		}
	}
}

// TestForecastIsReadyBefore replays a load that comes every hour, with and without
// the forecast.
func TestForecastIsReadyBefore(t *testing.T) {
	var calls []predict.Call
	for hour := range 5 {
		for at := time.Duration(0); at < 10*time.Minute; at += 20 * time.Millisecond {
			calls = append(calls, predict.Call{At: time.Duration(hour)*time.Hour + 30*time.Minute + at, Took: 500 * time.Millisecond})
		}
	}
	o := ReplayOptions{Settings: settings(nil), Capacity: 10, Cold: 3 * time.Second, Every: 2 * time.Second}
	plain := Replay(calls, o)
	o.Forecast = predict.NewForecast(predict.ForecastOptions{Period: time.Hour, Window: 5 * time.Minute})
	ahead := Replay(calls, o)
	late := func(r *Replayed) (n int) {
		for _, w := range r.waits {
			if w > 100*time.Millisecond {
				n++
			}
		}
		return n
	}
	t.Logf("late: %d, with the forecast %d; instance time %v and %v", late(plain), late(ahead), plain.InstanceTime, ahead.InstanceTime)
	if late(ahead) > late(plain)/2 {
		t.Errorf("%d requests waited with the forecast, %d without", late(ahead), late(plain))
	}
}

func BenchmarkDecide(b *testing.B) {
	in := Input{Now: epoch, Samples: steady(35), Ready: 5, Settings: settings(nil)}
	b.ReportAllocs()
	for b.Loop() {
		Decide(in, State{})
	}
}

// Numbers are for people: none has an exponent.
func TestPlain(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 4.06e-05: "less than 0.01", .00999: "less than 0.01", .01: "0.01", .0123: "0.0123", 1: "1", 17.5: "17.5",
		99.96: "100", 123456.7: "123457", 1e21: "1000000000000000000000",
	} {
		if got := plain(f); got != want {
			t.Errorf("%v is %q, want %q", f, got, want)
		}
	}
}

// TestSentenceOfDemand: instances that nobody calls are there for a reason.
func TestSentenceOfDemand(t *testing.T) {
	d := Decision{Rule: RuleDemand, Ready: 2, Settings: Settings{Scaling: Defaults(), Min: 2}}
	if got := d.Sentence(); !strings.HasSuffix(got, ", and its settings ask for at least 2.") {
		t.Error(got)
	}
	d.Settings.Min = 0
	if got := d.Sentence(); strings.Contains(got, "at least") {
		t.Error(got)
	}
}
