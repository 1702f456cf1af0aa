package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// witness builds the extension that says what it is told, once.
var witness = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "witness-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "witness")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	cmd.Dir, cmd.Env = "../../../test/runtimes/functions/extension", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(err, errors.New(string(out)))
	}
	return os.ReadFile(program)
})

// beside starts instances of the probe with extensions.
type beside struct {
	d    *Driver
	code string
}

func newBeside(t *testing.T) beside {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	return beside{d, sandboxtest.Probe(t)}
}

// start starts an instance with extensions of these names.
func (b beside) start(t *testing.T, id string, env []string, names ...string) (sandbox.Instance, *sandboxtest.Lines) {
	t.Helper()
	program, err := witness()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		files["extensions/"+name] = string(program)
	}
	out := &sandboxtest.Lines{}
	spec := sandboxtest.Spec(id, b.code, out)
	spec.Env, spec.Layers = append(spec.Env, env...), []string{layerOf(t, files)}
	i, err := b.d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return i, out
}

func said(out *sandboxtest.Lines, text string) bool {
	return slices.ContainsFunc(out.All(), func(line string) bool { return strings.HasPrefix(line, text) })
}

func await(t *testing.T, out *sandboxtest.Lines, text string) {
	t.Helper()
	for began := time.Now(); !said(out, text); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("nobody has said %q: %q", text, out.All())
		}
	}
}

// within is a context for what must be over in time, or is to be out of time.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestReasonsOfTheEnd: extensions are told of each end in AWS's words.
func TestReasonsOfTheEnd(t *testing.T) {
	b := newBeside(t)
	initialise := func(t *testing.T, i sandbox.Instance, want string) {
		t.Helper()
		r, err := i.Init(within(t, 20*time.Second))
		if err != nil || want == "" && r.Failure != nil || want != "" && (r.Failure == nil || r.Failure.Type != want) {
			t.Fatalf("init: %+v, %v; want %q", r.Failure, err, want)
		}
	}
	invoke := func(t *testing.T, i sandbox.Instance, payload string, limit time.Duration, want string) sandbox.Answer {
		t.Helper()
		initialise(t, i, "")
		ctx := within(t, limit)
		deadline, _ := ctx.Deadline()
		a, err := i.Invoke(ctx, sandbox.Event{RequestID: "r", Payload: []byte(payload), Deadline: deadline})
		if err != nil || want == "" && a.Failure != nil || want != "" && (a.Failure == nil || a.Failure.Type != want) {
			t.Fatalf("invoke: %+v, %v; want %q", a.Failure, err, want)
		}
		return a
	}
	for name, c := range map[string]struct {
		env    string
		end    func(t *testing.T, i sandbox.Instance)
		reason string
	}{
		"stopped": {"", func(t *testing.T, i sandbox.Instance) { initialise(t, i, "") }, "spindown"},
		"failed":  {"", func(t *testing.T, i sandbox.Instance) { invoke(t, i, `{"do":"error"}`, 20*time.Second, "") }, "spindown"},
		"init-hangs": {"PROBE_INIT=sleep", func(t *testing.T, i sandbox.Instance) {
			if _, err := i.Init(within(t, 100*time.Millisecond)); err == nil {
				t.Error("it is ready")
			}
		}, "timeout"},
		"init-exits":  {"PROBE_INIT=exit", func(t *testing.T, i sandbox.Instance) { initialise(t, i, "Runtime.ExitError") }, "failure"},
		"init-errors": {"PROBE_INIT=error", func(t *testing.T, i sandbox.Instance) { initialise(t, i, "Function.ProbeInitFailed") }, "failure"},
		"times-out": {"", func(t *testing.T, i sandbox.Instance) {
			invoke(t, i, `{"do":"sleep","n":60000}`, 200*time.Millisecond, "Sandbox.Timedout")
		}, "timeout"},
		"exits": {"", func(t *testing.T, i sandbox.Instance) {
			invoke(t, i, `{"do":"exit","n":1}`, 20*time.Second, "Runtime.ExitError")
		}, "failure"},
		"exhausts": {"", func(t *testing.T, i sandbox.Instance) {
			invoke(t, i, `{"do":"allocate","n":1000}`, 20*time.Second, "Runtime.ExitError")
		}, "failure"},
		"overdue": {"WITNESS=slow", func(t *testing.T, i sandbox.Instance) {
			a := invoke(t, i, `{"do":"echo"}`, time.Second, "")
			time.Sleep(time.Second)
			if r := a.Rest(); r.Failure == nil || r.Failure.Type != "Sandbox.Timedout" || r.Took < 500*time.Millisecond || r.Took > time.Second {
				t.Errorf("what followed: %+v", r)
			}
		}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			i, out := b.start(t, name, []string{c.env}, "witness")
			await(t, out, "witness: registered")
			c.end(t, i)
			if err := i.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if !said(out, "witness: SHUTDOWN "+c.reason) || !said(out, "witness: at rest") {
				t.Errorf("told otherwise than %q: %q", c.reason, out.All())
			}
		})
	}
}

// TestExtensionsThatDoNotCome: one that does not register, or does not ask for an event,
// holds the initialisation up for as long as that may take; one that exits ends it, and
// the others are told.
func TestExtensionsThatDoNotCome(t *testing.T) {
	b := newBeside(t)
	for name, c := range map[string]struct {
		limit time.Duration
		kind  string // of the failure; none is out of time
		told  string
		stops time.Duration // how long the end takes at least
	}{
		"absent":    {time.Second, "", "timeout", 0},
		"mute":      {time.Second, "", "timeout", externalGrace},
		"stillborn": {20 * time.Second, "Extension.Crash", "failure", 0},
	} {
		t.Run(name, func(t *testing.T) {
			i, out := b.start(t, name, []string{"WITNESS=b:" + name}, "a", "b")
			await(t, out, "a: registered")
			r, err := i.Init(within(t, c.limit))
			switch {
			case c.kind == "" && err == nil:
				t.Errorf("it is ready: %+v", r)
			case c.kind != "" && (err != nil || r.Failure == nil || r.Failure.Type != c.kind || !strings.Contains(r.Failure.Message, "Extension b exited with error: exit status 4")):
				t.Errorf("%+v, %v; want %s", r.Failure, err, c.kind)
			}
			began := time.Now()
			if err := i.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < c.stops || took > c.stops+8*time.Second {
				t.Errorf("the end took %v", took)
			}
			if !said(out, "a: SHUTDOWN "+c.told) {
				t.Errorf("a was told otherwise than %q: %q", c.told, out.All())
			}
		})
	}
}

// TestExtensionThatStays is ended when two seconds are over.
func TestExtensionThatStays(t *testing.T) {
	b := newBeside(t)
	i, out := b.start(t, "stays", []string{"WITNESS=stays"}, "witness")
	if r, err := i.Init(within(t, 20*time.Second)); err != nil || r.Failure != nil {
		t.Fatalf("%+v, %v", r.Failure, err)
	}
	began := time.Now()
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < externalGrace || took > externalGrace+8*time.Second {
		t.Errorf("it took %v", took)
	}
	if !said(out, "witness: SHUTDOWN spindown") {
		t.Errorf("it was told %q", out.All())
	}
}

// TestOneOfSeveralCrashes: it takes the invocation along, and the other is told.
func TestOneOfSeveralCrashes(t *testing.T) {
	b := newBeside(t)
	i, out := b.start(t, "several", []string{"WITNESS=b:crash"}, "a", "b")
	if r, err := i.Init(within(t, 20*time.Second)); err != nil || r.Failure != nil {
		t.Fatalf("%+v, %v", r.Failure, err)
	}
	a, err := i.Invoke(within(t, 20*time.Second), sandbox.Event{RequestID: "r", Payload: []byte(`{"do":"sleep","n":60000}`)})
	if err != nil || a.Failure == nil || a.Failure.Type != "Extension.Crash" || !strings.Contains(a.Failure.Message, "Extension b exited") {
		t.Errorf("%+v, %v", a.Failure, err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if !said(out, "a: SHUTDOWN failure") || said(out, "b: SHUTDOWN") {
		t.Errorf("they were told %q", out.All())
	}
}
