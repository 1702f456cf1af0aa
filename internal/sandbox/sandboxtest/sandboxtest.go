// Package sandboxtest is the conformance suite of sandbox drivers: what
// sandbox.Driver and sandbox.Instance promise, as tests that every driver runs
// against itself with [Run]. It owns the probe, a runtime that does what an event
// says, and refuses to know any driver: one that really isolates says so in its
// [Harness], and gets the escape and limit tests too.
package sandboxtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Harness is a driver under test.
type Harness struct {
	// New makes a driver over a data directory; it is called again for a restart.
	New func(t *testing.T, dataDir string) sandbox.Driver
	// Isolates tells that instances are real processes in a real sandbox; the
	// driver then runs the probe that Spec.Code has.
	Isolates bool
	// Writes tells that instances which are no processes still run the probe's
	// commands and write what they print.
	Writes bool
	// Traces, if set, lists what the driver of that data directory has on the host
	// now (mounts, groups, links, processes ...); the suite compares before and
	// after.
	Traces func(t *testing.T, dataDir string) []string
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("Lifecycle", h.lifecycle)
	t.Run("Failures", h.failures)
	t.Run("Stop", h.stop)
	if h.Isolates || h.Writes {
		t.Run("Output", h.outputs)
	}
	if !h.Isolates {
		return
	}
	t.Run("Surroundings", h.surroundings)
	t.Run("Limits", h.limits)
	t.Run("Escape", h.escape)
	t.Run("Abuse", h.abuse)
	t.Run("Freeze", h.freezes)
	t.Run("PageOut", h.pages)
	t.Run("Collect", h.collects)
	t.Run("Recover", h.recovers)
}

// RunConfined runs the part of the suite that says what an instance may not do.
func RunConfined(t *testing.T, h Harness) {
	t.Run("Limits", h.limits)
	t.Run("Escape", h.escape)
	t.Run("Abuse", h.abuse)
	t.Run("Freeze", h.freezes)
}

// Probe builds the probe and gives a directory with it as "bootstrap". It is
// built once for each run of the tests.
func Probe(t testing.TB) string {
	t.Helper()
	probe, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	code := t.TempDir()
	if err := os.Chmod(code, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(code, "bootstrap"), probe, 0o755); err != nil {
		t.Fatal(err)
	}
	return code
}

var buildProbe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "bootstrap")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	cmd.Dir = "../sandboxtest/testdata/probe" // drivers are beside this package, and go test runs in theirs
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	return os.ReadFile(program)
})

// Lines is an Output that remembers.
type Lines struct {
	mu   sync.Mutex // guards text
	text []string
}

// WriteLine takes one line.
func (l *Lines) WriteLine(_ time.Time, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
}

// All gives the lines so far.
func (l *Lines) All() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.text)
}

// Spec is one that runs the probe in code, with small figures.
func Spec(id, code string, out sandbox.Output) sandbox.Spec {
	return sandbox.Spec{
		ID: id, Region: "us-east-1", Code: code, Output: out,
		Version: &lambent.Version{Namespace: "000000000000", Function: "probe", Number: lambent.Latest,
			Runtime: "provided.al2023", Handler: "bootstrap", MemoryMB: 256, EphemeralMB: 512, Timeout: 3 * time.Second},
		Runtime: sandbox.Runtime{Name: "provided.al2023", Command: []string{"/var/task/bootstrap"},
			Env: []string{"LAMBDA_TASK_ROOT=/var/task", "LANG=en_US.UTF-8"}},
		Env: []string{"LANG=C", "GREETING=hello"},
	}
}

// Patience is how long a test waits for what has to come. Nobody waits that long where
// all is well; an emulated machine may.
const Patience = 2 * time.Minute

// Live is a started and initialised instance with its output.
type Live struct {
	sandbox.Instance
	Out *Lines
	t   testing.TB
	n   int
}

// Start starts an instance of the probe and waits for it. Its Stop is left to
// the end of the test.
func Start(t testing.TB, d sandbox.Driver, spec sandbox.Spec) *Live {
	t.Helper()
	l := launch(t, d, spec)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	r, err := l.Init(ctx)
	if err != nil || r.Failure != nil {
		t.Fatalf("init: %+v (%+v), %v; output: %q", r, r.Failure, err, l.Out.All())
	}
	return l
}

// launch starts without waiting.
func launch(t testing.TB, d sandbox.Driver, spec sandbox.Spec) *Live {
	t.Helper()
	out := &Lines{}
	if spec.Output == nil {
		spec.Output = out
	}
	i, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	l := &Live{Instance: i, Out: out, t: t}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := i.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return l
}

// Command is an event for the probe.
type Command struct {
	Do   string   `json:"do"`
	Args []string `json:"args,omitempty"`
	N    int      `json:"n,omitempty"`
}

// Invoke sends a command, with so much time.
func (l *Live) Invoke(c Command, timeout time.Duration) sandbox.Answer {
	l.t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.n++
	deadline := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	a, err := l.Instance.Invoke(ctx, sandbox.Event{
		RequestID: fmt.Sprintf("00000000-0000-4000-8000-%012d", l.n), Payload: payload, Deadline: deadline,
		FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:probe", TraceID: "Root=1-0-0;Parent=0;Sampled=0",
	})
	if err != nil {
		l.t.Fatalf("invoke %s: %v", c.Do, err)
	}
	return a
}

// Do sends a command and gives its answer, or "ERROR: message" if the probe
// reported one.
func (l *Live) Do(do string, n int, args ...string) string {
	l.t.Helper()
	a := l.Invoke(Command{Do: do, N: n, Args: args}, Patience)
	if a.Failure != nil {
		l.t.Fatalf("%s %q: %s: %s; output: %q", do, args, a.Failure.Type, a.Failure.Message, l.Out.All())
	}
	var text string
	if a.FunctionError {
		var e struct{ ErrorMessage string }
		if err := json.Unmarshal(a.Payload, &e); err != nil {
			l.t.Fatalf("%s: error object %s: %v", do, a.Payload, err)
		}
		return "ERROR: " + e.ErrorMessage
	}
	if json.Unmarshal(a.Payload, &text) != nil {
		text = string(a.Payload)
	}
	l.waitReady()
	return text
}

func (l *Live) waitReady() {
	l.t.Helper()
	select {
	case <-l.Ready():
	case <-time.After(Patience):
		l.t.Fatal("not ready again")
	}
}

// closed fails the test unless c is closed in time.
func closed(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(Patience):
		t.Fatalf("%s is not closed", what)
	}
}

// driver makes a driver for one test and closes it.
func (h Harness) driver(t *testing.T) sandbox.Driver {
	t.Helper()
	dir := t.TempDir()
	check := h.watch(t, dir)
	d := h.New(t, dir)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		check()
	})
	return d
}

// watch notes what is on the host; the function that it returns fails the test
// if there is more. The kernel takes a moment to let go of some things.
func (h Harness) watch(t *testing.T, dir string) (check func()) {
	t.Helper()
	if h.Traces == nil {
		return func() {}
	}
	before := h.Traces(t, dir)
	return func() {
		t.Helper()
		var more []string
		for range 100 {
			more = slices.DeleteFunc(h.Traces(t, dir), func(s string) bool { return slices.Contains(before, s) })
			if len(more) == 0 {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
	}
}

// code is the directory of the probe, or nothing for a driver that runs none.
func (h Harness) code(t *testing.T) string {
	t.Helper()
	if !h.Isolates {
		return "/"
	}
	return Probe(t)
}
