package sandboxtest

import (
	"context"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// abuse: whatever a function does to itself, the server, its neighbours and the
// clearing away of it do not suffer.
func (h Harness) abuse(t *testing.T) {
	d := h.driver(t)
	code := h.code(t)
	calm := Start(t, d, Spec("calm", code, nil))
	for _, c := range []struct {
		name    string
		command Command
		ends    bool // the instance is dead afterwards
	}{
		{"fork bomb", Command{Do: "processes", N: 5000}, false},
		{"kill all", Command{Do: "killall"}, false},
		{"ignore signals", Command{Do: "signals"}, false},
		{"close descriptors", Command{Do: "closefds"}, true},
		{"deep tree", Command{Do: "deep", Args: []string{"/tmp"}, N: 5000}, false},
		{"crash", Command{Do: "crash"}, false},
		{"background writer", Command{Do: "writer"}, false},
		{"endless loop", Command{Do: "spin", N: 60_000}, true},
		{"fill shm", Command{Do: "fill", Args: []string{"/dev/shm/x"}, N: 512}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Start(t, d, Spec("wild", code, nil))
			a := l.Invoke(c.command, 2*time.Second)
			if c.ends && a.Failure == nil {
				t.Errorf("no failure: %s", a.Payload)
			}
			if c.ends {
				closed(t, "Done", l.Done())
			}
			if got := calm.Do("echo", 0, "calm"); got != `["calm"]` {
				t.Errorf("the neighbour: %s", got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), Patience)
			defer cancel()
			if err := l.Stop(ctx); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// freezes: an idle instance can be halted and goes on where it was, and a frozen
// one can be stopped.
func (h Harness) freezes(t *testing.T) {
	d := h.driver(t)
	l := Start(t, d, Spec("freeze", h.code(t), nil))
	f, ok := l.Instance.(sandbox.Freezer)
	if !ok {
		t.Skip("the driver cannot")
	}
	l.Do("writer", 0)
	quiet := func() bool {
		time.Sleep(50 * time.Millisecond)
		before := len(l.Out.All())
		time.Sleep(100 * time.Millisecond)
		return len(l.Out.All()) == before
	}
	writes := func() bool {
		before := len(l.Out.All())
		for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if len(l.Out.All()) > before {
				return true
			}
		}
		return false
	}
	if !writes() {
		t.Error("the writer does not write")
	}
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	if !quiet() {
		t.Error("a frozen instance goes on")
	}
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	if got := l.Do("echo", 0, "x"); got != `["x"]` || !writes() {
		t.Errorf("after thawing: %s", got)
	}
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := l.Stop(ctx); err != nil {
		t.Errorf("stop of a frozen instance: %v", err)
	}
}

// recovers: a server that was killed leaves instances; the next one on the same
// directory ends them, and another server's are not touched.
func (h Harness) recovers(t *testing.T) {
	dir := t.TempDir()
	check := h.watch(t, dir)
	dead := h.New(t, dir)
	code := h.code(t)
	var left []sandbox.Instance
	for _, id := range []string{"left-1", "left-2"} {
		spec := Spec(id, code, &Lines{})
		i, err := dead.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, i)
	}
	other := h.driver(t)
	l := Start(t, other, Spec("other", code, nil))

	next := h.New(t, dir)
	n, err := next.Recover(t.Context())
	if n != 2 || err != nil {
		t.Errorf("recovered %d, %v; want 2", n, err)
	}
	for _, i := range left {
		closed(t, "Done", i.Done())
	}
	if got := l.Do("echo", 0, "x"); got != `["x"]` {
		t.Errorf("the other server's instance: %s", got)
	}
	if got := Start(t, next, Spec("left-1", code, nil)).Do("echo", 0, "x"); got != `["x"]` {
		t.Errorf("after the recovery: %s", got)
	}
	if n, err := other.Recover(t.Context()); err != nil || n > 1 {
		t.Errorf("recover of the other: %d, %v", n, err)
	}
	_ = dead.Close()
	if err := next.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	_ = other.Close()
	check()
}
