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
	// NetworkPool has the addresses of instances; IPv4, /16 to /24. Servers on one
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
	// Ready is how many sandboxes are made ahead, without a function; 0 is 2,
	// below 0 is none.
	Ready int
	Log   *slog.Logger
}

// Defaults of Options.
const (
	defaultUIDBase = 0x6c620000 // far from what distributions and container engines hand out
	defaultMax     = 4096
	maxProcesses   = 1024 // processes and threads of a function ("Lambda quotas")
)

var defaultPool = netip.MustParsePrefix("10.201.0.0/16")

// Driver starts instances as Linux sandboxes. It needs root, Linux 5.14 or
// later, and tells in Describe what else the host could not give.
type Driver struct {
	opts    Options
	dir     string // ours, below the data directory
	slots   *slots
	shells  *shells
	roots   *roots
	scratch *scratch
	cgroups hierarchy
	network *network // nil: loopback only
	null    *os.File
	filter  []unix.SockFilter
	limits  sysLimits
	lastCap int
	about   sandbox.Description

	// mu guards live and closed.
	mu     sync.Mutex
	live   map[string]*Instance
	closed bool
	starts sync.WaitGroup // running Starts; Close waits for them
}

var _ sandbox.Driver = (*Driver)(nil)

// New prepares the host as far as it lets itself be prepared. What is missing
// that a sandbox cannot do without is an error with CodeUnavailable.
func New(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d := &Driver{opts: o, dir: filepath.Join(o.DataDir, "sandbox"), live: map[string]*Instance{},
		filter: seccompFilter(), lastCap: readLastCap(), about: sandbox.Description{Name: "linux", Network: "loopback"}}
	if err := d.prepare(); err != nil {
		d.release()
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
	if o.Ready == 0 {
		o.Ready = 2
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
	staging := filepath.Join(d.dir, "root")
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return err
	}
	var err error
	if d.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	if d.limits, err = readLimits(); err != nil {
		return err
	}
	d.slots = &slots{base: d.opts.UIDBase, max: d.opts.MaxInstances}
	d.roots = &roots{staging: staging, byKey: map[string]*os.File{}}
	d.scratch = &scratch{dir: d.dir, templates: map[int]*template{}}
	if _, err := d.roots.get(nil); err != nil {
		return err
	}
	if err := d.prepareCgroups(); err != nil {
		return err
	}
	d.prepareNetwork()
	if err := d.tryScratch(); err != nil {
		d.warn("/tmp counts against the function's memory here: " + err.Error())
		d.scratch = nil
	}
	d.shells = newShells(d, max(d.opts.Ready, 0))
	return nil
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
	h, err := findHierarchy(cgroupSpec{parent: d.opts.CgroupRoot, name: "lambent-" + tag[:8]})
	if err != nil {
		d.warn("memory, processor and process limits are not enforced: " + err.Error())
	} else {
		d.cgroups = h
	}
	d.about.Cgroups = d.cgroups.name()
	return d.rememberCgroups()
}

// rememberCgroups notes where the groups are. The next server may be started in
// another group than this one and has to find what this one leaves.
func (d *Driver) rememberCgroups() error {
	known := d.knownCgroups()
	for _, dir := range d.cgroups.dirs() {
		if !slices.Contains(known, dir) {
			known = append(known, dir)
		}
	}
	return d.writeKnown(known)
}

func (d *Driver) writeKnown(dirs []string) error {
	b, err := json.Marshal(dirs)
	if err != nil {
		return err
	}
	return os.WriteFile(d.knownFile(), b, 0o600)
}

func (d *Driver) knownFile() string { return filepath.Join(d.dir, "cgroups.json") }

// knownCgroups reads the note. Only directories of our own name count: the file
// decides what gets killed.
func (d *Driver) knownCgroups() []string {
	b, err := os.ReadFile(d.knownFile())
	if err != nil {
		return nil
	}
	var dirs []string
	if json.Unmarshal(b, &dirs) != nil {
		return nil
	}
	tag, _ := d.tag()
	return slices.DeleteFunc(dirs, func(dir string) bool {
		return filepath.Base(dir) != "lambent-"+tag[:8] || !strings.HasPrefix(dir, "/sys/fs/cgroup/")
	})
}

func (d *Driver) prepareNetwork() {
	if d.opts.NoNetwork {
		return
	}
	tag, number := d.tag()
	n, err := newNetwork(networkSpec{pool: d.opts.NetworkPool, tag: tag[:4], start: number, state: d.dir, log: d.opts.Log})
	if err != nil {
		d.warn("functions have no network but loopback: " + err.Error())
		return
	}
	d.network = n
	d.about.Network = "nat"
	d.about.Warnings = append(d.about.Warnings, n.warnings...)
}

// tryScratch makes one /tmp of the usual size, which also formats it.
func (d *Driver) tryScratch() error {
	fd, err := d.scratch.mount(lambent.DefaultEphemeralMB)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Describe says what holds on this host.
func (d *Driver) Describe() sandbox.Description {
	about := d.about
	about.Warnings = slices.Clone(about.Warnings)
	return about
}

// Recover ends what an earlier server left: its processes by their cgroups. Its
// links and firewall went when this driver was made, its mounts, loop devices
// and sockets go with the processes.
func (d *Driver) Recover(ctx context.Context) (int, error) {
	ended := map[string]bool{}
	var errs []error
	var kept []string
	for _, dir := range d.knownCgroups() {
		ids, err := removeLeftovers(ctx, dir)
		for _, id := range ids {
			ended[id] = true
		}
		current := slices.Contains(d.cgroups.dirs(), dir)
		if err == nil && !current {
			_ = unix.Rmdir(dir)
		}
		if err != nil || current {
			kept = append(kept, dir)
		}
		errs = append(errs, err)
	}
	errs = append(errs, d.writeKnown(kept))
	if err := errors.Join(errs...); err != nil {
		return len(ended), lambent.Errorf(lambent.CodeInternal, "end sandboxes of an earlier server: %w", err)
	}
	return len(ended), nil
}

// removeLeftovers ends and removes every instance's group in dir.
func removeLeftovers(ctx context.Context, dir string) (ids []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := removeGroup(ctx, []string{filepath.Join(dir, e.Name())}); err != nil {
			return ids, err
		}
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// enter counts a Start, unless the driver is closed. The caller ends it with
// starts.Done.
func (d *Driver) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.starts.Add(1)
	return true
}

// add registers a started instance, unless the driver is closed.
func (d *Driver) add(i *Instance) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if d.live[i.id] != nil {
		return fmt.Errorf("there is an instance %s already", i.id)
	}
	d.live[i.id] = i
	return nil
}

var errClosed = errors.New("the driver is closed")

func (d *Driver) drop(i *Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.live, i.id)
}

// closeTimeout is how long Close waits for instances to go.
const closeTimeout = 30 * time.Second

// Close ends every instance and gives back what the driver holds on the host.
func (d *Driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.starts.Wait()
	d.mu.Lock()
	var left []*Instance
	for _, i := range d.live {
		left = append(left, i)
	}
	d.mu.Unlock()

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
	if d.shells != nil {
		d.shells.close()
	}
	if d.network != nil {
		errs = append(errs, d.network.close())
	}
	if d.cgroups != nil {
		for _, dir := range d.cgroups.dirs() {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, &os.PathError{Op: "rmdir", Path: dir, Err: err})
			}
		}
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
	return errors.Join(errs...)
}
