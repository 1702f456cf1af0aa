// Package runtimes runs every language runtime and every official runtime
// interface client through a started server, in real sandboxes, by one list of
// cases.
package runtimes

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

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

// eventOf is an event of n bytes that is answered with itself.
func eventOf(n int) string {
	const head, foot = `{"do":"echo","s":"`, `"}`
	return head + strings.Repeat("a", n-len(head)-len(foot)) + foot
}

// client is one runtime interface client under test.
type client struct {
	*testing.T
	s    *harness.Server
	name string
}

// TestRuntimeClients runs the official clients, unmodified, each as its registry
// has it.
func TestRuntimeClients(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, name := range clients.Names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clients.Build(t, name)
			c := &client{t, s, name}
			deployClient(t, s, name, name, nil, 30)
			c.answers()
			c.ends()
			c.payloads()
			c.timeout()
			c.initError()
		})
	}
}

func (c *client) call(event string) *lambda.InvokeOutput {
	c.Helper()
	return c.s.Invoke(c.T, c.name, event)
}

// echo makes sure that what happened before has done no harm.
func (c *client) echo() {
	c.Helper()
	const event = `{"do":"echo","n":1,"s":"é世😀"}`
	if out := c.call(event); out.FunctionError != nil || !sameJSON(string(out.Payload), event) {
		c.Errorf("echo: %s %s", out.Payload, logOf(out))
	}
}

// thrown is how each client names the type of its error "boom".
var thrown = map[string]string{
	"go": "errorString", "nodejs": "Error", "python": "ValueError", "java": "java.lang.IllegalArgumentException",
	"rust": `&alloc::boxed::Box<dyn core::error::Error + core::marker::Send + core::marker::Sync>`,
}

func (c *client) answers() {
	c.echo()
	wantFailure(c.T, c.call(`{"do":"error"}`), thrown[c.name], "boom")
	c.echo()
	context := base64.StdEncoding.EncodeToString([]byte(`{"custom":{"who":"josé"}}`))
	out, err := c.s.Lambda().Invoke(c.Context(), &lambda.InvokeInput{FunctionName: &c.name, Payload: []byte(`{"do":"context"}`),
		ClientContext: &context, LogType: types.LogTypeTail})
	if err != nil {
		c.Fatal(err)
	}
	m := decode[struct {
		RequestID, FunctionARN, TraceID string
		RemainingMS                     int
		ClientContext                   struct{ Custom map[string]string }
	}](c.T, out)
	if !strings.Contains(logOf(out), "START RequestId: "+m.RequestID+" ") || !strings.HasPrefix(m.TraceID, "Root=1-") ||
		m.FunctionARN != "arn:aws:lambda:us-east-1:"+account+":function:"+c.name || m.RemainingMS < 20_000 || m.RemainingMS > 30_000 ||
		m.ClientContext.Custom["who"] != "josé" {
		c.Errorf("context: %s", out.Payload)
	}
}

func (c *client) ends() {
	wantFailure(c.T, c.call(`{"do":"exit"}`), exited.Type, exited.Message)
	c.echo()
	out := c.call(`{"do":"oom"}`)
	want := killed
	if c.name == "java" && failureOf(c.T, out).Type == javaLanguage.outOfMemory.Type {
		want = javaLanguage.outOfMemory // a quarter of a small host's memory is less than the sandbox's
	}
	wantFailure(c.T, out, want.Type, want.Message)
	if want == killed && !strings.Contains(logOf(out), "Status: error\tError Type: Runtime.OutOfMemory") {
		c.Errorf("out of memory, log %s", logOf(out))
	}
	c.echo()
}

func (c *client) payloads() {
	for _, n := range []int{6 << 20, lambent.MaxPayload - 3} { // Python puts three blanks into its answer
		big := eventOf(n)
		if out := c.call(big); out.FunctionError != nil || !sameJSON(string(out.Payload), big) {
			c.Errorf("echo of %d bytes: %d bytes, %.200s", n, len(out.Payload), out.Payload)
		}
	}
	most := strings.Replace(eventOf(lambent.MaxPayload-len(`,"size":4`)), `"echo"`, `"big","size":4`, 1)
	wantPayload(c.T, c.call(most+strings.Repeat(" ", lambent.MaxPayload-len(most))), `"xx"`)
	wantPayload(c.T, c.call(fmt.Sprintf(`{"do":"big","size":%d}`, lambent.MaxPayload)), `"`+strings.Repeat("x", lambent.MaxPayload-2)+`"`)
	wantFailure(c.T, c.call(fmt.Sprintf(`{"do":"big","size":%d}`, lambent.MaxPayload+1)),
		"Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes).")
	c.echo()
}

func (c *client) timeout() {
	name := c.name + "-timeout"
	deployClient(c.T, c.s, c.name, name, nil, 2)
	wantFailure(c.T, c.s.Invoke(c.T, name, `{"do":"sleep","ms":60000}`), "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 2.00 seconds")
	if out := c.s.Invoke(c.T, name, `{"do":"echo"}`); out.FunctionError != nil {
		c.Errorf("after a timeout: %s", out.Payload)
	}
}

func (c *client) initError() {
	name := c.name + "-init"
	deployClient(c.T, c.s, c.name, name, map[string]string{"INIT_FAIL": "1"}, 5)
	out := c.s.Invoke(c.T, name, `{}`)
	switch c.name {
	case "go", "rust": // they have no word for it: the process ends
		wantFailure(c.T, out, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 4")
	case "java":
		if f := failureOf(c.T, out); !strings.Contains(f.Type, "ExceptionInInitializerError") && !strings.Contains(f.Message, "ExceptionInInitializerError") {
			c.Errorf("init error %s", out.Payload)
		}
	default:
		wantFailure(c.T, out, map[string]string{"nodejs": "Error", "python": "RuntimeError"}[c.name], "init failed as asked")
	}
}
