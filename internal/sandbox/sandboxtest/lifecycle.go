package sandboxtest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

func (h Harness) lifecycle(t *testing.T) {
	d := h.driver(t)
	if n, err := d.Recover(t.Context()); n != 0 || err != nil {
		t.Errorf("recover of nothing: %d, %v", n, err)
	}
	code := h.code(t)
	spec := Spec("life", code, nil)
	var mu sync.Mutex // guards stages
	var stages []string
	spec.Stage = func(name string, start time.Time, took time.Duration) {
		if start.IsZero() || took < 0 {
			t.Errorf("stage %s: start %v, took %v", name, start, took)
		}
		mu.Lock()
		defer mu.Unlock()
		stages = append(stages, name)
	}
	l := Start(t, d, spec)
	for _, name := range stages {
		if !slices.Contains(lambent.Stages(), name) {
			t.Errorf("there is no stage %q", name)
		}
	}
	if h.Isolates && len(stages) == 0 {
		t.Error("no stage was reported")
	}
	if r, err := l.Init(t.Context()); err != nil || h.Isolates && r.Origin == "" {
		t.Errorf("init again: %+v, %v", r, err)
	}
	for range 3 {
		if got, want := l.Do("echo", 0, "a", "b"), `["a","b"]`; got != want {
			t.Errorf("echo: %s, want %s", got, want)
		}
	}
	a := l.Invoke(Command{Do: "error", Args: []string{"oh no"}}, time.Second)
	if !a.FunctionError || a.ErrorType != "Function.ProbeError" || !strings.Contains(string(a.Payload), "oh no") || a.Failure != nil {
		t.Errorf("error: %+v, payload %s", a, a.Payload)
	}
	closed(t, "Ready", l.Ready())
	if got := l.Do("echo", 0, "after"); got != `["after"]` {
		t.Errorf("echo after an error: %s", got)
	}
	select {
	case <-l.Done():
		t.Errorf("Done is closed: %+v", l.Why())
	default:
	}
	if d.Describe().Name == "" {
		t.Error("the description has no name")
	}
}

func (h Harness) failures(t *testing.T) {
	d := h.driver(t)
	code := h.code(t)
	t.Run("exit", func(t *testing.T) {
		for _, c := range []struct {
			id, message string
			n           int
		}{
			{"zero", "Runtime exited without providing a reason", 0},
			{"seven", "Runtime exited with error: exit status 7", 7},
		} {
			l := Start(t, d, Spec("exit-"+c.id, code, nil))
			a := l.Invoke(Command{Do: "exit", N: c.n}, 5*time.Second)
			if a.Failure == nil || a.Failure.Type != "Runtime.ExitError" || a.Failure.Message != c.message {
				t.Errorf("exit %d: %+v", c.n, a.Failure)
			}
			closed(t, "Done", l.Done())
			closed(t, "Ready", l.Ready())
			if l.Why() == nil {
				t.Error("no reason given")
			}
			if _, err := l.Instance.Invoke(t.Context(), sandbox.Event{RequestID: "x", Payload: []byte("{}")}); err == nil {
				t.Error("a dead instance took an event")
			}
		}
	})
	t.Run("timeout", func(t *testing.T) {
		l := Start(t, d, Spec("timeout", code, nil))
		begin := time.Now()
		a := l.Invoke(Command{Do: "sleep", N: 60_000}, time.Second)
		if a.Failure == nil || a.Failure.Type != "Sandbox.Timedout" || a.Failure.Message != "Task timed out after 1.00 seconds" {
			t.Errorf("timeout: %+v", a.Failure)
		}
		if took := time.Since(begin); took < 900*time.Millisecond || took > 4*time.Second {
			t.Errorf("a timeout of a second took %v", took)
		}
		closed(t, "Done", l.Done())
	})
	t.Run("init", func(t *testing.T) { h.initFailures(t, d, code) })
}

func (h Harness) initFailures(t *testing.T, d sandbox.Driver, code string) {
	init := func(id, mode string, change func(*sandbox.Spec)) (*Live, sandbox.InitResult, error) {
		spec := Spec(id, code, nil)
		spec.Env = append(spec.Env, "PROBE_INIT="+mode)
		if change != nil {
			change(&spec)
		}
		l := launch(t, d, spec)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := l.Init(ctx)
		return l, r, err
	}
	l, r, err := init("init-exit", "exit", nil)
	if err != nil || r.Failure == nil || r.Failure.Type != "Runtime.ExitError" || r.Failure.Message != "Runtime exited with error: exit status 3" {
		t.Errorf("exit: %+v, %v", r.Failure, err)
	}
	if h.Isolates && !slices.Contains(l.Out.All(), "leaving early") {
		t.Errorf("exit: output %q lacks the last words", l.Out.All())
	}
	closed(t, "Done", l.Done())

	if _, r, err := init("init-error", "error", nil); err != nil || r.Failure == nil || r.Failure.Type != "Function.ProbeInitFailed" {
		t.Errorf("error: %+v, %v", r.Failure, err)
	}
	if _, _, err := init("init-sleep", "sleep", nil); lambent.CodeOf(err) != lambent.CodeTimeout {
		t.Errorf("sleep: %v, want a timeout", err)
	}
	if !h.Isolates {
		return
	}
	for _, c := range []struct{ id, path, message string }{
		{"init-none", "/var/task/nothing", "fork/exec /var/task/nothing: no such file or directory"},
		{"init-dir", "/var/task", "fork/exec /var/task: permission denied"},
		{"init-text", "/etc/passwd", "fork/exec /etc/passwd: permission denied"},
	} {
		l, r, err := init(c.id, "", func(s *sandbox.Spec) { s.Runtime.Command = []string{c.path} })
		if err != nil || r.Failure == nil || r.Failure.Type != "Runtime.InvalidEntrypoint" || r.Failure.Message != c.message {
			t.Errorf("entry point %s: %+v, %v", c.path, r.Failure, err)
		}
		closed(t, "Done", l.Done())
	}
}

func (h Harness) stop(t *testing.T) {
	d := h.driver(t)
	code := h.code(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	idle := Start(t, d, Spec("idle", code, nil))
	for range 2 {
		if err := idle.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	closed(t, "Done", idle.Done())
	closed(t, "Ready", idle.Ready())
	if idle.Why() == nil {
		t.Error("no reason given")
	}
	_ = idle.Usage()

	busy := Start(t, d, Spec("busy", code, nil))
	answer := make(chan sandbox.Answer, 1)
	go func() { answer <- busy.Invoke(Command{Do: "sleep", N: 60_000}, 30*time.Second) }()
	time.Sleep(50 * time.Millisecond)
	if err := busy.Stop(ctx); err != nil {
		t.Errorf("stop while busy: %v", err)
	}
	if a := <-answer; a.Failure == nil {
		t.Errorf("the interrupted invocation has no failure: %+v", a)
	}

	// The same id may be used once the first is gone.
	again := Start(t, d, Spec("idle", code, nil))
	if got := again.Do("echo", 0, "x"); got != `["x"]` {
		t.Errorf("echo: %s", got)
	}
	if _, err := d.Start(ctx, sandbox.Spec{ID: "Not Valid", Output: &Lines{}}); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("start of a bad spec: %v", err)
	}
	starting := launch(t, d, Spec("early", code, nil))
	if err := starting.Stop(ctx); err != nil {
		t.Errorf("stop before the runtime is there: %v", err)
	}
}
