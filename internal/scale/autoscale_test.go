package scale

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
	"lambent.dev/lambent/internal/scale/decide"
)

// rooms stand in for the pool's neighbours.
type rooms struct{}

func (rooms) Use(context.Context, lambent.Digest) (string, func(), error) {
	return "/code", func() {}, nil
}
func (rooms) Fit(*sandbox.Runtime, *lambent.Version, string, []string) {}
func (rooms) Resolve(*lambent.Version) (sandbox.Runtime, error)        { return sandbox.Runtime{}, nil }
func (rooms) Open(_, _, _ string) logs.Stream                          { return discard{} }

type discard struct{}

func (discard) WriteLine(time.Time, []byte) {}
func (discard) Begin(string, bool)          {}
func (discard) Tail() []byte                { return nil }
func (discard) End() []byte                 { return nil }
func (discard) Close() error                { return nil }

// plant is a pool with instances that take half a second to start, under an
// autoscaler, in a bubble of time.
type plant struct {
	*Service
	t      *testing.T
	pool   *pool.Pool
	driver *fake.Driver
	shelf  *shelf
	calls  sync.WaitGroup
}

func inPlant(t *testing.T, change func(*Options), test func(t *testing.T, p *plant)) {
	synctest.Test(t, func(t *testing.T) {
		d := fake.New(fake.Script{Init: func(context.Context, *fake.Instance) error { time.Sleep(500 * time.Millisecond); return nil }})
		var id atomic.Int64
		pl := pool.New(pool.Options{Driver: sandbox.Guard(d), Artifacts: rooms{}, Runtimes: rooms{}, Logs: rooms{}, Log: slog.New(slog.DiscardHandler),
			Environment: func(*lambent.Version, pool.ColdStart) []string { return nil },
			Idle:        30 * time.Second, MemoryMB: 1 << 20, MaxWait: 5 * time.Second, Ahead: 4,
			NewID: func() string { return fmt.Sprintf("%032d", id.Add(1)) }})
		c := &shelf{}
		o := Options{Catalog: c, Pool: pl, Log: slog.New(slog.DiscardHandler), Idle: 30 * time.Second, Loads: NewLoads()}
		if change != nil {
			change(&o)
		}
		p := &plant{Service: New(o), t: t, pool: pl, driver: d, shelf: c}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = pl.Run(ctx) })
		wg.Go(func() { _ = p.Run(ctx) })
		test(t, p)
		p.calls.Wait()
		if err := pl.Close(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
	})
}

// application is deployed as version 1; it takes ten requests at a time.
func (p *plant) application() *lambent.Version {
	v := p.shelf.put("app", "1", "1")
	v.App = &lambent.App{Port: 8080, Concurrency: 10, StartTimeout: time.Second}
	v.MemoryMB, v.Timeout = 128, 10*time.Second
	return v
}

// load sends n requests at a time, one after the other, for a while.
func (p *plant) load(v *lambent.Version, n int, last time.Duration) {
	until := time.Now().Add(last)
	for range n {
		p.calls.Go(func() {
			for time.Now().Before(until) {
				began := p.o.Loads.Begin(v)
				how := lambent.CallAnswered
				l, err := p.pool.Acquire(context.Background(), v)
				if err != nil {
					how = lambent.CallRefused
					p.t.Error(err)
				} else {
					time.Sleep(100 * time.Millisecond)
					l.Release(time.Time{})
				}
				p.o.Loads.End(v, began, how)
			}
		})
	}
}

func (p *plant) ready(v *lambent.Version) int {
	synctest.Wait()
	o, _ := p.pool.Observe(pool.KeyOf(v))
	return o.Ready + o.Starting
}

func TestFromNoneToManyToNone(t *testing.T) {
	inPlant(t, nil, func(t *testing.T, p *plant) {
		v := p.application()
		p.load(v, 40, 3*time.Minute)
		time.Sleep(2 * time.Minute)
		if n := p.ready(v); n != 6 { // 40 at a time, 7 of 10 per instance
			t.Errorf("%d instances under load, want 6", n)
		}
		time.Sleep(70 * time.Second)
		if n := p.ready(v); n == 0 {
			t.Error("none are left 10 s after the last request")
		}
		time.Sleep(25 * time.Second)
		if n := p.ready(v); n != 0 {
			t.Errorf("%d instances are left 35 s after the last request, the grace is 30 s", n)
		}
		made := p.Decisions(pool.KeyOf(v))
		if len(made) == 0 || made[len(made)-1].Rule != decide.RuleZero {
			t.Fatalf("decisions %+v", made)
		}
		for _, m := range made {
			t.Logf("%s (%d times)", m.Sentence(), m.Times)
		}
	})
}

// TestSquareWaveIsNotFollowed has the load come and go: instances must not.
func TestSquareWaveIsNotFollowed(t *testing.T) {
	inPlant(t, nil, func(t *testing.T, p *plant) {
		v := p.application()
		for range 30 {
			p.load(v, 50, 10*time.Second)
			time.Sleep(20 * time.Second)
		}
		starts := p.driver.Starts()
		actions := 0
		made := p.Decisions(pool.KeyOf(v))
		for i := 1; i < len(made); i++ {
			if made[i].Desired != made[i-1].Desired {
				actions++
			}
		}
		t.Logf("%d starts, %d changes in ten minutes of waves of 30 s", starts, actions)
		if starts > 12 || actions > 8 {
			t.Errorf("%d starts and %d changes in ten minutes of waves of 30 s", starts, actions)
		}
	})
}

func TestInitialScaleAtOnce(t *testing.T) {
	inPlant(t, nil, func(t *testing.T, p *plant) {
		v := p.application()
		p.shelf.mu.Lock()
		p.shelf.settings.Scaling = lambent.Scaling{Initial: 4, Max: 3}
		p.shelf.mu.Unlock()
		p.load(v, 1, 200*time.Millisecond)
		time.Sleep(50 * time.Millisecond)
		if n := p.ready(v); n != 3 {
			t.Errorf("%d instances for the first request, want 3, the most", n)
		}
		p.load(v, 100, 5*time.Second)
		time.Sleep(4 * time.Second)
		if n := p.ready(v); n != 3 {
			t.Errorf("%d instances under load, want 3", n)
		}
	})
}

func TestFunctionsExplainThemselves(t *testing.T) {
	inPlant(t, nil, func(t *testing.T, p *plant) {
		v := p.shelf.put("f", "1", "1")
		v.MemoryMB, v.Timeout = 128, 3*time.Second
		p.load(v, 3, 10*time.Second)
		time.Sleep(9 * time.Second)
		made := p.Decisions(pool.KeyOf(v))
		if len(made) == 0 || !strings.Contains(made[len(made)-1].Sentence(), "keeps 3 instances: an instance takes one request at a time") {
			t.Errorf("%+v", made)
		}
		p.calls.Wait()
		time.Sleep(10 * time.Minute)
		if n := measured(p.o.Loads); n != 0 {
			t.Errorf("%d versions are measured that nobody calls", n)
		}
		if len(p.Decisions(pool.KeyOf(v))) == 0 {
			t.Error("what was decided is forgotten")
		}
	})
}

func measured(l *Loads) (n int) {
	for range l.all {
		n++
	}
	return n
}

// What was recorded, or was to be, is not measured for ever.
func TestRecordingsOfWhatNobodyCallsAreForgotten(t *testing.T) {
	inPlant(t, nil, func(t *testing.T, p *plant) {
		for i := range 2 * maxTapes {
			p.Record(pool.KeyOf(p.shelf.put("f", fmt.Sprint(i+1), fmt.Sprint(i+1))))
		}
		time.Sleep(10 * time.Minute)
		if n := measured(p.o.Loads); n != maxTapes {
			t.Errorf("%d versions are measured, want the %d that are recorded", n, maxTapes)
		}
		for k := range p.o.Loads.all {
			if _, ok := p.Recorded(k); !ok {
				t.Errorf("%v is not recorded any more", k)
			}
		}
		time.Sleep(time.Minute)
		if n := measured(p.o.Loads); n != 0 {
			t.Errorf("%d versions are measured that nobody calls", n)
		}
	})
}

// A rollout is looked at by who moves it and by who asks for it.
func TestFiguresOfAVersionThatWasForgotten(t *testing.T) {
	l := NewLoads()
	v := &lambent.Version{Namespace: account, Function: "f", Number: "1"}
	k := pool.KeyOf(v)
	call := func() { l.End(v, l.Begin(v), lambent.CallAnswered) }
	call()
	call()
	figures := l.Figures(v.Namespace, v.Function, v.Number)
	load, _ := l.byKey.Load(k)
	l.forget(k, load.(*Load))
	call()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got := figures(); got.Calls != 1 {
				t.Errorf("%d calls, want the one since then", got.Calls)
			}
		})
	}
	wg.Wait()
	call()
	call()
	if got := figures(); got.Calls != 3 {
		t.Errorf("%d calls, want 3", got.Calls)
	}
}

func TestLoadsMeasureAndRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoads()
		v := &lambent.Version{Namespace: account, Function: "f", Number: "1"}
		k := pool.KeyOf(v)
		if !l.Record(k) {
			t.Fatal("no room for a recording")
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				began := l.Begin(v)
				time.Sleep(time.Duration(i+1) * 10 * time.Millisecond)
				how := lambent.CallAnswered
				if i == 9 {
					how = lambent.CallFailed
				}
				l.End(v, began, how)
			})
		}
		wg.Wait()
		total, ok := l.Totals(k)
		if !ok || total.Began != 10 || total.Ended != 10 || total.Failed != 1 || total.Load != 550*time.Millisecond {
			t.Errorf("%+v", total)
		}
		for _, c := range []struct {
			q    float64
			want time.Duration
		}{{.5, 50 * time.Millisecond}, {.99, 100 * time.Millisecond}} {
			if got := total.Took.Quantile(c.q); got < c.want || got > c.want*5/4 {
				t.Errorf("quantile %v is %v, want from %v on", c.q, got, c.want)
			}
		}
		r, ok := l.Recorded(k)
		if !ok || len(r.Calls) != 10 || r.Calls[9].Took != 100*time.Millisecond {
			t.Errorf("%+v", r)
		}
		if _, ok := l.Recorded(k); ok {
			t.Error("a recording is handed out twice")
		}
	})
}

func TestBinsAreInOrder(t *testing.T) {
	var h Histogram
	last := -1
	for d := time.Microsecond; d < 20*time.Minute; d += d/16 + 1 {
		i := binOf(d)
		if i < last {
			t.Fatalf("%v is in bin %d, after bin %d", d, i, last)
		}
		last = i
		h = Histogram{}
		h[i] = 1
		if up := h.Quantile(1); i < len(h)-1 && (up < d || d > firstBin && float64(up) > 1.26*float64(d)) {
			t.Fatalf("%v is in a bin up to %v", d, up)
		}
	}
}

func TestObservingCostsNoMemory(t *testing.T) {
	l := NewLoads()
	v := &lambent.Version{Namespace: account, Function: "f", Number: "1"}
	l.End(v, l.Begin(v), lambent.CallAnswered)
	if n := testing.AllocsPerRun(1000, func() { l.End(v, l.Begin(v), lambent.CallAnswered) }); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	l := NewLoads()
	v := &lambent.Version{Namespace: account, Function: "f", Number: "1"}
	b.ReportAllocs()
	for b.Loop() {
		l.End(v, l.Begin(v), lambent.CallAnswered)
	}
}

func TestUsageIsInPercentOfWhatInstancesHave(t *testing.T) {
	b := &basin{}
	a := &autoscaler{pool: b}
	s := &scaled{version: &lambent.Version{MemoryMB: 2 * lambent.MemoryPerCPU}} // two processors
	look := func(mode lambent.ScaleMode, seconds ...float64) float64 {
		b.usage = nil
		for i, sec := range seconds {
			u := sandbox.Usage{CPU: time.Duration(sec * float64(time.Second)), MemoryBytes: lambent.MemoryPerCPU << 20}
			b.usage = append(b.usage, pool.Used{ID: fmt.Sprint(i), Usage: u})
		}
		return a.usage(s, pool.Key{}, mode, 2*time.Second)
	}
	if got := look(lambent.ScaleCPU, 10, 20); got != 0 {
		t.Errorf("at the first look %v %%", got)
	}
	// One instance has used two of its four seconds, the other all of them; a third is new.
	if got := look(lambent.ScaleCPU, 12, 24, 99); got != 150 {
		t.Errorf("%v %% of a processor share, want 150", got)
	}
	if got := look(lambent.ScaleMemory, 0, 0, 0); got != 150 {
		t.Errorf("%v %% of a memory, want 150", got)
	}
}

// TestModesFeedTheDecision holds each mode's sample against the load that made it.
func TestModesFeedTheDecision(t *testing.T) {
	for mode, want := range map[lambent.ScaleMode]float64{lambent.ScaleConcurrency: 3, lambent.ScaleRPS: 50, lambent.ScaleCPU: 0} {
		a := &autoscaler{pool: &basin{}}
		v := &lambent.Version{App: &lambent.App{Concurrency: 10}, MemoryMB: 128}
		s := &scaled{version: v, at: at("12:00:00")}
		x := seen{now: at("12:00:02"), total: Totals{Began: 100, Load: 6 * time.Second}}
		set := a.settings(lambent.Settings{Scaling: lambent.Scaling{Mode: mode}}, v, pool.Observation{}, pool.Target{})
		a.sample(s, x, set)
		if len(s.samples) != 1 || s.samples[0].Value != want || !s.samples[0].Used {
			t.Errorf("%s: %+v, want %v", mode, s.samples, want)
		}
	}
}

// TestCallIsNotForgotten: a call that begins while what was measured of its version is
// forgotten is measured all the same.
func TestCallIsNotForgotten(t *testing.T) {
	l := NewLoads()
	for n := range 20_000 {
		v := &lambent.Version{Function: "f", Number: "1"}
		k := pool.KeyOf(v)
		x := l.loadOf(v)
		var forgets sync.WaitGroup
		forgets.Go(func() { l.forget(k, x) })
		began := l.Begin(v)
		forgets.Wait()
		if total, ok := l.Totals(k); !ok || total.Began == 0 {
			t.Fatalf("call %d is not known", n)
		}
		l.End(v, began, lambent.CallAnswered)
		for k, x := range l.all {
			l.forget(k, x)
		}
	}
}
