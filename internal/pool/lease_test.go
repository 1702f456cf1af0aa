package pool

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// TestMemoryIsLookedAtAsTheInstanceRuns: an instance's memory is asked for at its
// first call and then as often as it may have changed.
func TestMemoryIsLookedAtAsTheInstanceRuns(t *testing.T) {
	var holds *fake.Instance
	keep := func(o *Options) {
		o.Driver = sandbox.Guard(fake.New(fake.Script{Init: func(_ context.Context, i *fake.Instance) error {
			holds = i
			i.SetUsage(sandbox.Usage{MaxMemoryBytes: 10 << 20})
			return nil
		}}))
	}
	inPool(t, scripted{}, keep, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		call := func(took time.Duration, ended string, want int) {
			t.Helper()
			l, err := p.Acquire(context.Background(), v)
			if err != nil {
				t.Fatal(err)
			}
			l.ended = ended
			if got := l.MaxMemoryMB(took); got != want {
				t.Errorf("after a call of %v: %d MB, want %d", took, got, want)
			}
			l.ended = ""
			l.Release(time.Now().Add(time.Second))
		}
		call(time.Millisecond, "", 10)
		holds.SetUsage(sandbox.Usage{MaxMemoryBytes: 20<<20 + 1})
		call(time.Millisecond, "", 10)
		call(2*time.Millisecond, "", 10)
		call(time.Millisecond, "", 21)
		holds.SetUsage(sandbox.Usage{MaxMemoryBytes: 30 << 20})
		call(time.Millisecond, "Runtime.ExitError", 30)
		holds.SetUsage(sandbox.Usage{MaxMemoryBytes: 40 << 20})
		call(time.Second, "", 40)
	})
}

// TestOverdueIsEnded: an instance whose runtime is not back when the time of its call
// is over is ended then, not later, and one that is back goes on.
func TestOverdueIsEnded(t *testing.T) {
	inPool(t, scripted{settle: 3 * time.Second}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		var leases []*Lease
		for range 3 {
			l, err := p.Acquire(context.Background(), v)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Invoke(context.Background(), sandbox.Event{}); err != nil {
				t.Fatal(err)
			}
			leases = append(leases, l)
		}
		now := time.Now()
		for i, left := range []time.Duration{4 * time.Second, time.Second, 2 * time.Second} {
			leases[i].Release(now.Add(left))
		}
		for _, want := range []int{3, 2, 1, 1} {
			time.Sleep(900 * time.Millisecond)
			if n := d.Live(); n != want {
				t.Errorf("%v after the answers %d instances live, want %d", time.Since(now), n, want)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s := p.Stats(); s.Idle != 1 || s.Busy != 0 {
			t.Errorf("in the end %+v", s)
		}
	})
}

// TestCloseEndsWhatIsNotBack: the end of the server does not wait for runtimes that
// are busy after their answer longer than it waits for calls.
func TestCloseEndsWhatIsNotBack(t *testing.T) {
	inPool(t, scripted{settle: time.Minute}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		l, err := p.Acquire(context.Background(), version("f"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Invoke(context.Background(), sandbox.Event{}); err != nil {
			t.Fatal(err)
		}
		l.Release(time.Now().Add(time.Hour))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Instances != 0 || s.Busy != 0 {
			t.Errorf("after Close %+v", s)
		}
	})
}

// TestAfter: what waits for the end of an invocation is called once, when the instance
// is ready again or before it is ended, and before another call has it.
func TestAfter(t *testing.T) {
	for name, c := range map[string]struct {
		settle, limit time.Duration
		end           func(*fake.Instance) // a while after the answer
		want          time.Duration        // after the answer
	}{
		"at once":  {0, 5 * time.Second, nil, 0},
		"later":    {2 * time.Second, 5 * time.Second, nil, 2 * time.Second},
		"too late": {9 * time.Second, 5 * time.Second, nil, 5 * time.Second},
		"crashed": {9 * time.Second, 5 * time.Second, func(i *fake.Instance) {
			i.Die(sandbox.Failure{Type: "Extension.Crash"})
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, scripted{settle: c.settle}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
				l, err := p.Acquire(context.Background(), version("f"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := l.Invoke(context.Background(), sandbox.Event{}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // without a settle it is ready
				first := d.Instances()[0]
				answered, over := time.Now(), make(chan time.Duration, 2)
				l.After(func() {
					if !slices.Contains(d.Instances(), first) {
						t.Error("it is called when the instance has been stopped")
					}
					over <- time.Since(answered)
				})
				l.Release(time.Now().Add(c.limit))
				if c.end != nil {
					time.Sleep(c.want)
					c.end(first)
				}
				next, err := p.Acquire(context.Background(), version("f"))
				if err != nil {
					t.Fatal(err)
				}
				if next.m == l.m && len(over) == 0 {
					t.Error("another call has the instance before the first is over")
				}
				next.Release(time.Now().Add(c.limit))
				time.Sleep(10 * time.Second)
				if n := len(over); n != 1 {
					t.Fatalf("called %d times", n)
				}
				if took := <-over; took != c.want {
					t.Errorf("over after %v, want %v", took, c.want)
				}
			})
		})
	}
}

// savedTmp is a /tmp that was kept, and counts those that nobody has let go of.
type savedTmp struct{ open *atomic.Int64 }

func (s savedTmp) Close() error {
	s.open.Add(-1)
	return nil
}

// TestTmpAfterTheAnswer: an instance whose time ends after its answer, or that exits then,
// leaves its /tmp to the next one.
func TestTmpAfterTheAnswer(t *testing.T) {
	for name, exits := range map[string]bool{"out of time": false, "exit": true} {
		t.Run(name, func(t *testing.T) {
			var open, inherited atomic.Int64
			d := fake.New(fake.Script{
				Start: func(_ context.Context, s sandbox.Spec) error {
					if s.Tmp != nil {
						inherited.Add(1)
						return s.Tmp.Close()
					}
					return nil
				},
				AfterAnswer: func(i *fake.Instance) {
					time.Sleep(2 * time.Second)
					if exits {
						i.Die(sandbox.Failure{Type: "Runtime.ExitError"})
					}
					time.Sleep(2 * time.Second)
				},
				Tmp: func(*fake.Instance) sandbox.Tmp {
					open.Add(1)
					return savedTmp{&open}
				},
			})
			inPool(t, scripted{}, func(o *Options) { o.Driver = sandbox.Guard(d) }, func(t *testing.T, p *Pool, _ *fake.Driver) {
				v := version("f")
				call(t, p, v)
				time.Sleep(5 * time.Second)
				if !call(t, p, v) {
					t.Error("the second call is not cold")
				}
				if inherited.Load() != 1 {
					t.Error("the second instance does not have the /tmp of the first one")
				}
			})
			if n := open.Load(); n != 0 {
				t.Errorf("%d of what was saved is left", n)
			}
		})
	}
}

// TestCloseWaitsForCallsThatItEnds: what is cut at the end of a server still is released
// by whoever has it, and is gone when Close returns.
func TestCloseWaitsForCallsThatItEnds(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		var calls sync.WaitGroup
		for range 3 {
			l := acquire(t, p, v)
			calls.Go(func() {
				<-l.Done()
				time.Sleep(100 * time.Millisecond) // it writes the report
				l.Release(time.Now())
			})
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Busy != 0 || s.Instances != 0 {
			t.Errorf("after Close %+v", s)
		}
		calls.Wait()
	})
}
