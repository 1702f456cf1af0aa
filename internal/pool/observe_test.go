package pool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// hold acquires n leases.
func hold(t *testing.T, p *Pool, v *lambent.Version, n int) []*Lease {
	t.Helper()
	var all []*Lease
	for range n {
		l, err := p.Acquire(context.Background(), v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func TestManagedInstancesFollowTheLoad(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := application(4)
		p.Target(v, Target{Managed: true, Scaled: 3})
		time.Sleep(3 * time.Second)
		see := func(what string, ready, busy, surplus int) {
			t.Helper()
			synctest.Wait()
			if o, _ := p.Observe(KeyOf(v)); o.Ready != ready || o.Busy != busy || o.Surplus != surplus {
				t.Errorf("%s: %+v, want %d ready, %d busy, %d surplus", what, o, ready, busy, surplus)
			}
		}
		see("three are wanted", 3, 0, 0)
		leases := hold(t, p, v, 3)
		see("calls are spread", 3, 3, 0)
		p.Target(v, Target{Managed: true, Scaled: 1})
		see("one is wanted", 3, 3, 2)
		more := hold(t, p, v, 3)
		for _, l := range leases {
			l.Release(time.Time{})
		}
		time.Sleep(2 * time.Second)
		see("what was too much is gone", 1, 1, 0)
		for _, l := range more {
			l.Release(time.Time{})
		}
		time.Sleep(time.Hour)
		see("what is wanted is kept", 1, 0, 0)
		p.Target(v, Target{Managed: true})
		time.Sleep(2 * time.Second)
		if o, ok := p.Observe(KeyOf(v)); ok && o.Ready > 0 {
			t.Errorf("%+v, want none", o)
		}
	})
}

func TestMostHolds(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(4)
		p.Target(v, Target{Managed: true, Scaled: 1, Most: 1})
		time.Sleep(2 * time.Second)
		leases := hold(t, p, v, 4)
		began := time.Now()
		if _, err := p.Acquire(context.Background(), v); lambent.CodeOf(err) != lambent.CodeThrottled {
			t.Errorf("the fifth request gets %v", err)
		}
		if waited := time.Since(began); waited < 5*time.Second || d.Starts() != 1 {
			t.Errorf("after %v, with %d starts", waited, d.Starts())
		}
		got := make(chan error)
		go func() {
			l, err := p.Acquire(context.Background(), v)
			if err == nil {
				l.Release(time.Time{})
			}
			got <- err
		}()
		synctest.Wait()
		leases[0].Release(time.Time{})
		if err := <-got; err != nil {
			t.Errorf("one that waits for room gets %v", err)
		}
		for _, l := range leases[1:] {
			l.Release(time.Time{})
		}
	})
}

func TestNoGuessBeyondMost(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		l := acquire(t, p, v)
		p.Target(v, Target{Likely: 2, Most: 1})
		if p.Warm(v, ReasonTimer) {
			t.Error("a second one is on its way, by a guess")
		}
		synctest.Wait()
		if d.Starts() != 1 {
			t.Errorf("%d starts, want 1", d.Starts())
		}
		p.Target(v, Target{Minimum: 2, Most: 1})
		synctest.Wait()
		if d.Starts() != 2 {
			t.Errorf("%d starts, want the two that are asked for by name", d.Starts())
		}
		l.Release(time.Now().Add(time.Second))
	})
}

// TestMostHoldsFromTheFirstCallOn has many calls come before anybody has told the pool
// what the settings say.
func TestMostHoldsFromTheFirstCallOn(t *testing.T) {
	most := 2
	change := func(o *Options) { o.Most = func(*lambent.Version) int { return most } }
	inPool(t, scripted{}, change, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		callAll := func() {
			leases := make(chan *Lease)
			for range 6 {
				go func() { leases <- acquire(t, p, v) }()
			}
			synctest.Wait()
			for range 6 {
				(<-leases).Release(time.Now().Add(time.Second))
			}
		}
		callAll()
		if d.Starts() != 2 {
			t.Errorf("%d starts, want 2", d.Starts())
		}
		most = 3
		callAll()
		if d.Starts() != 3 {
			t.Errorf("%d starts, want 3 once the settings allow them", d.Starts())
		}
	})
}

func TestDrainingIsSeen(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		old := acquire(t, p, v)
		changed := *v
		changed.MemoryMB *= 2
		l := acquire(t, p, &changed)
		if o, _ := p.Observe(KeyOf(v)); o.Draining != 1 || o.Busy != 2 {
			t.Errorf("%+v, want one of two to drain", o)
		}
		old.Release(time.Now().Add(time.Second))
		l.Release(time.Now().Add(time.Second))
		synctest.Wait()
		if o, _ := p.Observe(KeyOf(v)); o.Draining != 0 || o.Ready != 1 {
			t.Errorf("%+v, want the new one alone", o)
		}
	})
}
