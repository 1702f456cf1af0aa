package linux

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi/relay"
	"lambent.dev/lambent/internal/sandbox"
)

// Options of a Driver. Only DataDir is required.
type Options struct {
	// DataDir is the server's data directory; the driver keeps its own below
	// "sandbox" in it. What it makes on the host carries a hash of this path, so
	// that servers with different directories do not touch each other's.
	DataDir string
	// CgroupRoot is where, below each cgroup mount, the driver's directory goes;
	// "" is the group that the server is in.
	CgroupRoot string
	// NetworkPool has the addresses of instances; IPv4, /8 to /24. Servers on one
	// host may share it. The zero value is 10.201.0.0/16.
	NetworkPool netip.Prefix
	// NoNetwork leaves instances with loopback only.
	NoNetwork bool
	// UIDBase is the host's user and group id of the first instance slot; the
	// others follow. 0 is 1818361856.
	UIDBase uint32
	// MaxInstances is how many slots there are; 0 is 4096.
	MaxInstances int
	// InitCPUs is the least processor share while a runtime initialises, before
	// the share that goes with the memory holds; 0 is 1. Without it a small
	// function would start at a tenth of the speed, which AWS does not do either.
	InitCPUs float64
	// ReserveMB is how much memory, in MB, may be held by what is made ahead of
	// cold starts; 0 is 150, below 0 is none, and nothing is made ahead.
	ReserveMB int
	// Ready is how many sandboxes without a runtime are made ahead; 0 is 12, below 0
	// is none.
	Ready int
	// Spare is how many blanks that an interpreter forks are good to have, while
	// there is memory left, beyond what recent cold starts wanted; 0 is 50, below 0
	// is none.
	Spare int
	// Tasks is how many processes and threads all instances together may have, so that
	// the server is left some; 0 is no bound.
	Tasks int
	// Rush is told when there are more cold starts at once than processors, and when
	// that is over; nil is nobody.
	Rush func(on bool)
	// Calls is who answers functions that call the API; nil is nobody.
	Calls sandbox.Calls
	Log   *slog.Logger
}

// Defaults of Options.
const (
	defaultUIDBase = 0x6c620000 // far from what distributions and container engines hand out
	defaultMax     = 4096
	defaultReserve = 150
	defaultReady   = 12
	defaultSpare   = 50
	maxProcesses   = 1024 // processes and threads of a function ("Lambda quotas")
)

var defaultPool = netip.MustParsePrefix("10.201.0.0/16")

// Driver starts instances as Linux sandboxes. It needs root and Linux 5.12, see
// tooOld, and tells in Describe what else the host could not give.
type Driver struct {
	opts    Options
	dir     string // ours, below the data directory
	slots   *slots
	shells  *shells
	reserve *reserve
	traffic *traffic
	strays  strays
	roots   *roots
	scratch *scratch
	cgroups hierarchy
	network *network // nil: loopback only
	null    *os.File
	anchor  *os.File // the program of anchors
	filter  []unix.SockFilter
	limits  sysLimits
	lastCap int
	about   sandbox.Description
	// telemetry is the memory for what extensions are to be told.
	telemetry *relay.Budget

	live sandbox.Registry[*Instance]
}

var (
	_ sandbox.Driver   = (*Driver)(nil)
	_ sandbox.Reserver = (*Driver)(nil)
)

// New prepares the host as far as it lets itself be prepared. What is missing
// that a sandbox cannot do without is an error with CodeUnavailable.
func New(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d := &Driver{opts: o, dir: filepath.Join(o.DataDir, "sandbox"), strays: strays{known: map[int]bool{}},
		filter: seccompFilter(), lastCap: readLastCap(), telemetry: relay.NewBudget(telemetryBudget), about: sandbox.Description{Name: "linux"}}
	if err := d.prepare(); err != nil {
		err = errors.Join(err, d.release())
		return nil, lambent.Errorf(lambent.CodeUnavailable, "prepare the linux sandbox: %w", err)
	}
	return d, nil
}

func (o *Options) complete() error {
	if o.DataDir == "" {
		return lambent.Errorf(lambent.CodeInvalid, "linux sandbox: no data directory given")
	}
	abs, err := filepath.Abs(o.DataDir)
	if err != nil {
		return lambent.Errorf(lambent.CodeInvalid, "linux sandbox: data directory: %w", err)
	}
	o.DataDir = abs
	if !o.NetworkPool.IsValid() {
		o.NetworkPool = defaultPool
	}
	if p := o.NetworkPool; !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 24 {
		return lambent.Errorf(lambent.CodeInvalid, "linux sandbox: network pool %s is not an IPv4 prefix from /8 to /24", p)
	}
	if o.UIDBase == 0 {
		o.UIDBase = defaultUIDBase
	}
	if o.MaxInstances <= 0 {
		o.MaxInstances = defaultMax
	}
	if o.InitCPUs <= 0 {
		o.InitCPUs = 1
	}
	if o.ReserveMB == 0 {
		o.ReserveMB = defaultReserve
	}
	if o.ReserveMB < 0 {
		o.Ready = -1
	}
	if o.Ready == 0 {
		o.Ready = defaultReady
	}
	if o.Spare == 0 {
		o.Spare = defaultSpare
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (d *Driver) prepare() error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	if err := tooOld(); err != nil {
		return err
	}
	staging := filepath.Join(d.dir, "root")
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return err
	}
	var err error
	if d.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	if d.anchor, err = openAnchorProgram(); err != nil {
		return err
	}
	if d.limits, err = readLimits(); err != nil {
		return err
	}
	d.slots = &slots{base: d.opts.UIDBase, ids: firstImageID(d.opts.UIDBase, d.opts.MaxInstances), max: d.opts.MaxInstances}
	d.roots = &roots{staging: staging, byKey: map[string]*os.File{}}
	d.scratch = &scratch{dir: d.dir, templates: map[int]*template{}}
	root, _, err := d.roots.get(nil)
	if err != nil {
		return err
	}
	_ = root.Close()
	if err := d.prepareCgroups(); err != nil {
		return err
	}
	d.prepareNetwork()
	if err := d.tryScratch(); err != nil {
		d.warn("/tmp counts against the function's memory here: " + err.Error())
		d.scratch = nil
	}
	d.traffic = newTraffic(d.opts.Rush)
	d.reserve = newReserve(d, int64(max(d.opts.ReserveMB, 0))<<20)
	d.shells = newShells(d, max(d.opts.Ready, 0))
	d.reserve.open()
	return nil
}

// tooOld tells whether the kernel lacks what a sandbox cannot do without. Of all that
// is used, mount_setattr(2) is the newest.
func tooOld() error {
	if err := unix.MountSetattr(-1, "", 0, &unix.MountAttr{}); !errors.Is(err, unix.ENOSYS) {
		return nil
	}
	var is unix.Utsname
	if err := unix.Uname(&is); err != nil {
		return os.NewSyscallError("uname", err)
	}
	return fmt.Errorf("it needs Linux 5.12 or newer, for mount_setattr(2), and this is %s; in a container, a seccomp filter may be what refuses it",
		unix.ByteSliceToString(is.Release[:]))
}

func (d *Driver) warn(text string) { d.about.Warnings = append(d.about.Warnings, text) }

// tag is what tells servers on one host apart.
func (d *Driver) tag() (name string, number uint32) {
	sum := sha256.Sum256([]byte(d.opts.DataDir))
	return hex.EncodeToString(sum[:8]), binary.BigEndian.Uint32(sum[8:])
}

func (d *Driver) prepareCgroups() error {
	tag, _ := d.tag()
	d.cgroups = none{}
	h, err := findHierarchy(cgroupSpec{parent: d.opts.CgroupRoot, name: "lambent-" + tag[:8], tasks: d.opts.Tasks})
	if err != nil {
		d.warn("memory, processor and process limits are not enforced: " + err.Error())
	} else {
		d.cgroups = h
	}
	d.about.Warnings = append(d.about.Warnings, d.cgroups.warnings()...)
	return d.rememberCgroups()
}

// cgroupNote is a file that remembers, past a crash, where the groups are (the
// next server may be started in another group than this one and has to find what
// this one leaves) and which directories above them are ours to remove.
type cgroupNote struct {
	Groups []string `json:"groups"`
	Made   []string `json:"made"`
}

func (d *Driver) rememberCgroups() error {
	note := d.readNote()
	for _, dir := range d.cgroups.dirs() {
		if !slices.Contains(note.Groups, dir) {
			note.Groups = append(note.Groups, dir)
		}
	}
	for _, dir := range d.cgroups.made() {
		if !slices.Contains(note.Made, dir) {
			note.Made = append(note.Made, dir)
		}
	}
	return d.writeNote(note)
}

func (d *Driver) writeNote(n cgroupNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(d.noteFile(), b, 0o600)
}

func (d *Driver) noteFile() string { return filepath.Join(d.dir, "cgroups.json") }

// readNote reads the file. Only directories of our own name count as groups: the
// file decides what gets killed.
func (d *Driver) readNote() cgroupNote {
	var n cgroupNote
	b, err := os.ReadFile(d.noteFile())
	if err != nil || json.Unmarshal(b, &n) != nil {
		return cgroupNote{}
	}
	tag, _ := d.tag()
	foreign := func(dir string) bool {
		return dir != filepath.Clean(dir) || !strings.HasPrefix(dir, "/sys/fs/cgroup/")
	}
	n.Groups = slices.DeleteFunc(n.Groups, func(dir string) bool {
		return foreign(dir) || filepath.Base(dir) != "lambent-"+tag[:8]
	})
	n.Made = slices.DeleteFunc(n.Made, foreign)
	return n
}

// removeCgroups removes our directories. Those above go if nobody else has put
// anything into them.
func (d *Driver) removeCgroups() error {
	var errs []error
	for _, dir := range d.cgroups.dirs() {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, &os.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	note := d.readNote()
	for _, dir := range note.Made {
		_ = unix.Rmdir(dir)
	}
	if len(errs) == 0 {
		note.Made = nil
		errs = append(errs, d.writeNote(note))
	}
	return errors.Join(errs...)
}

func (d *Driver) prepareNetwork() {
	if d.opts.NoNetwork {
		return
	}
	tag, number := d.tag()
	n, err := newNetwork(networkSpec{pool: d.opts.NetworkPool, tag: tag[:4], start: number})
	if err != nil {
		d.warn("functions have no network but loopback: " + err.Error())
		return
	}
	d.network = n
	d.about.Warnings = append(d.about.Warnings, n.warnings...)
}

// tryScratch makes one /tmp of the usual size, which also formats it.
func (d *Driver) tryScratch() error {
	v, err := d.scratch.mount(lambent.DefaultEphemeralMB)
	if err != nil {
		return err
	}
	return v.Close()
}

// Describe says what holds on this host.
func (d *Driver) Describe() sandbox.Description {
	about := d.about
	about.Warnings, about.Groups = slices.Clone(about.Warnings), d.cgroups.dirs()
	return about
}

// Recover ends what an earlier server left: its processes by their cgroups. Its
// links and firewall went when this driver was made, its mounts, loop devices
// and sockets go with the processes.
func (d *Driver) Recover(ctx context.Context) (int, error) {
	note := d.readNote()
	known := note.Groups
	ended, err := removeLeftovers(ctx, known)
	if err == nil {
		// Directories of a server in another group than this one are used up.
		for _, dir := range known {
			if !slices.Contains(d.cgroups.dirs(), dir) {
				_ = unix.Rmdir(dir)
			}
		}
		note.Groups = d.cgroups.dirs()
		err = d.writeNote(note)
	}
	if err != nil {
		return ended, lambent.Errorf(lambent.CodeInternal, "end sandboxes of an earlier server: %w", err)
	}
	return ended, nil
}

// removeLeftovers ends and removes every group in dirs, and counts the instances
// among them: what never had a function has no limit. The directories of one group go together: a process that is frozen by
// one of them does not die by another.
func removeLeftovers(ctx context.Context, dirs []string) (int, error) {
	groups := map[string][]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		for _, e := range entries {
			if e.IsDir() {
				groups[e.Name()] = append(groups[e.Name()], filepath.Join(dir, e.Name()))
			}
		}
	}
	ended := 0
	for _, paths := range groups {
		counts := !strings.HasPrefix(filepath.Base(paths[0]), reservePrefix) || limited(paths)
		if err := removeGroup(ctx, paths); err != nil {
			return ended, err
		}
		if counts {
			ended++
		}
	}
	return ended, nil
}

// limited tells whether a group has a limit of memory, as every instance's has.
func limited(paths []string) bool {
	for _, dir := range paths {
		if n := readNumber(filepath.Join(dir, "memory.limit_in_bytes")); n > 0 && n < 1<<60 {
			return true
		}
		if readNumber(filepath.Join(dir, "memory.max")) > 0 { // otherwise it says "max"
			return true
		}
	}
	return false
}

// Expect tells that cold starts of this runtime are likely.
func (d *Driver) Expect(rt sandbox.Runtime) { d.reserve.expect(rt) }

// Reserves describes what is kept ready.
func (d *Driver) Reserves() []sandbox.Reserve { return d.reserve.describe() }

// through is called when a cold start is: there is time to make up for what it
// took.
func (d *Driver) through() {
	d.traffic.end()
	d.shells.refill()
	d.reserve.poke()
}

// closeTimeout is how long Close waits for instances to go.
const closeTimeout = 30 * time.Second

// Close ends every instance and gives back what the driver holds on the host.
func (d *Driver) Close() error {
	if !d.live.Close() {
		return nil
	}
	left := d.live.Left()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(left))
	for n, i := range left {
		wg.Go(func() { errs[n] = i.Stop(ctx) })
	}
	wg.Wait()
	errs = append(errs, d.release())
	if err := errors.Join(errs...); err != nil {
		return lambent.Errorf(lambent.CodeInternal, "close the linux sandbox: %w", err)
	}
	return nil
}

// release gives back whatever prepare got.
func (d *Driver) release() error {
	var errs []error
	if d.traffic != nil {
		d.traffic.close()
	}
	if d.reserve != nil {
		d.reserve.close()
	}
	if d.shells != nil {
		d.shells.close()
	}
	if d.network != nil {
		errs = append(errs, d.network.close())
	}
	if d.cgroups != nil {
		errs = append(errs, d.removeCgroups())
	}
	if d.roots != nil {
		d.roots.close()
	}
	if d.slots != nil {
		d.slots.close()
	}
	if d.null != nil {
		errs = append(errs, d.null.Close())
	}
	if d.anchor != nil {
		errs = append(errs, d.anchor.Close())
	}
	return errors.Join(errs...)
}
