package linux

import (
	"context"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// begin does the first part of what fill does: a blank that is not up yet.
func (r *reserve) begin(spec sandbox.Spec) (*node, *coming) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, c := r.of(spec.Runtime).root(), newComing()
	n.coming = c
	return n, c
}

// awaited returns when a cold start waits for the blank.
func awaited(t *testing.T, c *coming) {
	t.Helper()
	select {
	case <-c.late:
	case <-time.After(10 * time.Second):
		t.Fatal("no start waits")
	}
}

// A cold start that finds no blank gets the one that is being made, and goes on by
// itself when nothing comes of that.
func TestLateStart(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	specs := blankSpecs(t)
	d.Expect(specs("x").Runtime)
	defer hold(t, d, specs("x"))()
	for _, c := range []struct {
		id   string
		up   bool
		want lambent.Origin
	}{{"comes", true, lambent.OriginBlank}, {"fails", false, lambent.OriginStart}} {
		spec := specs(c.id)
		spec.Output = &sandboxtest.Lines{}
		before := reserveOf(t, d, spec)
		n, coming := d.reserve.begin(spec)
		got := make(chan sandbox.Instance, 1)
		go func() {
			defer close(got)
			if i, err := d.Start(t.Context(), spec); err != nil {
				t.Error(err)
			} else {
				got <- i
			}
		}()
		awaited(t, coming)
		if _, other := d.reserve.join(spec); other != nil {
			t.Errorf("%s: another start waits for the same blank", c.id)
		}
		if c.up {
			b, err := d.newBlank(t.Context(), blankSpec{name: d.reserve.name(), rt: spec.Runtime, late: coming.late})
			if err != nil {
				t.Fatal(err)
			}
			d.reserve.keep(n, b, coming)
		} else {
			d.reserve.mu.Lock()
			d.reserve.arrivedLocked(n, coming, nil)
			d.reserve.mu.Unlock()
		}
		i := <-got
		if i == nil {
			t.FailNow()
		}
		r, err := i.Init(t.Context())
		if err != nil || r.Failure != nil || r.Origin != c.want {
			t.Errorf("%s: origin %s, failure %v, %v", c.id, r.Origin, r.Failure, err)
		}
		after := reserveOf(t, d, spec)
		if hit := after.Hits - before.Hits; (hit == 1) != c.up || after.Hits+after.Misses != before.Hits+before.Misses+1 || after.Ready != 0 {
			t.Errorf("%s: %+v, then %+v", c.id, before, after)
		}
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// A start that does not wait any longer leaves the blank to the reserve.
func TestLateStartLeaves(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	spec := blankSpecs(t)("leaves")
	d.Expect(spec.Runtime)
	defer hold(t, d, spec)()
	n, coming := d.reserve.begin(spec)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if b, _ := d.reserve.late(ctx, spec, 0); b != nil {
			t.Error("it has the blank")
		}
	}()
	awaited(t, coming)
	cancel()
	<-over
	if _, again := d.reserve.join(spec); again == nil || !d.reserve.leave(again) {
		t.Error("no other start can have it")
	}
	b, err := d.newBlank(t.Context(), blankSpec{name: d.reserve.name(), rt: spec.Runtime, late: coming.late})
	if err != nil {
		t.Fatal(err)
	}
	d.reserve.keep(n, b, coming)
	if r := reserveOf(t, d, spec); r.Ready != 1 {
		t.Errorf("%+v", r)
	}
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
}

// What nobody waits for keeps nothing from being made ahead.
func TestBackground(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	many := func() int {
		d.traffic.mu.Lock()
		defer d.traffic.mu.Unlock()
		return d.traffic.many
	}
	for _, background := range []bool{true, false} {
		spec := sandboxtest.Spec("background", sandboxtest.Probe(t), nil)
		spec.Output, spec.Background = &sandboxtest.Lines{}, background
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if counted := many() == 1; counted == background {
			t.Errorf("background %v: %d starts are under way", background, many())
		}
		if _, err := i.Init(t.Context()); err != nil {
			t.Error(err)
		}
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if many() != 0 {
			t.Errorf("background %v: %d starts are left", background, many())
		}
	}
}
