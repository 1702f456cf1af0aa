package linux

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	for n, want := range []lambent.Origin{lambent.OriginBlank, lambent.OriginFork} {
		spec.ID = fmt.Sprintf("fork-%d", n)
		if want == lambent.OriginFork {
			defer hold(t, d, spec)()
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

const heavy = `
import sys, xml.etree.ElementTree, http.cookies, html.parser, zipfile
def handler(event, context):
    return sorted(m for m in sys.modules if m in ("xml", "html", "turtle"))
`

const light = `
import sys
def handler(event, context):
    return sorted(m for m in sys.modules if m in ("xml", "html", "turtle"))
`

// run is one cold start with one invocation.
func run(t testing.TB, d *Driver, spec sandbox.Spec) (sandbox.InitResult, string) {
	t.Helper()
	out := &sandboxtest.Lines{}
	spec.Output = out
	i, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	r, err := i.Init(t.Context())
	if err != nil || r.Failure != nil {
		t.Fatalf("%+v %+v, %v; output %q", r, r.Failure, err, out.All())
	}
	return r, invoke(t, i, `{}`)
}

// TestLearned: what a function imports is imported ahead, for it and its like, and
// for nobody else.
func TestLearned(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	one, two := p.spec(t, heavy, nil), p.spec(t, light, nil)
	sandboxtest.AwaitReserve(t, d, one.Runtime)
	const want = `["html", "xml"]`
	begun, got := run(t, d, one)
	if got != want {
		t.Errorf("imports: %s", got)
	}
	run(t, d, one)
	var node sandbox.ReserveNode
	eventually(t, "there is a node", func() bool {
		for _, n := range reserveOf(t, d, one).Nodes {
			if len(n.Modules) > 0 && n.Ready > 0 {
				node = n
			}
			d.reserve.poke()
		}
		if node.Modules == nil {
			run(t, d, one)
		}
		return node.Modules != nil
	})
	t.Logf("node %+v", node)
	r, got := run(t, d, one)
	if got != want || r.Origin != lambent.OriginBlank {
		t.Errorf("origin %s, imports: %s", r.Origin, got)
	}
	t.Logf("init took %v at first, %v from the node", begun.Took, r.Took)
	if _, got := run(t, d, two); got != "[]" {
		t.Errorf("a function that imports nothing has %s", got)
	}
	// Its own files would be another module than what is loaded.
	avoid := one
	blank := *one.Runtime.Blank
	blank.Avoid = []string{"html"}
	avoid.Runtime.Blank = &blank
	d.reserve.mu.Lock()
	best := d.reserve.of(one.Runtime).best(newSet(node.Modules), blank.Avoid)
	d.reserve.mu.Unlock()
	if slices.Contains(best.modules, "html") {
		t.Errorf("%v for a function with html of its own", best.modules)
	}
	run(t, d, avoid)
}

// TestSpare: the memory that nobody wants goes to blanks for a burst that has not come
// yet; a fork costs its own pages, and all of it is shown.
func TestSpare(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Spare: 5})
	defer d.Close()
	spec := p.spec(t, light, nil)
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	eventually(t, "there are spare blanks", func() bool { r := reserveOf(t, d, spec); return r.Ready == 5 && r.Wanted == 5 })
	d.reserve.mu.Lock()
	root := d.reserve.of(spec.Runtime).root()
	size := root.size
	for _, b := range root.idle[1:] { // the first may have been made without a zygote
		if m := readMemory(b.process.pid); b.cost < slotMemory || b.cost > slotMemory+m.private+1<<20 {
			t.Errorf("a fork counts with %d, and has %+v", b.cost, m)
		}
	}
	d.reserve.mu.Unlock()
	if size < 4<<20 {
		t.Errorf("the zygote counts with %d", size)
	}
	total := int64(0)
	for _, r := range d.Reserves() {
		total += r.MemoryBytes
	}
	if total < size+5*slotMemory || total > 150<<20 {
		t.Errorf("%d in all: %+v", total, d.Reserves())
	}
}

// TestNoReserve: nothing is made ahead where there is to be no reserve.
func TestNoReserve(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), ReserveMB: -1})
	defer d.Close()
	spec := blankSpecs(t)("none")
	d.Expect(spec.Runtime)
	if _, r := started(t, d, spec); r.Origin != lambent.OriginStart {
		t.Errorf("origin %s", r.Origin)
	}
	if r := d.Reserves(); len(r) > 0 || len(d.shells.ready) > 0 {
		t.Errorf("%+v, %d sandboxes", r, len(d.shells.ready))
	}
}

// TestZygoteDies: the interpreter that forks may end, or hang, at any point: starts
// go on, and the reserve heals.
func TestZygoteDies(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, light, nil)
	root := func() int {
		if _, zygotes := d.reserve.pids(); len(zygotes) > 0 {
			return zygotes[0]
		}
		return 0
	}
	for _, c := range []struct {
		name string
		want []lambent.Origin
		hurt func(pid int)
	}{
		{"idle", []lambent.Origin{lambent.OriginStart}, func(pid int) {
			_ = unix.Kill(pid, unix.SIGKILL)
			eventually(t, "it is noticed", func() bool { return root() != pid })
		}},
		{"before the fork", []lambent.Origin{lambent.OriginStart, lambent.OriginFork}, func(pid int) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}},
		{"in the fork", []lambent.Origin{lambent.OriginStart, lambent.OriginFork}, func(pid int) {
			time.AfterFunc(1500*time.Microsecond, func() { _ = unix.Kill(pid, unix.SIGKILL) })
		}},
		{"hanging", []lambent.Origin{lambent.OriginStart}, func(pid int) {
			_ = unix.Kill(pid, unix.SIGSTOP)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.reserve.mu.Lock()
			d.reserve.of(spec.Runtime).retry = backoff{}
			d.reserve.mu.Unlock()
			sandboxtest.AwaitReserve(t, d, spec.Runtime)
			eventually(t, "there is a zygote", func() bool { d.reserve.poke(); return root() != 0 })
			pid := root()
			release := hold(t, d, spec)
			c.hurt(pid)
			r, _ := run(t, d, spec)
			release()
			if !slices.Contains(c.want, r.Origin) {
				t.Errorf("origin %s, want one of %v", r.Origin, c.want)
			}
			t.Logf("origin %s", r.Origin)
			eventually(t, "there is another zygote", func() bool { n := root(); return n != 0 && n != pid })
			sandboxtest.AwaitReserve(t, d, spec.Runtime)
			if r, _ := run(t, d, spec); r.Origin != lambent.OriginBlank {
				t.Errorf("afterwards: origin %s", r.Origin)
			}
		})
	}
}

// TestForkedLikeStarted: what a process may do does not depend on where it comes
// from.
func TestForkedLikeStarted(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, confined, nil)
	var answers []string
	for _, c := range []struct {
		origin lambent.Origin
		setup  func()
	}{
		{lambent.OriginStart, func() { spec.NoReserve = true }},
		{lambent.OriginBlank, func() { spec.NoReserve = false; sandboxtest.AwaitReserve(t, d, spec.Runtime) }},
		{lambent.OriginFork, func() {
			sandboxtest.AwaitReserve(t, d, spec.Runtime)
			t.Cleanup(hold(t, d, spec))
		}},
	} {
		c.setup()
		r, got := run(t, d, spec)
		if r.Origin != c.origin {
			t.Errorf("origin %s, want %s", r.Origin, c.origin)
		}
		answers = append(answers, got)
	}
	if answers[1] != answers[0] || answers[2] != answers[0] {
		t.Errorf("started: %s\nblank:   %s\nforked:  %s", answers[0], answers[1], answers[2])
	}
	for _, want := range []string{`"CapEff:\t0000000000000000"`, `"NoNewPrivs:\t1"`, `"Seccomp:\t2"`, `"mount EPERM"`, `"Threads:\t1"`} {
		if !strings.Contains(answers[2], want) {
			t.Errorf("%s is not in %s", want, answers[2])
		}
	}
}

const confined = `
import ctypes, errno, os, resource, sys
def status():
    keep = ("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:", "Threads", "Umask", "NSpid", "SigBlk", "SigIgn", "SigCgt", "TracerPid", "PPid")
    return [l.strip() for l in open("/proc/self/status") if l.startswith(keep)]
def attempt(name, nr, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    r = libc.syscall(nr, *args)
    return name + " " + (errno.errorcode.get(ctypes.get_errno(), "?") if r < 0 else "done")
def fds():
    out = []
    for n in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            out.append(n + " " + os.readlink("/proc/self/fd/" + n).split(":")[0])
        except OSError:
            pass
    return out
def handler(event, context):
    return {
        "status": status(),
        "limits": [list(resource.getrlimit(n)) for n in range(16)],
        "calls": [attempt("mount", 165, 0, 0, 0, 0, 0), attempt("setns", 308, 0, 0), attempt("unshare", 272, 0x10000000),
                  attempt("bpf", 321, 0, 0, 0), attempt("ptrace", 101, 0, 0, 0, 0), attempt("chroot", 161, b"/tmp")],
        "mounts": sorted(l.split(" - ")[0].split(" ", 4)[4] for l in open("/proc/self/mountinfo")),
        "cgroup": open("/proc/self/cgroup").read(),
        "fds": fds(),
        "cwd": os.getcwd(), "pid": os.getpid(), "sid": os.getsid(0), "pgid": os.getpgid(0),
        "procs": [p for p in os.listdir("/proc") if p.isdigit()],
        "cmdline": open("/proc/self/cmdline").read(),
        "owner": os.stat("/proc/self/environ").st_uid,
        "root": os.listdir("/"), "sched": [os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)],
        "environ": sorted(k for k in os.environ),
        "path": sys.path, "oom": open("/proc/self/oom_score_adj").read(),
    }
`
