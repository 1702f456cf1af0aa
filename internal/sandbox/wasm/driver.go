package wasm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Options of [New]. Only DataDir is required.
type Options struct {
	// DataDir is the server's data directory; the driver keeps its own below
	// "sandbox/wasm" in it.
	DataDir string
	// CodeBytes bounds the compiled modules that are kept in memory, beside those
	// in use; 0 is 512 MiB.
	CodeBytes int64
	// CacheBytes bounds those on disk; 0 is 2 GiB.
	CacheBytes int64
	// NoReserve has no guest made ahead of demand.
	NoReserve bool
	Log       *slog.Logger
}

// Driver runs WebAssembly modules in this process.
type Driver struct {
	opts    Options
	dir     string
	library *library
	handles *handles // of all instances
	config  wazero.ModuleConfig
	// mappings are of the guests' memories.
	mappings mappings
	spares   spares

	live   sandbox.Registry[*Instance]
	stops  sync.WaitGroup // Stops that go on in the background
	warned sync.Once
}

var (
	_ sandbox.Driver   = (*Driver)(nil)
	_ sandbox.Preparer = (*Driver)(nil)
)

// New opens the driver. The error has CodeUnavailable: the data directory cannot
// be written, or the engine does not know this processor.
func New(o Options) (*Driver, error) {
	if o.DataDir == "" {
		return nil, lambent.Errorf(lambent.CodeInvalid, "wasm sandbox: no data directory given")
	}
	if o.CodeBytes <= 0 {
		o.CodeBytes = 512 << 20
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 2 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Driver{opts: o, config: anyConfig(), handles: newHandles(openFiles(), nil)}
	if err := d.open(); err != nil {
		return nil, lambent.Errorf(lambent.CodeUnavailable, "prepare the wasm sandbox: %w", err)
	}
	return d, nil
}

func (d *Driver) open() (err error) {
	defer func() {
		if p := recover(); p != nil { // the engine's way to say that it has no compiler here
			err = fmt.Errorf("%v", p)
		}
	}()
	if d.dir, err = filepath.Abs(filepath.Join(d.opts.DataDir, "sandbox", "wasm")); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	d.library, err = newLibrary(d.dir, d.opts)
	return err
}

// openFiles is how many files all modules may have open: half of what the server
// may.
func openFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 512
	}
	return int64(min(limit.Cur/2, 1<<20))
}

var validID = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Start gets the compiled module and makes its memory. A module that cannot run
// is an instance whose Init says so.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	i, err := d.start(ctx, spec)
	if err != nil {
		if spec.Tmp != nil {
			_ = spec.Tmp.Close() // a scratch that could not be used
		}
		return nil, err
	}
	return i, nil
}

func (d *Driver) start(ctx context.Context, spec sandbox.Spec) (*Instance, error) {
	if !validID.MatchString(spec.ID) || spec.Version == nil || spec.Output == nil {
		return nil, lambent.Errorf(lambent.CodeInvalid, "wasm sandbox: bad spec %q", spec.ID)
	}
	if !d.live.Enter() {
		return nil, sandbox.ErrClosed
	}
	defer d.live.Leave()
	d.warned.Do(d.warn)
	i := &Instance{driver: d, spec: spec, turn: make(chan struct{}, 1), inited: make(chan struct{}),
		done: make(chan struct{}), gone: make(chan struct{}), ready: make(chan struct{})}
	i.life, i.cancel = context.WithCancel(context.Background())
	begin := time.Now()
	var err error
	if i.shelf, err = d.library.get(ctx, &i.spec); err != nil {
		i.cancel()
		return nil, err
	}
	i.mod = i.shelf.mod
	i.stage(lambent.StageRuntime, begin)
	begin = time.Now()
	i.env = append(append([]string{}, spec.Runtime.Env...), spec.Env...)
	i.env = append(i.env, "PWD=/var/task")
	i.kit = d.kitFor(i.shelf, &i.spec)
	i.lines.To = spec.Output
	if err = i.disk.open(&i.spec, tmpDir(d.dir, spec.ID)); err != nil {
		err = lambent.Errorf(lambent.CodeUnavailable, "open the files of a module: %w", err)
	}
	i.stage(lambent.StageFiles, begin)
	if err == nil {
		err = d.live.Add(spec.ID, i)
	}
	if err != nil {
		i.cancel()
		i.discard()
		d.library.put(i.shelf)
		return nil, err
	}
	if err := i.start(ctx); err != nil {
		return nil, errors.Join(err, i.Stop(context.WithoutCancel(ctx)))
	}
	return i, nil
}

// Prepare compiles the version's module, keeps the code on disk, and has a guest wait
// for the first start. A module that
// cannot run is an error with CodeInvalid and reason "InvalidModule".
func (d *Driver) Prepare(ctx context.Context, spec sandbox.Spec) error {
	if !d.live.Enter() {
		return sandbox.ErrClosed
	}
	defer d.live.Leave()
	s, err := d.library.get(ctx, &spec)
	if err != nil {
		return err
	}
	if m := s.mod; m.refusal != "" {
		d.library.put(s)
		return lambent.Errorf(lambent.CodeInvalid, "module %s: %s", m.name, m.refusal).WithReason("InvalidModule")
	}
	d.spare(ctx, s, &spec)
	return nil
}

// Recover removes the files that an earlier server's instances left. The
// instances ended with it.
func (d *Driver) Recover(context.Context) (int, error) {
	left, err := filepath.Glob(filepath.Join(d.dir, "build-*"))
	for _, dir := range append(left, filepath.Join(d.dir, "tmp")) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return 0, lambent.Errorf(lambent.CodeInternal, "remove files of an earlier server: %w", err)
	}
	return 0, nil
}

// warn says what stands between a module and the host, and what does not: to those who
// run some.
func (d *Driver) warn() {
	d.opts.Log.Warn("wasm: modules run inside the server's process: WebAssembly's own checks keep them in " +
		"their memory, and no process, user or cgroup is behind those")
	d.opts.Log.Warn("wasm: the processor share of a module is not enforced, only its deadline; its memory is, " +
		"but its stack (up to 100 MB) and compiled code are the server's")
}

// Describe names the driver.
func (d *Driver) Describe() sandbox.Description {
	return sandbox.Description{Name: "wasm"}
}

// closeTimeout is how long Close waits for modules to stop.
const closeTimeout = 30 * time.Second

// Close ends every instance and the engine.
func (d *Driver) Close() error {
	if !d.live.Close() {
		return nil
	}
	d.library.stop() // a compilation would hold a Start up
	left := d.live.Left()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, i := range left {
		i.cancel()
	}
	for _, i := range left {
		errs = append(errs, i.Stop(ctx))
	}
	if errors.Join(errs...) == nil {
		d.stops.Wait()
	}
	d.spares.close()
	errs = append(errs, d.library.close())
	d.mappings.close()
	if err := errors.Join(errs...); err != nil {
		return lambent.Errorf(lambent.CodeInternal, "close the wasm sandbox: %w", err)
	}
	return nil
}
