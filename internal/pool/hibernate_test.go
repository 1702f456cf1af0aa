package pool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// asleep is a pool whose instances hibernate after 20 seconds, for an hour.
func asleep(o *Options) {
	o.Hibernation = Hibernation{Init: 500 * time.Millisecond, After: 20 * time.Second, Keep: time.Hour, MemoryMB: 100, Count: 10}
}

// dear instances take a second to start and hold 30 MB when frozen.
func dear() scripted {
	return scripted{init: time.Second, sleepy: true, freeze: 2 * time.Millisecond, thaw: 3 * time.Millisecond, heldMB: 30}
}

func TestDearInstanceHibernatesAndWakes(t *testing.T) {
	inPool(t, dear(), asleep, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(30 * time.Second)
		if s := p.Stats(); s.Frozen != 1 || s.Idle != 0 || s.FrozenMB != 30 || s.MemoryMB != 30 {
			t.Fatalf("%+v, want one frozen with 30 MB", s)
		}
		time.Sleep(50 * time.Minute)
		begin := time.Now()
		l, err := p.Acquire(context.Background(), v)
		if err != nil {
			t.Fatal(err)
		}
		if _, cold := l.Cold(); cold || l.Thaw() != 3*time.Millisecond || time.Since(begin) != 3*time.Millisecond {
			t.Errorf("cold %v, thaw %v, after %v", cold, l.Thaw(), time.Since(begin))
		}
		if _, err := l.Invoke(context.Background(), sandbox.Event{}); err != nil {
			t.Error(err)
		}
		l.Release(time.Now().Add(time.Second))
		synctest.Wait()
		if s := p.Stats(); s.Frozen != 0 || s.Idle != 1 || s.FrozenMB != 0 || s.MemoryMB != 128 {
			t.Errorf("%+v after it woke", s)
		}
		if l, err = p.Acquire(context.Background(), v); err != nil || l.Thaw() != 0 {
			t.Errorf("the next call: %v, thaw %v", err, l.Thaw())
		}
		l.Release(time.Now().Add(time.Second))
		// It sleeps again, and is given up in the end.
		time.Sleep(time.Hour + time.Minute)
		if s := p.Stats(); s.Instances != 0 || d.Starts() != 1 {
			t.Errorf("%+v after an hour's sleep, %d starts", s, d.Starts())
		}
	})
}

func TestCheapInstancesDoNotHibernate(t *testing.T) {
	cheap := dear()
	cheap.init = 100 * time.Millisecond
	unable := dear()
	unable.sleepy = false
	broken := dear()
	broken.failFreeze = errors.New("no freezer")
	for name, how := range map[string]scripted{"cheap": cheap, "unable": unable, "broken": broken} {
		t.Run(name, func(t *testing.T) {
			inPool(t, how, asleep, func(t *testing.T, p *Pool, _ *fake.Driver) {
				call(t, p, version("f"))
				time.Sleep(30 * time.Second)
				if s := p.Stats(); name != "broken" && s.Idle != 1 {
					t.Errorf("%+v, want one idle as long as others are", s)
				}
				time.Sleep(2 * time.Minute)
				if s := p.Stats(); s.Instances != 0 {
					t.Errorf("%+v, want none", s)
				}
			})
		})
	}
}

func TestFrozenInstancesAreBoundedAndGoFirst(t *testing.T) {
	inPool(t, dear(), func(o *Options) {
		asleep(o)
		o.MemoryMB = 4 * 128
	}, func(t *testing.T, p *Pool, _ *fake.Driver) {
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			call(t, p, version(name))
			time.Sleep(30 * time.Second)
		}
		if s := p.Stats(); s.Frozen != 3 || s.FrozenMB != 90 {
			t.Fatalf("%+v, want three frozen: the fourth is beyond 100 MB", s)
		}
		// 90 MB are frozen; three busy instances leave 128 less 90: the longest
		// frozen go, and nobody waits.
		var leases []*Lease
		for range 4 {
			l, err := p.Acquire(context.Background(), version("x"))
			if err != nil {
				t.Fatal(err)
			}
			leases = append(leases, l)
		}
		if s := p.Stats(); s.Frozen != 0 || s.Busy != 4 || s.MemoryMB != 512 {
			t.Errorf("%+v, want four busy", s)
		}
		for _, l := range leases {
			l.Release(time.Now().Add(time.Second))
		}
	})
}

func TestDeadWhileFrozen(t *testing.T) {
	inPool(t, dear(), asleep, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(30 * time.Second)
		d.Instances()[0].Die(sandbox.Failure{Type: "Runtime.ExitError"})
		// Before anyone notices, a call comes: it gets a new one.
		if !call(t, p, v) {
			t.Error("the call is not cold")
		}
		time.Sleep(30 * time.Second)
		d.Instances()[0].Die(sandbox.Failure{Type: "Runtime.ExitError"})
		time.Sleep(2 * time.Second)
		if s := p.Stats(); s.Instances != 0 || s.FrozenMB != 0 {
			t.Errorf("%+v, want the dead one noticed", s)
		}
	})
}

func TestThawThatFails(t *testing.T) {
	how := dear()
	how.failThaw = errors.New("stuck")
	inPool(t, how, asleep, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(30 * time.Second)
		begin := time.Now()
		if !call(t, p, v) || d.Starts() != 2 || time.Since(begin) > 1100*time.Millisecond {
			t.Errorf("the call did not get an instance of its own: %d starts, %v", d.Starts(), time.Since(begin))
		}
	})
}

func TestCallWhileInstanceIsBeingFrozen(t *testing.T) {
	how := dear()
	how.freeze = 5 * time.Second
	inPool(t, how, asleep, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(21 * time.Second)
		if s := p.Stats(); s.Frozen != 1 || s.Idle != 0 {
			t.Fatalf("%+v, want one on its way", s)
		}
		begin := time.Now()
		if !call(t, p, v) || time.Since(begin) > 1100*time.Millisecond {
			t.Errorf("the call took %v", time.Since(begin))
		}
		// An update while it is on its way ends both.
		p.Retire(v.Namespace, v.Function, "")
		time.Sleep(10 * time.Second)
		if n := d.Live(); n != 0 {
			t.Errorf("%d live after the update", n)
		}
	})
}

func TestManyWakeAtOnce(t *testing.T) {
	inPool(t, dear(), func(o *Options) {
		asleep(o)
		o.Hibernation.MemoryMB = 1000
	}, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		all := func() {
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() { call(t, p, v) })
			}
			wg.Wait()
		}
		all()
		time.Sleep(30 * time.Second)
		if s := p.Stats(); s.Frozen != 5 {
			t.Fatalf("%+v, want 5 frozen", s)
		}
		begin := time.Now()
		all()
		synctest.Wait()
		if took := time.Since(begin); took != 13*time.Millisecond || d.Starts() != 5 {
			t.Errorf("five calls took %v and %d starts", took, d.Starts())
		}
		time.Sleep(30 * time.Second)
		// Close ends what is frozen.
	})
}

// TestFrozenOneIsNotWaitedForLong: an instance settles, another one sleeps.
func TestFrozenOneIsNotWaitedForLong(t *testing.T) {
	how := dear()
	how.settle = time.Minute
	inPool(t, how, func(o *Options) {
		asleep(o)
		o.Hibernation.After = 2 * time.Minute
		o.Idle = 3 * time.Minute
	}, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		v.Timeout = 2 * time.Minute
		p.Target(v, Target{Minimum: 2})
		time.Sleep(3 * time.Second)
		p.Target(v, Target{})
		time.Sleep(110 * time.Second)
		call(t, p, v) // before both are frozen: one of them settles
		time.Sleep(20 * time.Second)
		if s := p.Stats(); s.Frozen != 1 || s.Busy != 1 {
			t.Fatalf("%+v, want one frozen and one that settles", s)
		}
		begin := time.Now()
		if call(t, p, v); time.Since(begin) != minGrace+13*time.Millisecond {
			t.Errorf("the call took %v", time.Since(begin))
		}
	})
}

func TestWarmWakes(t *testing.T) {
	inPool(t, dear(), asleep, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		call(t, p, v)
		time.Sleep(30 * time.Second)
		if !p.Warm(v, "test") {
			t.Fatal("not woken")
		}
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		if s := p.Stats(); s.Idle != 1 || s.Frozen != 0 || d.Starts() != 1 {
			t.Errorf("%+v, %d starts", s, d.Starts())
		}
	})
}
