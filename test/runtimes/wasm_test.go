package runtimes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// modules are the driver's own test functions, in both languages and shapes.
func modules(t *testing.T) map[string]string {
	t.Helper()
	testdata := filepath.Join(harness.Root(), "internal", "sandbox", "wasm", "testdata")
	found := map[string]string{}
	for _, shape := range []string{"command", "resident"} {
		b, err := os.ReadFile(filepath.Join(testdata, "rust", shape+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		found["rust-"+shape] = string(b)
		out := filepath.Join(t.TempDir(), "bootstrap.wasm")
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}
		if shape == "resident" {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, ".")...)
		cmd.Dir = filepath.Join(testdata, shape)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", shape, err, text)
		}
		if b, err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
		found["go-"+shape] = string(b)
	}
	return found
}

func TestWasm(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for name, module := range modules(t) {
		s.Create(t, harness.Function{Name: name, Runtime: "wasm", Memory: 128, Timeout: 1,
			Zip: harness.Zip(t, map[string]string{"bootstrap.wasm": module})})
	}
	for _, name := range []string{"rust-command", "go-command"} {
		t.Run(name, func(t *testing.T) { wasmCommand(t, s, name) })
	}
	t.Run("rust-resident", func(t *testing.T) {
		for n := range 3 {
			wantPayload(t, s.Invoke(t, "rust-resident", `"count"`), fmt.Sprint(n))
		}
		if f := failureOf(t, s.Invoke(t, "rust-resident", `"error"`)); f != (failure{"Function.Oops", "oh no"}) {
			t.Errorf("error: %+v", f)
		}
		out := s.Invoke(t, "rust-resident", `"panic"`)
		wantFailure(t, out, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: unreachable")
		if log := logOf(out); !strings.Contains(log, "cannot go on") || !strings.Contains(log, "trap: unreachable") {
			t.Errorf("log of a panic:\n%s", log)
		}
		wantPayload(t, s.Invoke(t, "rust-resident", `"count"`), "0")
		big := `"` + strings.Repeat("x", 6<<20-2) + `"`
		wantPayload(t, s.Invoke(t, "rust-resident", big), big)
	})
	t.Run("go-resident", func(t *testing.T) {
		wantPayload(t, s.Invoke(t, "go-resident", `{"Do":"echo","Args":["a"]}`), `["a"]`)
		out := s.Invoke(t, "go-resident", `{"Do":"print","N":2,"Args":["hello","bye"]}`)
		if log := logOf(out); !regexp.MustCompile(`(?s)START.*\nhello\nhello\nbye\nEND.*\nREPORT`).MatchString(log) {
			t.Errorf("log:\n%s", log)
		}
		wantFailure(t, s.Invoke(t, "go-resident", `{"Do":"exit","N":4}`), "Runtime.ExitError",
			"RequestId: ID Error: Runtime exited with error: exit status 4")
		out = s.Invoke(t, "go-resident", `{"Do":"allocate","N":512}`)
		wantFailure(t, out, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: signal: killed")
		if log := logOf(out); !strings.Contains(log, "Runtime.OutOfMemory") {
			t.Errorf("log:\n%s", log)
		}
		if got := decode[[]string](t, s.Invoke(t, "go-resident", `{"Do":"env"}`)); !contains(got, "AWS_LAMBDA_FUNCTION_NAME=go-resident") {
			t.Errorf("environment: %q", got)
		}
	})
	t.Run("invalid", func(t *testing.T) {
		s.Create(t, harness.Function{Name: "invalid", Runtime: "wasm", Zip: harness.Zip(t, map[string]string{"bootstrap.wasm": "not a module"})})
		wantFailure(t, s.Invoke(t, "invalid", `{}`), "Runtime.InvalidEntrypoint",
			"RequestId: ID Error: module bootstrap.wasm: it is not valid: it is not a WebAssembly module of version 1")
	})
	t.Run("restart", func(t *testing.T) {
		// A module that is compiled again is a new file.
		stored := func() map[string]os.FileInfo {
			files, err := filepath.Glob(filepath.Join(s.Data, "sandbox", "wasm", "code", "*.code"))
			if err != nil {
				t.Fatal(err)
			}
			all := map[string]os.FileInfo{}
			for _, f := range files {
				if all[f], err = os.Stat(f); err != nil {
					t.Fatal(err)
				}
			}
			return all
		}
		before := stored()
		s.Restart()
		begin := time.Now()
		wantPayload(t, s.Invoke(t, "rust-command", `{"a":1}`), `{"a":1}`)
		t.Logf("first answer after a restart: %v", time.Since(begin))
		wantPayload(t, s.Invoke(t, "go-resident", `{"Do":"echo","Args":["a"]}`), `["a"]`)
		after := stored()
		if len(before) != 4 || len(after) != 4 {
			t.Errorf("compiled modules before %d, after %d", len(before), len(after))
		}
		for f, info := range after {
			if !os.SameFile(info, before[f]) {
				t.Errorf("%s was made again", f)
			}
		}
	})
	out, errs, err := s.CLI("", "runtime", "list")
	if err != nil || !regexp.MustCompile(`(?m)^wasm +ready`).MatchString(out) {
		t.Errorf("runtime list: %v %s\n%s", err, errs, out)
	}
}

func wasmCommand(t *testing.T, s *harness.Server, name string) {
	wantPayload(t, s.Invoke(t, name, `{"a":"b"}`), `{"a":"b"}`)
	if out := s.Invoke(t, name, `"log one line"`); !regexp.MustCompile(`(?s)START.*\none line\nEND.*\nREPORT`).MatchString(logOf(out)) {
		t.Errorf("log:\n%s", logOf(out))
	}
	wantFailure(t, s.Invoke(t, name, `"exit"`), "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 7")
	if f := failureOf(t, s.Invoke(t, name, `"error"`)); f != (failure{"Function.Oops", "oh no"}) {
		t.Errorf("error: %+v", f)
	}
	for _, endless := range []string{`"spin"`, `"sleep"`} {
		out := s.Invoke(t, name, endless)
		wantFailure(t, out, "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 1.00 seconds")
		if log := logOf(out); !strings.Contains(log, "Status: timeout") {
			t.Errorf("log of a time-out:\n%s", log)
		}
	}
	wantFailure(t, s.Invoke(t, name, `"grow"`), "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: signal: killed")
	big := `"` + strings.Repeat("x", 6<<20-2) + `"`
	wantPayload(t, s.Invoke(t, name, big), big)
}

func contains(all []string, want string) bool {
	for _, s := range all {
		if s == want {
			return true
		}
	}
	return false
}
