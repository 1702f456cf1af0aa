package wasm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// say sends a command its input.
func say(t *testing.T, i sandbox.Instance, input string, timeout time.Duration) sandbox.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	a, err := i.Invoke(ctx, sandbox.Event{RequestID: "id-1", Payload: []byte(input), FunctionARN: "arn:f",
		TraceID: "Root=1", Deadline: time.Now().Add(timeout), ClientContext: []byte(`{"a":1}`)})
	if err != nil {
		t.Fatalf("%s: %v", input, err)
	}
	return a
}

func TestCommand(t *testing.T) {
	d := newDriver(t, Options{})
	for _, c := range []struct{ kind, code string }{{"go", codeOf(t, "command")}, {"rust", bare(t, rust(t, "command"))}} {
		t.Run(c.kind, func(t *testing.T) {
			n := 0
			start := func() *sandboxtest.Live {
				n++
				spec := specOf(fmt.Sprint(c.kind, n), c.code)
				return startOf(t, d, spec)
			}
			l := start()
			for range 2 {
				if a := say(t, l.Instance, `{"a":"b"}`, time.Second); string(a.Payload) != `{"a":"b"}` || a.Failure != nil || a.Took <= 0 {
					t.Errorf("echo: %+v", a)
				}
			}
			big := strings.Repeat("y", lambent.MaxPayload)
			if a := say(t, l.Instance, big, 10*time.Second); string(a.Payload) != big {
				t.Errorf("6 MB: %d bytes, %+v", len(a.Payload), a.Failure)
			}
			if a := say(t, l.Instance, big+"y", 10*time.Second); a.Failure == nil || a.Failure.Type != "Function.ResponseSizeTooLarge" || !a.Failure.Raw {
				t.Errorf("more than 6 MB: %+v", a.Failure)
			}
			before := len(l.Out.All())
			if a := say(t, l.Instance, "log one line", time.Second); string(a.Payload) != "null" || !slices.Equal(l.Out.All()[before:], []string{"one line"}) {
				t.Errorf("log: %+v, %q", a, l.Out.All())
			}
			if a := say(t, l.Instance, "error", time.Second); !a.FunctionError || a.ErrorType != "Function.Oops" || !strings.Contains(string(a.Payload), "oh no") {
				t.Errorf("error: %+v, %s", a, a.Payload)
			}
			if l.MaxMemory() < 1<<20 || l.MaxMemory() > 128<<20 {
				t.Errorf("most memory: %d", l.MaxMemory())
			}
			if a := say(t, l.Instance, "exit", time.Second); a.Failure == nil || a.Failure.Message != "Runtime exited with error: exit status 7" {
				t.Errorf("exit: %+v", a.Failure)
			}
			if !slices.Contains(l.Out.All(), "leaving") {
				t.Errorf("exit: last words in %q", l.Out.All())
			}
			for input, want := range map[string]sandbox.Failure{
				"sleep": {Type: "Sandbox.Timedout", Message: "Task timed out after 0.30 seconds"},
				"spin":  {Type: "Sandbox.Timedout", Message: "Task timed out after 0.30 seconds"},
			} {
				l := start()
				if a := say(t, l.Instance, input, 300*time.Millisecond); a.Failure == nil || a.Failure.Type != want.Type || a.Failure.Message != want.Message {
					t.Errorf("%s: %+v", input, a.Failure)
				}
				if _, err := l.Instance.Invoke(t.Context(), sandbox.Event{}); err == nil {
					t.Errorf("%s: it takes another event", input)
				}
			}
			l = start()
			if a := say(t, l.Instance, "grow", 10*time.Second); a.Failure == nil || a.Failure.Type != "Runtime.ExitError" || a.Failure.ReportType != "Runtime.OutOfMemory" {
				t.Errorf("grow: %+v", a.Failure)
			}
			if u := l.Usage(); u.OOMKills != 1 || u.MaxMemoryBytes > 128<<20 || u.MaxMemoryBytes < 64<<20 {
				t.Errorf("usage after growing: %+v", u)
			}
		})
	}
	l := startOf(t, d, specOf("fresh", codeOf(t, "command")))
	for range 3 {
		if a := say(t, l.Instance, "runs", time.Second); string(a.Payload) != "1" {
			t.Errorf("memory is not fresh: %s", a.Payload)
		}
	}
	env := strings.Split(string(say(t, l.Instance, "env", time.Second).Payload), "\n")
	for _, want := range []string{"GREETING=hello", "LAMBENT_REQUEST_ID=id-1", "LAMBENT_FUNCTION_ARN=arn:f", "_X_AMZN_TRACE_ID=Root=1", `LAMBENT_CLIENT_CONTEXT={"a":1}`} {
		if !slices.Contains(env, want) {
			t.Errorf("environment %q lacks %s", env, want)
		}
	}
}

func TestResident(t *testing.T) {
	d := newDriver(t, Options{})
	t.Run("rust", func(t *testing.T) {
		l := startOf(t, d, specOf("rust", bare(t, rust(t, "resident"))))
		for n := range 3 {
			if a := say(t, l.Instance, `"count"`, time.Second); string(a.Payload) != strconv.Itoa(n) {
				t.Errorf("count: %s, %+v", a.Payload, a.Failure)
			}
		}
		if a := say(t, l.Instance, `"error"`, time.Second); !a.FunctionError || string(a.Payload) != `{"errorMessage":"oh no","errorType":"Function.Oops"}` {
			t.Errorf("error: %+v, %s", a, a.Payload)
		}
		if a := say(t, l.Instance, `"log"`, time.Second); string(a.Payload) != "null" || !slices.Equal(l.Out.All(), []string{"to the log"}) {
			t.Errorf("log: %s, %q", a.Payload, l.Out.All())
		}
		if a := say(t, l.Instance, `"panic"`, time.Second); a.Failure == nil || a.Failure.Message != "Runtime exited with error: unreachable" {
			t.Errorf("panic: %+v", a.Failure)
		}
		if out := strings.Join(l.Out.All(), "\n"); !strings.Contains(out, "cannot go on") || !strings.Contains(out, "trap: unreachable") {
			t.Errorf("panic: %s", out)
		}
	})
	l := startOf(t, d, specOf("go", codeOf(t, "resident")))
	for n := range 3 {
		if got := l.Do("count", 0); got != strconv.Itoa(n+1) {
			t.Errorf("count: %s", got)
		}
	}
	if got := l.Do("context", 0); !strings.Contains(got, `"requestId":"00000000-0000-4000-8000-000000000004"`) || !strings.Contains(got, `"deadlineMs":1`) {
		t.Errorf("context: %s", got)
	}
	if got := len(l.Do("big", lambent.MaxPayload)); got != lambent.MaxPayload {
		t.Errorf("6 MB: %d", got)
	}
	if a := l.Invoke(sandboxtest.Command{Do: "big", N: lambent.MaxPayload + 1}, time.Second); a.Failure == nil || a.Failure.Type != "Function.ResponseSizeTooLarge" {
		t.Errorf("more than 6 MB: %+v", a.Failure)
	}
	if got := l.Do("allocate", 32); got != "32" {
		t.Errorf("32 MB: %s", got)
	}
	a := l.Invoke(sandboxtest.Command{Do: "allocate", N: 1024}, 10*time.Second)
	if f := a.Failure; f == nil || f.Type != "Runtime.ExitError" || f.ReportType != "Runtime.OutOfMemory" || f.Message != "Runtime exited with error: signal: killed" {
		t.Errorf("1 GB of 128 MB: %+v", f)
	}
}

func TestFiles(t *testing.T) {
	d := newDriver(t, Options{})
	spec := specOf("files", codeOf(t, "resident"))
	spec.Version.EphemeralMB = 20
	spec.Layers = []string{folder(t, map[string]string{"shared": "one", "first": "1"}), folder(t, map[string]string{"shared": "two"})}
	if err := os.WriteFile(filepath.Join(spec.Code, "data.txt"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(spec.Code, "out")); err != nil {
		t.Fatal(err)
	}
	l := startOf(t, d, spec)
	refusal := "ERROR: "
	for _, c := range []struct {
		do   string
		n    int
		args []string
		want string
	}{
		{"cwd", 0, nil, "/var/task"},
		{"read", 0, []string{"/var/task/data.txt"}, "mine"},
		{"read", 0, []string{"data.txt"}, "mine"},
		{"list", 0, []string{"/var/task"}, `["bootstrap.wasm","data.txt","out"]`},
		{"read", 0, []string{"/opt/shared"}, "two"},
		{"read", 0, []string{"/opt/first"}, "1"},
		{"list", 0, []string{"/opt"}, `["first","shared"]`},
		{"list", 0, []string{"/tmp"}, "[]"},
		{"write", 0, []string{"/tmp/x", "y"}, ""},
		{"read", 0, []string{"/tmp/x"}, "y"},
		{"mkdir", 0, []string{"/tmp/d"}, ""},
		{"rename", 0, []string{"/tmp/x", "/tmp/d/x"}, ""},
		{"list", 0, []string{"/tmp/d"}, `["x"]`},
		{"read", 0, []string{"/tmp/x"}, refusal},
		// Out of the trees there is nothing.
		{"read", 0, []string{"/etc/passwd"}, refusal},
		{"read", 0, []string{"/var/task/../../etc/passwd"}, refusal},
		{"read", 0, []string{"/var/task/out"}, refusal},
		{"symlink", 0, []string{"/etc", "/tmp/etc"}, ""},
		{"read", 0, []string{"/tmp/etc/passwd"}, refusal},
		{"symlink", 0, []string{"../../../../../../../../etc/passwd", "/tmp/up"}, ""},
		{"read", 0, []string{"/tmp/up"}, refusal},
		{"write", 0, []string{"/tmp/up", "x"}, refusal},
		{"write", 0, []string{"/var/task/new", "x"}, refusal},
		{"write", 0, []string{"/opt/new", "x"}, refusal},
		{"remove", 0, []string{"/var/task/data.txt"}, refusal},
		// Room.
		{"fill", 10, []string{"/tmp/a"}, "all"},
		{"fill", 100, []string{"/tmp/b"}, "9 write /tmp/b: I/O error"},
		{"remove", 0, []string{"/tmp/a"}, ""},
		{"remove", 0, []string{"/tmp/b"}, ""},
		{"open", 3000, []string{"/tmp/d/x"}, "10"},
	} {
		got := l.Do(c.do, c.n, c.args...)
		switch {
		case c.want == refusal && !strings.HasPrefix(got, refusal), c.want == "10" && !strings.HasPrefix(got, c.want),
			c.want != refusal && c.want != "10" && got != c.want:
			t.Errorf("%s %q: %q, want %q", c.do, c.args, got, c.want)
		}
	}
	// /tmp goes to the successor of an instance that ended.
	l.Invoke(sandboxtest.Command{Do: "exit", N: 1}, time.Second)
	keeper, _ := l.Instance.(sandbox.Keeper)
	next := spec
	next.ID, next.Tmp = "files-next", keeper.KeepTmp()
	if err := l.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	heir := startOf(t, d, next)
	if got := heir.Do("read", 0, "/tmp/d/x"); got != "y" {
		t.Errorf("what the predecessor left: %q", got)
	}
	if err := heir.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.dir, "tmp", "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Many starts leave nothing: no goroutine, file or mapping.
func TestNothingIsLeft(t *testing.T) {
	d := newDriver(t, Options{CodeBytes: 1}) // no module is kept
	code := []string{bare(t, rust(t, "command")), bare(t, rust(t, "resident"))}
	round := func(n int) {
		var wg sync.WaitGroup
		for k := range 8 {
			wg.Go(func() {
				i, err := d.Start(t.Context(), specOf(fmt.Sprintf("many-%d-%d", n, k), code[k%2]))
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				input := "hello"
				if k == 2 {
					ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
					defer cancel()
					input = "spin"
				}
				if _, err := i.Invoke(ctx, sandbox.Event{Payload: []byte(input)}); err != nil {
					t.Error(err)
				}
				if err := i.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	count := func() (goroutines, files, maps int) {
		runtime.GC()
		runtime.GC()
		fds, _ := os.ReadDir("/proc/self/fd")
		text, _ := os.ReadFile("/proc/self/maps")
		return runtime.NumGoroutine(), len(fds), strings.Count(string(text), "\n")
	}
	round(0)
	g, f, m := count()
	for n := range 20 {
		round(n + 1)
	}
	time.Sleep(50 * time.Millisecond)
	if g2, f2, m2 := count(); g2 > g+2 || f2 > f+2 || m2 > m+20 {
		t.Errorf("goroutines %d to %d, files %d to %d, mappings %d to %d", g, g2, f, f2, m, m2)
	}
}
