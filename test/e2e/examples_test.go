package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// sample is an event for an example, and what its answer must hold.
type sample struct {
	event, message string
	// field is what tells where it ran; empty where the example tells nothing.
	field string
}

// pages are those of the examples that are applications: a path, and what its answer
// must hold.
var pages = map[string][2]string{
	"web-flask":   {"/hello/world", "Hello, world!"},
	"web-express": {"/hello/world", "Hello, world!"},
	"web-static":  {"/", "Hello from a file."},
}

// samples are those of the examples, each by the name of its directory.
var samples = map[string]sample{
	"hello-python":     {`{"name": "world"}`, "Hello, world!", "python"},
	"hello-nodejs":     {`{"name": "world"}`, "Hello, world!", "node"},
	"hello-typescript": {`{"name": "wORLD"}`, "Hello, World!", "node"},
	"hello-java":       {`{"name": "world"}`, "Hello, world!", "java"},
	"hello-go":         {`{"name": "world"}`, "Hello, world!", "go"},
	"hello-rust":       {`{"name": "world"}`, "Hello, world!", ""},
	"hello-ruby":       {`{"name": "world"}`, "Hello, world!", "ruby"},
	"hello-php":        {`{"name": "world"}`, "Hello, world!", "php"},
	"hello-deno":       {`{"name": "world"}`, "Hello, world!", "deno"},
	"hello-bun":        {`{"name": "world"}`, "Hello, world!", "bun"},
	"hello-bash":       {`{"name": "world"}`, "Hello, world!", "bash"},
	"hello-wasm":       {`{"name": "world"}`, "Hello, world!", "platform"},
	"python-packages":  {`{"number": 1000000}`, "1.0 million", ""},
}

// TestExamples deploys every example as it is and invokes it. What it needs is
// installed by scripts/test-deps.sh: nothing is left out.
func TestExamples(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	entries, err := os.ReadDir(filepath.Join(harness.Root(), "examples"))
	if err != nil {
		t.Fatal(err)
	}
	// What the build tools keep is kept from one run of the tests to the next.
	t.Setenv("CARGO_TARGET_DIR", filepath.Join(harness.CacheDir(), "examples-cargo"))
	for _, e := range entries {
		if page, known := pages[e.Name()]; known {
			t.Run(e.Name(), func(t *testing.T) { visitExample(t, s, e.Name(), page) })
			continue
		}
		want, known := samples[e.Name()]
		if !known {
			t.Errorf("examples/%s has no sample here", e.Name())
			continue
		}
		t.Run(e.Name(), func(t *testing.T) { deployExample(t, s, e.Name(), want) })
	}
}

// visitExample deploys an application and asks for a page.
func visitExample(t *testing.T, s *harness.Server, name string, page [2]string) {
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(harness.Root(), "examples", name))); err != nil {
		t.Fatal(err)
	}
	app := publish(t, s, name, dir)
	if got := ask(t, &http.Client{Timeout: time.Minute}, newRequest(t, "GET", app+page[0], "")); got.status != http.StatusOK || !strings.Contains(got.body, page[1]) {
		t.Errorf("answers %+v, want %q", got, page[1])
	}
}

// deployExample works on a copy: builds leave files beside the source.
func deployExample(t *testing.T, s *harness.Server, name string, want sample) {
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(harness.Root(), "examples", name))); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := s.CLI("", "deploy", dir, "--memory", "256", "--timeout", "20")
	if err != nil {
		t.Fatalf("deploy: %v\n%s%s", err, stdout, stderr)
	}
	if !strings.HasPrefix(stdout, name+" created (") || !strings.Contains(stderr, "guessed ") {
		t.Errorf("deploy says\n%s%s", stdout, stderr)
	}
	for range 2 { // a cold start and a warm one
		out := s.Invoke(t, name, want.event)
		var answer map[string]any
		if err := json.Unmarshal(out.Payload, &answer); err != nil || out.FunctionError != nil {
			t.Fatalf("answer %s: %v", out.Payload, err)
		}
		if answer["message"] != want.message || want.field != "" && answer[want.field] == nil {
			t.Errorf("answer %s, want %+v", out.Payload, want)
		}
	}
	// The same source makes the same code.
	if stdout, stderr, err = s.CLI("", "deploy", dir); err != nil || !strings.HasPrefix(stdout, name+" unchanged (") {
		t.Errorf("the second deploy: %v\n%s%s", err, stdout, stderr)
	}
}
