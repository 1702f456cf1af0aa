package invoke

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

const requestID = "11111111-2222-3333-4444-555555555555"

// shelf is a catalog of one function, whose version a test may replace.
type shelf struct {
	version  atomic.Pointer[lambent.Version]
	resolved atomic.Int64 // how often it was asked
	reserved *int
}

func (s *shelf) Resolve(_, function, _ string) (*lambent.Version, error) {
	if function != "f" {
		return nil, lambent.Errorf(lambent.CodeNotFound, "Function not found: %s", function)
	}
	s.resolved.Add(1)
	return s.version.Load(), nil
}

func (s *shelf) Get(_, _, _ string) (catalog.Entry, error) {
	return catalog.Entry{Function: &lambent.Function{Name: "f", Reserved: s.reserved}, Version: s.version.Load()}, nil
}

// rooms stand in for what an instance is made of; paper keeps all lines.
type rooms struct{ paper paper }

func (r *rooms) Use(context.Context, lambent.Digest) (string, func(), error) {
	return "/", func() {}, nil
}
func (r *rooms) Fit(*sandbox.Runtime, *lambent.Version, string, []string) {}
func (r *rooms) Resolve(*lambent.Version) (sandbox.Runtime, error)        { return sandbox.Runtime{}, nil }
func (r *rooms) Open(_, _, _ string) logs.Stream                          { return &r.paper }

type paper struct {
	mu    sync.Mutex // guards lines and ended
	lines []string
	ended int
}

func (p *paper) WriteLine(_ time.Time, line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, string(line))
}
func (p *paper) Begin(string, bool) {}
func (p *paper) Close() error       { return nil }
func (p *paper) Tail() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []byte(strings.Join(p.lines, "\n") + "\n")
}
func (p *paper) End() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended++
	return []byte(strings.Join(p.lines, "\n"))
}

type bench struct {
	*Service
	shelf *shelf
	rooms *rooms
}

// inService runs a test in a bubble of time over a fake driver.
func inService(t *testing.T, script fake.Script, test func(t *testing.T, b bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := bench{shelf: &shelf{}, rooms: &rooms{}}
		b.shelf.version.Store(&lambent.Version{Namespace: "000000000000", Function: "f", Number: lambent.Latest,
			MemoryMB: 128, Timeout: 3 * time.Second, State: lambent.StateActive})
		var id atomic.Int64
		p := pool.New(pool.Options{Driver: sandbox.Guard(fake.New(script)), Artifacts: b.rooms, Runtimes: b.rooms, Logs: b.rooms,
			Log: slog.New(slog.DiscardHandler), Idle: time.Minute, MemoryMB: 4096, MaxWait: time.Second,
			Environment: func(*lambent.Version, pool.ColdStart) []string { return nil },
			NewID:       func() string { return fmt.Sprintf("%032d", id.Add(1)) }})
		b.Service = New(Options{Catalog: b.shelf, Pool: p, Region: "us-east-1",
			Concurrency: 10, NewID: func() string { return requestID }})
		test(t, b)
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func (b bench) call(payload string) (*lambent.Result, error) {
	return b.Invoke(context.Background(), &lambent.Invocation{RequestID: requestID, Namespace: "000000000000",
		Function: "f", Payload: []byte(payload), WantTail: true})
}

func TestAnswerAndItsReport(t *testing.T) {
	inService(t, fake.Script{Init: func(context.Context, *fake.Instance) error { time.Sleep(40 * time.Millisecond); return nil },
		Invoke: func(_ context.Context, _ *fake.Instance, ev sandbox.Event) (sandbox.Answer, error) {
			time.Sleep(1500 * time.Microsecond)
			return sandbox.Answer{Payload: ev.Payload, ContentType: "application/json", Took: 1500 * time.Microsecond}, nil
		}}, func(t *testing.T, b bench) {
		res, err := b.call(`{"n":1}`)
		if err != nil || string(res.Payload) != `{"n":1}` || res.FunctionError != "" || res.ExecutedVersion != lambent.Latest {
			t.Fatalf("%+v, %v", res, err)
		}
		r := res.Report
		if !r.Cold || r.Init != 40*time.Millisecond || r.Duration != 1500*time.Microsecond || r.Billed != 42*time.Millisecond || r.Origin != lambent.OriginStart || len(r.Stages) == 0 {
			t.Errorf("report %+v", r)
		}
		for _, want := range []string{"INIT_START", "START RequestId: " + requestID + " Version: $LATEST", "END RequestId: " + requestID,
			"Duration: 1.50 ms\tBilled Duration: 42 ms\tMemory Size: 128 MB", "Init Duration: 40.00 ms\tCold Start: start sandbox="} {
			if !strings.Contains(string(res.LogTail), want) {
				t.Errorf("the log has no %q:\n%s", want, res.LogTail)
			}
		}
		if again, err := b.call(`{}`); err != nil || again.Report.Cold || again.Report.Init != 0 || again.Report.Billed != 2*time.Millisecond {
			t.Errorf("the second call: %+v, %v", again, err)
		}
	})
}

// TestFailuresAreResults goes through the ends that a function can bring on
// itself; the payloads are AWS's.
func TestFailuresAreResults(t *testing.T) {
	for _, c := range []struct {
		name, payload, report string
		answer                sandbox.Answer
	}{
		{"handler error", `{"errorType":"E","errorMessage":"m"}`, "Max Memory Used",
			sandbox.Answer{FunctionError: true, ErrorType: "E", Payload: []byte(`{"errorType":"E","errorMessage":"m"}`)}},
		{"exit", `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ` + requestID + ` Error: Runtime exited with error: exit status 1"}`,
			"Status: error\tError Type: Runtime.ExitError",
			sandbox.Answer{Failure: &sandbox.Failure{Type: "Runtime.ExitError", Message: "Runtime exited with error: exit status 1"}}},
		{"memory", `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ` + requestID + ` Error: Runtime exited with error: signal: killed"}`,
			"Status: error\tError Type: Runtime.OutOfMemory",
			sandbox.Answer{Failure: &sandbox.Failure{Type: "Runtime.ExitError", ReportType: "Runtime.OutOfMemory", Message: "Runtime exited with error: signal: killed"}}},
		{"timeout", `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: ` + requestID + ` Error: Task timed out after 3.00 seconds"}`,
			"Status: timeout",
			sandbox.Answer{Failure: &sandbox.Failure{Type: "Sandbox.Timedout", Message: "Task timed out after 3.00 seconds"}}},
		{"too large", `{"errorMessage":"too large","errorType":"Function.ResponseSizeTooLarge"}`, "Function.ResponseSizeTooLarge",
			sandbox.Answer{Failure: &sandbox.Failure{Type: "Function.ResponseSizeTooLarge", Message: "too large", Raw: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inService(t, fake.Script{Invoke: func(context.Context, *fake.Instance, sandbox.Event) (sandbox.Answer, error) {
				return c.answer, nil
			}}, func(t *testing.T, b bench) {
				res, err := b.call(`{}`)
				if err != nil {
					t.Fatal(err)
				}
				if res.FunctionError != "Unhandled" || string(res.Payload) != c.payload {
					t.Errorf("%s: %s, want %s", res.FunctionError, res.Payload, c.payload)
				}
				if !strings.Contains(string(res.LogTail), c.report) {
					t.Errorf("no %q in the log:\n%s", c.report, res.LogTail)
				}
			})
		})
	}
}

func TestEventThatNeverArrivedGoesToAnotherInstance(t *testing.T) {
	var calls atomic.Int64
	script := fake.Script{Invoke: func(context.Context, *fake.Instance, sandbox.Event) (sandbox.Answer, error) {
		if calls.Add(1) < 3 {
			return sandbox.Answer{}, errors.New("the runtime is gone")
		}
		return sandbox.Answer{Payload: []byte(`"third"`)}, nil
	}}
	inService(t, script, func(t *testing.T, b bench) {
		if res, err := b.call(`{}`); err != nil || string(res.Payload) != `"third"` {
			t.Errorf("%v", err)
		}
		calls.Store(-10)
		if _, err := b.call(`{}`); lambent.CodeOf(err) != lambent.CodeUnavailable {
			t.Errorf("three dead instances: %v", err)
		}
	})
}

func TestInitThatFails(t *testing.T) {
	inService(t, fake.Script{Init: func(context.Context, *fake.Instance) error {
		return fake.End(sandbox.Failure{Type: "Runtime.ImportModuleError", Payload: []byte(`{"errorType":"Runtime.ImportModuleError"}`)})
	}}, func(t *testing.T, b bench) {
		res, err := b.call(`{}`)
		if err != nil || string(res.Payload) != `{"errorType":"Runtime.ImportModuleError"}` || !res.Report.Cold {
			t.Errorf("%+v, %v", res, err)
		}
		if want := "\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError\nSTART "; !strings.Contains(string(res.LogTail), want) {
			t.Errorf("the log has no %q:\n%s", want, res.LogTail)
		}
	})
}

func TestConcurrencyLimits(t *testing.T) {
	script := fake.Script{Invoke: func(context.Context, *fake.Instance, sandbox.Event) (sandbox.Answer, error) {
		time.Sleep(time.Second)
		return sandbox.Answer{}, nil
	}}
	for _, c := range []struct {
		name     string
		reserved *int
		admitted int64
		reason   string
	}{
		{"account", nil, 10, "ConcurrentInvocationLimitExceeded"},
		{"reserved", ptr(3), 3, "ReservedFunctionConcurrentInvocationLimitExceeded"},
		{"stopped", ptr(0), 0, "ReservedFunctionConcurrentInvocationLimitExceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inService(t, script, func(t *testing.T, b bench) {
				b.shelf.reserved = c.reserved
				for range 2 { // the second round finds the places free again
					var admitted atomic.Int64
					var wg sync.WaitGroup
					for range 15 {
						wg.Go(func() {
							switch _, err := b.call(`{}`); {
							case err == nil:
								admitted.Add(1)
							case lambent.CodeOf(err) != lambent.CodeThrottled || lambent.ReasonOf(err) != c.reason:
								t.Errorf("refused with %v", err)
							}
						})
					}
					wg.Wait()
					if n := admitted.Load(); n != c.admitted {
						t.Errorf("%d of 15 calls were admitted, want %d", n, c.admitted)
					}
				}
			})
		})
	}
}

func TestVersionInTheMakingIsWaitedFor(t *testing.T) {
	inService(t, fake.Script{}, func(t *testing.T, b bench) {
		active := *b.shelf.version.Load()
		pending := active
		pending.State = lambent.StatePending
		b.shelf.version.Store(&pending)
		time.AfterFunc(50*time.Millisecond, func() { b.shelf.version.Store(&active) })
		begin := time.Now()
		if _, err := b.call(`{}`); err != nil || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		b.shelf.version.Store(&pending)
		b.shelf.resolved.Store(0)
		if _, err := b.call(`{}`); lambent.CodeOf(err) != lambent.CodeConflict {
			t.Errorf("a version that never becomes active: %v", err)
		}
		if n := b.shelf.resolved.Load(); n > 120 {
			t.Errorf("the catalog was asked %d times in 5 s", n)
		}
	})
}

func TestUnknownFunction(t *testing.T) {
	inService(t, fake.Script{}, func(t *testing.T, b bench) {
		_, err := b.Invoke(context.Background(), &lambent.Invocation{Function: "nobody"})
		if lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Error(err)
		}
	})
}

// TestCallerThatLeavesDoesNotStopTheFunction is AWS's rule: what has begun runs
// to its end.
func TestCallerThatLeavesDoesNotStopTheFunction(t *testing.T) {
	var finished atomic.Bool
	inService(t, fake.Script{Invoke: func(ctx context.Context, _ *fake.Instance, _ sandbox.Event) (sandbox.Answer, error) {
		select {
		case <-time.After(time.Second):
			finished.Store(true)
		case <-ctx.Done():
		}
		return sandbox.Answer{}, nil
	}}, func(t *testing.T, b bench) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, _ = b.Invoke(ctx, &lambent.Invocation{RequestID: requestID, Function: "f"})
		if !finished.Load() {
			t.Error("the function was stopped with its caller")
		}
	})
}

func ptr(n int) *int { return &n }
