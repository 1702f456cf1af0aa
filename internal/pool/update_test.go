package pool

import (
	"context"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// A function is changed all the time while its instances take long to start: who
// came before a change is served by what was started for it, who came after it is
// not.
func TestCallThatWaitsThroughAChangeIsServed(t *testing.T) {
	inPool(t, scripted{init: time.Second}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		var wg sync.WaitGroup
		for n := range 20 {
			v := version("f")
			v.Handler = string(rune('a' + n))
			wg.Go(func() {
				began := time.Now()
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				if took := time.Since(began); took > 1100*time.Millisecond {
					t.Errorf("call %d waited %v for a start of 1 s", n, took)
				}
				if got := l.Version().Handler; got != v.Handler {
					t.Errorf("call %d runs %q, want %q", n, got, v.Handler)
				}
				l.Release(time.Now().Add(time.Second))
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		time.Sleep(time.Second)
		if s := p.Stats(); s.Instances != 1 {
			t.Errorf("%+v: only the last version's instance is of use", s)
		}
	})
}

// What an update mends is not answered with the failure of an instance that was on
// its way before, which nobody else waits for.
func TestUpdateIsNotMetByTheFailureBefore(t *testing.T) {
	fails := fake.New(fake.Script{Init: func(_ context.Context, i *fake.Instance) error {
		time.Sleep(time.Second)
		if i.Spec.Version.Handler == "broken" {
			return fake.End(sandbox.Failure{Type: "Runtime.ExitError"})
		}
		return nil
	}})
	inPool(t, scripted{}, func(o *Options) { o.Driver = sandbox.Guard(fails) }, func(t *testing.T, p *Pool, _ *fake.Driver) {
		broken, mended := version("f"), version("f")
		broken.Handler = "broken"
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if l, err := p.Acquire(ctx, broken); err == nil {
			t.Fatalf("acquired %v", l)
		}
		began := time.Now()
		l, err := p.Acquire(context.Background(), mended)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the call waited %v for a start of 1 s", took)
		}
		if f := l.Failed(); f != nil || l.Version().Handler != mended.Handler {
			t.Errorf("runs %q, %v", l.Version().Handler, f)
		}
		l.Release(time.Time{})
		if failures, _, _ := p.Trouble(KeyOf(mended)); failures != 0 {
			t.Errorf("%d failures of what is mended", failures)
		}
	})
}

// Who looks at the catalog, and then does something else before it comes to the pool,
// may bring a version that has been changed since.
func TestVersionFromBeforeAnUpdate(t *testing.T) {
	inPool(t, scripted{init: time.Second}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		before, after := version("f"), version("f")
		after.Handler = "changed"
		call(t, p, before)
		call(t, p, after)
		p.Target(before, Target{Minimum: 1})
		if call(t, p, after) || d.Starts() != 2 {
			t.Errorf("%d starts: what the update has started was ended", d.Starts())
		}
		p.Target(after, Target{})
	})
}

// TestInstanceHasTheRoleOfItsCall is for a call that was resolved before the role was
// changed, and that comes for its instance after those that there were have been retired:
// the keys in the instance that it starts are the old role's.
func TestInstanceHasTheRoleOfItsCall(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		before := version("f")
		before.Role = "arn:aws:iam::000000000000:role/may-all"
		after := *before
		after.Role = "arn:aws:iam::000000000000:role/may-nothing"
		call(t, p, before)
		p.Retire(before.Namespace, before.Function, before.Number)
		call(t, p, before)
		l := acquire(t, p, &after)
		defer l.Release(time.Now())
		if got := l.Version().Role; got != after.Role {
			t.Errorf("a call with the role %s was given an instance that has %s", after.Role, got)
		}
	})
}

// TestVersionFromBeforeTwoUpdates is for calls that were queued while a function was
// changed twice: they get what there is now, and take it from nobody.
func TestVersionFromBeforeTwoUpdates(t *testing.T) {
	for _, retired := range []bool{false, true} {
		inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
			versions := make([]*lambent.Version, 3)
			for n := range versions {
				versions[n] = version("f")
				versions[n].Handler = string(rune('a' + n))
				call(t, p, versions[n])
			}
			last := versions[2]
			if retired {
				p.Retire(last.Namespace, last.Function, "")
			}
			starts := d.Starts()
			for _, v := range []*lambent.Version{versions[0], last, versions[1], versions[0], last} {
				l := acquire(t, p, v)
				if got := l.Version().Handler; got != last.Handler {
					t.Errorf("retired %v: the call for %q runs %q, and %q is the last", retired, v.Handler, got, last.Handler)
				}
				l.Release(time.Now().Add(time.Second))
			}
			if n := d.Starts() - starts; n > 1 {
				t.Errorf("retired %v: %d instances were started", retired, n)
			}
		})
	}
}
