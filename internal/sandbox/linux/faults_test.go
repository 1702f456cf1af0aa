package linux

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// faulty makes a driver without anything kept ready, whose groups are in a folder of
// their own. It returns that of one controller.
func faulty(t *testing.T) (d *Driver, dir string) {
	needRoot(t)
	d = newDriver(t, Options{DataDir: t.TempDir(), CgroupRoot: "lambent-faults", NoNetwork: true, Ready: -1})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	tag, _ := d.tag()
	for _, mount := range []string{"memory", ""} {
		dir = filepath.Join("/sys/fs/cgroup", mount, "lambent-faults", "lambent-"+tag[:8])
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return d, dir
		}
	}
	t.Skip("no control groups on this host")
	return nil, ""
}

// fails starts an instance that must not come to be, and leave nothing.
func fails(t *testing.T, d *Driver, id string, want error) {
	t.Helper()
	before := traces(t, d.opts.DataDir)
	spec := sandboxtest.Spec(id, sandboxtest.Probe(t), &sandboxtest.Lines{})
	inst, err := d.Start(t.Context(), spec)
	if err == nil {
		_ = inst.Stop(t.Context())
		t.Fatalf("%s was started", id)
	}
	if !errors.Is(err, want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("start %s: %v, want %v in one line", id, err, want)
	}
	// What is taken down in the background has a moment.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		after := traces(t, d.opts.DataDir)
		if slices.Equal(before, after) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("left behind:\n%q, before\n%q", after, before)
			return
		}
	}
}

func works(t *testing.T, d *Driver, id string) {
	t.Helper()
	l := sandboxtest.Start(t, d, sandboxtest.Spec(id, sandboxtest.Probe(t), nil))
	if err := l.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestGroupThatCannotBeMade: the directory of the groups is gone, and is there again.
func TestGroupThatCannotBeMade(t *testing.T) {
	d, dir := faulty(t)
	works(t, d, "before")
	if err := unix.Rmdir(dir); err != nil {
		t.Fatal(err)
	}
	fails(t, d, "without", unix.ENOENT)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, second := d.cgroups.(*v2); second {
		if err := delegate(dir); err != nil {
			t.Fatal(err)
		}
	}
	works(t, d, "after")
}

// TestForkThatIsRefused: a zygote may have no more processes, which the kernel says
// with EAGAIN. The function has a process of its own then, and later ones are forked
// again.
func TestForkThatIsRefused(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, light, nil)
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	root := 0
	eventually(t, "there is a zygote", func() bool {
		d.reserve.poke()
		if _, zygotes := d.reserve.pids(); len(zygotes) > 0 {
			root = zygotes[0]
		}
		return root != 0
	})
	limit := pidsMax(t, root)
	release := hold(t, d, spec)
	if err := writeFile(limit, "0"); err != nil {
		t.Fatal(err)
	}
	r, _ := run(t, d, spec)
	release()
	if r.Origin != lambent.OriginStart {
		t.Errorf("origin %s of a function whose fork is refused", r.Origin)
	}
	if err := writeFile(limit, "max"); err != nil && !errors.Is(err, os.ErrNotExist) { // the zygote was replaced
		t.Fatal(err)
	}
	d.reserve.mu.Lock()
	d.reserve.of(spec.Runtime).retry = backoff{}
	d.reserve.mu.Unlock()
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	if r, _ := run(t, d, spec); r.Origin != lambent.OriginBlank {
		t.Errorf("afterwards: origin %s", r.Origin)
	}
}

// pidsMax is the file that limits the processes of a process's group.
func pidsMax(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if path := filepath.Join("/sys/fs/cgroup", f[1], f[2], "pids.max"); len(f) == 3 && (f[1] == "pids" || f[1] == "") {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	t.Skip("processes are not counted on this host")
	return ""
}
