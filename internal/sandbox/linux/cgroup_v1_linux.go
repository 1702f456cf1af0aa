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

func newV1(s cgroupSpec, dirs map[string]string) (*v1, error) {
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
	if err := s.bound(dirs["pids"]); err != nil {
		return nil, err
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

func (h *v1) dirs() []string { return h.unique }
func (h *v1) made() []string { return h.above }

func (h *v1) warnings() []string {
	if h.byController["freezer"] == "" {
		return []string{"idle instances end instead of hibernating: " + errNoFreezer.Error()}
	}
	return nil
}

func (h *v1) create(id string, l limits) (group, error) {
	g := &v1Group{byController: make(map[string]string, len(h.byController)), swap: h.swap}
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
	period := strconv.FormatInt(cpuPeriod.Microseconds(), 10)
	err := writeFile(g.file("cpu", "cfs_period_us"), period)
	if err == nil {
		err = g.limit(l)
	}
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
	swap         bool // as in v1
	spare        bool
	joins        []int // the tasks files
	peakFile     counter
	// ahead has files that were opened to be written once, by path: what a cold start
	// of a group that was made ahead has to wait for is then the writing.
	ahead map[string]int
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

func (g *v1Group) limit(l limits) error {
	if l.memory > 0 {
		if err := g.limitMemory(strconv.FormatInt(l.memory, 10)); err != nil {
			return err
		}
	}
	if l.pids > 0 {
		if err := writeFile(g.file("pids", "max"), strconv.Itoa(l.pids)); err != nil {
			return err
		}
	}
	if l.spare {
		g.spare = true
		_ = writeFile(g.file("cpu", "shares"), spareShares)
	}
	if l.cpus > 0 {
		return g.write(g.file("cpu", "cfs_quota_us"), strconv.FormatInt(quota(l.cpus).Microseconds(), 10))
	}
	return nil
}

func (g *v1Group) limitMemory(bytes string) error {
	if err := g.write(g.file("memory", "limit_in_bytes"), bytes); err != nil {
		return err
	}
	// The same figure with swap: none may be used. It may not be below the
	// limit without, hence the order.
	if g.swap {
		return g.write(g.file("memory", "memsw.limit_in_bytes"), bytes)
	}
	_ = writeFile(g.file("memory", "swappiness"), "0")
	return nil
}

// Weights in the sharing out of processors: of what is to spare, and the usual one
// (Documentation/scheduler/sched-design-CFS.rst). It is an eighth, not nothing:
// while the host is busy it shall come to an end too.
const (
	spareShares = "128"
	usualShares = "1024"
)

func (g *v1Group) settle() {
	g.closeTasks()
	if !g.spare {
		return
	}
	g.spare = false
	_ = writeFile(g.file("cpu", "shares"), usualShares)
	_ = writeFile(g.file("memory", "max_usage_in_bytes"), "0")
	g.open()
}

// open opens what will be written and read next.
func (g *v1Group) open() {
	paths := []string{g.file("memory", "limit_in_bytes"), g.file("cpu", "cfs_quota_us")}
	if g.swap {
		paths = append(paths, g.file("memory", "memsw.limit_in_bytes"))
	}
	g.ahead = make(map[string]int, len(paths))
	for _, path := range paths {
		if fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			g.ahead[path] = fd
		}
	}
	g.peakFile.ready(g.file("memory", "max_usage_in_bytes"))
}

// write is writeFile, on the file that is open if one is.
func (g *v1Group) write(path, value string) error {
	fd, ok := g.ahead[path]
	if !ok {
		return writeFile(path, value)
	}
	delete(g.ahead, path)
	return writeOpen(fd, path, value)
}

func (g *v1Group) openTasks() error {
	for _, dir := range g.unique {
		path := filepath.Join(dir, "tasks")
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		g.joins = append(g.joins, fd)
	}
	return nil
}

// tasks are the files of that name, not cgroup.procs: a thread that moves itself
// does not take the lock that stops every fork on the host.
func (g *v1Group) tasks() []int { return g.joins }

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

func (g *v1Group) closeTasks() {
	for _, fd := range g.joins {
		_ = unix.Close(fd)
	}
	g.joins = nil
}

func (g *v1Group) close() {
	g.closeTasks()
	for _, fd := range g.ahead {
		_ = unix.Close(fd)
	}
	g.ahead = nil
	g.peakFile.close()
}
