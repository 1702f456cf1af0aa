package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// served calls v as the spine does, reading what it has used, and keeps the
// instance for that long.
func served(t *testing.T, p *Pool, v *lambent.Version, stay time.Duration) {
	t.Helper()
	l, err := p.Acquire(context.Background(), v)
	if err != nil {
		t.Errorf("acquire: %v", err)
		return
	}
	time.Sleep(stay)
	l.MaxMemoryMB(memoryFresh)
	l.Release(time.Now().Add(time.Second))
}

// holding makes instances that hold 10 MB.
func holding(o *Options) {
	o.MemoryMB = 256
	o.Driver = sandbox.Guard(fake.New(fake.Script{Start: func(context.Context, sandbox.Spec) error {
		time.Sleep(time.Millisecond)
		return nil
	}, Init: func(_ context.Context, i *fake.Instance) error {
		i.SetUsage(sandbox.Usage{MaxMemoryBytes: 10 << 20})
		return nil
	}}))
}

func TestIdleInstancesCountWithWhatTheyHold(t *testing.T) {
	inPool(t, scripted{}, holding, func(t *testing.T, p *Pool, _ *fake.Driver) {
		for i := range 11 { // 12 MB each, and one at a time is started with 128
			served(t, p, version(fmt.Sprint("f", i)), 0)
		}
		if s := p.Stats(); s.Idle != 11 || s.MemoryMB != 11*12 {
			t.Fatalf("%+v, want 11 idle instances of 12 MB", s)
		}
		// Two calls at the same time take all there is: the idle ones make room.
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { served(t, p, version(fmt.Sprint("f", i)), time.Second) })
		}
		synctest.Wait()
		if s := p.Stats(); s.Busy != 2 || s.MemoryMB > 256 {
			t.Errorf("%+v, want two busy instances within 256 MB", s)
		}
		// A third waits until one of them is free.
		begin := time.Now()
		served(t, p, version("f2"), 0)
		if waited := time.Since(begin); waited < time.Second || waited > 1100*time.Millisecond {
			t.Errorf("the third call waited %v", waited)
		}
		wg.Wait()
	})
}

// An idle instance that may not serve for want of memory serves as soon as there
// is some, before a new one is started.
func TestIdleInstanceThatWaitsForMemory(t *testing.T) {
	inPool(t, scripted{}, holding, func(t *testing.T, p *Pool, _ *fake.Driver) {
		idle := version("idle")
		served(t, p, idle, 0)
		p.Target(idle, Target{Likely: 1}) // nothing is evicted for it, and it may be evicted
		for _, name := range []string{"a", "b"} {
			go served(t, p, version(name), time.Second)
		}
		synctest.Wait()
		begin := time.Now()
		served(t, p, idle, 0)
		if waited := time.Since(begin); waited < 900*time.Millisecond || waited > 1100*time.Millisecond {
			t.Errorf("the call waited %v", waited)
		}
		time.Sleep(time.Second)
	})
}

func TestProvisionedInstancesKeepTheirMemory(t *testing.T) {
	inPool(t, scripted{}, holding, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		p.Target(v, Target{Provisioned: 1})
		time.Sleep(time.Second)
		served(t, p, v, 0)
		if s := p.Stats(); s.Idle != 1 || s.MemoryMB != 128 {
			t.Errorf("%+v, want an instance that counts with all of its size", s)
		}
	})
}

// Of two idle instances the one goes that is cheap to start again and seldom
// called, whichever was used last.
func TestEvictionTakesWhatIsCheapestToBringBack(t *testing.T) {
	slow := time.Second
	start := func(_ context.Context, s sandbox.Spec) error {
		if s.Version.Function == "dear" {
			time.Sleep(slow)
		} else {
			time.Sleep(time.Millisecond)
		}
		return nil
	}
	inPool(t, scripted{}, func(o *Options) {
		o.MemoryMB = 256
		o.Driver = sandbox.Guard(fake.New(fake.Script{Start: start}))
	}, func(t *testing.T, p *Pool, _ *fake.Driver) {
		call(t, p, version("dear"))
		call(t, p, version("cheap"))
		synctest.Wait()
		call(t, p, version("other"))
		synctest.Wait()
		if call(t, p, version("dear")) {
			t.Error("the instance that takes a second to start was evicted")
		}
		// What is not called any more falls behind in the end.
		for range 3000 {
			call(t, p, version("cheap"))
			synctest.Wait()
			call(t, p, version("other"))
			synctest.Wait()
		}
		if !call(t, p, version("dear")) {
			t.Error("an instance that nobody calls was kept for ever")
		}
	})
}

func TestStartsHaveARate(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.Starts = 10 }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		began := time.Now()
		var took []time.Duration
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 13 { // ten at once, then one each second
			wg.Go(func() {
				served(t, p, version("f"), time.Minute)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began)-time.Minute)
			})
		}
		wg.Wait()
		slices.Sort(took)
		for i, want := range []time.Duration{9: 0, 10: time.Second, 11: 2 * time.Second, 12: 3 * time.Second} {
			if took[i] < want || took[i] > want+50*time.Millisecond {
				t.Errorf("call %d started after %v, want %v", i, took[i], want)
			}
		}
	})
}

func TestRateWithAClockThatJumps(t *testing.T) {
	r := startRate{per10s: 10}
	now := time.Unix(1e9, 0)
	use := func() (n int) {
		for r.wait(now) == 0 && n < 100 {
			r.left--
			n++
		}
		return n
	}
	if n := use(); n != 10 {
		t.Errorf("%d starts at first, want 10", n)
	}
	now = now.Add(-time.Hour)
	if n := use(); n != 0 {
		t.Errorf("%d starts by a clock that was set back", n)
	}
	now = now.Add(2 * time.Second)
	if n := use(); n != 2 {
		t.Errorf("%d starts 2 s later, want 2", n)
	}
	now = now.Add(1000 * time.Hour)
	if n := use(); n != 10 {
		t.Errorf("%d starts after a jump ahead, want 10", n)
	}
}

// One namespace has taken all memory and has more calls waiting: what is freed
// goes to the other, one by one.
func TestFreedMemoryGoesToWhoHasLeast(t *testing.T) {
	inPool(t, scripted{}, func(o *Options) { o.MemoryMB = 4 * 128 }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		ask := func(namespace, name string) {
			v := version(name)
			v.Namespace = namespace
			wg.Go(func() {
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				mu.Lock()
				order = append(order, namespace)
				mu.Unlock()
				time.Sleep(time.Second)
				l.Release(time.Now().Add(time.Second))
			})
			synctest.Wait()
		}
		for i := range 8 {
			ask("111111111111", fmt.Sprint("f", i))
		}
		ask("222222222222", "f")
		ask("222222222222", "g")
		wg.Wait()
		// All of the first four end at the same time.
		if second := order[4:8]; count(second, "222222222222") != 2 {
			t.Errorf("served in the order %v", order)
		}
	})
}

// One function keeps all memory busy, with more of its calls waiting. Another one's calls
// get their part of it as calls end, large instances too, and a function that calls often
// keeps its instance.
func TestQueueOfOneFunctionKeepsNobodyElseOut(t *testing.T) {
	for name, c := range map[string]struct{ memory, most int }{"small": {128, 12}, "large": {512, 100}} {
		t.Run(name, func(t *testing.T) {
			var starts atomic.Int32
			inPool(t, scripted{}, func(o *Options) {
				holding(o)
				o.MemoryMB, o.NewID = 16*128, func() string { return fmt.Sprintf("%032x", starts.Add(1)) }
			}, func(t *testing.T, p *Pool, _ *fake.Driver) {
				ctx, stop := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				for range 60 {
					wg.Go(func() {
						for ctx.Err() == nil {
							served(t, p, version("flood"), 200*time.Millisecond)
						}
					})
				}
				time.Sleep(time.Second)
				before := starts.Load()
				v := version("other")
				v.MemoryMB = c.memory
				for i := range 20 {
					began := time.Now()
					served(t, p, v, 20*time.Millisecond)
					if took := time.Since(began); took > 500*time.Millisecond {
						t.Errorf("call %d took %v", i, took)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := p.Stats(); n.MemoryMB > 16*128 {
					t.Errorf("%+v", n)
				}
				if n := starts.Load() - before; int(n) > c.most {
					t.Errorf("%d instances were started for 20 calls", n)
				}
				stop()
				wg.Wait()
			})
		})
	}
}

func count(all []string, what string) (n int) {
	for _, s := range all {
		if s == what {
			n++
		}
	}
	return n
}

// A function whose starts all fail is not started as fast as it is called, and
// every call still learns how it failed.
func TestStartsThatAlwaysFailArePaced(t *testing.T) {
	inPool(t, scripted{init: time.Millisecond, failInit: true}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		told, calls := 0, 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			calls++
			wg.Go(func() {
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				if l.Failed() != nil {
					mu.Lock()
					told++
					mu.Unlock()
				}
				l.MaxMemoryMB(memoryFresh)
				l.Release(time.Now())
			})
		}
		if n, _, hold := p.Trouble(KeyOf(v)); n < fewFailures || hold.IsZero() {
			t.Errorf("%d failures, held until %v", n, hold)
		}
		wg.Wait()
		if told != calls {
			t.Errorf("%d of %d calls were told of the failure", told, calls)
		}
		if n := d.Starts(); n > 40 {
			t.Errorf("%d starts in a minute", n)
		}
	})
}

func TestTroubleIsForgottenWithTheFirstGoodStart(t *testing.T) {
	broken := true
	how := scripted{onStart: func(sandbox.Spec) error {
		if broken {
			return errors.New("no cgroup")
		}
		return nil
	}}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		for range 5 {
			if _, err := p.Acquire(context.Background(), v); err == nil {
				t.Fatal("a start that fails is not an error")
			}
		}
		broken = false
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { served(t, p, v, time.Second) })
		}
		wg.Wait()
		if n, _, _ := p.Trouble(KeyOf(v)); n != 0 {
			t.Errorf("%d failures are still remembered", n)
		}
		if s := p.Stats(); s.Idle < 10 {
			t.Errorf("%+v: calls at the same time were served one after the other", s)
		}
	})
}

// The host has room for one instance; another one has to wait until it has more.
func TestFullHostStartsNothing(t *testing.T) {
	for short, host := range map[string]func(left, live int) Host{
		"memory": func(left, live int) Host { return Host{MB: left - 128*live, MBText: "short of memory", Tasks: 1000} },
		"tasks": func(left, live int) Host {
			return Host{MB: 1e6, Tasks: left/8 - StartTasks*live, TasksText: "short of tasks"}
		},
	} {
		t.Run(short, func(t *testing.T) { testFullHost(t, "short of "+short, host) })
	}
}

func testFullHost(t *testing.T, short string, left func(left, live int) Host) {
	var room atomic.Int64
	room.Store(200)
	var host *fake.Driver
	inPool(t, scripted{}, func(o *Options) {
		host = fake.New(fake.Script{})
		o.Driver = sandbox.Guard(host)
		o.Headroom = func() Host { return left(int(room.Load()), host.Live()) }
	}, func(t *testing.T, p *Pool, _ *fake.Driver) {
		time.Sleep(time.Second)
		go served(t, p, version("a"), time.Minute)
		synctest.Wait()
		began := time.Now()
		if _, err := p.Acquire(context.Background(), version("b")); lambent.CodeOf(err) != lambent.CodeThrottled || host.Starts() != 1 {
			t.Fatalf("%v, %d starts", err, host.Starts())
		}
		if waited := time.Since(began); waited < 5*time.Second {
			t.Errorf("refused after %v, want it to wait for it", waited)
		}
		for k, o := range p.Observed() {
			if want := map[string]string{"b": short}[k.Function]; o.Held.Why != want || (o.Held.Times == 1) != (want != "") {
				t.Errorf("%s: held up are %+v, want %q", k.Function, o.Held, want)
			}
		}
		time.AfterFunc(2*time.Second, func() { room.Store(1000) })
		began = time.Now()
		served(t, p, version("c"), 0)
		if waited := time.Since(began); waited < 2*time.Second || waited > 3100*time.Millisecond {
			t.Errorf("the call waited %v, the host had room after 2 s", waited)
		}
		time.Sleep(time.Hour)
		// Why it was refused is known as long as there is the function.
		if o, there := p.Observe(KeyOf(version("b"))); there || o.Held.Why != short || o.Held.Times != 1 {
			t.Errorf("an hour later: %v %+v", there, o.Held)
		}
		p.Retire(version("b").Namespace, "b", "")
		if o, _ := p.Observe(KeyOf(version("b"))); o.Held.Times != 0 {
			t.Errorf("deleted: %+v", o.Held)
		}
	})
}

// lingering has instances that take two seconds to end.
type lingering struct{ sandbox.Driver }

type lingerer struct{ sandbox.Instance }

func (d lingering) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	i, err := d.Driver.Start(ctx, spec)
	return lingerer{i}, err
}

func (lingerer) Lingers() bool { return true }

func (l lingerer) Stop(ctx context.Context) error {
	time.Sleep(2 * time.Second)
	return l.Instance.Stop(ctx)
}

// What lingers keeps its memory until it is gone: who needs it waits for that, and does
// not have others evicted meanwhile.
func TestLingeringInstanceKeepsItsMemory(t *testing.T) {
	linger := func(o *Options) {
		o.MemoryMB = 256
		o.Driver = lingering{sandbox.Guard(fake.New(fake.Script{Init: func(_ context.Context, i *fake.Instance) error {
			i.SetUsage(sandbox.Usage{MaxMemoryBytes: 128 << 20})
			return nil
		}}))}
	}
	inPool(t, scripted{}, linger, func(t *testing.T, p *Pool, _ *fake.Driver) {
		served(t, p, version("f0"), 0)
		served(t, p, version("f1"), 0)
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			if s := p.Stats(); s.MemoryMB != 256 || s.Instances != 2 || s.Idle != 1 {
				t.Errorf("%+v while one lingers, want 256 MB, one idle", s)
			}
		}()
		served(t, p, version("f2"), 0)
		if waited := time.Since(begin); waited < 2*time.Second || waited > 2100*time.Millisecond {
			t.Errorf("the call waited %v", waited)
		}
		if s := p.Stats(); s.MemoryMB != 256 || s.Idle != 2 {
			t.Errorf("%+v, want two idle instances", s)
		}
	})
}
