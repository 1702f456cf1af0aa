package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// v1 is one directory per controller (cgroups(7), "Cgroups version 1").
type v1 struct {
	byController map[string]string // our directory on each; co-mounted ones share it
	unique       []string
	above        []string
	swap         bool // memory.memsw is there
}

func newV1(dirs map[string]string) (*v1, error) {
	for _, c := range v1Controllers[:4] {
		if dirs[c] == "" {
			return nil, fmt.Errorf("cgroup controller %s is not mounted", c)
		}
	}
	h := &v1{byController: dirs, unique: distinct(dirs)}
	for _, dir := range h.unique {
		h.above = append(h.above, missing(dir)...)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
	}
	// Older kernels need telling that limits above count here too.
	_ = writeFile(filepath.Join(dirs["memory"], "memory.use_hierarchy"), "1")
	_, err := os.Stat(filepath.Join(dirs["memory"], "memory.memsw.limit_in_bytes"))
	h.swap = err == nil
	return h, nil
}

func distinct(dirs map[string]string) []string {
	var list []string
	for _, c := range v1Controllers {
		if d := dirs[c]; d != "" && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

func (h *v1) name() string   { return "v1" }
func (h *v1) dirs() []string { return h.unique }
func (h *v1) made() []string { return h.above }

func (h *v1) create(id string, l limits) (group, error) {
	g := &v1Group{byController: make(map[string]string, len(h.byController))}
	for c, dir := range h.byController {
		g.byController[c] = filepath.Join(dir, id)
	}
	g.unique = distinct(g.byController)
	for i, dir := range g.unique {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			g.unique = g.unique[:i]
			g.undo()
			return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
		}
	}
	err := g.limit(l, h.swap)
	if err == nil {
		err = g.openTasks()
	}
	if err != nil {
		g.undo()
		return nil, err
	}
	return g, nil
}

// v1Group is an instance's group: the same name under every controller.
type v1Group struct {
	byController map[string]string
	unique       []string
	tasks        []int // descriptors, until close: join runs where there is no path to them
	peakFile     counter
}

func (g *v1Group) undo() {
	g.close()
	for _, dir := range g.unique {
		_ = unix.Rmdir(dir)
	}
}

func (g *v1Group) file(controller, name string) string {
	return filepath.Join(g.byController[controller], controller+"."+name)
}

func (g *v1Group) limit(l limits, swap bool) error {
	memory := strconv.FormatInt(l.memory, 10)
	if err := writeFile(g.file("memory", "limit_in_bytes"), memory); err != nil {
		return err
	}
	// The same figure with swap: none may be used. It may not be below the
	// limit without, hence the order.
	if swap {
		if err := writeFile(g.file("memory", "memsw.limit_in_bytes"), memory); err != nil {
			return err
		}
	} else {
		_ = writeFile(g.file("memory", "swappiness"), "0")
	}
	if err := writeFile(g.file("pids", "max"), strconv.Itoa(l.pids)); err != nil {
		return err
	}
	period := strconv.FormatInt(cpuPeriod.Microseconds(), 10)
	if err := writeFile(g.file("cpu", "cfs_period_us"), period); err != nil {
		return err
	}
	return g.setCPUs(l.cpus)
}

func (g *v1Group) setCPUs(cpus float64) error {
	return writeFile(g.file("cpu", "cfs_quota_us"), strconv.FormatInt(quota(cpus).Microseconds(), 10))
}

func (g *v1Group) openTasks() error {
	for _, dir := range g.unique {
		path := filepath.Join(dir, "tasks")
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		g.tasks = append(g.tasks, fd)
	}
	return nil
}

// join writes to tasks, not to cgroup.procs: a thread that moves itself does
// not take the lock that stops every fork on the host.
func (g *v1Group) join() error {
	for i, fd := range g.tasks {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return &os.PathError{Op: "write", Path: filepath.Join(g.unique[i], "tasks"), Err: err}
		}
	}
	return nil
}

func (g *v1Group) birth() int { return -1 }

func (g *v1Group) usage() sandbox.Usage {
	return sandbox.Usage{
		MemoryBytes:    readNumber(g.file("memory", "usage_in_bytes")),
		MaxMemoryBytes: readNumber(g.file("memory", "max_usage_in_bytes")),
		CPU:            time.Duration(readNumber(g.file("cpuacct", "usage"))),
		OOMKills:       readKey(g.file("memory", "oom_control"), "oom_kill"),
		Processes:      readNumber(g.file("pids", "current")),
	}
}

func (g *v1Group) peak() int64 { return g.peakFile.read(g.file("memory", "max_usage_in_bytes")) }

var errNoFreezer = errors.New("cgroup controller freezer is not mounted")

func (g *v1Group) freeze(on bool) error {
	if g.byController["freezer"] == "" {
		return errNoFreezer
	}
	state := "THAWED"
	if on {
		state = "FROZEN"
	}
	return writeFile(g.file("freezer", "state"), state)
}

func (g *v1Group) paths() []string { return g.unique }

func (g *v1Group) close() {
	for _, fd := range g.tasks {
		_ = unix.Close(fd)
	}
	g.tasks = nil
	g.peakFile.close()
}
