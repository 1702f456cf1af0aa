package linux

import (
	"errors"
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

// serverLeaf is the group that this server steps aside into.
const serverLeaf = "lambent-server"

// v2Place is a group below which ours may go, and who is moved out of its way: a
// group with processes of its own cannot share out controllers (cgroup-v2.rst, "no
// internal process constraint"), unless it is the root of the whole tree.
type v2Place struct {
	dir   string
	below string // of dir, where our directory goes
	who   movers
}

type movers int

const (
	nobody movers = iota
	thisServer
	everybody
)

// v2Places are where groups may go, best first: below the server's own group if
// systemd has given it away (Delegate= in systemd.resource-control(5)), so that what
// limits the service limits its functions, else below the mount. In a container that
// sees only its own groups, all processes of the container make way.
func v2Places(s cgroupSpec, m mountPoint, own string) []v2Place {
	own = m.under(own)
	if filepath.Base(own) == serverLeaf { // of the program that this process was before, or of its parent
		own = filepath.Dir(own)
	}
	if s.parent == "" {
		return []v2Place{{dir: own, who: thisServer}}
	}
	below := filepath.Clean("/" + s.parent)
	var places []v2Place
	if own != m.dir && delegated(own) {
		places = append(places, v2Place{dir: own, below: below, who: thisServer})
	}
	top := v2Place{dir: m.dir, below: below}
	if _, err := os.Stat(filepath.Join(m.dir, "cgroup.type")); err == nil { // not of the root (cgroup-v2.rst)
		top.who = everybody
	}
	return append(places, top)
}

// delegated tells whether systemd has marked a group as somebody else's to manage
// (systemd's CGROUP_DELEGATION document).
func delegated(dir string) bool {
	for _, mark := range []string{"user.delegate", "trusted.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, mark, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

func newV2(s cgroupSpec, places []v2Place) (*v2, error) {
	var errs []error
	for _, p := range places {
		h := &v2{dir: filepath.Join(p.dir, p.below, s.name)}
		h.above = missing(h.dir)
		err := p.prepare(h.dir)
		if err == nil {
			err = s.bound(h.dir)
		}
		if err == nil {
			return h, nil
		}
		for _, dir := range append([]string{h.dir}, h.above...) {
			_ = unix.Rmdir(dir)
		}
		errs = append(errs, fmt.Errorf("put control groups below %s: %w", p.dir, err))
	}
	return nil, errors.Join(errs...)
}

// prepare makes dir, with all controllers available to the groups in it: each group
// on the way hands on what it was given itself.
func (p v2Place) prepare(dir string) error {
	if err := p.makeWay(); err != nil {
		return err
	}
	rel, err := filepath.Rel(p.dir, dir)
	if err != nil {
		return err
	}
	at := p.dir
	for _, name := range strings.Split(rel, "/") {
		at = filepath.Join(at, name)
		if err := unix.Mkdir(at, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "mkdir", Path: at, Err: err}
		}
		if err := delegate(at); err != nil {
			return err
		}
	}
	return nil
}

// makeWay has the place share out its controllers.
func (p v2Place) makeWay() error {
	err := delegate(p.dir)
	if !errors.Is(err, unix.EBUSY) || p.who == nobody {
		return err
	}
	if p.who == thisServer && !slices.Equal(members(p.dir), []int{os.Getpid()}) {
		return err // others are there, too
	}
	leaf := filepath.Join(p.dir, serverLeaf)
	if err := unix.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: leaf, Err: err}
	}
	file := filepath.Join(leaf, "cgroup.procs")
	if err := writeFile(file, "0"); err != nil {
		return err
	}
	// Somebody may be born while the others are moved.
	for round := 0; p.who == everybody && round < 5; round++ {
		for _, pid := range members(p.dir) {
			if err := writeFile(file, strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if err := delegate(p.dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return delegate(p.dir)
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
			return fmt.Errorf("share out the %s controller: %w", c, err)
		}
	}
	return nil
}

func (h *v2) dirs() []string { return []string{h.dir} }
func (h *v2) made() []string { return h.above }

func (h *v2) warnings() []string {
	if _, err := os.Stat(filepath.Join(h.dir, "memory.peak")); err != nil {
		return []string{"the memory that a function is said to have used is what it held at the end of calls: " +
			"Linux tells the most from 5.19 on"}
	}
	return nil
}

func (h *v2) create(id string, l limits) (group, error) {
	g := &v2Group{dir: filepath.Join(h.dir, id), fd: -1, procs: -1}
	if err := unix.Mkdir(g.dir, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: g.dir, Err: err}
	}
	if err := g.limit(l); err != nil {
		_ = unix.Rmdir(g.dir)
		return nil, err
	}
	if err := g.open(); err != nil {
		g.close()
		_ = unix.Rmdir(g.dir)
		return nil, err
	}
	return g, nil
}

// v2Group is an instance's group.
type v2Group struct {
	dir      string
	fd       int // the directory
	procs    int // cgroup.procs
	spare    bool
	peakFile counter // memory.peak
	before   int64   // what memory.peak had come to before the function, where it cannot be reset
	most     int64   // of memory.current, of what peak has seen
}

func (g *v2Group) open() (err error) {
	if g.fd, err = unix.Open(g.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: g.dir, Err: err}
	}
	path := g.file("cgroup.procs")
	if g.procs, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return nil
}

func (g *v2Group) file(name string) string { return filepath.Join(g.dir, name) }

// settings are the files of the limits and what to write there.
func (l limits) settings() [][2]string {
	var list [][2]string
	if l.memory > 0 {
		list = append(list, [2]string{"memory.max", strconv.FormatInt(l.memory, 10)})
	}
	if l.pids > 0 {
		list = append(list, [2]string{"pids.max", strconv.Itoa(l.pids)})
	}
	if l.cpus > 0 {
		list = append(list, [2]string{"cpu.max", cpuMax(l.cpus)})
	}
	return list
}

func cpuMax(cpus float64) string {
	return fmt.Sprintf("%d %d", quota(cpus).Microseconds(), cpuPeriod.Microseconds())
}

func (g *v2Group) limit(l limits) error {
	// The kernel would end processes to get below a new limit.
	if used := readNumber(g.file("memory.current")); l.memory > 0 && used > l.memory {
		return fmt.Errorf("limit memory to %d bytes: %d are in use: %w", l.memory, used, unix.EBUSY)
	}
	for _, s := range l.settings() {
		if err := writeFile(g.file(s[0]), s[1]); err != nil {
			return err
		}
	}
	if l.spare {
		g.spare = true
		_ = writeFile(g.file("cpu.weight"), "12")
	}
	if l.memory > 0 {
		_ = writeFile(g.file("memory.swap.max"), "0") // not there where the kernel has no swap
	}
	return nil
}

// settle resets the peak as it is seen by one descriptor, which is the one that
// is read from then on (Linux 6.12 and up). An older kernel has no way to reset it.
func (g *v2Group) settle() {
	g.closeEntries()
	if !g.spare {
		return
	}
	g.spare = false
	_ = writeFile(g.file("cpu.weight"), "100")
	fd, err := unix.Open(g.file("memory.peak"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		g.before = readNumber(g.file("memory.peak"))
		return
	}
	_, _ = unix.Write(fd, []byte("reset"))
	g.peakFile.close()
	g.peakFile = counter{fd: fd, open: true}
}

func (g *v2Group) tasks() []int { return []int{g.procs} }
func (g *v2Group) birth() int   { return g.fd }

func (g *v2Group) usage() sandbox.Usage {
	u := sandbox.Usage{
		MemoryBytes: readNumber(g.file("memory.current")),
		CPU:         time.Duration(readKey(g.file("cpu.stat"), "usage_usec")) * time.Microsecond,
		OOMKills:    readKey(g.file("memory.events"), "oom_kill"),
		Processes:   readNumber(g.file("pids.current")),
	}
	u.MaxMemoryBytes = max(g.peak(), u.MemoryBytes)
	return u
}

// peak is the kernel's figure (Linux 5.19 and up), unless that is a blank's from
// before the function. It is the most that was in use when somebody looked then, as
// at the end of each call: never too much, but without what was given back by then.
func (g *v2Group) peak() int64 {
	if peak := g.peakFile.read(g.file("memory.peak")); peak > g.before {
		return peak
	}
	g.most = max(g.most, readNumber(g.file("memory.current")))
	return g.most
}

func (g *v2Group) freeze(on bool) error {
	state := "0"
	if on {
		state = "1"
	}
	return writeFile(g.file("cgroup.freeze"), state)
}

func (g *v2Group) paths() []string { return []string{g.dir} }

func (g *v2Group) closeEntries() {
	for _, fd := range []*int{&g.fd, &g.procs} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

func (g *v2Group) close() {
	g.closeEntries()
	g.peakFile.close()
}
