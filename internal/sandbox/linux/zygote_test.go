package linux

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// python makes specs of functions in Python.
type python struct {
	catalog *runtimes.Catalog
	name    string
	n       int
}

func newPython(t testing.TB) *python {
	t.Helper()
	c, err := runtimes.Open(context.Background(), runtimes.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"python3.12", "python3.11", "python3.13"} {
		if _, err := c.Check(name, ""); err == nil {
			return &python{catalog: c, name: name}
		}
	}
	t.Skip("there is no Python on this host")
	return nil
}

// spec is a function whose file main.py has this source.
func (p *python) spec(t testing.TB, source string, env map[string]string) sandbox.Spec {
	t.Helper()
	code := t.TempDir()
	if err := os.Chmod(code, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(code, "main.py"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	p.n++
	spec := sandboxtest.Spec(fmt.Sprintf("python-%d", p.n), code, nil)
	v := spec.Version
	v.Runtime, v.Handler, v.Env = p.name, "main.handler", env
	v.Code.Digest = lambent.Digest(fmt.Sprintf("%064d", p.n))
	rt, err := p.catalog.Resolve(v)
	if err != nil {
		t.Fatal(err)
	}
	p.catalog.Fit(&rt, v, code, nil)
	spec.Runtime = rt
	spec.Env = runtimes.Environment(runtimes.Env{Version: v, Region: "us-east-1"})
	return spec
}

// invoke invokes with an event and gives the answer.
func invoke(t testing.TB, i sandbox.Instance, event string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := i.Invoke(ctx, sandbox.Event{RequestID: "00000000-0000-4000-8000-000000000001", Payload: []byte(event), Deadline: time.Now().Add(10 * time.Second)})
	if err != nil || a.Failure != nil {
		t.Fatalf("invoke: %+v, %v", a.Failure, err)
	}
	return string(a.Payload)
}

func verbose(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

const echoEnv = `
import json, os, http.client
def handler(event, context):
    return {"event": event, "env": dict(os.environ), "pid": os.getpid(), "tmp": os.listdir("/tmp")}
`

// TestForks starts Python functions from a zygote: ahead of demand and on demand.
func TestForks(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, echoEnv, map[string]string{"MINE": "one"})
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	for n, want := range []lambent.Origin{lambent.OriginBlank, lambent.OriginFork, lambent.OriginFork} {
		spec.ID = fmt.Sprintf("fork-%d", n)
		if want == lambent.OriginFork {
			d.reserve.begin() // keeps the reserve from filling up
			defer d.reserve.through()
			d.reserve.yield()
		}
		var stages []string
		spec.Stage = func(name string, _ time.Time, took time.Duration) {
			stages = append(stages, fmt.Sprint(name, " ", took))
		}
		out := &sandboxtest.Lines{}
		spec.Output = out
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		r, err := i.Init(t.Context())
		if err != nil || r.Failure != nil || r.Origin != want {
			t.Fatalf("%+v %+v, %v; want origin %s; output %q", r, r.Failure, err, want, out.All())
		}
		t.Logf("origin %s, init %v, stages %v", r.Origin, r.Took, stages)
		var answer struct {
			Env map[string]string
			PID int
			Tmp []string
		}
		if err := json.Unmarshal([]byte(invoke(t, i, `{"a":1}`)), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.PID != 1 || answer.Env["MINE"] != "one" || len(answer.Tmp) != 0 || answer.Env["LAMBENT_CONTROL"] != "" {
			t.Errorf("%+v", answer)
		}
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%+v", d.Reserves())
}
