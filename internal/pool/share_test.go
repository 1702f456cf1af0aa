package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// application is a version whose instances take n requests at once.
func application(n int) *lambent.Version {
	v := version("app")
	v.App = &lambent.App{Port: 8080, StartTimeout: 5 * time.Second, Concurrency: n}
	return v
}

func acquire(t *testing.T, p *Pool, v *lambent.Version) *Lease {
	t.Helper()
	l, err := p.Acquire(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRequestsShareAnInstance(t *testing.T) {
	inPool(t, scripted{init: 100 * time.Millisecond}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(3)
		var leases []*Lease
		for range 3 {
			leases = append(leases, acquire(t, p, v))
		}
		if s := p.Stats(); s.Instances != 1 || s.Busy != 1 || d.Starts() != 1 {
			t.Fatalf("three requests have %+v", s)
		}
		leases = append(leases, acquire(t, p, v))
		if s := p.Stats(); s.Instances != 2 || s.Busy != 2 {
			t.Fatalf("the fourth has %+v", s)
		}
		// The second instance has one request and room for two: it is the one with
		// the fewest.
		next := acquire(t, p, v)
		if next.ID() != leases[3].ID() {
			t.Error("a request went to the fuller instance")
		}
		for _, l := range append(leases, next) {
			l.Release(time.Time{})
			l.Release(time.Time{}) // counts once
		}
		if s := p.Stats(); s.Idle != 2 || s.Busy != 0 {
			t.Errorf("in the end there are %+v", s)
		}
	})
}

// TestWaitersShareAStart has many requests find nothing: as few instances as can
// take them all are started.
func TestWaitersShareAStart(t *testing.T) {
	inPool(t, scripted{init: 100 * time.Millisecond}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(10)
		var wg sync.WaitGroup
		for range 25 {
			wg.Go(func() {
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(10 * time.Millisecond)
				l.Release(time.Time{})
			})
		}
		wg.Wait()
		if n := d.Starts(); n != 3 {
			t.Errorf("25 requests started %d instances for ten each", n)
		}
	})
}

// TestFailedStartIsShared tells everybody who waited, once.
func TestFailedStartIsShared(t *testing.T) {
	inPool(t, scripted{init: 100 * time.Millisecond, failInit: true}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(10)
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Error(err)
					return
				}
				if l.Failed() == nil {
					t.Error("a lease on an instance that failed to start does not say so")
				}
				l.Release(time.Time{})
			})
		}
		wg.Wait()
		if took := time.Since(began); d.Starts() != 1 || took > 150*time.Millisecond {
			t.Errorf("%d starts, %v", d.Starts(), took)
		}
		if s := p.Stats(); s.Instances != 0 || s.MemoryMB != 0 {
			t.Errorf("in the end there are %+v", s)
		}
	})
}

// TestDeathOfASharedInstance ends an instance under its requests.
func TestDeathOfASharedInstance(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(5)
		a, b := acquire(t, p, v), acquire(t, p, v)
		d.Instances()[0].Die(sandbox.Failure{Type: "Runtime.ExitError"})
		c := acquire(t, p, v)
		if c.ID() == a.ID() {
			t.Error("a request went to a dead instance")
		}
		for _, l := range []*Lease{a, b, c} {
			l.Release(time.Time{})
		}
		if s := p.Stats(); s.Instances != 1 || s.Idle != 1 || s.MemoryMB != 128 {
			t.Errorf("in the end there are %+v", s)
		}
	})
}

// TestUpdateDrains lets the requests of an old version end, and gives its
// instance no new ones.
func TestUpdateDrains(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(5)
		stream := acquire(t, p, v)
		next := *v
		next.MemoryMB = 256
		l := acquire(t, p, &next)
		if l.ID() == stream.ID() {
			t.Error("a request went to an instance of the old configuration")
		}
		l.Release(time.Time{})
		if n := d.Live(); n != 2 {
			t.Errorf("%d instances while the old one has a stream", n)
		}
		stream.Release(time.Time{})
		time.Sleep(time.Second)
		if s := p.Stats(); s.Instances != 1 || s.Idle != 1 || s.MemoryMB != 256 {
			t.Errorf("in the end there are %+v", s)
		}
	})
}

// TestStreamHoldsItsInstance past any idle time; afterwards it goes.
func TestStreamHoldsItsInstance(t *testing.T) {
	run := func(o *Options) { o.Idle = time.Second }
	inPool(t, scripted{}, run, func(t *testing.T, p *Pool, _ *fake.Driver) {
		l := acquire(t, p, application(5))
		time.Sleep(time.Hour)
		if s := p.Stats(); s.Busy != 1 {
			t.Errorf("with a stream open there are %+v", s)
		}
		l.Release(time.Time{})
		time.Sleep(5 * time.Second)
		if s := p.Stats(); s.Instances != 0 {
			t.Errorf("long after it there are %+v", s)
		}
	})
}

// TestSharingAtRandom has callers come and go while instances die; in the end
// everything is accounted for.
func TestSharingAtRandom(t *testing.T) {
	inPool(t, scripted{init: 20 * time.Millisecond}, func(o *Options) { o.MemoryMB = 512 }, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(4)
		var wg sync.WaitGroup
		for i := range 40 {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			wg.Go(func() {
				for range 50 {
					time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+r.IntN(60))*time.Millisecond)
					if l, err := p.Acquire(ctx, v); err == nil {
						time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
						if r.IntN(100) == 0 {
							for _, i := range d.Instances() {
								i.Die(sandbox.Failure{Type: "Runtime.ExitError"})
							}
						}
						l.Release(time.Time{})
					}
					cancel()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		s := p.Stats()
		if s.Busy != 0 || s.Waiting != 0 || s.Starting != 0 || s.Idle != s.Instances || s.MemoryMB != 128*s.Instances {
			t.Errorf("in the end there are %+v", s)
		}
	})
}
