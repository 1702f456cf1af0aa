package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
)

// Start makes the sandbox and starts the runtime in it. A program that cannot be
// executed is no error here: the instance's Init says so.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	b := &builder{driver: d, spec: spec, stage: time.Now()}
	if !d.enter() {
		b.closeStartOnly()
		return nil, lambent.Errorf(lambent.CodeUnavailable, "start sandbox %s: %w", spec.ID, errClosed)
	}
	defer d.starts.Done()
	i, err := b.start(ctx)
	// The thread in the namespaces is among what closes here: its cgroup can only
	// be taken back afterwards.
	b.closeStartOnly()
	if err != nil {
		b.undo()
		return nil, err
	}
	return i, nil
}

func (b *builder) start(ctx context.Context) (*Instance, error) {
	if err := check(b.spec); err != nil {
		return nil, err
	}
	i, err := b.build(ctx)
	if err != nil {
		return nil, lambent.Errorf(codeOf(ctx, err), "start sandbox %s: %w", b.spec.ID, err)
	}
	return i, nil
}

// codeOf classes an error of a start.
func codeOf(ctx context.Context, err error) lambent.Code {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return lambent.CodeTimeout
	case ctx.Err() != nil:
		return lambent.CodeCanceled
	case errors.Is(err, errNoSlot), errors.Is(err, errClosed):
		return lambent.CodeUnavailable
	}
	return lambent.CodeInternal
}

var validID = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// reserved are the places that only the driver puts something at.
var reserved = []string{"/", "/proc", "/dev", "/tmp", "/etc", "/usr", "/var/task", "/sys"}

// check refuses a spec that no sandbox can be made of.
func check(s sandbox.Spec) error {
	fail := func(format string, args ...any) error {
		return lambent.Errorf(lambent.CodeInvalid, "sandbox: "+format, args...)
	}
	switch {
	case !validID.MatchString(s.ID):
		return fail("id %q is not of [a-z0-9-]{1,40}", s.ID)
	case s.Version == nil || s.Output == nil:
		return fail("version or output is missing")
	case len(s.Runtime.Command) == 0 || !path.IsAbs(s.Runtime.Command[0]):
		return fail("the command is not an absolute path")
	case s.Version.MemoryMB <= 0 || s.Version.EphemeralMB <= 0:
		return fail("memory and ephemeral storage must be above 0")
	}
	for _, dir := range append([]string{s.Code}, s.Layers...) {
		if !filepath.IsAbs(dir) {
			return fail("%q is not an absolute path", dir)
		}
	}
	for _, m := range s.Runtime.Mounts {
		if !filepath.IsAbs(m.Host) || m.Guest != path.Clean(m.Guest) || !path.IsAbs(m.Guest) || slices.Contains(reserved, m.Guest) {
			return fail("cannot mount %q at %q", m.Host, m.Guest)
		}
	}
	for _, v := range slices.Concat(s.Env, s.Runtime.Env, s.Runtime.Command) {
		if strings.IndexByte(v, 0) >= 0 {
			return fail("an argument or variable has a zero byte")
		}
	}
	return nil
}

// builder carries one start through its stages, and takes back what it got if a
// stage fails.
type builder struct {
	driver *Driver
	spec   sandbox.Spec
	stage  time.Time // when the current stage began

	shell   *shell
	group   group
	mounts  []attachment
	output  *output
	write   *os.File // the function's end of output
	process spawned
	pidfd   *os.File
	cleanup []func()
}

// attachment is a mount that waits for its place.
type attachment struct {
	fd int
	at string
}

func (b *builder) defers(f func()) { b.cleanup = append(b.cleanup, f) }

func (b *builder) undo() {
	for _, f := range slices.Backward(b.cleanup) {
		f()
	}
}

// done reports the end of a stage.
func (b *builder) done(name string) {
	now := time.Now()
	if b.spec.Stage != nil {
		b.spec.Stage(name, b.stage, now.Sub(b.stage))
	}
	b.stage = now
}

// build is a cold start. Each stage is a span: what it took is reported.
func (b *builder) build(ctx context.Context) (*Instance, error) {
	base, err := b.driver.roots.get(b.spec.Runtime.Mounts)
	if err != nil {
		return nil, err
	}
	defer func() { _ = base.Close() }()
	if err := b.takeShell(); err != nil {
		return nil, err
	}
	if err := b.makeGroup(); err != nil {
		return nil, err
	}
	b.done("cgroup")
	if b.output, b.write, err = newOutput(b.spec.Output); err != nil {
		return nil, err
	}
	b.defers(func() { _ = b.output.pipe.Close() })
	if err := b.collectMounts(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.shell.run(func() { err = b.arrangeMounts(base) })
	if err != nil {
		return nil, err
	}
	b.done("mounts")
	b.shell.run(func() { err = b.spawn() })
	if err != nil {
		return nil, err
	}
	b.done("spawn")
	return b.finish()
}

// takeShell takes a shell that was made ahead, or makes one.
func (b *builder) takeShell() error {
	v := b.spec.Version
	s := b.driver.shells.take(v.Network)
	if s != nil {
		b.done("shell")
	} else {
		var err error
		if s, err = b.driver.newShell(shellKind{network: v.Network, tmpMB: v.EphemeralMB}, b.done); err != nil {
			return err
		}
	}
	b.shell = s
	b.defers(s.discard)
	if kept, ok := b.spec.Tmp.(*volume); ok && kept.mb == v.EphemeralMB {
		err := s.inheritTmp(kept)
		if err == nil {
			b.spec.Tmp = nil // the shell's now
			return nil
		}
		b.driver.opts.Log.Warn("a function starts with an empty /tmp", "fn", v.Function, "err", err)
	}
	return s.makeTmp(b.driver, v.EphemeralMB)
}

func (b *builder) makeGroup() error {
	v := b.spec.Version
	g, err := b.driver.cgroups.create(b.spec.ID, limits{
		memory: int64(v.MemoryMB) << 20,
		cpus:   max(v.CPUs(), b.driver.opts.InitCPUs),
		pids:   maxProcesses,
	})
	if err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	b.group = g
	b.defers(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := removeGroup(ctx, g.paths()); err != nil {
			b.driver.opts.Log.Error("a cgroup is left behind", "inst", b.spec.ID, "err", err)
		}
	})
	return nil
}

// collectMounts makes the mounts of code and layers. They are made where the
// host's paths are, attached to nothing, and need no path later.
func (b *builder) collectMounts() error {
	add := func(at string, fd int, err error) error {
		if err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
		b.mounts = append(b.mounts, attachment{fd: fd, at: at})
		return nil
	}
	fd, err := detached(b.spec.Code, 0)
	if err := add("/var/task", fd, err); err != nil {
		return err
	}
	switch len(b.spec.Layers) {
	case 0:
		return nil
	case 1:
		fd, err = detached(b.spec.Layers[0], 0)
	default:
		fd, err = overlay(b.spec.Layers)
	}
	return add("/opt", fd, err)
}

// mountTmp makes an instance's /tmp, of the kind that this host can do.
func (d *Driver) mountTmp(mb int) (*volume, error) {
	if d.scratch == nil {
		return tmpfs(mb)
	}
	return d.scratch.mount(mb)
}

// closeStartOnly closes what only the start needed, whether or not it came to be
// used: the runtime has its own copies.
func (b *builder) closeStartOnly() {
	for _, m := range b.mounts {
		_ = unix.Close(m.fd)
	}
	if b.write != nil {
		_ = b.write.Close()
	}
	if b.group != nil {
		b.group.close()
	}
	if b.shell != nil {
		b.shell.finish()
	}
	if b.spec.Tmp != nil {
		_ = b.spec.Tmp.Close() // it was not used
	}
}

// chooseProgram is the command with the first of its programs that is there, as
// seen by the calling thread. If none of several is, they are listed in absent.
func chooseProgram(rt sandbox.Runtime) (command, absent []string) {
	if len(rt.Fallback) == 0 {
		return rt.Command, nil
	}
	all := append([]string{rt.Command[0]}, rt.Fallback...)
	for _, program := range all {
		var st unix.Stat_t
		if err := unix.Stat(program, &st); !errors.Is(err, unix.ENOENT) {
			return append([]string{program}, rt.Command[1:]...), nil
		}
	}
	return rt.Command, all
}

// spawn forks the runtime from the shell's thread, whose surroundings it gets.
func (b *builder) spawn() error {
	if err := b.group.join(); err != nil {
		return fmt.Errorf("join cgroup: %w", err)
	}
	command, absent := chooseProgram(b.spec.Runtime)
	p, err := spawnPatiently(spawnSpec{
		command: command, absent: absent, env: b.environment(),
		userns: int(b.shell.slot.userns.Fd()), null: int(b.driver.null.Fd()), output: int(b.write.Fd()), cgroup: b.group.birth(),
		filter: b.driver.filter, lastCap: b.driver.lastCap, existing: b.driver.limits,
	})
	if err != nil {
		return err
	}
	b.process = p
	// Watched by Go's poller, so that waiting for the process takes no thread.
	err = unix.SetNonblock(p.pidfd, true)
	b.pidfd = os.NewFile(uintptr(p.pidfd), "pidfd")
	b.defers(func() {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
		_, _ = syscall.Wait4(p.pid, nil, 0, nil)
		_ = b.pidfd.Close()
	})
	return os.NewSyscallError("set nonblocking", err)
}

// arrangeMounts takes a copy of the prepared tree and puts the instance's own
// mounts into it.
func (b *builder) arrangeMounts(base *os.File) error {
	if err := unix.Setns(int(base.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns mnt", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare mnt", err)
	}
	for _, m := range append(b.mounts, attachment{fd: b.shell.tmp.fd, at: "/tmp"}) {
		if err := attach(m.fd, m.at); err != nil {
			return err
		}
	}
	// Counts against the function's memory, unlike /tmp.
	err := unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m")
	return os.NewSyscallError("mount /dev/shm", err)
}

// environment is what the runtime gets: the function's own variables count over
// the runtime's, and where the Runtime API is nobody may say but us.
func (b *builder) environment() []string {
	const api = "AWS_LAMBDA_RUNTIME_API"
	at := map[string]int{}
	var env []string
	for _, v := range slices.Concat(b.spec.Runtime.Env, b.spec.Env, []string{api + "=" + runtimeAPIAddress}) {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			env[i] = v
			continue
		}
		at[name] = len(env)
		env = append(env, v)
	}
	return env
}

// finish makes the instance, which owns everything from here on.
func (b *builder) finish() (*Instance, error) {
	v := b.spec.Version
	i := &Instance{
		id: b.spec.ID, driver: b.driver, group: b.group, slot: b.shell.slot, link: b.shell.link, tmp: b.shell.takeTmp(),
		listener: b.shell.listener, output: b.output, process: b.process, pidfd: b.pidfd, share: v.CPUs(),
		session: runtimeapi.NewSession(runtimeapi.Options{FunctionName: v.Function, FunctionVersion: v.Number,
			Handler: v.Handler, AccountID: v.Namespace, Log: b.driver.opts.Log}),
		done: make(chan struct{}), exited: make(chan struct{}), gone: make(chan struct{}),
	}
	// Functions go before the server does when the host runs out of memory.
	_ = writeFile("/proc/"+strconv.Itoa(b.process.pid)+"/oom_score_adj", "500")
	if err := b.driver.add(i); err != nil {
		_ = i.tmp.Close()
		return nil, err
	}
	i.run()
	return i, nil
}
