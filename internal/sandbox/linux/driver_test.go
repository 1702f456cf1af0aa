package linux

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
// children, bound loop devices.
func traces(t *testing.T) []string {
	t.Helper()
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
		list = append(list, "link "+l.Attrs().Name)
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/memory/process_api/*/lambent-*")
	more, _ := filepath.Glob("/sys/fs/cgroup/*/lambent-*")
	for _, g := range append(groups, more...) {
		list = append(list, "cgroup "+g)
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		list = append(list, "loop "+l)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(b)) {
			if n, _ := strconv.Atoi(pid); n > 0 {
				list = append(list, "process "+pid)
			}
		}
	}
	return list
}
