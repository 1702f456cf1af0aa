package linux

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// TestForkedConfined is what the suite says of limits and ways out, for instances
// that are forked for their cold start. The function is Python for one line; then
// it becomes the probe.
func TestForkedConfined(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	code := sandboxtest.Probe(t)
	const become = "import os\nos.execv('/var/task/bootstrap', ['/var/task/bootstrap'])\n"
	if err := os.WriteFile(filepath.Join(code, "main.py"), []byte(become), 0o644); err != nil {
		t.Fatal(err)
	}
	sandboxtest.RunConfined(t, sandboxtest.Harness{
		New: func(t *testing.T, dir string) sandbox.Driver {
			d := newDriver(t, Options{DataDir: dir})
			spec := p.spec(t, become, nil)
			sandboxtest.AwaitReserve(t, d, spec.Runtime)
			eventually(t, "there is a zygote", func() bool { _, z := d.reserve.pids(); return len(z) > 0 })
			hold(t, d, spec)
			return &forking{Driver: d, t: t, python: p, code: code}
		},
		Isolates: true,
		Traces:   traces,
	})
}

// forking starts the suite's probe by way of a fork.
type forking struct {
	*Driver
	t      *testing.T
	python *python
	code   string
}

func (d *forking) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	v := *spec.Version
	v.Runtime, v.Handler = d.python.name, "main.handler"
	rt, err := d.python.catalog.Resolve(&v)
	if err != nil {
		return nil, err
	}
	spec.Version, spec.Runtime, spec.Code = &v, rt, d.code
	spec.Env = append(runtimes.Environment(runtimes.Env{Version: &v, Region: spec.Region}), "GREETING=hello")
	i, err := d.Driver.Start(ctx, spec)
	if err == nil && i.(*Instance).origin != lambent.OriginFork {
		d.t.Errorf("the instance is of origin %s", i.(*Instance).origin)
	}
	return i, err
}

// TestForkedFindsLayers: a blank has looked for modules where code and layers come to
// be, and found nothing there; its function finds them.
func TestForkedFindsLayers(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	spec := p.spec(t, "import greet, own\ndef handler(event, context):\n    return greet.WORD + own.WORD\n", nil)
	first, second := t.TempDir(), t.TempDir()
	site := filepath.Join("python", "lib", "python"+strings.TrimPrefix(p.name, "python"), "site-packages")
	for _, dir := range []string{first, second, filepath.Join(first, "python"), filepath.Join(second, site)} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range map[string]string{
		filepath.Join(first, "python", "greet.py"): "import deep\nWORD = 'hello' + deep.WORD\n",
		filepath.Join(second, site, "deep.py"):     "WORD = ' deep'\n",
		filepath.Join(spec.Code, "own.py"):         "WORD = ' world'\n",
	} {
		if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spec.Layers = []string{first, second}
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	for _, want := range []lambent.Origin{lambent.OriginBlank, lambent.OriginFork} {
		if want == lambent.OriginFork {
			defer hold(t, d, spec)()
		}
		spec.ID = "layers-" + string(want)
		if r, got := run(t, d, spec); r.Origin != want || got != `"hello deep world"` {
			t.Errorf("origin %s, want %s: %s", r.Origin, want, got)
		}
	}
}

// TestForkedTmp: a fork waits with the usual /tmp; its function has the one that it is to
// have, and none below it: of the usual size, of another one, or a predecessor's.
func TestForkedTmp(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	// Its size in MB, how often something is mounted there, and what is in it.
	const source = `import os
def handler(event, context):
    stat = os.statvfs("/tmp")
    with open("/proc/self/mountinfo") as f:
        mounts = sum(line.split()[4] == "/tmp" for line in f)
    found = [name for name in os.listdir("/tmp") if name != "lost+found"]
    open("/tmp/mine", "w").close()
    return [stat.f_blocks * stat.f_frsize >> 20, mounts, found]
`
	spec := p.spec(t, source, nil)
	about := func(id string, mb int, kept sandbox.Tmp, found string) sandbox.Tmp {
		t.Helper()
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		spec.ID, spec.Tmp, spec.Output = id, kept, &sandboxtest.Lines{}
		v := *spec.Version
		v.EphemeralMB = mb
		spec.Version = &v
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		r, err := i.Init(t.Context())
		if err != nil || r.Origin != lambent.OriginBlank {
			t.Errorf("%s: origin %s, %v", id, r.Origin, err)
		}
		answer := invoke(t, i, `{}`)
		var size, mounts int
		var names []string
		if err := json.Unmarshal([]byte(answer), &[]any{&size, &mounts, &names}); err != nil {
			t.Fatalf("%s: %s: %v", id, answer, err)
		}
		if size < mb || size > mb+mb/10+8 || mounts != 1 || strings.Join(names, " ") != found {
			t.Errorf("%s: /tmp has %d MB of %d, is mounted %d times and has %q, want %q", id, size, mb, mounts, names, found)
		}
		tmp := i.(sandbox.Keeper).KeepTmp()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		return tmp
	}
	kept := about("usual", usual.tmpMB, nil, "")
	again := about("kept", usual.tmpMB, kept, "mine")
	_ = again.Close()
	other := about("large", 600, nil, "")
	_ = other.Close()
}
