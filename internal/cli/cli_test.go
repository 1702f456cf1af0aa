package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/httpapi"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/trigger"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lambent": func() { os.Exit(Main(OS())) }})
}

// TestScripts runs the command line as a shell would. Each script has a server of
// its own in ./.lambent: the real dialect over the real catalog, with a spine
// that answers by the function's name instead of running code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               startServer,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"later": later, "role": makeRole},
	})
}

func startServer(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, ".lambent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	artifacts, err := artifact.Open(artifact.Options{Dir: filepath.Join(dir, "artifacts"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	// Scripts have no home, and the go command keeps what it has compiled there.
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	env.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	// With the race detector each program sleeps for a second before it exits.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	ctx, cancel := context.WithCancel(context.Background())
	cat, err := catalog.Open(ctx, catalog.Options{Records: store.NewMemory(), Artifacts: artifacts, Runtimes: shelf{}, Region: "us-east-1"})
	if err != nil {
		cancel()
		return err
	}
	var run sync.WaitGroup
	run.Go(func() { _ = cat.Run(ctx) }) // the deferred function waits for it
	keys, err := auth.Open(dir, auth.Options{Region: "us-east-1"})
	if err != nil {
		cancel()
		return err
	}
	env.Values["catalog"] = cat
	s := &stable{}
	events := async.New(async.Options{Jobs: store.NewMemory(), Invoker: spine{cat}, Catalog: cat, Region: "us-east-1", Pace: 1e-4, Alone: true})
	run.Go(func() { _ = events.Run(ctx) })
	env.Values["events"] = events
	schedules, err := trigger.Open(ctx, trigger.Options{Records: store.NewMemory(), Queue: events, Region: "us-east-1"})
	if err != nil {
		cancel()
		return err
	}
	roles, err := iam.Open(ctx, iam.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		cancel()
		return err
	}
	env.Values["roles"] = roles
	door := httpapi.New(httpapi.Options{
		Schedules: schedules,
		Roles:     roles,
		Events:    events,
		Catalog:   cat, Invoker: spine{cat}, Logs: paper{}, Runtimes: shelf{}, Region: "us-east-1",
		Instances: s, Reserver: s, Provisioner: s, ReserveBytes: 150e6,
		Scaler: &watch{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, Roller: &rolls{},
	})
	srv := httptest.NewServer(keys.Middleware(door, auth.MiddlewareOptions{Region: "us-east-1"}))
	held, err := store.OpenSQLite(ctx, store.Options{Dir: filepath.Join(env.WorkDir, "held")})
	env.Defer(func() {
		srv.Close()
		cancel()
		run.Wait()
		if held != nil {
			_ = held.Close() // nothing was written
		}
	})
	if err != nil {
		return err
	}
	env.Setenv("URL", srv.URL)
	env.Setenv("ADDRESS", srv.Listener.Addr().String())
	return os.WriteFile(filepath.Join(dir, "endpoints.json"), fmt.Appendf(nil, `{"api": %q, "gateway": "http://127.0.0.1:1"}`, srv.URL), 0o600)
}

// spine fails for functions named so and echoes for others.
type spine struct{ catalog *catalog.Catalog }

func (s spine) Invoke(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	v, err := s.catalog.Resolve(inv.Namespace, inv.Function, inv.Qualifier)
	if err != nil {
		return nil, err
	}
	r := &lambent.Result{ExecutedVersion: v.Number, Payload: inv.Payload, Report: lambent.Report{
		Duration: 1500 * time.Microsecond, Billed: 2 * time.Millisecond, Init: 7 * time.Millisecond, MemoryMB: v.MemoryMB, MaxMemoryMB: 31, Cold: true,
	}}
	if inv.WantTail {
		r.LogTail = []byte("\x1b[31mSTART RequestId\nEND\n")
	}
	if inv.Function == "fails" {
		r.FunctionError, r.ErrorType, r.Payload = "Unhandled", "ValueError", []byte(`{"errorMessage":"bad value","errorType":"ValueError"}`)
	}
	return r, nil
}

// later puts a call of a function off by an hour, and its id into ID.
func later(ts *testscript.TestScript, _ bool, args []string) {
	id, _, err := ts.Value("events").(*async.Service).Accept(context.Background(), async.Request{
		Invocation: &lambent.Invocation{Namespace: "000000000000", Function: args[0], Payload: []byte("{}")}, At: time.Now().Add(time.Hour),
	})
	ts.Check(err)
	ts.Setenv("ID", id)
}

// stable has cold starts of functions that were retired, reserves of two
// runtimes, and provisions up to three instances.
type stable struct {
	mu      sync.Mutex // guards retired
	retired map[string]bool
}

func (s *stable) Retire(_, function, number string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired == nil {
		s.retired = map[string]bool{}
	}
	s.retired[function+":"+number] = true
}

func (s *stable) ColdStarts(_, function, number string) []pool.ColdStart {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.retired[function+":"+number] {
		return nil
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	earlier := began.Add(-time.Hour)
	span := func(name string, from, ms float64) lambent.Stage {
		at := func(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
		return lambent.Stage{Name: name, Start: began.Add(at(from)), Took: at(ms)}
	}
	stages := []lambent.Stage{
		span("code", 0, 0.2), span("network", 0.2, 0.5), span("sandbox", 0.7, 1), span("files", 1, 0.05), span("runtime", 1.7, 3.3), span("network", 2, 1), span("init", 5, 5),
	}
	return []pool.ColdStart{
		{ID: "a", Began: earlier, Total: 20 * time.Millisecond, Failure: "Runtime.ExitError", Stages: []lambent.Stage{
			{Name: lambent.StageRuntime, Start: earlier.Add(10 * time.Millisecond), Took: 9 * time.Millisecond},
		}},
		{ID: "b", Began: began, Total: 10 * time.Millisecond, Init: 5 * time.Millisecond, Origin: lambent.OriginFork, Ahead: "min-instances", Stages: stages},
	}
}

func (*stable) Reserves() []sandbox.Reserve {
	return []sandbox.Reserve{
		{Runtime: "python3.11", Ready: 2, Wanted: 3, MemoryBytes: 20 << 20, Hits: 41, Misses: 7, Died: 1, Nodes: []sandbox.ReserveNode{
			{Ready: 1, MemoryBytes: 9 << 20}, {Modules: []string{"requests", "urllib3"}, Ready: 1, MemoryBytes: 4 << 20},
			{Modules: []string{"a", "b", "c", "d", "e", "f"}},
		}},
		{Runtime: "nodejs22.x", MemoryBytes: 5 << 20},
	}
}

func (*stable) Allocation(p *lambent.Provisioned) (lambent.Allocation, bool) {
	a := lambent.Allocation{Wanted: p.Requested, Allocated: min(p.Requested, 3), Available: min(p.Requested, 3)}
	if p.Requested > 3 {
		a.Failure = "no more memory"
	}
	return a, true
}

// shelf has two Pythons ready.
type shelf struct{}

func (shelf) List() []runtimes.Info {
	return []runtimes.Info{
		{Name: "python3.9", State: runtimes.StateReady, Version: "3.9.2", Where: "/usr/bin/python3.9"},
		{Name: "python3.11", State: runtimes.StateReady, Version: "3.11.2", Where: "/usr/bin/python3.11"},
		{Name: "provided.al2023", State: runtimes.StateReady},
		{Name: "nodejs22.x", State: runtimes.StateInstallable, Note: "lambent runtime install nodejs22.x"},
	}
}

func (shelf) Check(name, _ string) (string, error) {
	for _, r := range (shelf{}).List() {
		if r.Name == name && r.State == runtimes.StateReady {
			return "", nil
		}
	}
	return "", lambent.Errorf(lambent.CodeInvalid, "runtime %s is not installed: run `lambent runtime install %s`", name, name).WithReason("RuntimeNotInstalled")
}

func (shelf) Install(_ context.Context, name string, progress func(string)) error {
	progress("fetching " + name)
	progress("unpacking")
	return nil
}

// paper has the same two lines for every function.
type paper struct{}

func (paper) Events(_ context.Context, q logs.Query) iter.Seq2[logs.Event, error] {
	return func(yield func(logs.Event, error) bool) {
		for _, e := range []logs.Event{
			{ID: "1", Time: time.Now().Add(-time.Hour), Stream: "2026/01/02/[1]0123", RequestID: "r-old", Message: "an hour ago\n"},
			{ID: "2", Time: time.Now(), Stream: "2026/01/02/[$LATEST]4567", RequestID: "r-new", Message: "just now\n"},
			{ID: "3", Time: time.Now().Add(-2 * time.Hour), RequestID: "r-error", Message: "ValueError\r  File x, line 1\r\n"},
		} {
			if (q.RequestID == "" || q.RequestID == e.RequestID) && !e.Time.Before(q.From) && !yield(e, nil) {
				return
			}
		}
	}
}

func (paper) Follow(context.Context, logs.Query) iter.Seq2[logs.Event, error] {
	return func(yield func(logs.Event, error) bool) {
		yield(logs.Event{ID: "3", Time: time.Now(), Message: "at last\n"}, nil)
	}
}

func (paper) Groups(context.Context, string, string) ([]logs.Group, error) { return nil, nil }

func (paper) Streams(context.Context, string, string, string) ([]logs.StreamInfo, error) {
	return nil, nil
}

// terminal is a person's terminal that keeps what is shown.
type terminal struct {
	mu  sync.Mutex // guards buf: the spinner writes too
	buf bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

func TestSpinStopsAndCleansUp(t *testing.T) {
	out := &terminal{}
	a := &app{State: &State{Stderr: out, StderrTerminal: true}}
	stop := a.spin("working")
	stop()
	stop()
	if got := out.String(); got != "" {
		t.Errorf("a quick command showed %q", got)
	}
	quiet := &terminal{}
	(&app{State: &State{Stderr: quiet}}).spin("working")()
	if got := quiet.String(); got != "" {
		t.Errorf("without a terminal it showed %q", got)
	}
}

func TestDeleteAsks(t *testing.T) {
	for answer, want := range map[string]int{"": exitError, "n\n": exitError, "y\n": exitError} {
		out := &terminal{}
		s := State{
			Args: []string{"delete", "hello", "--endpoint", "http://127.0.0.1:1"}, Dir: t.TempDir(), UID: 1,
			Environ: []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=s"},
			Stdin:   strings.NewReader(answer), Stdout: io.Discard, Stderr: out, StdinTerminal: true, StderrTerminal: true,
			Interrupted: interrupted,
		}
		got := Main(s)
		asked, tried := strings.Contains(out.String(), "[y/N]"), strings.Contains(out.String(), "no lambent server answers")
		if got != want || !asked || tried != (answer == "y\n") {
			t.Errorf("answer %q: status %d, asked %t, tried %t: %s", answer, got, asked, tried, out)
		}
	}
}

func TestExit(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx  context.Context
		err  error
		want int
		text string
	}{
		"none":        {t.Context(), nil, exitOK, ""},
		"status":      {t.Context(), statusError(exitFunctionError), exitFunctionError, ""},
		"usage":       {t.Context(), usageError{errors.New("what")}, exitUsage, "lambent: what\n"},
		"two lines":   {t.Context(), errors.Join(errors.New("a"), errors.New("b")), exitError, "lambent: a; b\n"},
		"interrupted": {ended, lambent.Errorf(lambent.CodeCanceled, "x"), exitInterrupted, ""},
	} {
		out := &terminal{}
		a := &app{State: &State{Stderr: out}}
		if got := a.exit(tt.ctx, tt.err); got != tt.want || out.String() != tt.text {
			t.Errorf("%s: status %d, %q", name, got, out)
		}
	}
}

func TestFailureHint(t *testing.T) {
	for _, tt := range []struct {
		kind, message string
		used          int // MB of 128
		want          string
	}{
		{"ValueError", "no such order", 31, ""},
		{"Sandbox.Timedout", "Task timed out after 3.00 seconds", 31, "--timeout"},
		{"Runtime.ExitError", "Runtime exited with error: signal: killed", 128, "all of its 128 MB; it gets more when it is deployed with --memory"},
		{"Runtime.ExitError", "Runtime exited with error: signal: killed", 31, "lambent logs hello --request r1"},
		{"Runtime.ExitError", "Runtime exited with error: exit status 3", 128, "lambent logs hello --request r1"},
	} {
		r := client.Invocation{RequestID: "r1", Error: &client.FunctionError{Type: tt.kind, Message: tt.message}, Report: client.Report{MemoryMB: 128, MaxMemoryMB: tt.used}}
		if got := failureHint("hello", r); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s: the hint is %q, want %q", tt.kind, tt.message, got, tt.want)
		}
	}
	// A web server that was deployed as a function never gets as far as its event.
	r := client.Invocation{Error: &client.FunctionError{Type: "Sandbox.Timedout"}, Report: client.Report{Cold: true, BilledMS: 1}}
	if got := failureHint("hello", r); !strings.Contains(got, "--port") {
		t.Errorf("of a start that took all the time: %q", got)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31m\nb\u009bc"); got != "a�[31m�b�c" {
		t.Errorf("printable: %q", got)
	}
	if got := failureText(&client.FunctionError{Type: "E", Message: "\none\ntwo\x1b\n"}); got != "E: \none\ntwo�" {
		t.Errorf("failureText: %q", got)
	}
	if got := terminalText("a\x1b\tb\n\r"); got != "a�\tb\n�" {
		t.Errorf("terminalText: %q", got)
	}
}

func TestRuntimeNumber(t *testing.T) {
	for _, order := range [][]string{
		{"java8.al2", "java11", "java17", "java21", "java25"}, {"python3.9", "python3.10", "python3.13"}, {"nodejs", "nodejs8.10", "nodejs20.x", "nodejs22.x"},
	} {
		for i := 1; i < len(order); i++ {
			if runtimeNumber(order[i-1]) >= runtimeNumber(order[i]) {
				t.Errorf("%s is not before %s", order[i-1], order[i])
			}
		}
	}
}

func TestPlainStart(t *testing.T) {
	c := config.Config{Data: "/d"}
	mine := &fs.PathError{Op: "mkdir", Path: "/d/logs", Err: syscall.ENOSPC}
	if got := plainStart(c, mine); !strings.Contains(got.Error(), "the disk is full") || !errors.Is(got, syscall.ENOSPC) {
		t.Errorf("disk full: %v", got)
	}
	for _, err := range []error{nil, &fs.PathError{Op: "open", Path: "/sys/x", Err: syscall.EACCES}, lambent.Errorf(lambent.CodeUnavailable, "worded: %w", mine)} {
		if got := plainStart(c, err); fmt.Sprint(got) != fmt.Sprint(err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
