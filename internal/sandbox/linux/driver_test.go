package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// newDriver makes a driver that keeps no more blanks than a test asks for.
func newDriver(t testing.TB, o Options) *Driver {
	t.Helper()
	if o.Spare == 0 {
		o.Spare = -1
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range d.Describe().Warnings {
		t.Logf("warning: %s", w)
	}
	return d
}

func TestConformance(t *testing.T) {
	needRoot(t)
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(t *testing.T, dir string) sandbox.Driver {
			return sandbox.Guard(newDriver(t, Options{DataDir: dir}))
		},
		Isolates: true,
		Traces:   traces,
	})
}

// TestReservedConformance is the whole suite on instances that come from the
// reserve.
func TestReservedConformance(t *testing.T) {
	needRoot(t)
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(t *testing.T, dir string) sandbox.Driver {
			return sandboxtest.Reserved(t, sandbox.Guard(newDriver(t, Options{DataDir: dir})))
		},
		Isolates: true,
		Traces:   traces,
	})
}

// traces lists what a driver could leave on the host: mounts, cgroups, links,
// firewall tables, bound loop devices, children.
func traces(t *testing.T, dir string) []string {
	t.Helper()
	tag, _ := (&Driver{opts: Options{DataDir: dir}}).tag()
	var list []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) { // other servers of the host have mounts, too
			list = append(list, "mount "+strings.TrimSpace(line))
		}
	}
	links, err := listLinks(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, linkPrefix+tag[:4]) {
			list = append(list, "link "+l.Attrs().Name)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/*/"} {
		groups, _ := filepath.Glob(pattern + "lambent-" + tag[:8])
		for _, g := range groups {
			list = append(list, "cgroup "+g)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if b, _ := os.ReadFile(l); strings.HasPrefix(string(b), dir) {
			list = append(list, "loop "+l)
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(b)) {
			list = append(list, "process "+pid)
		}
	}
	walls, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range walls {
		if name == tablePrefix+tag[:4] {
			list = append(list, "table "+name)
		}
	}
	return list
}

// TestCgroupRoot: a directory of the operator's choosing is used, and is removed
// again if it was not there before.
func TestCgroupRoot(t *testing.T) {
	needRoot(t)
	const root = "lambent-root-test/inner"
	d := newDriver(t, Options{DataDir: t.TempDir(), CgroupRoot: root, NoNetwork: true, Ready: -1})
	if _, without := d.cgroups.(none); without {
		t.Skip("no cgroups on this host")
	}
	if d.network != nil {
		t.Error("a network, although there is to be none")
	}
	l := sandboxtest.Start(t, d, sandboxtest.Spec("rooted", sandboxtest.Probe(t), nil))
	for _, dir := range l.Instance.(*Instance).group.paths() {
		if !strings.Contains(dir, "/"+root+"/lambent-") {
			t.Errorf("group at %s", dir)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/lambent-root-test"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if _, err := d.Start(t.Context(), sandboxtest.Spec("late", "/", &sandboxtest.Lines{})); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("start after close: %v", err)
	}
}

// TestTmpfsFallback: where there is no loop device the size of /tmp still holds.
func TestTmpfsFallback(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	defer d.Close()
	d.scratch = nil
	spec := sandboxtest.Spec("tmpfs", sandboxtest.Probe(t), nil)
	spec.Version.EphemeralMB = 32
	l := sandboxtest.Start(t, d, spec)
	if got := l.Do("fill", 64, "/tmp/x"); got != "32 ENOSPC" {
		t.Errorf("room in a tmpfs of 32 MB: %s", got)
	}
}

// TestBusyProgram starts a program that somebody has open for writing a little
// longer, as a child of the server may by accident.
func TestBusyProgram(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	defer d.Close()
	code := t.TempDir()
	if err := os.CopyFS(code, os.DirFS(sandboxtest.Probe(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(code, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(code, "bootstrap")
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(program, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	released := time.AfterFunc(30*time.Millisecond, func() { _ = f.Close() })
	defer released.Stop()
	l := sandboxtest.Start(t, d, sandboxtest.Spec("busy", code, nil))
	if got := l.Do("echo", 0, "x"); got != `["x"]` {
		t.Errorf("echo: %s", got)
	}
}

// TestManyAtOnce starts instances side by side: slots, threads and links of one
// do not meet another's.
func TestManyAtOnce(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	code := sandboxtest.Probe(t)
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			id := fmt.Sprintf("many-%d", n)
			i, err := d.Start(t.Context(), sandboxtest.Spec(id, code, &sandboxtest.Lines{}))
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			if r, err := i.Init(t.Context()); err != nil || r.Failure != nil {
				t.Errorf("%s: %+v, %v", id, r.Failure, err)
			}
			if err := i.Stop(t.Context()); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	wg.Wait()
}

// TestBadSpecs: nothing is made for a spec that cannot be right.
func TestBadSpecs(t *testing.T) {
	good := sandboxtest.Spec("good", "/code", &sandboxtest.Lines{})
	if err := check(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*sandbox.Spec){
		"id":         func(s *sandbox.Spec) { s.ID = "../x" },
		"no id":      func(s *sandbox.Spec) { s.ID = "" },
		"version":    func(s *sandbox.Spec) { s.Version = nil },
		"output":     func(s *sandbox.Spec) { s.Output = nil },
		"command":    func(s *sandbox.Spec) { s.Runtime.Command = nil },
		"relative":   func(s *sandbox.Spec) { s.Runtime.Command = []string{"bootstrap"} },
		"code":       func(s *sandbox.Spec) { s.Code = "code" },
		"layer":      func(s *sandbox.Spec) { s.Layers = []string{"x"} },
		"mount host": func(s *sandbox.Spec) { s.Runtime.Mounts = []sandbox.Mount{{Host: "x", Guest: "/var/lang"}} },
		"mount etc":  func(s *sandbox.Spec) { s.Runtime.Mounts = []sandbox.Mount{{Host: "/x", Guest: "/etc"}} },
		"mount up":   func(s *sandbox.Spec) { s.Runtime.Mounts = []sandbox.Mount{{Host: "/x", Guest: "/var/../etc"}} },
		"zero byte":  func(s *sandbox.Spec) { s.Env = []string{"A=b\x00c"} },
	} {
		bad := good
		spoil(&bad)
		if err := check(bad); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDescriptors: an instance's life leaves no descriptor open in the server.
func TestDescriptors(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Ready: -1})
	defer d.Close()
	code := sandboxtest.Probe(t)
	live := func(n int) {
		t.Helper()
		i, err := d.Start(t.Context(), sandboxtest.Spec(fmt.Sprintf("fd-%d", n), code, &sandboxtest.Lines{}))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := i.Init(t.Context()); err != nil || r.Failure != nil {
			t.Fatal(r.Failure, err)
		}
		_ = i.MaxMemory()
		if err := i.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	live(0)
	before := open()
	for n := range 5 {
		live(n + 1)
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors before, %d after five instances", before, after)
	}
}
