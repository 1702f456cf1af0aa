package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReadMountInfo(t *testing.T) {
	const info = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro master:3 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
broken line - cgroup
`
	mounts, err := readMountInfo(strings.NewReader(info))
	if err != nil || len(mounts) != 3 {
		t.Fatalf("%+v, %v", mounts, err)
	}
	if m := mounts[0]; m.dir != "/sys/fs/cgroup/cpu,cpuacct" || !reflect.DeepEqual(m.controllers, []string{"rw", "cpu", "cpuacct"}) {
		t.Errorf("first: %+v", m)
	}
	for _, c := range []struct {
		mount  int
		path   string
		parent string
		want   string
	}{
		{0, "/user/x", "", "/sys/fs/cgroup/cpu,cpuacct/user/x"},
		{1, "/docker/abc/x", "", "/sys/fs/cgroup/memory/x"}, // as seen in a container
		{1, "/docker/abc", "", "/sys/fs/cgroup/memory"},
		{1, "/elsewhere", "", "/sys/fs/cgroup/memory"},
		{2, "/", "mine", "/sys/fs/cgroup/unified/mine"},
		{2, "/", "../../etc", "/sys/fs/cgroup/unified/etc"},
	} {
		if got := mounts[c.mount].place(cgroupSpec{parent: c.parent}, c.path); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.path, mounts[c.mount].dir, got, c.want)
		}
	}
	member, err := readMembership(strings.NewReader("4:memory:/a\n3:cpu,cpuacct:/b:c\n0::/d\n"))
	if want := map[string]string{"memory": "/a", "cpu": "/b:c", "cpuacct": "/b:c", "": "/d"}; err != nil || !reflect.DeepEqual(member, want) {
		t.Errorf("membership %v, %v", member, err)
	}
}

func TestCPUMax(t *testing.T) {
	for cpus, want := range map[float64]string{1: "20000 20000", 128.0 / 1769: "1447 20000", 5.79: "115800 20000", 0.001: "1000 20000"} {
		if got := cpuMax(cpus); got != want {
			t.Errorf("%v processors: %q, want %q", cpus, got, want)
		}
	}
}

// TestV2 runs the v2 side against ordinary files: which file gets which text.
// Its limits are the kernel's affair.
func TestV2(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n")
	if !hasV2Controllers(dir) {
		t.Error("the controllers are not found")
	}
	write("hybrid/cgroup.controllers", "hugetlb\n")
	if hasV2Controllers(filepath.Join(dir, "hybrid")) {
		t.Error("a tree without controllers is taken")
	}
	for _, name := range []string{"memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.freeze"} {
		write("g/"+name, "")
	}
	g := &v2Group{dir: filepath.Join(dir, "g"), fd: -1, procs: -1}
	if err := g.limit(limits{memory: 128 << 20, cpus: 0.5, pids: 1024}); err != nil {
		t.Fatal(err)
	}
	if err := g.freeze(true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"memory.max": "134217728", "memory.swap.max": "0", "pids.max": "1024",
		"cpu.max": "10000 20000", "cgroup.freeze": "1"} {
		if b, err := os.ReadFile(filepath.Join(dir, "g", name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", name, b, err, want)
		}
	}
	write("g/memory.current", "1000\n")
	write("g/memory.peak", "2000\n")
	write("g/cpu.stat", "usage_usec 1500\nuser_usec 1000\n")
	write("g/memory.events", "low 0\noom 2\noom_kill 1\n")
	write("g/pids.current", "3\n")
	if u := g.usage(); u.MemoryBytes != 1000 || u.MaxMemoryBytes != 2000 || u.CPU != 1500*time.Microsecond || u.OOMKills != 1 || u.Processes != 3 {
		t.Errorf("usage %+v", u)
	}
	g.close()
	// A blank's group: without limits that it does not need yet, and what was before
	// does not count.
	for _, name := range []string{"memory.max", "cpu.weight", "memory.reclaim"} {
		write("b/"+name, "")
	}
	write("b/cpu.max", "")
	write("b/pids.max", "")
	write("b/memory.peak", "9000\n")
	write("b/memory.current", "4000\n")
	b := &v2Group{dir: filepath.Join(dir, "b"), fd: -1, procs: -1}
	defer b.close()
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, "b", name))
		return string(text)
	}
	if err := b.limit(limits{cpus: 1, pids: 10, spare: true}); err != nil || read("cpu.weight") != "12" || read("memory.max") != "" {
		t.Errorf("a blank: %v, weight %q, memory %q", err, read("cpu.weight"), read("memory.max"))
	}
	if b.settle(); !strings.HasPrefix(read("cpu.weight"), "100") || !strings.HasPrefix(read("memory.peak"), "reset") {
		t.Errorf("settled: weight %q, peak %q", read("cpu.weight"), read("memory.peak"))
	}
	if err := b.limit(limits{memory: 3999}); !errors.Is(err, unix.EBUSY) || read("memory.max") != "" {
		t.Errorf("a limit below what is used: %v, %q", err, read("memory.max"))
	}
	if err := b.limit(limits{memory: 4001}); err != nil || read("memory.max") != "4001" || read("cpu.max") != "20000 20000" {
		t.Errorf("%v, %q, %q", err, read("memory.max"), read("cpu.max"))
	}
	if err := b.reclaim(); err != nil || read("memory.reclaim") != "4000" {
		t.Errorf("reclaim: %v, %q", err, read("memory.reclaim"))
	}
}

// TestPeakOfABlank: on kernels that cannot reset the peak, what was before the
// function does not count, either, and without a peak there is what was seen.
func TestPeakOfABlank(t *testing.T) {
	g := &v2Group{dir: t.TempDir(), fd: -1, procs: -1, before: 9000}
	defer func() { g.close() }()
	for n, step := range []struct{ peak, current, want int64 }{
		{9000, 4000, 4000}, {9000, 3000, 4000}, {9000, 8000, 8000}, {9500, 100, 9500}, {0, 700, 8000},
	} {
		for name, v := range map[string]int64{"memory.peak": step.peak, "memory.current": step.current} {
			if err := os.WriteFile(g.file(name), []byte(strconv.FormatInt(v, 10)+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := g.peak(); got != step.want {
			t.Errorf("step %d, %+v: %d", n, step, got)
		}
	}
}

// TestV2Places: where the groups go on hosts of several kinds, and who makes way.
func TestV2Places(t *testing.T) {
	host, container := t.TempDir(), t.TempDir()
	service := filepath.Join(host, "system.slice", "lambent.service")
	session := filepath.Join(host, "user.slice", "session-1.scope")
	for _, dir := range []string{filepath.Join(service, serverLeaf), session} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(service, "user.delegate", []byte("1"), 0); err != nil {
		t.Skip("no extended attributes here: ", err)
	}
	if err := os.WriteFile(filepath.Join(container, "cgroup.type"), []byte("domain\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	top := v2Place{dir: host, below: "/lambent"}
	given := v2Place{dir: service, below: "/lambent", who: thisServer}
	for _, c := range []struct {
		name, mount, own string
		want             []v2Place
	}{
		{"at the root", host, "/", []v2Place{top}},
		{"in a session", host, "/user.slice/session-1.scope", []v2Place{top}},
		{"in a service", host, "/system.slice/lambent.service", []v2Place{given, top}},
		{"in a service, replaced", host, "/system.slice/lambent.service/" + serverLeaf, []v2Place{given, top}},
		{"in a container", container, "/", []v2Place{{dir: container, below: "/lambent", who: everybody}}},
	} {
		m := mountPoint{dir: c.mount, root: "/", fstype: "cgroup2"}
		if got := v2Places(cgroupSpec{parent: "lambent", name: "x"}, m, c.own); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestControllersThatAreNotDelegated: it is said which ones there are.
func TestControllersThatAreNotDelegated(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte("memory pids\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := cgroupSpec{name: "x"}.choose([]mountPoint{{dir: dir, root: "/", fstype: "cgroup2"}}, map[string]string{"": "/"})
	if err == nil || !strings.Contains(err.Error(), `["memory" "pids"]`) {
		t.Error(err)
	}
}

// TestPageOutByMapping: where there is no file to ask for it.
func TestPageOutByMapping(t *testing.T) {
	needRoot(t)
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	if err := pageOutAll([]int{cmd.Process.Pid}); err != nil {
		t.Error(err)
	}
	got := mappings("00400000-00401000 r-xp 00000000 00:00 0 /bin/x\n7f00-7e00 r-xp 0 0 0\nzz\n1000-2000 rw-p 0 0 0 [heap]\n3000-4000 r--p 0 0 0 [vvar]\n5000-6000 rw-p 0 0 0\n")
	want := []span{{0x400000, 0x1000}, {0x1000, 0x1000}, {0x5000, 0x1000}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("mappings %x, want %x", got, want)
	}
}

// TestLeftovers: groups that a dead server left are emptied and removed, with a
// frozen process in one of them.
func TestLeftovers(t *testing.T) {
	needRoot(t)
	h, err := findHierarchy(cgroupSpec{name: "lambent-leftovers"})
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		for _, dir := range h.dirs() {
			_ = os.Remove(dir)
		}
	}()
	g, err := h.create("one", limits{memory: 64 << 20, cpus: 1, pids: 10})
	if err != nil {
		t.Fatal(err)
	}
	g.close()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range g.paths() {
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.freeze(true); err != nil {
		t.Log(err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if n, err := removeLeftovers(ctx, h.dirs()); n != 1 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	if err := <-died; err == nil {
		t.Error("the process ended by itself")
	}
	for _, dir := range g.paths() {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
}
