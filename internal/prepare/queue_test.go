package prepare_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/prepare"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// scripted is a neighbourhood in which every preparation comes out as told.
type scripted struct {
	sandbox.Driver
	module   bool // the runtime's driver compiles
	result   error
	attempts atomic.Int32
}

func (s *scripted) Prepare(context.Context, sandbox.Spec) error {
	s.attempts.Add(1)
	return s.result
}

func (s *scripted) Use(context.Context, lambent.Digest) (string, func(), error) {
	return "/", func() {}, nil
}

// catalog is scripted as the runtimes room.
type catalog struct{ *scripted }

func (c catalog) Resolve(*lambent.Version) (sandbox.Runtime, error) {
	rt := sandbox.Runtime{Name: "any", Command: []string{"/bin/any"}}
	if c.module {
		rt.Driver = "wasm"
	}
	return rt, nil
}

func (catalog) PrepareKey(v *lambent.Version) (string, bool) { return "key-" + v.Function, true }

func (catalog) Base(*lambent.Version) []runtimes.Making { return nil }

func (c catalog) Prepare(*lambent.Version, string, []string, string) ([]runtimes.Making, error) {
	c.attempts.Add(1)
	return nil, c.result
}

func (catalog) Prepared(rt sandbox.Runtime, dir, _ string) (sandbox.Runtime, string) { return rt, dir }

// run opens a room on s and runs it until the test ends.
func (s *scripted) run(t *testing.T, o prepare.Options) *prepare.Room {
	t.Helper()
	s.Driver = fake.New(fake.Script{})
	o.Dir, o.Driver, o.Artifacts, o.Runtimes = t.TempDir(), s, s, catalog{s}
	o.Environment = func(*lambent.Version, string) []string { return nil }
	o.NewID = newID
	r, err := prepare.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // waited for by the cleanup
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func version(name string) *lambent.Version {
	return &lambent.Version{
		Namespace: "000000000000", Function: name, Number: "1", MemoryMB: 128, EphemeralMB: 512, State: lambent.StateActive,
	}
}

// What fails is tried again ever more seldom, while the version starts without.
func TestFailureIsBounded(t *testing.T) {
	for name, module := range map[string]bool{"archive": false, "module": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{module: module, result: errors.New("broken")}
				r := s.run(t, prepare.Options{})
				const days = 3
				for range days * 24 * 60 * 2 {
					if _, _, _, ok := r.Use(version("f"), sandbox.Runtime{}); ok {
						t.Error("what failed is used")
					}
					time.Sleep(30 * time.Second)
				}
				if n := s.attempts.Load(); n < 10+days || n > 10+4*days {
					t.Errorf("%d attempts in %d days", n, days)
				}
			})
		})
	}
}

// What was lost, and could not be made again for a while, is made when it can be.
func TestDroppedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		r := s.run(t, prepare.Options{})
		use := func(want bool) {
			t.Helper()
			_, _, release, ok := r.Use(version("f"), sandbox.Runtime{})
			if ok != want {
				t.Errorf("it is prepared: %t, want %t", ok, want)
			}
			if ok {
				release()
			}
			synctest.Wait()
		}
		r.Want(version("f"))
		synctest.Wait()
		for range 2 { // the second time is like the first
			use(true)
			if _, err := r.Collect(nil); err != nil {
				t.Fatal(err)
			}
			s.result = errors.New("the disk is full")
			for range 5 {
				use(false)
				time.Sleep(time.Second)
			}
			s.result = nil
			time.Sleep(time.Minute)
			use(false) // and is made meanwhile
		}
		use(true)
		if n := s.attempts.Load(); n != 5 {
			t.Errorf("%d attempts, want 5", n)
		}
	})
}

// A busy server puts preparations off, for half a minute.
func TestBusyServerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{module: true}
		var busy atomic.Bool
		busy.Store(true)
		r := s.run(t, prepare.Options{Busy: busy.Load})
		r.Want(version("f"))
		time.Sleep(20 * time.Second)
		if s.attempts.Load() != 0 {
			t.Error("prepared while the server was busy")
		}
		busy.Store(false)
		time.Sleep(time.Second)
		if s.attempts.Load() != 1 || !r.Optimized(version("f")) {
			t.Error("not prepared by an idle server")
		}
		busy.Store(true)
		r.Want(version("g"))
		time.Sleep(40 * time.Second)
		if !r.Optimized(version("g")) {
			t.Error("never prepared by a busy server")
		}
	})
}

// A version that has changed is not prepared in its old shape, and may be wanted
// again; one that is not active is not wanted at all.
func TestOldShapes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{module: true}
		var current atomic.Bool
		r := s.run(t, prepare.Options{Current: func(*lambent.Version) bool { return current.Load() }})
		pending := version("f")
		pending.State = lambent.StatePending
		for _, v := range []*lambent.Version{version("f"), pending} {
			r.Want(v)
			synctest.Wait()
			if r.Optimized(v) || s.attempts.Load() != 0 {
				t.Errorf("prepared %+v", v)
			}
		}
		current.Store(true)
		r.Want(version("f"))
		synctest.Wait()
		with, _, release, ok := r.Use(version("f"), sandbox.Runtime{Name: "mine"})
		if !ok || with.Name != "mine" {
			t.Fatal("not prepared")
		}
		if _, err := r.Collect(nil); err != nil || r.Optimized(version("f")) {
			t.Errorf("dead code stays prepared: %v", err)
		}
		release()
		release()
	})
}

// What was dropped while an instance uses it does not take with it what was made again
// in its place.
func TestPreparedAgainWhileInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		r := s.run(t, prepare.Options{})
		r.Want(version("f"))
		synctest.Wait()
		_, dir, release, ok := r.Use(version("f"), sandbox.Runtime{})
		if !ok {
			t.Fatal("not prepared")
		}
		if _, err := r.Collect(nil); err != nil {
			t.Fatal(err)
		}
		r.Want(version("f"))
		synctest.Wait()
		release()
		if _, err := os.Stat(dir); err != nil || !r.Optimized(version("f")) {
			t.Errorf("what was prepared again is gone: %v", err)
		}
	})
}

// The log of a SnapStart version is let go of when it is prepared.
func TestSnapStartLogIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := logs.Open(logs.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- store.Run(ctx) }() // waited for below
		s := &scripted{}
		r := s.run(t, prepare.Options{Logs: store})
		v := version("f")
		v.SnapStart = "PublishedVersions"
		r.Want(v)
		synctest.Wait()
		if !r.Optimized(v) {
			t.Fatal("not prepared")
		}
		time.Sleep(5 * time.Minute) // a group that nobody uses is forgotten
		if n := store.Stats().Groups; n != 0 {
			t.Errorf("%d log groups are in use", n)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A function that wants no reserve has nothing made ahead, nor uses what was made
// before it said so.
func TestNoReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{module: true}
		var off, busy atomic.Bool
		r := s.run(t, prepare.Options{Busy: busy.Load, Settings: func(_, function string) lambent.Settings {
			return lambent.Settings{NoReserve: off.Load() && function == "f"}
		}})
		off.Store(true)
		r.Want(version("f"))
		r.Want(version("other"))
		synctest.Wait()
		if s.attempts.Load() != 1 || r.Optimized(version("f")) || !r.Optimized(version("other")) {
			t.Errorf("%d preparations, want only the other function's", s.attempts.Load())
		}
		off.Store(false)
		busy.Store(true)
		r.Want(version("f"))
		off.Store(true) // while it waits for its turn
		busy.Store(false)
		time.Sleep(time.Second)
		if s.attempts.Load() != 1 {
			t.Error("prepared though the function no longer wants it")
		}
		off.Store(false)
		r.Want(version("f"))
		synctest.Wait()
		off.Store(true)
		if _, _, _, ok := r.Use(version("f"), sandbox.Runtime{}); ok || r.Optimized(version("f")) {
			t.Error("what was made before is used")
		}
	})
}
