package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// step is one thing that happens to a pool: a call that holds its instance for
// that long, a change, or time that passes.
type step struct {
	kind   int
	fn     int
	amount time.Duration
	n      int
}

func (s step) String() string {
	names := []string{"call", "impatient", "update", "retire", "target", "warm", "die", "sleep"}
	return fmt.Sprintf("%s(f%d, %v, %d)", names[s.kind], s.fn, s.amount, s.n)
}

// world is a pool with everything that may go wrong below it.
type world struct {
	p      *Pool
	d      *fake.Driver
	rooms  *rooms
	calls  sync.WaitGroup
	rounds [3]int // configurations so far

	mu   sync.Mutex // guards the rest
	luck *rand.Rand
	errs []error
}

// bad throws the dice.
func (w *world) bad(chance float64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.luck.Float64() < chance {
		return errors.New("bad luck")
	}
	return nil
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, fmt.Errorf(format, args...))
}

func newWorld(seed uint64, policy Policy) *world {
	w := &world{rooms: &rooms{}, luck: rand.New(rand.NewPCG(seed, 1))}
	nap := func() { time.Sleep(time.Duration(1+seed%7) * time.Millisecond) }
	w.d = fake.New(fake.Script{
		Start: func(context.Context, sandbox.Spec) error { nap(); return w.bad(.05) },
		Init: func(_ context.Context, i *fake.Instance) error {
			if i.Spec.Version.Function != "f0" { // the others are dear
				time.Sleep(time.Second)
			}
			if w.bad(.1) != nil {
				return fake.End(sandbox.Failure{Type: "Runtime.ExitError"})
			}
			return w.bad(.02)
		},
		Invoke: func(context.Context, *fake.Instance, sandbox.Event) (sandbox.Answer, error) {
			if w.bad(.1) != nil {
				return sandbox.Answer{}, fake.End(sandbox.Failure{Type: "Runtime.ExitError"})
			}
			return sandbox.Answer{}, w.bad(.02)
		},
		AfterAnswer: func(*fake.Instance) { nap() },
		Freeze:      func(*fake.Instance) error { nap(); return w.bad(.1) },
		Thaw:        func(*fake.Instance) error { nap(); return w.bad(.1) },
		PageOut: func(i *fake.Instance) (int64, error) {
			i.SetUsage(sandbox.Usage{MemoryBytes: int64(10+seed%50) << 20})
			return 0, w.bad(.1)
		},
	})
	var id atomic.Int64
	w.p = New(Options{Driver: sandbox.Guard(w.d), Artifacts: w.rooms, Runtimes: w.rooms, Logs: w.rooms,
		Log: slog.New(slog.DiscardHandler), Environment: func(*lambent.Version, ColdStart) []string { return nil },
		Idle: 5 * time.Second, MemoryMB: 5 * 128, MaxWait: 10 * time.Second, Policy: policy,
		Hibernation: Hibernation{Init: 500 * time.Millisecond, After: 2 * time.Second, Keep: 20 * time.Second, MemoryMB: 100, Count: 3},
		NewID:       func() string { return fmt.Sprintf("%032d", id.Add(1)) }})
	return w
}

func (w *world) version(fn int) *lambent.Version {
	v := version(fmt.Sprintf("f%d", fn))
	v.Env = map[string]string{"ROUND": fmt.Sprint(w.rounds[fn])}
	return v
}

func (w *world) do(s step) {
	v := w.version(s.fn)
	switch s.kind {
	case 0, 1:
		for range 1 + s.n {
			w.calls.Go(func() { w.call(v, s) })
		}
	case 2:
		w.rounds[s.fn]++
		w.p.Retire(v.Namespace, v.Function, v.Number)
	case 3:
		w.p.Retire(v.Namespace, v.Function, "")
	case 4:
		w.p.Target(v, Target{Provisioned: s.n, Minimum: s.n / 2, Likely: 1})
	case 5:
		w.p.Warm(v, "test")
	case 6:
		if all := w.d.Instances(); len(all) > 0 {
			all[s.n%len(all)].Die(sandbox.Failure{Type: "Runtime.ExitError"})
		}
	case 7:
		time.Sleep(s.amount * 20)
	}
	time.Sleep(s.amount)
	w.check()
}

// call acquires, holds and releases. Whatever becomes of it, it must return.
func (w *world) call(v *lambent.Version, s step) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.kind == 1 {
		time.AfterFunc(s.amount/2, cancel)
	}
	l, err := w.p.Acquire(ctx, v)
	if err != nil {
		return
	}
	if l.Failed() == nil {
		time.Sleep(s.amount)
		_, _ = l.Invoke(context.Background(), sandbox.Event{})
	}
	l.Release(time.Now().Add(time.Second))
}

// check compares what the pool counts with what it has.
func (w *world) check() {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.usedMB > p.o.MemoryMB || p.frozenMB > p.o.Hibernation.MemoryMB || p.frozen > p.o.Hibernation.Count || p.ahead > p.o.Ahead {
		w.fail("beyond the bounds: %d MB used, %d frozen with %d MB, %d ahead", p.usedMB, p.frozen, p.frozenMB, p.ahead)
	}
	var mb, instances, moving, frozenMB, frozenN int
	for _, g := range p.groups {
		moving += g.starting + g.freezing
		if g.starting < len(g.waiters) && !g.starved && len(g.settling) == 0 && len(g.idle) > 0 {
			w.fail("%s has %d waiters and idle instances", g.key.Function, len(g.waiters))
		}
		for _, m := range g.idle {
			mb, instances = mb+m.charged, instances+1
		}
		for m := range g.busy {
			mb, instances = mb+m.charged, instances+1
		}
		for m := range g.settling {
			mb, instances = mb+m.charged, instances+1
		}
		for _, m := range g.frozen {
			mb, instances = mb+m.charged, instances+1
			frozenMB, frozenN = frozenMB+m.charged, frozenN+1
		}
	}
	if frozenMB != p.frozenMB || frozenN != p.frozen {
		w.fail("%d frozen with %d MB are counted as %d with %d", frozenN, frozenMB, p.frozen, p.frozenMB)
	}
	if moving == 0 && (mb != p.usedMB || instances != p.instance || p.ahead != 0) {
		w.fail("%d instances with %d MB are counted as %d with %d, %d ahead", instances, mb, p.instance, p.usedMB, p.ahead)
	}
}

// TestRandomLives lets a pool live through anything; its counts must fit, every
// call must return, and nothing may be left.
func TestRandomLives(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			kind:   rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7}).Draw(t, "kind"),
			fn:     rapid.IntRange(0, 2).Draw(t, "fn"),
			amount: time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond,
			n:      rapid.IntRange(0, 4).Draw(t, "n"),
		}
	}), 1, 40)
	rapid.Check(t, func(rt *rapid.T) {
		life := steps.Draw(rt, "steps")
		seed := rapid.Uint64Range(0, 1000).Draw(rt, "seed")
		var policy Policy
		if rapid.Bool().Draw(rt, "policy") {
			policy = &habits{prewarm: 3 * time.Second, keep: 4 * time.Second}
		}
		var errs []error
		synctest.Test(t, func(*testing.T) {
			w := newWorld(seed, policy)
			ctx, cancel := context.WithCancel(context.Background())
			var run sync.WaitGroup
			run.Go(func() { _ = w.p.Run(ctx) })
			for _, s := range life {
				w.do(s)
			}
			w.calls.Wait()
			w.check()
			if err := w.p.Close(context.Background()); err != nil {
				w.fail("close: %v", err)
			}
			cancel()
			run.Wait()
			w.check()
			if s := w.p.Stats(); s.Instances != 0 || s.MemoryMB != 0 || w.d.Live() != 0 || w.rooms.pinned.Load() != 0 {
				w.fail("after Close: %+v, %d live, %d pinned", s, w.d.Live(), w.rooms.pinned.Load())
			}
			errs = w.errs
		})
		if len(errs) > 0 {
			rt.Fatalf("%v", errs)
		}
	})
}
