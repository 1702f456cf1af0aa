package invoke

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// TestInvocationOutlastsItsAnswer: the caller has the answer, and a report of what there
// is so far; the log, and the limits of concurrency, wait for the extensions.
func TestInvocationOutlastsItsAnswer(t *testing.T) {
	failure := &sandbox.Failure{Type: "Sandbox.Timedout", Message: "Task timed out after 3.00 seconds"}
	for name, c := range map[string]struct {
		rest sandbox.Rest
		json bool
		want []string // the last lines of the log
	}{
		"works": {sandbox.Rest{Took: 900 * time.Millisecond, Extensions: 700 * time.Millisecond}, false, []string{
			"extension at work",
			"END RequestId: " + requestID,
			"REPORT RequestId: " + requestID + "\tDuration: 900.00 ms\tBilled Duration: 900 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\t"}},
		"times out": {sandbox.Rest{Took: 3 * time.Second, Failure: failure}, false, []string{
			"extension at work",
			"2000-01-01T00:00:01.800Z " + requestID + " Task timed out after 3.00 seconds",
			"END RequestId: " + requestID,
			"REPORT RequestId: " + requestID + "\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tStatus: timeout"}},
		"crashes": {sandbox.Rest{Took: time.Second, Failure: &sandbox.Failure{Type: "Extension.Crash"}}, true, []string{
			"extension at work",
			`{"time":"2000-01-01T00:00:01.800Z","type":"platform.report","record":{"errorType":"Extension.Crash","metrics":` +
				`{"billedDurationMs":1000,"durationMs":1000.00,"maxMemoryUsedMB":0,"memorySizeMB":128},"requestId":"` + requestID + `","status":"error"}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			inService(t, fake.Script{
				Invoke: func(_ context.Context, _ *fake.Instance, ev sandbox.Event) (sandbox.Answer, error) {
					time.Sleep(100 * time.Millisecond)
					a := sandbox.Answer{Payload: ev.Payload, Took: 100 * time.Millisecond}
					if string(ev.Payload) != "first" {
						a.Rest = func() sandbox.Rest { return c.rest }
					}
					return a, nil
				},
				AfterAnswer: func(i *fake.Instance) {
					time.Sleep(700 * time.Millisecond)
					i.Spec.Output.WriteLine(time.Now(), []byte("extension at work"))
				},
			}, func(t *testing.T, b bench) {
				one := 1
				b.shelf.reserved = &one
				if c.json {
					v := *b.shelf.version.Load()
					v.Logging.Format, v.Logging.SystemLevel = "JSON", "DEBUG"
					b.shelf.version.Store(&v)
				}
				if _, err := b.call("first"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(900 * time.Millisecond)
				before := len(b.lines())
				res, err := b.call(`{"n":1}`)
				if err != nil || string(res.Payload) != `{"n":1}` || res.FunctionError != "" || res.Report.Duration != 100*time.Millisecond {
					t.Fatalf("%+v, %v", res, err)
				}
				shown := strings.Split(strings.TrimSpace(string(res.LogTail)), "\n")
				so := shown[len(shown)-1]
				if !strings.Contains(so, "REPORT RequestId: "+requestID+"\tDuration: 100.00 ms") && !strings.Contains(so, `"platform.report","record":{"metrics":{"billedDurationMs":100,"durationMs":100.00`) {
					t.Errorf("the caller is shown %s", so)
				}
				if slices.ContainsFunc(b.lines()[before:], func(l string) bool { return strings.HasPrefix(l, "REPORT") || strings.Contains(l, "platform.report") }) {
					t.Errorf("reported before the end: %q", b.lines())
				}
				if done := slices.ContainsFunc(b.lines()[before:], func(l string) bool { return strings.Contains(l, "platform.runtimeDone") }); done != c.json {
					t.Errorf("the runtime's end is told: %v in %q", done, b.lines())
				}
				if _, err := b.call(`{}`); lambent.CodeOf(err) != lambent.CodeThrottled {
					t.Errorf("a second call beside it: %v", err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				lines := b.lines()
				if got := lines[max(0, len(lines)-len(c.want)):]; !slices.Equal(got, c.want) {
					t.Errorf("the log ends with\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
				if res.Report.Duration != 100*time.Millisecond || res.FunctionError != "" {
					t.Errorf("the caller's result has changed: %+v", res)
				}
				if _, err := b.call(`{}`); err != nil {
					t.Errorf("a call after it: %v", err)
				}
			})
		})
	}
}

// lines are those of the log so far.
func (b bench) lines() []string {
	b.rooms.paper.mu.Lock()
	defer b.rooms.paper.mu.Unlock()
	return slices.Clone(b.rooms.paper.lines)
}
