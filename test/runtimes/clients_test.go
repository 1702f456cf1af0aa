// Package runtimes runs every language runtime and every official runtime
// interface client through a started server, in real sandboxes, by one list of
// cases.
package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent"
	"lambent.dev/lambent/test/harness"
	"lambent.dev/lambent/test/runtimes/clients"
)

// deployClient deploys what the client's build made, with some environment. The
// Python client runs on the managed interpreter by way of an exec wrapper, the
// others bring their own program or use the host's.
func deployClient(t *testing.T, s *harness.Server, client, name string, env map[string]string, timeout int32) {
	t.Helper()
	dir := clients.Build(t, client)
	f := harness.Function{Name: name, Runtime: "provided.al2023", Handler: "handler.handle", Memory: 512, Timeout: timeout, Env: map[string]string{}}
	switch client {
	case "python":
		dir = withWrapper(t, dir)
		f.Runtime, f.Env["AWS_LAMBDA_EXEC_WRAPPER"] = "python3.11", "/var/task/wrap"
		f.Env["PYTHONPATH"] = "/var/task/site:/var/task"
	case "java":
		f.Memory, f.Handler = 1024, "Handler::handle"
	}
	for k, v := range env {
		f.Env[k] = v
	}
	f.Zip = harness.ZipDir(t, dir)
	s.Create(t, f)
}

// withWrapper is a copy of dir with a wrapper that starts the client instead of
// the runtime's own bootstrap.
func withWrapper(t *testing.T, dir string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nexec \"$1\" -m awslambdaric \"$_HANDLER\"\n"
	if err := os.WriteFile(filepath.Join(copied, "wrap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return copied
}

// payloadOf is a JSON string of n bytes in an event.
func eventOf(n int) string {
	const head, foot = `{"do":"echo","s":"`, `"}`
	return head + strings.Repeat("a", n-len(head)-len(foot)) + foot
}

func TestRuntimeClients(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, client := range clients.Names {
		t.Run(client, func(t *testing.T) {
			deployClient(t, s, client, client, nil, 5)
			call := func(event string) *lambda.InvokeOutput { t.Helper(); return s.Invoke(t, client, event) }
			echo := func() {
				t.Helper()
				if out := call(`{"do":"echo","n":1}`); out.FunctionError != nil || !strings.Contains(strings.ReplaceAll(string(out.Payload), " ", ""), `"n":1`) {
					t.Errorf("echo: %s %s", out.Payload, logOf(out))
				}
			}
			echo()
			if f := failureOf(t, call(`{"do":"error"}`)); !strings.Contains(f.Message, "boom") {
				t.Errorf("error: %+v", f)
			}
			echo()
			if f := failureOf(t, call(`{"do":"exit"}`)); f.Type != "Runtime.ExitError" || !strings.HasSuffix(f.Message, "Error: Runtime exited with error: exit status 3") {
				t.Errorf("exit: %+v", f)
			}
			echo()
			if f := failureOf(t, call(`{"do":"sleep","ms":60000}`)); f.Type != "Sandbox.Timedout" || !strings.HasSuffix(f.Message, "Task timed out after 5.00 seconds") {
				t.Errorf("timeout: %+v", f)
			}
			echo()
			testOutOfMemory(t, s, client)
			echo()
			big := eventOf(lambda6MB)
			if out := call(big); out.FunctionError != nil || len(out.Payload) < lambda6MB {
				t.Errorf("6 MB echo: %v, %d bytes back", out.FunctionError, len(out.Payload))
			}
			if out := call(fmt.Sprintf(`{"do":"big","size":%d}`, lambent.MaxPayload)); out.FunctionError != nil || len(out.Payload) != lambent.MaxPayload {
				t.Errorf("largest answer: %v, %d bytes", out.FunctionError, len(out.Payload))
			}
			if f := failureOf(t, call(fmt.Sprintf(`{"do":"big","size":%d}`, lambent.MaxPayload+1))); f.Type != "Function.ResponseSizeTooLarge" {
				t.Errorf("too large an answer: %+v", f)
			}
			echo()
		})
		t.Run(client+" init error", func(t *testing.T) {
			deployClient(t, s, client, client+"-init", map[string]string{"INIT_FAIL": "1"}, 5)
			if f := failureOf(t, s.Invoke(t, client+"-init", `{}`)); f.Type == "" {
				t.Errorf("init error: %+v", f)
			}
		})
	}
}

// lambda6MB is the nominal limit of a synchronous payload.
const lambda6MB = 6 << 20

// testOutOfMemory accepts both ways that memory ends: the sandbox's limit, or the
// language's own when it is lower.
func testOutOfMemory(t *testing.T, s *harness.Server, client string) {
	t.Helper()
	f := failureOf(t, s.Invoke(t, client, `{"do":"oom"}`))
	switch {
	case f.Type == "Runtime.ExitError" && strings.HasSuffix(f.Message, "Runtime exited with error: signal: killed"):
	case client == "java" && f.Type == "java.lang.OutOfMemoryError":
	case client == "nodejs" && f.Type == "Runtime.ExitError" && strings.Contains(f.Message, "signal: aborted"):
	default:
		t.Errorf("out of memory: %+v", f)
	}
}
