package runtimes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
)

// rig runs one function as an ordinary process against a minimal Runtime API:
// what a bootstrap does is seen here, what a sandbox does is not.
type rig struct {
	t       *testing.T
	process process
	log     *syncBuffer
	events  chan event
	said    chan said
	exited  chan struct{}
}

// event is what the runtime is handed.
type event struct {
	id, payload string
	headers     map[string]string
}

// said is one thing that the runtime posted, or "exit".
type said struct {
	kind   string // "ready", "response", "error", "init", "exit"
	id     string
	body   string
	header http.Header
	status int // of an exit
}

type function struct {
	runtime, handler, dir string
	memory                int
	env                   map[string]string
	logging               lambent.Logging
	status                int // that responses are answered with, 202 unless set
	snapStart             bool
}

// host is the catalogue of this host, laid out once for all tests.
var host = sync.OnceValues(func() (*runtimes.Catalog, error) {
	dir, err := os.MkdirTemp("", "lambent-runtimes-")
	if err != nil {
		return nil, err
	}
	hostDir = dir
	return runtimes.Open(context.Background(), runtimes.Options{DataDir: dir, Log: slog.New(slog.DiscardHandler)})
})

var hostDir string

func TestMain(m *testing.M) {
	code := m.Run()
	zygotes.end()
	if hostDir != "" {
		_ = os.RemoveAll(hostDir) // a temporary folder
	}
	os.Exit(code)
}

// sources is the folder of the functions that all tests share.
func sources(t *testing.T, language string) string {
	t.Helper()
	if language == "dotnet" {
		return dotnetFunctions(t)
	}
	dir, err := filepath.Abs(filepath.Join("../../test/runtimes/functions", language))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// start runs f. It skips the test where the host lacks the runtime. How the process
// comes to be goes by the test's name: see [originOf].
func start(t *testing.T, f function) *rig {
	t.Helper()
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	if f.memory == 0 {
		f.memory = 512
	}
	v := &lambent.Version{
		Namespace: "000000000000", Function: "fn", Number: lambent.Latest, Runtime: f.runtime,
		Handler: f.handler, MemoryMB: f.memory, Env: f.env, Logging: f.logging,
	}
	if f.snapStart {
		v.Number, v.SnapStart = "1", "PublishedVersions"
	}
	rt, err := c.Resolve(v)
	if err != nil {
		t.Skipf("no %s here: %v", f.runtime, err)
	}
	return startWith(t, rt, v, f.dir, f.status)
}

// startWith starts a version in a runtime that may be another's.
func startWith(t *testing.T, rt sandbox.Runtime, v *lambent.Version, dir string, status int) *rig {
	t.Helper()
	r := &rig{
		t: t, log: &syncBuffer{}, events: make(chan event),
		said: make(chan said, 16), exited: make(chan struct{}),
	}
	server := httptest.NewServer(r.api(status))
	env := runtimes.Environment(runtimes.Env{Version: v, Region: "us-east-1", LogStream: "stream"})
	env = append(env, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(server.URL, "http://"))
	r.process = launch(t, r.log, launched{runtime: rt, dir: dir, env: env})
	go r.wait()
	t.Cleanup(func() {
		r.process.kill()
		<-r.exited
		server.CloseClientConnections()
		server.Close()
		if t.Failed() {
			out := r.log.String()
			t.Logf("output of the function:\n%.4000s", out)
		}
	})
	return r
}

// wait belongs to start, whose cleanup waits for exited.
func (r *rig) wait() {
	r.said <- said{kind: "exit", status: r.process.wait()}
	close(r.exited)
}

func (r *rig) api(status int) http.Handler {
	if status == 0 {
		status = http.StatusAccepted
	}
	mux := http.NewServeMux()
	first := true
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, req *http.Request) {
		if first {
			first = false
			r.said <- said{kind: "ready"}
		}
		select {
		case ev := <-r.events:
			h := w.Header()
			h.Set("Lambda-Runtime-Aws-Request-Id", ev.id)
			h.Set("Lambda-Runtime-Invocation-Id", "inv-"+ev.id)
			h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(5*time.Second).UnixMilli(), 10))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:fn")
			h.Set("Lambda-Runtime-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0")
			h.Set("Content-Type", "application/json")
			for name, value := range ev.headers {
				h.Set(name, value)
			}
			_, _ = io.WriteString(w, ev.payload) // a lost runtime shows as its exit
		case <-req.Context().Done():
		}
	})
	post := func(kind string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body) // a cut body fails the comparison
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"status":"OK"}`)
			r.said <- said{kind: kind, id: req.PathValue("id"), body: string(body), header: req.Header}
		}
	}
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", post("response", status))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", post("error", status))
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", post("init", http.StatusAccepted))
	return mux
}

// hear waits for what the runtime says next.
func (r *rig) hear() said {
	r.t.Helper()
	select {
	case s := <-r.said:
		return s
	case <-time.After(60 * time.Second):
		r.t.Fatalf("the runtime says nothing; its output:\n%.2000s", r.log.String())
		return said{}
	}
}

// expect waits for what the runtime says next, which must be of this kind.
func (r *rig) expect(kind string) said {
	r.t.Helper()
	s := r.hear()
	if s.kind != kind {
		r.t.Fatalf("the runtime said %s %s (exit status %d), want %s; its output:\n%.2000s",
			s.kind, s.body, s.status, kind, r.log.String())
	}
	return s
}

var ids struct {
	sync.Mutex
	last int
}

func newID() string {
	ids.Lock()
	defer ids.Unlock()
	ids.last++
	return fmt.Sprintf("8476a536-e9f4-11e8-9739-%012d", ids.last)
}

// send hands an event over and returns its id.
func (r *rig) send(payload string, headers map[string]string) string {
	r.t.Helper()
	ev := event{id: newID(), payload: payload, headers: headers}
	select {
	case r.events <- ev:
	case <-time.After(60 * time.Second):
		r.t.Fatalf("the runtime does not ask for an event; its output:\n%.2000s", r.log.String())
	}
	return ev.id
}

// invoke hands an event over and waits for the answer, which must be of kind.
func (r *rig) invoke(kind, payload string) said {
	r.t.Helper()
	id := r.send(payload, nil)
	s := r.expect(kind)
	if s.kind != "exit" && s.id != id {
		r.t.Fatalf("the runtime answered for %s, want %s", s.id, id)
	}
	if s.kind != "exit" && s.header.Get("Lambda-Runtime-Invocation-Id") != "inv-"+id {
		r.t.Errorf("the runtime sent the invocation id %q, want %q",
			s.header.Get("Lambda-Runtime-Invocation-Id"), "inv-"+id)
	}
	return s
}

// decode reads an answer that must be a JSON object.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("decode %.200s: %v", text, err)
	}
	return m
}

// wantEcho checks that an answer is the JSON that was sent.
func wantEcho(t *testing.T, payload string, got said) {
	t.Helper()
	var want, have any
	if err := json.Unmarshal([]byte(payload), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.body), &have); err != nil {
		t.Fatalf("%s: answer %s: %v", payload, got.body, err)
	}
	w, _ := json.Marshal(want) // both came from JSON
	h, _ := json.Marshal(have)
	if string(w) != string(h) {
		t.Errorf("echo of %s is %s", payload, got.body)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

// wantContext checks what a handler tells of its context object, but for the client's part.
func wantContext(t *testing.T, m map[string]any, id string, memory any) {
	t.Helper()
	for name, want := range map[string]any{
		"aws_request_id": id, "function_name": "fn", "function_version": "$LATEST",
		"invoked_function_arn": "arn:aws:lambda:us-east-1:000000000000:function:fn", "memory_limit_in_mb": memory,
		"log_group_name": "/aws/lambda/fn", "log_stream_name": "stream", "identity": "who",
		"trace": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
	} {
		if m[name] != want {
			t.Errorf("context: %s is %v, want %v", name, m[name], want)
		}
	}
	if left := m["remaining"].(float64); left <= 0 || left > 5000 {
		t.Errorf("remaining time %v ms", left)
	}
}

type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// logged waits until the output holds text: it comes through a pipe of its own.
func (r *rig) logged(text string) {
	r.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(r.log.String(), text) {
			return
		}
	}
	r.t.Errorf("the output lacks %q:\n%s", text, r.log)
}
