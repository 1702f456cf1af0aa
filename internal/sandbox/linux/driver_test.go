package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func newDriver(t testing.TB, o Options) *Driver {
	t.Helper()
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
		list = append(list, "mount "+strings.TrimSpace(line))
	}
	links, err := netlink.LinkList()
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
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	walls, err := tables(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range walls {
		if w.Name == tablePrefix+tag[:4] {
			list = append(list, "table "+w.Name)
		}
	}
	return list
}
