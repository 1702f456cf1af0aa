package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// scripted says how instances behave, in times of the test's clock.
type scripted struct {
	start, init, settle time.Duration
	failInit            bool
	failStart           error
	onStart             func(sandbox.Spec) error

	// Instances can be frozen with these; they hold heldMB then.
	sleepy               bool
	freeze, thaw         time.Duration
	failFreeze, failThaw error
	heldMB               int64
}

// driver makes a fake driver that behaves so. An invocation takes 10 ms.
func (d scripted) driver() *fake.Driver {
	script := fake.Script{
		Start: func(_ context.Context, spec sandbox.Spec) error {
			time.Sleep(d.start)
			if d.onStart != nil {
				return d.onStart(spec)
			}
			return d.failStart
		},
		Init: func(context.Context, *fake.Instance) error {
			time.Sleep(d.init)
			if d.failInit {
				return fake.End(sandbox.Failure{Type: "Runtime.ExitError", Message: "Runtime exited with error: exit status 1"})
			}
			return nil
		},
		Invoke: func(_ context.Context, _ *fake.Instance, ev sandbox.Event) (sandbox.Answer, error) {
			time.Sleep(10 * time.Millisecond)
			return sandbox.Answer{Payload: ev.Payload, Took: 10 * time.Millisecond}, nil
		},
		AfterAnswer: func(*fake.Instance) { time.Sleep(d.settle) },
		Thaw: func(*fake.Instance) error {
			time.Sleep(d.thaw)
			return d.failThaw
		},
		PageOut: func(i *fake.Instance) (int64, error) {
			i.SetUsage(sandbox.Usage{MemoryBytes: d.heldMB << 20})
			return 0, nil
		},
	}
	if d.sleepy {
		script.Freeze = func(*fake.Instance) error {
			time.Sleep(d.freeze)
			return d.failFreeze
		}
	}
	return fake.New(script)
}

// rooms stand in for the pool's neighbours.
type rooms struct{ pinned, streams atomic.Int64 }

func (r *rooms) Use(context.Context, lambent.Digest) (string, func(), error) {
	r.pinned.Add(1)
	return "/code", func() { r.pinned.Add(-1) }, nil
}
func (r *rooms) Fit(*sandbox.Runtime, *lambent.Version, string, []string) {}
func (r *rooms) Resolve(*lambent.Version) (sandbox.Runtime, error)        { return sandbox.Runtime{}, nil }
func (r *rooms) Open(_, _, _ string) logs.Stream {
	r.streams.Add(1)
	return discard{r}
}

type discard struct{ of *rooms }

func (discard) WriteLine(time.Time, []byte) {}
func (discard) Begin(string, bool)          {}
func (discard) Tail() []byte                { return nil }
func (discard) End() []byte                 { return nil }
func (d discard) Close() error {
	d.of.streams.Add(-1)
	return nil
}

func version(name string) *lambent.Version {
	return &lambent.Version{Namespace: "000000000000", Function: name, Number: lambent.Latest,
		MemoryMB: 128, Timeout: 3 * time.Second, RevisionID: "1", Layers: []lambent.LayerRef{{ARN: "layer"}}}
}

// inPool runs a test in a bubble of time, with a pool that is closed at its end
// and must then hold nothing.
func inPool(t *testing.T, how scripted, change func(*Options), test func(t *testing.T, p *Pool, d *fake.Driver)) {
	synctest.Test(t, func(t *testing.T) {
		d := how.driver()
		r := &rooms{}
		var id atomic.Int64
		o := Options{Driver: sandbox.Guard(d), Artifacts: r, Runtimes: r, Logs: r, Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
			Environment: func(*lambent.Version, ColdStart) []string { return nil },
			Idle:        time.Minute, MemoryMB: 4096, MaxWait: 5 * time.Second,
			NewID: func() string { return fmt.Sprintf("%032d", id.Add(1)) }}
		if change != nil {
			change(&o)
		}
		p := New(o)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Run(ctx) })
		test(t, p, d)
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
		if n := d.Live(); n != 0 {
			t.Errorf("%d instances are left after Close", n)
		}
		if n := r.pinned.Load(); n != 0 {
			t.Errorf("%d directories are still pinned after Close", n)
		}
		if n := r.streams.Load(); n != 0 {
			t.Errorf("%d log streams are still open after Close", n)
		}
		if s := p.Stats(); s.Instances != 0 || s.MemoryMB != 0 {
			t.Errorf("the pool counts %+v after Close", s)
		}
	})
}

// call runs one invocation as the spine does.
func call(t *testing.T, p *Pool, v *lambent.Version) (cold bool) {
	t.Helper()
	l, err := p.Acquire(context.Background(), v)
	if err != nil {
		t.Errorf("acquire: %v", err)
		return false
	}
	defer l.Release(time.Now().Add(v.Timeout))
	_, cold = l.Cold()
	if l.Failed() != nil {
		t.Errorf("cold start failed: %+v", l.Failed())
		return cold
	}
	if _, err := l.Invoke(context.Background(), sandbox.Event{}); err != nil {
		t.Errorf("invoke: %v", err)
	}
	return cold
}

func TestSecondCallIsWarm(t *testing.T) {
	how := scripted{start: 20 * time.Millisecond, init: 30 * time.Millisecond}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		begin := time.Now()
		if !call(t, p, v) {
			t.Error("the first call is not cold")
		}
		if took := time.Since(begin); took != 60*time.Millisecond {
			t.Errorf("cold call took %v, want 60ms", took)
		}
		begin = time.Now()
		if call(t, p, v) {
			t.Error("the second call is cold")
		}
		if took := time.Since(begin); took != 10*time.Millisecond {
			t.Errorf("warm call took %v, want 10ms", took)
		}
		if n := d.Starts(); n != 1 {
			t.Errorf("%d instances were started, want 1", n)
		}
	})
}

func TestIdleInstancesAreReusedNewestFirstAndReaped(t *testing.T) {
	how := scripted{}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { call(t, p, v) })
		}
		wg.Wait()
		synctest.Wait()
		if s := p.Stats(); s.Idle != 3 {
			t.Fatalf("%+v, want 3 idle", s)
		}
		// One of them stays in use; the other two starve.
		for range 20 {
			time.Sleep(5 * time.Second)
			call(t, p, v)
		}
		synctest.Wait()
		if s := p.Stats(); s.Idle != 1 {
			t.Errorf("%+v after a while of single calls, want 1 idle", s)
		}
		time.Sleep(2 * time.Minute)
		if s := p.Stats(); s.Instances != 0 {
			t.Errorf("%+v after two idle minutes, want none", s)
		}
		if n := d.Starts(); n != 3 {
			t.Errorf("%d starts, want 3", n)
		}
	})
}

func TestFreedInstanceServesWaiterBeforeColdOne(t *testing.T) {
	how := scripted{init: time.Second}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		// The second call of the pair finds the instance busy and asks for a cold
		// one, but the first is done long before that is up.
		var wg sync.WaitGroup
		begin := time.Now()
		for range 2 {
			wg.Go(func() { call(t, p, v) })
		}
		wg.Wait()
		if took := time.Since(begin); took != 20*time.Millisecond {
			t.Errorf("two calls took %v, want 20ms on one instance", took)
		}
	})
}

func TestSettlingInstanceIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		settle time.Duration
		starts int
	}{{time.Millisecond, 1}, {45 * time.Millisecond, 1}, {time.Second, 2}} {
		t.Run(c.settle.String(), func(t *testing.T) {
			how := scripted{init: 50 * time.Millisecond, settle: c.settle}
			inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
				v := version("f")
				call(t, p, v)
				call(t, p, v)
				if n := d.Starts(); n != c.starts {
					t.Errorf("%d starts, want %d", n, c.starts)
				}
			})
		})
	}
}

func TestRuntimeThatNeverComesBackIsEnded(t *testing.T) {
	how := scripted{settle: time.Hour}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(v.Timeout + time.Second)
		if n := d.Live(); n != 0 {
			t.Errorf("%d instances live after the function's timeout", n)
		}
	})
}

func TestChangedVersionIsNotServedByOldInstances(t *testing.T) {
	how := scripted{}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		renamed := *v
		renamed.RevisionID, renamed.State = "2", lambent.StateActive
		if call(t, p, &renamed) {
			t.Error("a change of state alone made an instance out of date")
		}
		changed := *v
		changed.Env = map[string]string{"A": "B"}
		if !call(t, p, &changed) {
			t.Error("an instance of the old configuration served the new one")
		}
		synctest.Wait()
		if n := d.Live(); n != 1 {
			t.Errorf("%d instances live, want the new one", n)
		}
	})
}

func TestRetireEndsIdleNowAndBusyAfterTheirCall(t *testing.T) {
	how := scripted{}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		l, err := p.Acquire(context.Background(), v)
		if err != nil {
			t.Fatal(err)
		}
		call(t, p, v)
		p.Retire(v.Namespace, v.Function, "")
		synctest.Wait()
		if n := d.Live(); n != 1 {
			t.Errorf("%d instances live, want the busy one", n)
		}
		if _, err := l.Invoke(context.Background(), sandbox.Event{}); err != nil {
			t.Errorf("the busy call failed: %v", err)
		}
		l.Release(time.Now().Add(time.Second))
		synctest.Wait()
		if n := d.Live(); n != 0 {
			t.Errorf("%d instances live after the busy call", n)
		}
	})
}

// The call that follows a Retire may be of the very same version: what was busy
// then is still not used again.
func TestRetiredInstanceStaysRetired(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		l, err := p.Acquire(context.Background(), v)
		if err != nil {
			t.Fatal(err)
		}
		p.Retire(v.Namespace, v.Function, "")
		call(t, p, v)
		l.Release(time.Now().Add(time.Second))
		synctest.Wait()
		if n := d.Live(); n != 1 {
			t.Errorf("%d instances live, want the new one alone", n)
		}
	})
}

func TestFailedInitReachesOneCallerEach(t *testing.T) {
	how := scripted{failInit: true}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				l, err := p.Acquire(context.Background(), version("f"))
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				if l.Failed() == nil {
					t.Error("the lease does not say that the start failed")
				}
				l.Release(time.Now())
			})
		}
		wg.Wait()
		synctest.Wait()
		if n := d.Live(); n != 0 {
			t.Errorf("%d failed instances live", n)
		}
	})
}

func TestFailedStartIsAnError(t *testing.T) {
	how := scripted{failStart: errors.New("no namespaces here")}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		if _, err := p.Acquire(context.Background(), version("f")); !errors.Is(err, how.failStart) {
			t.Errorf("acquire: %v, want the driver's error", err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	how := scripted{}
	inPool(t, how, func(o *Options) { o.MemoryMB = 256 }, func(t *testing.T, p *Pool, d *fake.Driver) {
		a, b, c := version("a"), version("b"), version("c")
		call(t, p, a)
		call(t, p, b)
		// Both are idle: the one that waited longest makes room.
		call(t, p, c)
		synctest.Wait()
		if call(t, p, b) {
			t.Error("b was evicted although a was idle for longer")
		}
		// All memory in use: a call waits for it, and is throttled in the end.
		l1, err1 := p.Acquire(context.Background(), b)
		l2, err2 := p.Acquire(context.Background(), c)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		begin := time.Now()
		_, err := p.Acquire(context.Background(), a)
		if lambent.CodeOf(err) != lambent.CodeThrottled || time.Since(begin) < 5*time.Second {
			t.Errorf("acquire without memory: %v after %v", err, time.Since(begin))
		}
		time.AfterFunc(time.Second, func() { l1.Release(time.Now().Add(time.Second)) })
		begin = time.Now()
		if !call(t, p, a) || time.Since(begin) > 1100*time.Millisecond {
			t.Errorf("the waiting call was not served when memory came free (%v)", time.Since(begin))
		}
		l2.Release(time.Now().Add(time.Second))
	})
}

func TestCallerThatGoesAwayLeavesTheInstanceToOthers(t *testing.T) {
	how := scripted{init: time.Second}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := p.Acquire(ctx, v); lambent.CodeOf(err) != lambent.CodeCanceled {
			t.Errorf("acquire: %v", err)
		}
		time.Sleep(2 * time.Second)
		if s := p.Stats(); s.Idle != 1 {
			t.Errorf("%+v, want the started instance idle", s)
		}
	})
}

// TestHammer lets many callers meet updates, retirements and a tight budget.
func TestHammer(t *testing.T) {
	how := scripted{start: time.Millisecond, init: 3 * time.Millisecond, settle: time.Millisecond}
	inPool(t, how, func(o *Options) { o.MemoryMB, o.MaxWait, o.Idle = 1024, time.Hour, 20*time.Millisecond }, func(t *testing.T, p *Pool, d *fake.Driver) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				for n := range 30 {
					v := version(fmt.Sprintf("f%d", i%5))
					v.Env = map[string]string{"ROUND": fmt.Sprint(n / 10)}
					l, err := p.Acquire(context.Background(), v)
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					_, err = l.Invoke(context.Background(), sandbox.Event{})
					l.Release(time.Now().Add(time.Second))
					if err != nil {
						t.Errorf("invoke: %v", err)
					}
					if n%7 == 0 {
						p.Retire(v.Namespace, v.Function, "")
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestInstancesThatDieAtOnce: a call meets none of them.
func TestInstancesThatDieAtOnce(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { call(t, p, v) })
		}
		wg.Wait()
		synctest.Wait()
		for _, i := range d.Instances() {
			i.Die(sandbox.Failure{Type: sandbox.OutOfMemory})
		}
		if !call(t, p, v) {
			t.Error("the call was not cold")
		}
		synctest.Wait()
		if s := p.Stats(); s.Idle != 1 || s.Instances != 1 {
			t.Errorf("%+v: one instance lives", s)
		}
	})
}

// TestStartThatIsPaidForIsWaitedFor: that there is no memory for the next call does not
// take the instance from one for which it is on its way.
func TestStartThatIsPaidForIsWaitedFor(t *testing.T) {
	small := func(o *Options) { o.MemoryMB = 128 }
	inPool(t, scripted{init: 8 * time.Second}, small, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		first := make(chan error, 1)
		go func() {
			l, err := p.Acquire(context.Background(), v)
			if err == nil {
				time.Sleep(time.Minute)
				l.Release(time.Now())
			}
			first <- err
		}() // waited for below
		time.Sleep(time.Second)
		if l, err := p.Acquire(context.Background(), v); lambent.CodeOf(err) != lambent.CodeThrottled {
			t.Errorf("the second call: %v", err)
			if err == nil {
				l.Release(time.Now())
			}
		}
		if err := <-first; err != nil {
			t.Errorf("the first call: %v", err)
		}
	})
}
