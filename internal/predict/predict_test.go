package predict

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	costly = Cost{Cold: 2 * time.Second, MemoryMB: 512}
	cheap  = Cost{Cold: 2 * time.Millisecond, MemoryMB: 512}
)

// taught is a predictor that has seen n calls of k, gap apart.
func taught(k Key, n int, gap func(i int) time.Duration) (*Predictor, time.Time) {
	p := New(Options{Idle: 5 * time.Minute})
	at := start
	for i := range n {
		p.Arrived(k, Key{}, at, 1)
		at = at.Add(gap(i))
	}
	return p, at
}

func every(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

func TestUnknownKeepsTheFixedTime(t *testing.T) {
	k := Key{"000000000000", "f", "1"}
	p, at := taught(k, enough-1, every(time.Second))
	if w := p.Keep(k, costly, at); w.Window != (Window{Keep: 5 * time.Minute}) {
		t.Errorf("after %d calls: %v", enough-1, w)
	}
	if w := p.Keep(Key{Function: "never"}, costly, at); w.Window != (Window{Keep: 5 * time.Minute}) {
		t.Errorf("never called: %v", w)
	}
}

func TestKeepFollowsTheHabit(t *testing.T) {
	k := Key{"000000000000", "f", "1"}
	tests := []struct {
		name    string
		gap     time.Duration
		cost    Cost
		warmAt  bool // at the next call
		prewarm bool // ended first
	}{
		{"every second", time.Second, costly, true, false},
		{"every ten minutes", 10 * time.Minute, costly, true, true},
		{"every ten minutes, cheap to start", 10 * time.Minute, cheap, false, false},
		{"every three hours", 3 * time.Hour, costly, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := taught(k, 40, every(tt.gap))
			w := p.Keep(k, tt.cost, start)
			if warm := w.Prewarm <= tt.gap && tt.gap <= w.Prewarm+w.Keep; warm != tt.warmAt {
				t.Errorf("window %v: warm for a call after %v: %v", w, tt.gap, warm)
			}
			if got := w.Prewarm > 0; got != tt.prewarm {
				t.Errorf("window %v: ended first: %v", w, got)
			}
		})
	}
}

// Each quarter of an hour comes a call, and once in six of them four at once. A load
// that never came before is not waited for as those are.
func TestCrowdsHaveHabitsOfTheirOwn(t *testing.T) {
	k := Key{"000000000000", "f", "1"}
	r := rand.New(rand.NewPCG(7, 8))
	p, at := New(Options{Idle: 5 * time.Minute}), start
	for i := range 200 {
		at = at.Add(time.Duration(r.Int64N(int64(15 * time.Minute))))
		p.Arrived(k, Key{}, at, 1)
		if i%6 == 0 {
			p.Arrived(k, Key{}, at, 4)
		}
	}
	for range 20 {
		p.Arrived(k, Key{}, at, 60)
	}
	got := p.Keep(k, costly, at)
	if got.Prewarm != 0 || got.Keep < 14*time.Minute {
		t.Errorf("the one: %v", got.Window)
	}
	if d := got.For(4); d < 10*time.Minute || d > got.Keep {
		t.Errorf("four at once: %v", d)
	}
	for _, n := range []int{5, 60, 5000} {
		if d := got.For(n); d != 5*time.Minute {
			t.Errorf("%d at once: %v", n, d)
		}
	}
	if d := p.Keep(k, cheap, at).For(4); d > time.Minute {
		t.Errorf("four at once that are cheap to start: %v", d)
	}
}

func TestHabitsChange(t *testing.T) {
	k := Key{Function: "f"}
	p, _ := taught(k, 6*forgetAfter, func(i int) time.Duration {
		if i < forgetAfter {
			return 20 * time.Minute
		}
		return time.Second
	})
	medium := Cost{Cold: 200 * time.Millisecond, MemoryMB: 512}
	if w := p.Keep(k, medium, start); w.Prewarm != 0 || w.Keep > time.Minute {
		t.Errorf("after five sixths of calls each second: %v", w)
	}
}

func TestForgetDropsTheFunction(t *testing.T) {
	k := Key{"000000000000", "f", "1"}
	p, at := taught(k, 40, every(time.Second))
	p.Forget(k.Namespace, k.Function, "")
	if w := p.Keep(k, costly, at); w.Keep != 5*time.Minute {
		t.Errorf("window of a forgotten function: %v", w)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	p := New(Options{})
	for i := range maxKeys + 50 {
		p.Arrived(Key{Function: fmt.Sprint(i)}, Key{}, start.Add(time.Duration(i)*time.Second), 1)
	}
	if len(p.history) != maxKeys || len(p.graph.nodes) > maxKeys {
		t.Errorf("%d histories, %d nodes; want at most %d", len(p.history), len(p.graph.nodes), maxKeys)
	}
	if p.history[Key{Function: "0"}] != nil {
		t.Error("the oldest is still there")
	}
}

// A call from within a function counts for that one alone, and at once; so a chain is
// known after its first turn, and who was called in the midst of it has no part in it.
func TestGraphKnowsWhoCalls(t *testing.T) {
	p := New(Options{Idle: time.Minute})
	key := func(name string) Key { return Key{"000000000000", name, "1"} }
	a, b, c, bystander := key("a"), key("b"), key("c"), key("bystander")
	turn := func(at time.Time) {
		p.Arrived(a, Key{}, at, 1)
		p.Arrived(bystander, Key{}, at.Add(10*time.Millisecond), 1)
		p.Arrived(b, a, at.Add(20*time.Millisecond), 1)
		p.Arrived(c, b, at.Add(30*time.Millisecond), 1)
	}
	turn(start)
	at := start.Add(time.Minute)
	if got := p.Arrived(a, Key{}, at, 1); !slices.Equal(got, []Key{b, c}) {
		t.Errorf("after one turn %v follow a", got)
	}
	for i := range 10 {
		turn(at.Add(time.Duration(i+1) * time.Minute))
	}
	at = at.Add(time.Hour)
	if got := p.Arrived(bystander, Key{}, at, 1); len(got) != 0 {
		t.Errorf("%v follow the bystander", got)
	}
	again := New(Options{Idle: time.Minute})
	again.Relearn(p.Learned(10))
	if got := again.Arrived(b, Key{}, at.Add(time.Hour), 1); !slices.Equal(got, []Key{c}) {
		t.Errorf("after a restart %v follow b", got)
	}
	for i := range 30 { // a calls b no more
		p.Arrived(a, Key{}, at.Add(time.Duration(i+1)*time.Hour), 1)
	}
	if got := p.Arrived(a, Key{}, at.Add(100*time.Hour), 1); slices.Contains(got, b) {
		t.Errorf("after 30 calls without it %v follow a", got)
	}
}

func TestGraphLearnsTheChain(t *testing.T) {
	a, b, c, other := Key{Function: "a"}, Key{Function: "b"}, Key{Function: "c"}, Key{Function: "other"}
	p := New(Options{})
	at := start
	for i := range 10 {
		p.Arrived(a, Key{}, at, 1)
		p.Arrived(b, Key{}, at.Add(300*time.Millisecond), 1)
		if i%5 == 0 {
			p.Arrived(c, Key{}, at.Add(400*time.Millisecond), 1)
		}
		p.Arrived(other, Key{}, at.Add(time.Minute), 1)
		at = at.Add(10 * time.Minute)
	}
	if got := p.Arrived(a, Key{}, at, 1); len(got) != 1 || got[0] != b {
		t.Errorf("after a comes %v; want b alone", got)
	}
	if got := p.Arrived(other, Key{}, at.Add(time.Minute), 1); len(got) != 0 {
		t.Errorf("after other comes %v", got)
	}
	p.Forget("", "b", "")
	if got := p.Arrived(a, Key{}, at.Add(time.Hour), 1); len(got) != 0 {
		t.Errorf("after a comes %v, which was forgotten", got)
	}
}

// load has n calls whose gaps are drawn by next.
func load(n int, next func() time.Duration) Load {
	l := Load{Function: "f"}
	at := time.Duration(0)
	for range n {
		l.Calls = append(l.Calls, Call{At: at, Took: 10 * time.Millisecond})
		at += next()
	}
	return l
}

func TestReplayBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := load(500, func() time.Duration { return time.Duration(r.ExpFloat64() * float64(time.Minute)) })
	busiest := 0
	for i, c := range l.Calls {
		n := 1
		for _, d := range l.Calls[:i] {
			if d.At+d.Took > c.At {
				n++
			}
		}
		busiest = max(busiest, n)
	}
	s := NewSimulator(costly, Fixed(0), Fixed(1000*time.Hour))
	s.Replay(l)
	none, ever := s.Outcomes()[0], s.Outcomes()[1]
	if none.Cold != len(l.Calls) || none.Wasted != 0 {
		t.Errorf("nothing kept: %d cold, %v wasted", none.Cold, none.Wasted)
	}
	if ever.Cold != busiest {
		t.Errorf("everything kept: %d cold, want the %d that ran at once", ever.Cold, busiest)
	}
}

// A periodic function is where prediction pays: as few cold starts as the longest
// keeping, for a fraction of its memory.
func TestOursBeatsFixedOnAPeriodicLoad(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	l := load(400, func() time.Duration { return 15*time.Minute + time.Duration(r.Int64N(int64(30*time.Second))) })
	s := NewSimulator(costly, Fixed(10*time.Minute), Fixed(20*time.Minute), Hybrid(), Ours(5*time.Minute))
	s.Replay(l)
	short, long, hist, ours := s.Outcomes()[0], s.Outcomes()[1], s.Outcomes()[2], s.Outcomes()[3]
	if ours.Rate() > .05 || short.Rate() < .9 || hist.Rate() > .05 {
		t.Errorf("cold starts: ours %.2f, histogram %.2f, ten minutes %.2f", ours.Rate(), hist.Rate(), short.Rate())
	}
	if ours.Wasted > long.Wasted/4 {
		t.Errorf("wasted: ours %.0f MB s, twenty minutes %.0f", ours.Wasted, long.Wasted)
	}
}

// What a function that is called now and then holds after one heavy load is little
// more than what it needs.
func TestOursDoesNotWaitForALoadThatCameOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	l := load(300, func() time.Duration { return time.Duration(r.Int64N(int64(15 * time.Minute))) })
	calm := NewSimulator(costly, Ours(5*time.Minute))
	calm.Replay(l)
	heavy := Load{Function: "f", Calls: slices.Clone(l.Calls[:200])}
	at := l.Calls[199].At
	for range 100 {
		heavy.Calls = append(heavy.Calls, Call{At: at, Took: time.Second})
	}
	heavy.Calls = append(heavy.Calls, l.Calls[200:]...)
	after := NewSimulator(costly, Ours(5*time.Minute))
	after.Replay(heavy)
	more := (after.Outcomes()[0].Wasted - calm.Outcomes()[0].Wasted) / float64(costly.MemoryMB)
	if most := 100 * (5 * time.Minute).Seconds(); more > most {
		t.Errorf("100 instances waited %.0f s more for nothing, want at most %.0f", more, most)
	}
	if a, b := after.Outcomes()[0].Cold, calm.Outcomes()[0].Cold; a > b+100 {
		t.Errorf("%d cold starts, %d without the load", a, b)
	}
}

func TestReadTrace(t *testing.T) {
	minutes := "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,2,0,1\no,a,g,timer,0,0,0\n"
	calls := "app,func,end_timestamp,duration\na,f,10.5,0.5\na,g,3,1\na,f,4,1\n"
	for name, tt := range map[string]struct {
		trace string
		want  string
	}{
		"2019":                          {minutes, "o/a/f:3 o/a/g:0"},
		"2021":                          {calls, "a/f:2 a/g:1"},
		"2021, from the midst of calls": {"app,func,end_timestamp,duration\na,f,1,2\na,f,1.5,1\n", "a/f:2"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			err := ReadTrace(strings.NewReader(tt.trace), TraceOptions{Rand: rand.New(rand.NewPCG(1, 1))}, func(l Load) {
				got = append(got, fmt.Sprintf("%s:%d", l.Function, len(l.Calls)))
				for i := range l.Calls {
					if l.Calls[i].At < 0 || i > 0 && l.Calls[i].At < l.Calls[i-1].At {
						t.Error("calls are not in order")
					}
				}
			})
			if s := strings.Join(got, " "); err != nil || s != tt.want {
				t.Errorf("got %q, %v; want %q", s, err, tt.want)
			}
		})
	}
	// 400 bytes that stand for 51 million calls.
	manyCalls := "HashOwner,HashApp,HashFunction,Trigger" + strings.Repeat(",1", 51) + "\no,a,f,http" + strings.Repeat(",1000000", 51) + "\n"
	for _, bad := range []string{"", "a,b\n1,2\n", "HashOwner,HashApp,HashFunction,Trigger,1\no,a,f,http,-1\n",
		"app,func,end_timestamp,duration\na,f,NaN,0\n", manyCalls} {
		err := ReadTrace(strings.NewReader(bad), TraceOptions{Rand: rand.New(rand.NewPCG(1, 1))}, func(Load) {})
		if err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add("HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,2,0,1\n")
	f.Add("app,func,end_timestamp,duration\na,f,10.5,0.5\n")
	f.Add("app,func,end_timestamp,duration\na,f,1,0\na,f,473000000,0\na,f,946000000,0\na,f,1419000000,0\n") // years apart
	f.Fuzz(func(t *testing.T, trace string) {
		if strings.Count(trace, ",")+strings.Count(trace, "\n") > 200 || strings.ContainsAny(trace, "eE") && len(trace) > 500 {
			return
		}
		s := NewSimulator(costly, Fixed(time.Minute), Hybrid(), Ours(time.Minute))
		total := 0
		_ = ReadTrace(strings.NewReader(trace), TraceOptions{Rand: rand.New(rand.NewPCG(1, 1))}, func(l Load) {
			if total += len(l.Calls); total < 1000 {
				s.Replay(l)
			}
		})
		for _, o := range s.Outcomes() {
			if o.Cold > o.Calls || o.Wasted < 0 {
				t.Errorf("%+v", o)
			}
		}
	})
}

func BenchmarkBest(b *testing.B) {
	var h Histogram
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		h.Add(time.Duration(r.ExpFloat64() * float64(5*time.Minute)))
	}
	for b.Loop() {
		h.best(bins, costly, DefaultPrice, 4*time.Hour)
	}
}

// TestForecastFollowsTheDay teaches two days whose noon is busy, the second one twice
// as busy as the first.
func TestForecastFollowsTheDay(t *testing.T) {
	f := NewForecast(ForecastOptions{})
	day := func(m int) float64 {
		if m >= 720 && m < 780 {
			return 40
		}
		return 4
	}
	for m := range 2 * 1440 {
		at := start.Truncate(24 * time.Hour).Add(time.Duration(m+1) * time.Minute)
		if m < 1440 && f.At(at) != 0 {
			t.Fatalf("something is expected within the first day: %v", f.At(at))
		}
		level := float64(1 + m/1440)
		f.Add(at, time.Minute, level*day(m%1440))
	}
	at := start.Truncate(24 * time.Hour).Add(48*time.Hour + 11*time.Hour + 30*time.Minute)
	if got := f.At(at); got > 10 {
		t.Errorf("half an hour before noon: %v", got)
	}
	if got := f.At(at.Add(29 * time.Minute)); got < 40 || got > 130 {
		t.Errorf("a minute before noon: %v", got)
	}
}

func TestRecordedLoads(t *testing.T) {
	var got []Load
	text := "{\"function\":\"shop\",\"version\":\"3\"}\n{\"atMs\":20,\"tookMs\":1.5}\n\n{\"atMs\":10}\n"
	if err := ReadLoads(strings.NewReader(text), TraceOptions{}, func(l Load) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	want := Call{At: 20 * time.Millisecond, Took: 1500 * time.Microsecond}
	if len(got) != 1 || got[0].Function != "shop" || len(got[0].Calls) != 2 || got[0].Calls[1] != want {
		t.Errorf("%+v", got)
	}
	for _, wrong := range []string{"", "{\"atMs\":-1}", "{\"function\":\"a\"}\n{\"function\":\"b\"}", "{\"atMs\":1e99}", "{nonsense", "a,b\n"} {
		if err := ReadLoads(strings.NewReader(wrong), TraceOptions{}, func(Load) {}); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}

func FuzzReadLoads(f *testing.F) {
	f.Add("{\"function\":\"shop\"}\n{\"atMs\":20,\"tookMs\":1.5}\n")
	f.Add("app,func,end_timestamp,duration\na,b,2,1\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = ReadLoads(strings.NewReader(text), TraceOptions{Rand: rand.New(rand.NewPCG(1, 1))}, func(l Load) {
			for i := 1; i < len(l.Calls); i++ {
				if l.Calls[i].At < l.Calls[i-1].At {
					t.Fatal("calls are out of order")
				}
			}
		})
	})
}
