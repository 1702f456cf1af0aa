package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// v2 is one directory for everything (kernel documentation, cgroup-v2.rst).
type v2 struct {
	dir   string
	above []string
}

var v2Controllers = []string{"memory", "cpu", "pids"}

// hasV2Controllers tells whether the v2 tree at dir has what is needed; on a
// host with both trees the controllers are often on the other one.
func hasV2Controllers(dir string) bool {
	have := readWords(filepath.Join(dir, "cgroup.controllers"))
	for _, c := range v2Controllers {
		if !slices.Contains(have, c) {
			return false
		}
	}
	return true
}

func readWords(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func newV2(s cgroupSpec, parent string) (*v2, error) {
	h := &v2{dir: filepath.Join(parent, s.name)}
	h.above = missing(h.dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	// A group with processes of its own cannot share out controllers ("no
	// internal processes"). In our own group that process is this server, which
	// steps aside into a leaf.
	if err := delegate(parent); err != nil {
		leaf := filepath.Join(parent, "lambent-server")
		if err := os.MkdirAll(leaf, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
		if err := writeFile(filepath.Join(leaf, "cgroup.procs"), "0"); err != nil {
			return nil, err
		}
		if err := delegate(parent); err != nil {
			return nil, fmt.Errorf("delegate cgroup controllers: %w", err)
		}
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	if err := delegate(h.dir); err != nil {
		return nil, fmt.Errorf("delegate cgroup controllers: %w", err)
	}
	return h, nil
}

// delegate makes the controllers available to the groups below dir.
func delegate(dir string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	have := readWords(file)
	for _, c := range v2Controllers {
		if slices.Contains(have, c) {
			continue
		}
		if err := writeFile(file, "+"+c); err != nil {
			return err
		}
	}
	return nil
}

func (h *v2) name() string   { return "v2" }
func (h *v2) dirs() []string { return []string{h.dir} }
func (h *v2) made() []string { return h.above }

func (h *v2) create(id string, l limits) (group, error) {
	g := &v2Group{dir: filepath.Join(h.dir, id), fd: -1}
	if err := unix.Mkdir(g.dir, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: g.dir, Err: err}
	}
	if err := g.limit(l); err != nil {
		_ = unix.Rmdir(g.dir)
		return nil, err
	}
	fd, err := unix.Open(g.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Rmdir(g.dir)
		return nil, &os.PathError{Op: "open", Path: g.dir, Err: err}
	}
	g.fd = fd
	return g, nil
}

// v2Group is an instance's group.
type v2Group struct {
	dir      string
	fd       int
	peakFile counter // memory.peak
}

// settings are the files of the limits and what to write there.
func (l limits) settings() [][2]string {
	return [][2]string{
		{"memory.max", strconv.FormatInt(l.memory, 10)},
		{"pids.max", strconv.Itoa(l.pids)},
		{"cpu.max", cpuMax(l.cpus)},
	}
}

func cpuMax(cpus float64) string {
	return fmt.Sprintf("%d %d", quota(cpus).Microseconds(), cpuPeriod.Microseconds())
}

func (g *v2Group) limit(l limits) error {
	for _, s := range l.settings() {
		if err := writeFile(filepath.Join(g.dir, s[0]), s[1]); err != nil {
			return err
		}
	}
	// Not there where the kernel has no swap.
	_ = writeFile(filepath.Join(g.dir, "memory.swap.max"), "0")
	return nil
}

func (g *v2Group) setCPUs(cpus float64) error {
	return writeFile(filepath.Join(g.dir, "cpu.max"), cpuMax(cpus))
}

func (g *v2Group) join() error { return nil }
func (g *v2Group) birth() int  { return g.fd }

func (g *v2Group) usage() sandbox.Usage {
	file := func(name string) string { return filepath.Join(g.dir, name) }
	u := sandbox.Usage{
		MemoryBytes:    readNumber(file("memory.current")),
		MaxMemoryBytes: readNumber(file("memory.peak")), // Linux 5.19 and up
		CPU:            time.Duration(readKey(file("cpu.stat"), "usage_usec")) * time.Microsecond,
		OOMKills:       readKey(file("memory.events"), "oom_kill"),
		Processes:      readNumber(file("pids.current")),
	}
	u.MaxMemoryBytes = max(u.MaxMemoryBytes, u.MemoryBytes)
	return u
}

func (g *v2Group) peak() int64 {
	if peak := g.peakFile.read(filepath.Join(g.dir, "memory.peak")); peak > 0 {
		return peak
	}
	return g.usage().MaxMemoryBytes
}

func (g *v2Group) freeze(on bool) error {
	state := "0"
	if on {
		state = "1"
	}
	return writeFile(filepath.Join(g.dir, "cgroup.freeze"), state)
}

func (g *v2Group) paths() []string { return []string{g.dir} }

func (g *v2Group) close() {
	if g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
	}
	g.peakFile.close()
}
