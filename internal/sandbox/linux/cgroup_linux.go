package linux

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// cpuPeriod is the scheduler's accounting period. With the kernel's default of
// 100 ms a function of 128 MB that has used up its 7 ms stands still for the
// other 93, right after its init above all. The shortest quota is 1 ms, which
// 128 MB of memory still exceed here.
const cpuPeriod = 20 * time.Millisecond

// limits of an instance. What is 0 is left as it is, at first without a limit.
type limits struct {
	memory int64   // bytes
	cpus   float64 // processors
	pids   int
	// spare is for what may have the processor when nobody else wants it, until
	// settle is called.
	spare bool
}

// hierarchy is one side of the control groups, v1 or v2, with a directory of
// ours in it. Both sides are thin: what differs is which file says what.
type hierarchy interface {
	// create makes the group of one instance, with its limits.
	create(id string, l limits) (group, error)
	// dirs are the directories that hold the instances' groups; made are those
	// above them that had to be made.
	dirs() []string
	made() []string
	// warnings tell what these groups do not do.
	warnings() []string
}

// group is the control group of one instance.
type group interface {
	// tasks are the files, by descriptor, that a process writes "0" to in order to
	// become a member. They are open until settle.
	tasks() []int
	// birth is a descriptor by which a process is born into the group, or -1; until
	// settle too.
	birth() int
	// limit sets limits. One that what is used already exceeds is refused.
	limit(l limits) error
	// settle is called when the processes have joined. A group that was made to
	// spare counts like any other from then on, and the most memory that it has used
	// is what it uses now.
	settle()
	usage() sandbox.Usage
	peak() int64
	freeze(on bool) error
	// paths are the group's directories.
	paths() []string
	// close gives back descriptors. The directories stay.
	close()
}

// mountPoint is one line of mountinfo (proc(5)) that concerns cgroups.
type mountPoint struct {
	dir, root, fstype string
	controllers       []string
}

// readMountInfo picks the cgroup mounts (proc(5), /proc/pid/mountinfo).
func readMountInfo(r io.Reader) ([]mountPoint, error) {
	var found []mountPoint
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 || !strings.HasPrefix(right[0], "cgroup") {
			continue
		}
		found = append(found, mountPoint{dir: left[4], root: left[3], fstype: right[0],
			controllers: strings.Split(right[2], ",")})
	}
	return found, lines.Err()
}

// readMembership is /proc/self/cgroup: path by controller, "" for v2.
func readMembership(r io.Reader) (map[string]string, error) {
	member := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			member[c] = f[2]
		}
	}
	return member, lines.Err()
}

// under is where path, as membership names it, is below the mount.
func (m mountPoint) under(path string) string {
	rel, err := filepath.Rel(m.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return m.dir
	}
	return filepath.Join(m.dir, rel)
}

// v1Controllers are the ones that are needed; freezer is the optional one.
var v1Controllers = []string{"memory", "cpu", "cpuacct", "pids", "freezer"}

// cgroupSpec says where to put groups.
type cgroupSpec struct {
	parent string // below each mount or what is delegated; "" is the server's own group
	name   string // of the directory that is ours
	tasks  int    // how many all groups in it may have; 0 is no bound
}

// bound bounds the tasks of all groups in the directory that has the pids controller.
func (s cgroupSpec) bound(dir string) error {
	if s.tasks == 0 {
		return nil
	}
	return writeFile(filepath.Join(dir, "pids.max"), strconv.Itoa(s.tasks))
}

// findHierarchy chooses the side that this host has the controllers on and makes
// our directory in it.
func findHierarchy(s cgroupSpec) (hierarchy, error) {
	mounts, member, err := readCgroups()
	if err != nil {
		return nil, err
	}
	return s.choose(mounts, member)
}

func (s cgroupSpec) choose(mounts []mountPoint, member map[string]string) (hierarchy, error) {
	dirs, unified := map[string]string{}, ""
	for _, m := range mounts {
		if m.fstype == "cgroup2" {
			if hasV2Controllers(m.dir) {
				return newV2(s, v2Places(s, m, member[""]))
			}
			unified = m.dir
			continue
		}
		for _, c := range v1Controllers {
			if slices.Contains(m.controllers, c) {
				dirs[c] = filepath.Join(m.place(s, member[c]), s.name)
			}
		}
	}
	if len(dirs) == 0 && unified != "" {
		return nil, fmt.Errorf("the control groups at %s have the controllers %q, and %q are wanted: who started this server has not delegated them",
			unified, readWords(filepath.Join(unified, "cgroup.controllers")), v2Controllers)
	}
	return newV1(s, dirs)
}

// readCgroups reads where cgroups are mounted, and which ones this server is in.
func readCgroups() ([]mountPoint, map[string]string, error) {
	// "self" is the first thread, which may be in a sandbox's tree: see [inTree].
	info, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = info.Close() }()
	mounts, err := readMountInfo(info)
	if err != nil {
		return nil, nil, fmt.Errorf("read mounts: %w", err)
	}
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = own.Close() }()
	member, err := readMembership(own)
	if err != nil {
		return nil, nil, fmt.Errorf("read own cgroup: %w", err)
	}
	return mounts, member, nil
}

// missing lists the directories that a MkdirAll of dir would make above it,
// innermost first.
func missing(dir string) []string {
	var list []string
	for p := filepath.Dir(dir); p != filepath.Dir(p); p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil {
			break
		}
		list = append(list, p)
	}
	return list
}

// place is the directory to put ours in.
func (m mountPoint) place(s cgroupSpec, own string) string {
	if s.parent != "" {
		return filepath.Join(m.dir, filepath.Clean("/"+s.parent))
	}
	return m.under(own)
}

// writeFile writes a control file in one write, without creating it.
func writeFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return writeOpen(fd, path, value)
}

// writeOpen writes a control file that is open, and closes it.
func writeOpen(fd int, path, value string) error {
	defer func() { _ = unix.Close(fd) }()
	for {
		// Some of these files give up when a signal comes, as Go's scheduler sends
		// them: the memory limit above all.
		_, err := unix.Write(fd, []byte(value))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "write", Path: path, Err: err}
		}
	}
}

// readNumber reads a control file with one number; anything else is 0.
func readNumber(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// readKey reads one key of a control file of "key number" lines.
func readKey(path, key string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// quota is the processor time per period that amounts to cpus; the kernel's
// least is one millisecond.
func quota(cpus float64) time.Duration {
	return max(time.Millisecond, time.Duration(cpus*float64(cpuPeriod)).Round(time.Microsecond))
}

// members lists the processes of a group by the host's numbers.
func members(dir string) []int {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil && n > 0 {
			pids = append(pids, n)
		}
	}
	return pids
}

// killMembers kills every process of the group in dir. A number read from a
// file may belong to someone else by the time it is used, so it is pinned by a
// descriptor and looked up again first. The server itself is never killed.
func killMembers(dir string) {
	if writeFile(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return
	}
	for _, pid := range members(dir) {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if slices.Contains(members(dir), pid) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		_ = unix.Close(fd)
	}
}

// removeGroup removes a group's directories, killing what is still in them,
// and retries while the kernel lets go of dead processes.
func removeGroup(ctx context.Context, dirs []string) error {
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		var busy error
		for _, dir := range dirs {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				busy = &os.PathError{Op: "rmdir", Path: dir, Err: err}
				_ = writeFile(filepath.Join(dir, "freezer.state"), "THAWED")
				killMembers(dir)
			}
		}
		if busy == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup: %w", errors.Join(ctx.Err(), busy))
		case <-time.After(wait):
		}
	}
}

// counter is a file of one number that is read often, and therefore kept open.
// The zero value has not been opened. It is not for use by several goroutines.
type counter struct {
	fd   int
	open bool
}

// ready opens the file at path, unless it is open, and tells whether it is.
func (c *counter) ready(path string) bool {
	if c.open {
		return true
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	c.fd, c.open = fd, err == nil
	return c.open
}

// read gives the number in the file at path, the same one at each call; 0 when
// it cannot be read.
func (c *counter) read(path string) int64 {
	if !c.ready(path) {
		return 0
	}
	var buf [24]byte
	// Over in a moment, so that Go's scheduler need not be prepared for more.
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(c.fd), uintptr(unsafe.Pointer(&buf)), uintptr(len(buf)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	v, err := strconv.ParseInt(string(bytes.TrimSpace(buf[:n])), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func (c *counter) close() {
	if c.open {
		_ = unix.Close(c.fd)
		c.open = false
	}
}
