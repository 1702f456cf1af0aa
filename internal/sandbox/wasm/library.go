package wasm

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// meterVersion changes whenever the meter writes other code for the same module.
const meterVersion = "1"

// module is a function's module, ready to be instantiated.
type module struct {
	name     string // of the file
	compiled wazero.CompiledModule
	resident bool
	starts   bool  // it has code that runs when it is instantiated
	least    int64 // bytes of memory that it starts with
	beside   int64 // bytes that its tables take beside it
	most     int64 // bytes of memory that it says it can use
	size     int64 // bytes that it takes of the library
	// refusal, if set, is why it cannot run; the rest is then empty.
	refusal string
}

// library compiles modules, and keeps the compiled ones in memory and on disk.
type library struct {
	rt    wazero.Runtime
	host  *host
	store store
	live  string // the serving engine's cache: empty but for the moment of a load
	log   *slog.Logger
	most  int64 // bytes of compiled code in memory

	loading sync.Mutex // held while live has a file
	// builds bounds how many modules are compiled from nothing at a time, and larges
	// how many are made whose parts take more memory than an instance is counted with.
	builds, larges chan struct{}
	patience       time.Duration // with the compilation of one
	work           sync.WaitGroup
	life           context.Context
	stop           context.CancelFunc

	// mu guards what follows.
	mu    sync.Mutex
	byKey map[string]*list.Element // of *shelf
	order *list.List               // the last used in front
	bytes int64
}

// shelf has one module, once ready is closed.
type shelf struct {
	key   string
	ready chan struct{}
	mod   *module
	err   error // of the platform

	// Guarded by the library's lock: how many wait for the module or have it, and
	// whether the library has forgotten it. Without either its code goes.
	users  int
	forgot bool
}

// buildTimeout bounds the compilation of one module, from when its turn has come: how
// long that takes is others' doing.
const buildTimeout = 2 * time.Minute

// errSlow is a module that takes longer.
var errSlow = errors.New("compilation was given up")

// Modules of more than large bytes are made a few at a time: while one is, there are four
// times its bytes.
const (
	large      = 8 << 20
	fewAtATime = 4
)

func newLibrary(dir string, o Options) (*library, error) {
	l := &library{log: o.Log, most: o.CodeBytes, store: store{dir: filepath.Join(dir, "code"), most: o.CacheBytes},
		live: filepath.Join(dir, "live"), builds: make(chan struct{}, 2), patience: buildTimeout,
		larges: make(chan struct{}, max(fewAtATime, runtime.GOMAXPROCS(0))), byKey: map[string]*list.Element{}, order: list.New()}
	l.life, l.stop = context.WithCancel(context.Background())
	if err := os.RemoveAll(l.live); err != nil {
		return nil, err
	}
	l.store.sweep()
	cache, err := wazero.NewCompilationCacheWithDir(l.live)
	if err != nil {
		return nil, err
	}
	l.rt = wazero.NewRuntimeWithConfig(l.life, engineConfig().WithCompilationCache(cache))
	l.host, err = newHost(l.life, l.rt)
	return l, err
}

// engineConfig is the same for the engine that compiles and the one that runs.
// The deadline is the meter's business.
func engineConfig() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithCustomSections(false).
		WithDebugInfoEnabled(false)
}

func (l *library) close() error {
	l.stop()
	l.work.Wait()
	return errors.Join(l.rt.Close(context.Background()), os.RemoveAll(l.live))
}

// get gives the module of spec, until put. The error is the platform's; a module
// that cannot run has a refusal.
func (l *library) get(ctx context.Context, spec *sandbox.Spec) (*shelf, error) {
	key, err := keyOf(spec)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.life.Err() != nil {
		l.mu.Unlock()
		return nil, sandbox.ErrClosed
	}
	e := l.byKey[key]
	if e != nil {
		l.order.MoveToFront(e)
	} else {
		e = l.order.PushFront(&shelf{key: key, ready: make(chan struct{})})
		l.byKey[key] = e
		code, handler := spec.Code, spec.Version.Handler
		l.work.Go(func() { l.fill(e, code, handler) })
	}
	s, _ := e.Value.(*shelf) // nothing else is in the list
	s.users++
	l.mu.Unlock()
	select {
	case <-s.ready:
		if s.err != nil {
			l.put(s)
		}
		return s, s.err
	case <-ctx.Done():
		l.put(s)
		return nil, lambent.Errorf(lambent.CodeTimeout, "wait for the module to be compiled: %w", ctx.Err())
	}
}

// keyOf names a module without reading it: by what the version is made of, or by
// the directory where that is not known.
func keyOf(spec *sandbox.Spec) (string, error) {
	handler := spec.Version.Handler
	if d := spec.Version.Code.Digest; d != "" {
		return string(d) + " " + handler, nil
	}
	info, err := os.Stat(spec.Code)
	if err != nil {
		return "", fmt.Errorf("look at the code: %w", err)
	}
	return fmt.Sprintf("%s %d %s", spec.Code, info.ModTime().UnixNano(), handler), nil
}

// fill does the work of one shelf, and forgets it if the platform failed.
func (l *library) fill(e *list.Element, dir, handler string) {
	s, _ := e.Value.(*shelf)
	mod, err := l.make(l.life, dir, handler)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mod, s.err = mod, err
	close(s.ready)
	if err != nil {
		l.order.Remove(e)
		delete(l.byKey, s.key)
		return
	}
	l.bytes += mod.size
	for at := l.order.Back(); at != nil && l.bytes > l.most; {
		prev := at.Prev()
		if old, _ := at.Value.(*shelf); at != e && old.mod != nil {
			l.order.Remove(at)
			delete(l.byKey, old.key)
			l.bytes -= old.mod.size
			old.forgot = true
			old.free()
		}
		at = prev
	}
}

// hold begins one more use of s, which somebody has.
func (l *library) hold(s *shelf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.users++
}

// put ends a use that get or hold began.
func (l *library) put(s *shelf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.users--
	s.free()
}

// free lets the engine forget code that nobody has or finds any more.
func (s *shelf) free() {
	if s.forgot && s.users == 0 && s.mod.compiled != nil {
		_ = s.mod.compiled.Close(context.Background()) // it never fails
	}
}

// pointerSize is what an element of a table or a segment takes, in bytes.
const pointerSize = 8

// maxRefusal bounds what is said against a module, in bytes: the engine lists all values
// of a stack that is not as it should be.
const maxRefusal = 1 << 10

// refused makes a module that cannot run, at the price of its name.
func refused(name string, err error) (*module, error) {
	text := err.Error()
	if len(text) > maxRefusal {
		text = strings.ToValidUTF8(text[:maxRefusal], "") + " ..."
	}
	return &module{name: name, refusal: text, size: 2 * maxRefusal}, nil
}

// make reads, checks, compiles and loads a module.
func (l *library) make(ctx context.Context, dir, handler string) (m *module, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("the engine failed on a module", "panic", p)
			m, err = refused("module", errors.New("the engine failed on it"))
		}
	}()
	name, original, turn, err := l.readModule(ctx, dir, handler)
	switch {
	case err != nil && passes(err):
		return nil, fmt.Errorf("read module: %w", err)
	case err != nil:
		return refused(name, err)
	}
	defer turn()
	binary, pointers, err := metered(original)
	if err != nil {
		return refused(name, fmt.Errorf("it is not valid: %w", err))
	}
	sum := sha256.Sum256(append(original, meterVersion...))
	compiled, size, err := l.load(ctx, hex.EncodeToString(sum[:]), binary)
	if invalid := (invalidError{}); errors.As(err, &invalid) {
		return refused(name, fmt.Errorf("it is not valid: %w", invalid))
	}
	if errors.Is(err, errSlow) {
		return refused(name, fmt.Errorf("it takes more than %v to compile", l.patience))
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	m = &module{name: name, compiled: compiled, beside: pointerSize * int64(pointers), size: size + int64(len(binary))}
	parts, err := split(binary)
	m.starts = parts[secStart] != nil || err != nil // what is valid has no error
	if err := l.host.check(m); err != nil {
		return refused(name, errors.Join(err, compiled.Close(ctx)))
	}
	return m, nil
}

// invalidError is what the engine has against a module.
type invalidError struct{ error }

// load gets the code from disk, or compiles it, and hands it to the engine. It
// also tells the bytes of machine code.
func (l *library) load(ctx context.Context, key string, binary []byte) (wazero.CompiledModule, int64, error) {
	c, err := l.store.load(key)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("compiled code is made again", "key", key, "err", err)
		}
		if c, err = l.build(ctx, binary); err != nil {
			return nil, 0, err
		}
		if err := l.store.save(key, c); err != nil {
			l.log.Warn("compiled code cannot be kept", "key", key, "err", err)
		}
	}
	compiled, err := l.restore(ctx, c, binary)
	return compiled, int64(len(c.data)), err
}

// build compiles in an engine of its own, so that its result can be told from
// others'; loads do not wait for it.
func (l *library) build(ctx context.Context, binary []byte) (c code, err error) {
	turn, err := take(ctx, l.builds)
	if err != nil {
		return code{}, err
	}
	defer turn()
	dir, err := os.MkdirTemp(filepath.Dir(l.live), "build-")
	if err != nil {
		return code{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return code{}, err
	}
	rt := wazero.NewRuntimeWithConfig(ctx, engineConfig().WithCompilationCache(cache))
	defer func() { err = errors.Join(err, rt.Close(ctx), cache.Close(ctx)) }()
	limited, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	// Only with more than one worker does the engine look at the context.
	_, err = rt.CompileModule(experimental.WithCompilationWorkers(limited, 2), binary)
	switch {
	case ctx.Err() != nil:
		return code{}, ctx.Err()
	case err != nil && limited.Err() != nil:
		return code{}, errSlow
	case err != nil:
		return code{}, invalidError{err}
	}
	return only(dir)
}

// take waits for a turn; the function that it returns ends it.
func take(ctx context.Context, turns chan struct{}) (end func(), err error) {
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// passes tells of a reason why a module could not be read that is not the module's, and
// may be gone the next time.
func passes(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, context.Canceled},
		func(reason error) bool { return errors.Is(err, reason) })
}

// restore puts code where the engine looks for it. The engine names files by
// itself; if it wants another one than c, it compiles again.
func (l *library) restore(ctx context.Context, c code, binary []byte) (wazero.CompiledModule, error) {
	l.loading.Lock()
	defer l.loading.Unlock()
	entries, err := os.ReadDir(l.live)
	if err != nil || len(entries) != 1 {
		return nil, fmt.Errorf("find the engine's cache (%d entries): %w", len(entries), err)
	}
	dir := filepath.Join(l.live, entries[0].Name())
	if err := os.WriteFile(filepath.Join(dir, c.name), c.data, 0o600); err != nil {
		return nil, err
	}
	compiled, err := l.rt.CompileModule(experimental.WithCompilationWorkers(ctx, 2), binary)
	left, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is right
	for _, f := range left {
		err = errors.Join(err, os.Remove(f))
	}
	return compiled, err
}

// readModule finds the module of a function: the file that the handler names, or
// bootstrap.wasm, or the only one there is. No path leads out of dir. turn ends the turn
// that a large one has waited for.
func (l *library) readModule(ctx context.Context, dir, handler string) (name string, b []byte, turn func(), err error) {
	turn = func() {}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "module", nil, turn, err
	}
	defer func() { _ = root.Close() }()
	if name, err = moduleName(root.FS(), handler); err != nil {
		return "module", nil, turn, err
	}
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return name, nil, turn, errors.New("no such file or directory")
	}
	if err != nil {
		return name, nil, turn, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return name, nil, turn, err
	case !info.Mode().IsRegular():
		return name, nil, turn, errors.New("it is not a file")
	case info.Size() > maxModule:
		return name, nil, turn, fmt.Errorf("it has more than %d MB", maxModule>>20)
	case info.Size() > large:
		if turn, err = take(ctx, l.larges); err != nil {
			return name, nil, nil, err
		}
	}
	b = make([]byte, info.Size())
	if _, err = io.ReadFull(f, b); err != nil {
		turn()
	}
	return name, b, turn, err
}

// usualName is the module's when the handler names none.
const usualName = "bootstrap.wasm"

func moduleName(dir fs.FS, handler string) (string, error) {
	if strings.HasSuffix(handler, ".wasm") {
		return strings.TrimPrefix(handler, "/var/task/"), nil
	}
	if _, err := fs.Stat(dir, usualName); err == nil {
		return usualName, nil
	}
	found, err := fs.Glob(dir, "*.wasm")
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the handler %q names no module: there is no %s, and there are %d others",
			handler, usualName, len(found))
	}
	return found[0], nil
}
