package pool

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
	"lambent.dev/lambent/internal/telemetry"
)

// progress checks what a version's provisioned concurrency has come to.
func progress(t *testing.T, p *Pool, v *lambent.Version, allocated, available int) {
	t.Helper()
	if a, b, why := p.Provisioned(KeyOf(v)); a != allocated || b != available || why != "" {
		t.Errorf("allocated %d, available %d (%s), want %d and %d", a, b, why, allocated, available)
	}
}

func TestTargetIsFilledAFewAtATime(t *testing.T) {
	how := scripted{init: time.Second}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v) // counts
		p.Target(v, Target{Provisioned: 5})
		time.Sleep(500 * time.Millisecond)
		progress(t, p, v, 3, 1)
		time.Sleep(time.Second)
		progress(t, p, v, 5, 3)
		time.Sleep(time.Second)
		progress(t, p, v, 5, 5)
		// Nothing of it is reaped, however long it waits.
		time.Sleep(time.Hour)
		progress(t, p, v, 5, 5)
		if n := d.Starts(); n != 5 {
			t.Errorf("%d starts, want 5", n)
		}
		// Five calls at once are warm, the sixth is not.
		var cold atomic.Int64
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Error(err)
					return
				}
				if _, waited := l.Cold(); waited {
					cold.Add(1)
				}
				time.Sleep(2 * time.Second)
				l.Release(time.Now().Add(time.Second))
			})
		}
		wg.Wait()
		if n := cold.Load(); n != 1 {
			t.Errorf("%d cold starts among six calls, want 1", n)
		}
		// A lower target lets the rest go as idle ones do.
		p.Target(v, Target{Provisioned: 2})
		synctest.Wait()
		if s := p.Stats(); s.Idle != 6 {
			t.Errorf("%+v, want 6 idle", s)
		}
		time.Sleep(2 * time.Minute)
		if s := p.Stats(); s.Idle != 2 {
			t.Errorf("%+v, want 2 idle", s)
		}
		p.Target(v, Target{})
		time.Sleep(2 * time.Minute)
		if s := p.Stats(); s.Instances != 0 {
			t.Errorf("%+v, want none", s)
		}
	})
}

func TestInitialisationTypeAndReserveAreTold(t *testing.T) {
	var provisioned []bool
	var noReserve []bool
	how := scripted{onStart: func(s sandbox.Spec) error {
		noReserve = append(noReserve, s.NoReserve)
		return nil
	}}
	change := func(o *Options) {
		o.Environment = func(_ *lambent.Version, c ColdStart) []string {
			provisioned = append(provisioned, c.Ahead == ReasonProvisioned)
			return nil
		}
		o.Settings = func(_, function string) lambent.Settings { return lambent.Settings{NoReserve: function == "g"} }
	}
	inPool(t, how, change, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v, g := version("f"), version("g")
		p.Target(v, Target{Provisioned: 1})
		synctest.Wait()
		p.Target(v, Target{Provisioned: 1, Minimum: 2})
		synctest.Wait()
		call(t, p, g)
		if !slices.Equal(provisioned, []bool{true, false, false}) || !slices.Equal(noReserve, []bool{false, false, true}) {
			t.Errorf("provisioned %v, reserve off %v", provisioned, noReserve)
		}
		if cs := p.ColdStarts(v.Namespace, "f", ""); len(cs) != 2 || cs[0].Ahead != ReasonProvisioned || cs[1].Ahead != ReasonMinimum {
			t.Errorf("cold starts %+v", cs)
		}
	})
}

func TestTargetIsRenewed(t *testing.T) {
	var live []*fake.Instance
	how := scripted{}
	inPool(t, how, func(o *Options) {
		o.Driver = sandbox.Guard(fake.New(fake.Script{Init: func(_ context.Context, i *fake.Instance) error {
			live = append(live, i)
			return nil
		}}))
	}, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		p.Target(v, Target{Minimum: 1})
		synctest.Wait()
		live[0].Die(sandbox.Failure{Type: "Runtime.ExitError"})
		p.Target(v, Target{Minimum: 1})
		synctest.Wait()
		if s := p.Stats(); len(live) != 2 || s.Idle != 1 {
			t.Errorf("%d started, %+v after one died", len(live), s)
		}
		// A change ends the old one; the new one is started from the new version.
		p.Retire(v.Namespace, v.Function, v.Number)
		time.Sleep(3 * time.Second)
		if len(live) != 2 {
			t.Error("an instance of a version that is out of date was started")
		}
		changed := *v
		changed.Env = map[string]string{"A": "B"}
		p.Target(&changed, Target{Minimum: 1})
		synctest.Wait()
		if s := p.Stats(); len(live) != 3 || live[2].Spec.Version != &changed || s.Idle != 1 {
			t.Errorf("%d started, %+v after a change", len(live), s)
		}
		p.Target(v, Target{})
	})
}

func TestTargetBacksOffFromFailures(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	how := scripted{onStart: func(sandbox.Spec) error {
		if broken.Load() {
			return errors.New("no more namespaces")
		}
		return nil
	}}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		p.Target(v, Target{Provisioned: 1})
		tries := 0
		for range 60 {
			time.Sleep(time.Second)
			p.Target(v, Target{Provisioned: 1})
			tries = len(p.ColdStarts(v.Namespace, v.Function, v.Number))
		}
		if tries < 5 || tries > 7 {
			t.Errorf("%d tries in a minute, want 1, 2, 4 ... seconds between them", tries)
		}
		if a, b, why := p.Provisioned(KeyOf(v)); a != 0 || b != 0 || !strings.Contains(why, "no more namespaces") {
			t.Errorf("%d, %d, %q", a, b, why)
		}
		broken.Store(false)
		time.Sleep(3 * time.Minute)
		progress(t, p, v, 1, 1)
		if n := d.Starts(); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestTargetWhoseFunctionFails(t *testing.T) {
	inPool(t, scripted{failInit: true}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		p.Target(v, Target{Provisioned: 1})
		synctest.Wait()
		if _, _, why := p.Provisioned(KeyOf(v)); !strings.HasPrefix(why, "FUNCTION_ERROR_INIT_FAILURE: Runtime.ExitError") {
			t.Errorf("reason %q", why)
		}
	})
}

func TestMemoryGoesToCallsFirst(t *testing.T) {
	how := scripted{}
	inPool(t, how, func(o *Options) { o.MemoryMB = 3 * 128 }, func(t *testing.T, p *Pool, d *fake.Driver) {
		kept, busy, guess := version("kept"), version("busy"), version("guess")
		p.Target(kept, Target{Provisioned: 1})
		synctest.Wait()
		call(t, p, busy)
		time.Sleep(time.Second)
		call(t, p, version("other"))
		// Full: a guess gets nothing, a target nothing that was used just now.
		if p.Warm(guess, "test") {
			t.Error("a guess took memory from others")
		}
		p.Target(kept, Target{Provisioned: 2})
		synctest.Wait()
		if _, _, why := p.Provisioned(KeyOf(kept)); !strings.Contains(why, "memory") {
			t.Errorf("reason %q", why)
		}
		// A call takes from those that are not kept, the oldest first, although the
		// kept one has been idle for longer.
		call(t, p, version("more"))
		synctest.Wait()
		if _, n, _ := p.Provisioned(KeyOf(kept)); n != 1 {
			t.Error("a kept instance went before others")
		}
		// Later, what is idle makes room for the target.
		time.Sleep(20 * time.Second)
		p.Target(kept, Target{Provisioned: 2})
		synctest.Wait()
		progress(t, p, kept, 2, 2)
		// When there is nothing else, calls take from targets too.
		p.Target(kept, Target{Provisioned: 3})
		synctest.Wait()
		l1, err1 := p.Acquire(context.Background(), busy)
		l2, err2 := p.Acquire(context.Background(), busy)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		p.Target(kept, Target{Provisioned: 3})
		synctest.Wait()
		if _, n, _ := p.Provisioned(KeyOf(kept)); n > 1 {
			t.Errorf("%d kept while calls have the memory", n)
		}
		l1.Release(time.Now().Add(time.Second))
		l2.Release(time.Now().Add(time.Second))
	})
}

func TestNothingIsStartedAheadWhileACallWaitsForMemory(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.MemoryMB = 384 }, func(t *testing.T, p *Pool, d *fake.Driver) {
		l, err := p.Acquire(context.Background(), version("busy"))
		if err != nil {
			t.Fatal(err)
		}
		large := version("large")
		large.MemoryMB = 384
		var wg sync.WaitGroup
		wg.Go(func() { call(t, p, large) })
		synctest.Wait()
		p.Target(version("kept"), Target{Minimum: 1})
		if p.Warm(version("guess"), "test") || d.Starts() != 1 {
			t.Error("memory that a call waits for was given away")
		}
		l.Release(time.Now().Add(time.Second))
		wg.Wait()
	})
}

// patient is a driver whose instances take that long to initialise, unless they
// are given up.
func patient(d time.Duration) sandbox.Driver {
	return sandbox.Guard(fake.New(fake.Script{Init: func(ctx context.Context, _ *fake.Instance) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}}))
}

func TestProvisionedInstancesMayTakeLongToInitialise(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.Driver = patient(5 * time.Minute) }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v, m := version("f"), version("m")
		p.Target(v, Target{Provisioned: 1})
		p.Target(m, Target{Minimum: 1})
		time.Sleep(6 * time.Minute)
		progress(t, p, v, 1, 1)
		if cs := p.ColdStarts(m.Namespace, m.Function, ""); len(cs) == 0 || cs[0].Failure != "Sandbox.Timedout" || cs[0].Total != 13*time.Second {
			t.Errorf("cold starts %+v", cs)
		}
		p.Target(m, Target{})
	})
}

func TestCloseDoesNotWaitForStarts(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.Driver = patient(time.Minute) }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		p.Target(version("f"), Target{Provisioned: 1})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.Acquire(context.Background(), version("g")); lambent.CodeOf(err) != lambent.CodeUnavailable {
				t.Errorf("acquire: %v", err)
			}
		})
		synctest.Wait()
		begin := time.Now()
		if err := p.Close(context.Background()); err != nil || time.Since(begin) > 50*time.Millisecond {
			t.Errorf("close: %v after %v", err, time.Since(begin))
		}
		wg.Wait()
	})
}

// TestCallersThatLeaveAtTheLastMoment leave when their instance is there.
func TestCallersThatLeaveAtTheLastMoment(t *testing.T) {
	inPool(t, scripted{init: 100 * time.Millisecond}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		left := 0
		for range 200 {
			p.Retire("000000000000", "f", "")
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(100*time.Millisecond, cancel)
			l, err := p.Acquire(ctx, version("f"))
			synctest.Wait()
			if err == nil {
				l.Release(time.Now().Add(time.Second))
			} else {
				left++
			}
			time.Sleep(time.Millisecond)
			if s := p.Stats(); s.Busy != 0 || s.Idle != 1 {
				t.Fatalf("%+v after a caller left (%v)", s, err)
			}
		}
		t.Logf("%d of 200 left", left)
	})
}

// TestInstanceOfACallerThatLeft is there, but its caller has decided to leave.
func TestInstanceOfACallerThatLeft(t *testing.T) {
	inPool(t, scripted{init: time.Second}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		l, err := p.Acquire(context.Background(), version("f"))
		if err != nil {
			t.Fatal(err)
		}
		w := &waiter{out: make(chan outcome, 1)}
		w.out <- outcome{m: l.m, came: started}
		_, _ = p.abandon(l.m.group, w, context.Canceled)
		if s := p.Stats(); s.Idle != 1 || s.Busy != 0 {
			t.Errorf("%+v, want it idle", s)
		}
		if l, err = p.Acquire(context.Background(), version("f")); err != nil {
			t.Fatal(err)
		}
		if init, _ := l.Init(); init != time.Second {
			t.Error("it counts as used")
		}
		l.Release(time.Now().Add(time.Second))
	})
}

func TestCallBeforeTheGuessedOne(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.Policy = &habits{prewarm: 5 * time.Minute, keep: time.Minute} }, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(299 * time.Second)
		l, err := p.Acquire(context.Background(), v)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if n := d.Starts(); n != 2 {
			t.Errorf("%d starts, want one for each call", n)
		}
		l.Release(time.Now().Add(time.Second))
	})
}

func TestWarmStartsOneAheadAndCountsIt(t *testing.T) {
	how := scripted{init: 100 * time.Millisecond}
	inPool(t, how, func(o *Options) {
		o.Settings = func(_, function string) lambent.Settings {
			return lambent.Settings{NoPrediction: function == "never"}
		}
	}, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		if !p.Warm(v, "test") || p.Warm(v, "test") {
			t.Error("one guess starts one instance")
		}
		time.Sleep(time.Second)
		if p.Warm(v, "test") {
			t.Error("an instance is idle already")
		}
		if call(t, p, v) {
			t.Error("the call is cold")
		}
		if p.Warm(version("never"), "test") {
			t.Error("a function that wants no prediction got one")
		}
		// A call that comes while the guess is on its way waits for that.
		g := version("g")
		p.Warm(g, "test")
		time.Sleep(50 * time.Millisecond)
		begin := time.Now()
		if !call(t, p, g) || time.Since(begin) != 60*time.Millisecond {
			t.Errorf("the call took %v, want the rest of the start", time.Since(begin))
		}
		if n := d.Starts(); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
	})
}

func TestHitsAndWasteAreCounted(t *testing.T) {
	m := telemetry.NewMetrics()
	inPool(t, scripted{}, func(o *Options) { o.Metrics = m }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		used, unused := version("used"), version("unused")
		p.Warm(used, "graph")
		synctest.Wait()
		call(t, p, used)
		call(t, p, used)
		p.Warm(unused, "graph")
		time.Sleep(59500 * time.Millisecond)
		p.Retire(unused.Namespace, unused.Function, "") // just before it is reaped
		synctest.Wait()
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for _, want := range []string{
			`lambent_started_ahead_total{outcome="hit",reason="graph"} 1`,
			`lambent_started_ahead_total{outcome="waste",reason="graph"} 1`,
			`lambent_started_ahead_wasted_megabyte_seconds_total{reason="graph"} 7616`, // 128 MB for 59.5 s
			`lambent_cold_starts_total{origin="start",runtime=""} 2`,
		} {
			if !strings.Contains(w.Body.String(), want+"\n") {
				t.Errorf("no %s in the metrics", want)
			}
		}
	})
}

func TestFirstCallOfAnInstanceStartedAhead(t *testing.T) {
	inPool(t, scripted{init: 100 * time.Millisecond}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		for _, c := range []struct {
			target      Target
			provisioned bool
		}{{Target{Provisioned: 1}, true}, {Target{Minimum: 1}, false}} {
			v := version("f")
			v.Env = map[string]string{"P": ReasonMinimum}
			if c.provisioned {
				v = version("p")
			}
			p.Target(v, c.target)
			time.Sleep(time.Second)
			for _, first := range []bool{true, false} {
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Fatal(err)
				}
				init, provisioned := l.Init()
				_, cold := l.Cold()
				if cold || first != (init == 100*time.Millisecond) || first && provisioned != c.provisioned {
					t.Errorf("%+v, first %v: cold %v, init %v, provisioned %v", c.target, first, cold, init, provisioned)
				}
				l.Release(time.Now().Add(time.Second))
			}
			p.Target(v, Target{})
		}
	})
}

// habits is a policy with one answer.
type habits struct {
	prewarm, keep time.Duration
	arrived       atomic.Int64
}

func (h *habits) Arrived(Key, Key, time.Time, int) { h.arrived.Add(1) }
func (h *habits) Keep(Key, time.Time, Cost) (prewarm time.Duration, keep func(int) time.Duration) {
	return h.prewarm, func(int) time.Duration { return h.keep }
}

func TestPolicyDecidesHowLongInstancesStay(t *testing.T) {
	for _, c := range []struct {
		name   string
		habits *habits
		off    bool
		live   []time.Duration // after the call
		gone   []time.Duration
		starts int
	}{
		{name: "shorter", habits: &habits{keep: 10 * time.Second}, live: seconds(9), gone: seconds(12), starts: 1},
		{name: "longer", habits: &habits{keep: 5 * time.Minute}, live: seconds(70, 299), gone: seconds(302), starts: 1},
		{name: "ended and made anew", habits: &habits{prewarm: 5 * time.Minute, keep: time.Minute},
			live: seconds(302, 355), gone: seconds(5, 298, 365), starts: 2},
		{name: "no prediction", habits: &habits{keep: time.Second}, off: true, live: seconds(55), gone: seconds(65), starts: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inPool(t, scripted{}, func(o *Options) {
				o.Policy = c.habits
				o.Settings = func(_, _ string) lambent.Settings { return lambent.Settings{NoPrediction: c.off} }
			}, func(t *testing.T, p *Pool, d *fake.Driver) {
				begin := time.Now()
				call(t, p, version("f"))
				for _, at := range slices.Sorted(slices.Values(slices.Concat(c.live, c.gone))) {
					time.Sleep(time.Until(begin.Add(at)))
					if n := p.Stats().Idle; (n == 1) != slices.Contains(c.live, at) {
						t.Errorf("%d idle after %v", n, at)
					}
				}
				if d.Starts() != c.starts || c.habits.arrived.Load() != 1 {
					t.Errorf("%d starts, %d arrivals", d.Starts(), c.habits.arrived.Load())
				}
			})
		})
	}
}

// Instances beside the one that the next call takes go by what is known of crowds, the
// oldest first.
func TestPolicyTellsCrowdsApart(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.Policy = crowds{} }, func(t *testing.T, p *Pool, d *fake.Driver) {
		begin := time.Now()
		var all []*Lease
		for range 4 {
			l, err := p.Acquire(context.Background(), version("f"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
		for _, l := range all {
			l.Release(time.Now().Add(time.Second))
		}
		for _, c := range []struct{ at, idle int }{{5, 4}, {12, 3}, {18, 3}, {22, 2}, {28, 2}, {32, 1}, {55, 1}, {62, 0}} {
			time.Sleep(time.Until(begin.Add(time.Duration(c.at) * time.Second)))
			if n := p.Stats().Idle; n != c.idle {
				t.Errorf("%d idle after %d s, want %d", n, c.at, c.idle)
			}
		}
	})
}

// crowds keeps one for a minute, and each beside it for ten seconds less.
type crowds struct{}

func (crowds) Arrived(Key, Key, time.Time, int) {}
func (crowds) Keep(Key, time.Time, Cost) (prewarm time.Duration, keep func(int) time.Duration) {
	return 0, func(n int) time.Duration {
		if n == 1 {
			return time.Minute
		}
		return time.Duration(5-n) * 10 * time.Second
	}
}

func seconds(n ...int) []time.Duration {
	out := make([]time.Duration, len(n))
	for i, s := range n {
		out[i] = time.Duration(s) * time.Second
	}
	return out
}

// TestHangingStartsAheadKeepNobodyWaiting: functions whose provisioned instances never
// initialise leave others what they are to have.
func TestHangingStartsAheadKeepNobodyWaiting(t *testing.T) {
	hangs := fake.New(fake.Script{Init: func(ctx context.Context, i *fake.Instance) error {
		if i.Spec.Version.Function == "hangs" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}})
	inPool(t, scripted{}, func(o *Options) { o.Driver = sandbox.Guard(hangs) }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		p.Target(version("hangs"), Target{Provisioned: 3})
		v := version("other")
		p.Target(v, Target{Minimum: 1})
		time.Sleep(30 * time.Second)
		if o, _ := p.Observe(KeyOf(v)); o.Ready != 1 {
			t.Errorf("the other function has %d instances ready", o.Ready)
		}
		if o, _ := p.Observe(KeyOf(version("hangs"))); o.Starting != 3 {
			t.Errorf("%d starts hang", o.Starting)
		}
		p.mu.Lock()
		ahead := p.ahead
		p.mu.Unlock()
		if ahead != 0 {
			t.Errorf("%d starts keep others waiting", ahead)
		}
	})
}
