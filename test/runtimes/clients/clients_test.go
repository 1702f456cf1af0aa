package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
)

// handlers are the names that the clients give the same function.
var handlers = map[string]string{"java": "Handler::handle", "nodejs": "handler.handle", "python": "handler.handle"}

// instance is a client that runs as a plain process beside its session.
type instance struct {
	testing.TB
	s      *runtimeapi.Session
	output *buffer
	exited chan struct{}
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs the client named name; it is ended with the test.
func start(t testing.TB, name string, env ...string) *instance {
	t.Helper()
	dir := Build(t, name)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{TB: t, s: runtimeapi.NewSession(runtimeapi.Options{FunctionName: name}), output: &buffer{}, exited: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- i.s.Serve(l) }()

	cmd := exec.Command(filepath.Join(dir, "bootstrap"))
	cmd.Dir = dir
	cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"LAMBDA_TASK_ROOT=" + dir, "_HANDLER=" + handlers[name], "AWS_REGION=us-east-1", "LANG=C.UTF-8",
		"AWS_LAMBDA_FUNCTION_NAME=" + name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512",
		"AWS_LAMBDA_LOG_GROUP_NAME=g", "AWS_LAMBDA_LOG_STREAM_NAME=s", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
	}, env...)
	cmd.Stdout, cmd.Stderr = i.output, i.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(i.exited)
		err := cmd.Wait()
		i.s.Exited(exitFailure(err))
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may be gone
		<-i.exited
		i.s.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if t.Failed() {
			t.Logf("output of the client:\n%s", i.output)
		}
	})
	return i
}

func exitFailure(err error) sandbox.Failure {
	f := sandbox.Failure{Type: "Runtime.ExitError", Message: "Runtime exited without providing a reason"}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		f.Message = "Runtime exited with error: " + exit.Error()
	}
	return f
}

func (i *instance) init() {
	i.Helper()
	ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
	defer cancel()
	res, err := i.s.Init(ctx)
	if err != nil || res.Failure != nil {
		i.Fatalf("init: %+v, %v\n%s", res.Failure, err, i.output)
	}
}

var serial int

// invoke sends payload as one event and waits until the client is ready again.
func (i *instance) invoke(payload string, timeout time.Duration) sandbox.Answer {
	i.Helper()
	serial++
	ev := sandbox.Event{
		RequestID:     fmt.Sprintf("8e35ad1b-0000-4000-8000-%012d", serial),
		Payload:       []byte(payload),
		FunctionARN:   "arn:aws:lambda:us-east-1:000000000000:function:f:live",
		Deadline:      time.Now().Add(timeout),
		TraceID:       "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
		ClientContext: []byte(`{"custom":{"who":"jos\u00e9"}}`),
	}
	ctx, cancel := context.WithDeadline(i.Context(), ev.Deadline)
	defer cancel()
	a, err := i.s.Invoke(ctx, ev)
	if err != nil {
		i.Fatalf("invoke %s: %v", payload, err)
	}
	if a.Failure == nil {
		select {
		case <-i.s.Ready():
		case <-time.After(20 * time.Second):
			i.Fatalf("invoke %.60s: the client did not come back to /next", payload)
		}
	}
	return a
}

func TestClients(t *testing.T) {
	for _, name := range Names {
		t.Run(name, func(t *testing.T) {
			t.Run("warm", func(t *testing.T) { testWarm(t, name) })
			t.Run("exit", func(t *testing.T) { testExit(t, name) })
			t.Run("timeout", func(t *testing.T) { testTimeout(t, name) })
			t.Run("init error", func(t *testing.T) { testInitError(t, name) })
		})
	}
}

// testWarm sends one client everything that it survives.
func testWarm(t *testing.T, name string) {
	i := start(t, name)
	i.init()
	const echo = `{"do":"echo","text":"äöü 𝄞","list":[1,2.5,null]}`
	a := i.invoke(echo, time.Minute)
	if a.FunctionError || a.Failure != nil || !sameJSON(a.Payload, []byte(echo)) {
		t.Errorf("echo: %+v %s", a, a.Payload)
	}

	a = i.invoke(`{"do":"error"}`, time.Minute)
	var object struct{ ErrorMessage, ErrorType string }
	if err := json.Unmarshal(a.Payload, &object); err != nil || !a.FunctionError || object.ErrorMessage != "boom" || object.ErrorType == "" {
		t.Errorf("error: %+v %s %v", a, a.Payload, err)
	}
	t.Logf("error object: %.200s (%s)", a.Payload, a.ErrorType)

	testContext(t, i)

	for _, size := range []int{6 << 20, lambent.MaxPayload} {
		a = i.invoke(`{"do":"big","size":`+strconv.Itoa(size)+`}`, time.Minute)
		if a.Failure != nil || len(a.Payload) != size {
			t.Errorf("answer of %d bytes: got %d, %+v", size, len(a.Payload), a.Failure)
		}
	}
	big := `{"do":"echo","text":"` + strings.Repeat("y", 6<<20-100) + `"}`
	if a = i.invoke(big, time.Minute); len(a.Payload) < 6<<20-100 || a.Failure != nil {
		t.Errorf("event of %d bytes: got %d, %+v", len(big), len(a.Payload), a.Failure)
	}
	testTooLarge(t, i)
}

func testContext(t *testing.T, i *instance) {
	a := i.invoke(`{"do":"context"}`, 30*time.Second)
	var c struct {
		RequestID, FunctionARN, TraceID string
		RemainingMS                     int
		ClientContext                   struct{ Custom map[string]string }
	}
	if err := json.Unmarshal(a.Payload, &c); err != nil {
		t.Fatalf("context: %s: %v", a.Payload, err)
	}
	if !strings.HasPrefix(c.RequestID, "8e35ad1b-") || c.FunctionARN != "arn:aws:lambda:us-east-1:000000000000:function:f:live" ||
		!strings.HasPrefix(c.TraceID, "Root=1-5bef4de7-") || c.RemainingMS < 20_000 || c.RemainingMS > 30_000 ||
		c.ClientContext.Custom["who"] != "josé" {
		t.Errorf("context: %s", a.Payload)
	}
}

// testTooLarge is the last event of a client: some end when they are refused.
func testTooLarge(t *testing.T, i *instance) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := i.s.Invoke(ctx, sandbox.Event{
		RequestID: "too-large", Payload: []byte(`{"do":"big","size":` + strconv.Itoa(lambent.MaxPayload+1) + `}`),
		Deadline: time.Now().Add(time.Minute),
	})
	if err != nil || a.Failure == nil || a.Failure.Type != "Function.ResponseSizeTooLarge" {
		t.Errorf("answer over the limit: %+v %+v, %v", a.Failure, len(a.Payload), err)
	}
	select {
	case <-i.s.Ready():
	case <-time.After(20 * time.Second):
		t.Error("the client neither asked for another event nor ended")
	}
	select {
	case <-i.exited:
		t.Log("this client ends when its answer is refused as too large")
	default:
	}
}

func testExit(t *testing.T, name string) {
	i := start(t, name)
	i.init()
	a := i.invoke(`{"do":"exit"}`, time.Minute)
	if a.Failure == nil || a.Failure.Type != "Runtime.ExitError" || a.Failure.Message != "Runtime exited with error: exit status 3" {
		t.Errorf("exit: %+v %+v %s", a, a.Failure, a.Payload)
	}
}

func testTimeout(t *testing.T, name string) {
	i := start(t, name)
	i.init()
	a := i.invoke(`{"do":"sleep","ms":30000}`, time.Second)
	if a.Failure == nil || a.Failure.Type != "Sandbox.Timedout" || a.Failure.Message != "Task timed out after 1.00 seconds" {
		t.Errorf("timeout: %+v", a.Failure)
	}
}

func testInitError(t *testing.T, name string) {
	i := start(t, name, "INIT_FAIL=1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := i.s.Init(ctx)
	if err != nil || res.Failure == nil {
		t.Fatalf("init: %+v, %v", res.Failure, err)
	}
	t.Logf("%s: %s %.200s", res.Failure.Type, res.Failure.Message, res.Failure.Payload)
	switch name {
	case "go", "rust": // they have no word for it: the process ends
		if res.Failure.Message != "Runtime exited with error: exit status 4" {
			t.Errorf("init error: %+v", res.Failure)
		}
	default:
		want := "init failed as asked"
		if name == "java" { // it tells the message to its log only
			want = "ExceptionInInitializerError"
		}
		if !bytes.Contains(res.Failure.Payload, []byte(want)) {
			t.Errorf("init error: %+v\n%s", res.Failure, res.Failure.Payload)
		}
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}
