// Package e2e tests a whole server through its API with functions that
// misbehave, with uploads and payloads that should be refused, and with hosts
// that are not as they should be. Tests that spend their time waiting, and measure
// none, run beside each other.
package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent"
	"lambent.dev/lambent/test/harness"
)

// The programs that functions and applications of these tests are.
var (
	probe = harness.GoProgram("test/e2e/testdata/probe")
	files = harness.GoProgram("test/e2e/testdata/files")
	rpc   = harness.GoProgram("test/e2e/testdata/grpc")
)

// deployProbe makes a function that runs the probe.
func deployProbe(t *testing.T, s *harness.Server, f harness.Function) {
	t.Helper()
	binary := probe.Content(t)
	f.Runtime = "provided.al2023"
	f.Zip = harness.Zip(t, map[string]string{"bootstrap!": binary})
	s.Create(t, f)
}

type failure struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

// wantFailure checks AWS's error shape; %s in the message is the request id.
func wantFailure(t *testing.T, out *lambda.InvokeOutput, want failure) {
	t.Helper()
	if out.FunctionError == nil || *out.FunctionError != "Unhandled" {
		t.Fatalf("FunctionError %v, payload %s: want Unhandled", out.FunctionError, out.Payload)
	}
	var got failure
	if err := json.Unmarshal(out.Payload, &got); err != nil {
		t.Fatalf("payload %s: %v", out.Payload, err)
	}
	if strings.Contains(want.Message, "%s") {
		before, after, _ := strings.Cut(want.Message, "%s")
		if !strings.HasPrefix(got.Message, before) || !strings.HasSuffix(got.Message, after) ||
			len(got.Message) != len(want.Message)-2+36 {
			t.Errorf("message %q, want %q", got.Message, want.Message)
		}
		got.Message = want.Message
	}
	if got != want {
		t.Errorf("error %+v, want %+v", got, want)
	}
}

func wantPayload(t *testing.T, out *lambda.InvokeOutput, want string) {
	t.Helper()
	if out.FunctionError != nil || string(out.Payload) != want {
		t.Errorf("payload %.300s (error %v), want %s", out.Payload, out.FunctionError, want)
	}
}

func tail(t *testing.T, out *lambda.InvokeOutput) string {
	t.Helper()
	if out.LogResult == nil {
		t.Fatal("no log in the answer")
	}
	text, err := base64.StdEncoding.DecodeString(*out.LogResult)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMisbehavingFunctions(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "probe", Memory: 128, Timeout: 2})
	// What needs processor time has the memory that comes with it.
	deployProbe(t, s, harness.Function{Name: "strong", Memory: 1769, Timeout: 60, Ephemeral: 600})

	exited := func(how string) failure {
		return failure{"Runtime.ExitError", "RequestId: %s Error: Runtime exited " + how}
	}
	timedOut := failure{"Sandbox.Timedout", "RequestId: %s Error: Task timed out after 2.00 seconds"}
	tooLarge := failure{"Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes)."}
	for _, c := range []struct {
		name, event string
		want        failure
	}{
		{"error", `{"do":"error"}`, failure{"Probe.Error", "as asked"}},
		{"exit with a status", `{"do":"exit","n":3}`, exited("with error: exit status 3")},
		{"exit without one", `{"do":"exit"}`, exited("without providing a reason")},
		{"endless loop", `{"do":"loop"}`, timedOut},
		{"sleep", `{"do":"sleep","n":60000}`, timedOut},
		{"eat memory", `{"do":"oom"}`, exited("with error: signal: killed")},
		{"answer too large", `{"do":"size","n":6291557}`, tooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFailure(t, s.Invoke(t, "probe", c.event), c.want)
			wantPayload(t, s.Invoke(t, "probe", `{"do":"echo"}`), `{"do":"echo"}`)
		})
	}
	for _, c := range []struct{ name, function, event, want string }{
		{"largest answer", "probe", `{"do":"size","n":6291556}`, `"` + strings.Repeat("a", lambent.MaxPayload-2) + `"`},
		{"answer twice", "probe", `{"do":"twice"}`, `"first"`},
		{"never call next", "probe", `{"do":"nonext"}`, `"answered"`},
		{"garbage to the Runtime API", "strong", `{"do":"garbage"}`, `"survived"`},
		{"100 MB of log", "strong", `{"do":"log","n":100}`, `"logged"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantPayload(t, s.Invoke(t, c.function, c.event), c.want)
			wantPayload(t, s.Invoke(t, c.function, `{"do":"echo"}`), `{"do":"echo"}`)
		})
	}
	t.Run("fill /tmp", func(t *testing.T) {
		out := s.Invoke(t, "strong", `{"do":"filltmp"}`)
		var n int
		if _, err := fmt.Sscanf(string(out.Payload), `"full after %d`, &n); err != nil || n < 590 || n > 620 {
			t.Errorf("payload %s: want full after about 600 MB", out.Payload)
		}
		wantPayload(t, s.Invoke(t, "strong", `{"do":"echo"}`), `{"do":"echo"}`)
	})
	t.Run("/tmp does not count as memory", func(t *testing.T) {
		deployProbe(t, s, harness.Function{Name: "small", Memory: 256, Timeout: 60})
		if out := s.Invoke(t, "small", `{"do":"filltmp"}`); !strings.Contains(string(out.Payload), "full after") {
			t.Errorf("payload %s: want /tmp filled beyond the memory size", out.Payload)
		}
	})
	t.Run("fork bomb", func(t *testing.T) {
		if out := s.Invoke(t, "strong", `{"do":"fork"}`); !strings.Contains(string(out.Payload), "stopped after true") {
			t.Errorf("payload %s: want the bomb stopped", out.Payload)
		}
		wantPayload(t, s.Invoke(t, "strong", `{"do":"echo"}`), `{"do":"echo"}`)
	})
	t.Run("close all descriptors", func(t *testing.T) {
		// The Go runtime in the probe notices that its epoll descriptor is gone, or
		// it does not: the process ends, or it hangs.
		out := s.Invoke(t, "probe", `{"do":"closefds"}`)
		want := timedOut
		if strings.Contains(string(out.Payload), "Runtime.ExitError") {
			want = exited("with error: exit status 2")
		}
		wantFailure(t, out, want)
		wantPayload(t, s.Invoke(t, "probe", `{"do":"echo"}`), `{"do":"echo"}`)
	})
	t.Run("answer for another request", func(t *testing.T) {
		s.Invoke(t, "probe", `{"do":"echo"}`)
		out := s.Invoke(t, "probe", `{"do":"other"}`)
		if text := string(out.Payload); out.FunctionError != nil || strings.Count(text, "400 ") != 2 || strings.Count(text, "InvalidRequestID") != 2 {
			t.Errorf("payload %s: want two refusals", text)
		}
		wantPayload(t, s.Invoke(t, "probe", `{"do":"echo"}`), `{"do":"echo"}`)
	})
}

func TestMisbehavingInit(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for _, c := range []struct {
		at   string
		want failure
	}{
		{"exit", failure{"Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: exit status 7"}},
		{"error", failure{"Probe.InitError", "as asked"}},
		{"sleep", failure{"Sandbox.Timedout", "RequestId: %s Error: Task timed out after 1.00 seconds"}},
	} {
		t.Run(c.at, func(t *testing.T) {
			deployProbe(t, s, harness.Function{Name: "init-" + c.at, Timeout: 1, Env: map[string]string{"AT_INIT": c.at}})
			wantFailure(t, s.Invoke(t, "init-"+c.at, `{}`), c.want)
		})
	}
	t.Run("no entry point", func(t *testing.T) {
		s.Create(t, harness.Function{Name: "empty", Runtime: "provided.al2023", Zip: harness.Zip(t, map[string]string{"readme": "nothing to run"})})
		out := s.Invoke(t, "empty", `{}`)
		var f failure
		if err := json.Unmarshal(out.Payload, &f); err != nil || f.Type != "Runtime.InvalidEntrypoint" {
			t.Errorf("payload %s: want Runtime.InvalidEntrypoint", out.Payload)
		}
	})
}

func TestLogOfAnInvocation(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "talk", Memory: 128, Timeout: 5})
	out := s.Invoke(t, "talk", `{"do":"print","text":"a line of the function"}`)
	lines := strings.Split(strings.TrimSpace(tail(t, out)), "\n")
	var kinds []string
	for _, l := range lines {
		first, _, _ := strings.Cut(l, " ")
		kinds = append(kinds, first)
	}
	if got := strings.Join(kinds, " "); !strings.HasSuffix(got, "START a END REPORT") {
		t.Errorf("lines %q:\n%s", got, strings.Join(lines, "\n"))
	}
	report := lines[len(lines)-1]
	for _, want := range []string{"Duration: ", "Billed Duration: ", "Memory Size: 128 MB", "Max Memory Used: ", "Init Duration: "} {
		if !strings.Contains(report, want) {
			t.Errorf("report %q has no %q", report, want)
		}
	}
	again := tail(t, s.Invoke(t, "talk", `{"do":"print","text":"warm"}`))
	if strings.Contains(again, "Init Duration") {
		t.Errorf("a warm call reports an init:\n%s", again)
	}
	long := tail(t, s.Invoke(t, "talk", `{"do":"log","n":1}`))
	if len(long) != lambent.LogTail || !strings.Contains(long, "REPORT") {
		t.Errorf("tail of %d bytes, want the last %d", len(long), lambent.LogTail)
	}
	id := strings.Fields(lines[len(lines)-1])[2]
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		stdout, stderr, err := s.CLI("", "logs", "talk", "--request", id)
		if err == nil && strings.Contains(stdout, "a line of the function") && !strings.Contains(stdout, "warm") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("lambent logs --request %s: %v\n%s%s", id, err, stdout, stderr)
		}
	}
}

// TestTmpOutlivesTheRuntime checks what AWS keeps when a runtime is ended inside
// an invocation: the files in /tmp, and nothing of the process.
func TestTmpOutlivesTheRuntime(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for kind, end := range map[string]string{"timeout": `{"do":"sleep","n":60000}`, "exit": `{"do":"exit","n":3}`} {
		// On a busy machine a second instance may be started while the first one is
		// still coming back from a call; then another function is tried.
		kept := false
		for attempt := 0; !kept && attempt < 4; attempt++ {
			name := fmt.Sprintf("keeps-%s-%d", kind, attempt)
			deployProbe(t, s, harness.Function{Name: name, Memory: 512, Timeout: 1})
			wantPayload(t, s.Invoke(t, name, `{"do":"count"}`), `"count 1, file 1"`)
			instances := len(s.Instances())
			if out := s.Invoke(t, name, end); out.FunctionError == nil {
				t.Fatalf("%s did not end the runtime", end)
			}
			if len(s.Instances()) > instances {
				continue
			}
			out := s.Invoke(t, name, `{"do":"count"}`)
			if kept = string(out.Payload) == `"count 1, file 2"`; !kept {
				t.Logf("attempt %d: %s\n%s", attempt, out.Payload, s.Stderr())
			}
		}
		if !kept {
			t.Errorf("after a %s the next runtime does not have the files", kind)
		}
	}
}
