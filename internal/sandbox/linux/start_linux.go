package linux

import (
	"cmp"
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
	"lambent.dev/lambent/internal/sandbox"
)

// Start makes the sandbox and starts the runtime in it. A program that cannot be
// executed is no error here: the instance's Init says so.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	switch v := spec.Version; {
	case v == nil:
	case v.Image != nil:
		spec = imageSpec(spec)
	case v.App != nil:
		spec = appSpec(spec)
	}
	b := &builder{driver: d, spec: spec, stage: time.Now()}
	if !d.live.Enter() {
		b.closeStartOnly()
		return nil, lambent.Errorf(lambent.CodeUnavailable, "start sandbox %s: %w", spec.ID, sandbox.ErrClosed)
	}
	defer d.live.Leave()
	if !spec.Background {
		d.traffic.begin()
	}
	i, err := b.started(ctx)
	// The thread in the namespaces is among what closes here: its cgroup can only
	// be taken back afterwards.
	b.closeStartOnly()
	if err != nil {
		b.undo()
		if !spec.Background {
			d.through()
		}
		return nil, err
	}
	return i, nil
}

// started is the instance, of whichever kind.
func (b *builder) started(ctx context.Context) (sandbox.Instance, error) {
	i, err := b.start(ctx)
	if err != nil || b.spec.Version.App == nil {
		return i, err
	}
	return b.application(i), nil
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
	case errors.Is(err, errNoSlot), errors.Is(err, sandbox.ErrClosed):
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
	dirs := slices.Clone(s.Layers)
	for n, dir := range s.Root {
		if s.Trees[n] == nil {
			dirs = append(dirs, dir)
		}
	}
	if len(s.Root) == 0 {
		dirs = append(dirs, s.Code)
	}
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) {
			return fail("%q is not an absolute path", dir)
		}
	}
	if s.Cache != "" && !filepath.IsAbs(s.Cache) {
		return fail("%q is not an absolute path", s.Cache)
	}
	for _, m := range s.Runtime.Mounts {
		if !filepath.IsAbs(cmp.Or(m.Host, m.Link)) || m.Guest != path.Clean(m.Guest) || !path.IsAbs(m.Guest) || slices.Contains(reserved, m.Guest) {
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
	control *control // nil if the runtime does not speak it
	far     *os.File // the runtime's end of control
	process spawned
	pidfd   *os.File
	anchor  *anchor  // nil where the runtime is the first process
	netns   *os.File // an application's network
	users   imageUsers
	trees   *trees // what of an image is still coming in; nil if nothing is
	// extended tells that there may be extensions. names are those of the function,
	// extensions those that have been started, and fault why they are of no use; aside
	// and asideWrite are the ends of their output.
	extended   bool
	names      []string
	extensions []*extension
	fault      *sandbox.Failure
	aside      *output
	asideWrite *os.File
	cleanup    []func()
}

func (b *builder) defers(f func()) { b.cleanup = append(b.cleanup, f) }

func (b *builder) undo() {
	for _, f := range slices.Backward(b.cleanup) {
		f()
	}
}

// done reports the end of a span of one of [lambent.Stages].
func (b *builder) done(name string) { b.doneAt(name, time.Now()) }

func (b *builder) doneAt(name string, at time.Time) {
	if b.spec.Stage != nil {
		b.spec.Stage(name, b.stage, at.Sub(b.stage))
	}
	b.stage = at
}

// build is a cold start. Each stage is a span: what it took is reported.
func (b *builder) build(ctx context.Context) (*Instance, error) {
	base, edition, err := b.root()
	if err != nil {
		return nil, err
	}
	defer func() { _ = base.Close() }() // nil is not closed
	if err := b.collectMounts(); err != nil {
		return nil, err
	}
	b.expectExtensions()
	b.done(lambent.StageNetwork)
	if i := b.fromReserve(ctx, edition); i != nil {
		return i, nil
	}
	beside := b.beside()
	defer func() {
		v, _ := beside()
		_ = v.Close() // the mount keeps it
	}()
	if err := b.takeShell(); err != nil {
		return nil, err
	}
	if err := b.openNetwork(); err != nil {
		return nil, err
	}
	if err := b.makeGroup(b.spec.ID, b.limits()); err != nil {
		return nil, err
	}
	b.done(lambent.StageSandbox)
	if err := b.openPipes(b.spec.Output); err != nil {
		return nil, err
	}
	b.done(lambent.StageFiles)
	if err := b.collectMounts(); err != nil { // again, if a blank had them
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(b.spec.Root) > 0 {
		if base, err = b.imageRoot(); err != nil {
			return nil, err
		}
	}
	own := b.ownCode(beside())
	b.shell.run(func() {
		if err = enterOwn(base); err == nil {
			err = errors.Join(b.fitMounts(), b.layBeside(own))
		}
	})
	if err != nil {
		return nil, err
	}
	b.done(lambent.StageNetwork)
	b.shell.run(func() { err = b.launch() })
	if err != nil {
		return nil, err
	}
	return b.finish()
}

// timerSlack is how late the timers of a program may be that is started for one
// function. A function with a processor or less gets that in periods of 20 ms, so that
// a millisecond is no promise broken, and what waits for a moment only (the monitor
// thread of Go's scheduler was a third of a small handler's processor time) does so
// less often. With more, Go's threads wait for each other by such timers.
func timerSlack(v *lambent.Version) time.Duration {
	if v.CPUs() > 1 {
		return 0
	}
	return time.Millisecond
}

// takeShell takes a shell that was made ahead, or makes one.
func (b *builder) takeShell() error {
	v := b.spec.Version
	s := b.driver.shells.take(v.Network)
	if s != nil {
		b.done(lambent.StageSandbox)
	} else {
		var err error
		if s, err = b.newShell(shellKind{network: v.Network, tmpMB: v.EphemeralMB}); err != nil {
			return err
		}
	}
	b.shell = s
	b.defers(s.discard)
	if _, err := b.fitTmp(s); err != nil {
		return err
	}
	b.done(lambent.StageFiles)
	return nil
}

// newShell makes a shell; what the reserve has may be needed for it, slots or loop
// devices.
func (b *builder) newShell(kind shellKind) (*shell, error) {
	s, err := b.driver.newShell(kind, b.done)
	if err != nil && b.driver.reserve.yield() {
		s, err = b.driver.newShell(kind, b.done)
	}
	return s, err
}

// fitTmp gives the shell the /tmp that the function gets: a predecessor's, which
// is returned, or an empty one of the right size.
func (b *builder) fitTmp(s *shell) (kept *volume, err error) {
	v := b.spec.Version
	if kept, ok := b.spec.Tmp.(*volume); ok && kept.mb == v.EphemeralMB {
		err := s.inheritTmp(kept)
		if err == nil {
			b.spec.Tmp = nil // the shell's now
			return kept, nil
		}
		b.driver.opts.Log.Warn("a function starts with an empty /tmp", "fn", v.Function, "err", err)
	}
	return nil, s.makeTmp(b.driver, v.EphemeralMB)
}

// limits are those of a function while it initialises.
func (b *builder) limits() limits {
	v := b.spec.Version
	return limits{memory: int64(v.MemoryMB) << 20, cpus: max(v.CPUs(), b.driver.opts.InitCPUs), pids: maxProcesses,
		spare: b.spec.Background}
}

func (b *builder) makeGroup(name string, l limits) error {
	g, err := b.driver.cgroups.create(name, l)
	if err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	b.group = g
	b.defers(func() {
		g.close()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := removeGroup(ctx, g.paths()); err != nil {
			b.driver.opts.Log.Error("a cgroup is left behind", "group", name, "err", err)
		}
	})
	return nil
}

// openPipes makes the output pipe and, if the runtime speaks it, the control
// socket.
func (b *builder) openPipes(to sandbox.Output) (err error) {
	if b.output, b.write, err = newOutput(to); err != nil {
		return err
	}
	b.defers(func() { _ = b.output.pipe.Close() })
	if !b.spec.Runtime.Control {
		return nil
	}
	if b.control, b.far, err = newControl(); err != nil {
		return err
	}
	b.defers(b.control.close)
	return nil
}

// closeStartOnly closes what only the start needed, whether or not it came to be
// used: the runtime has its own copies.
func (b *builder) closeStartOnly() {
	b.closeMounts()
	for _, f := range []*os.File{b.write, b.far, b.asideWrite} {
		if f != nil {
			_ = f.Close()
		}
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

// spawn forks the runtime from the shell's thread, whose surroundings it gets. s
// has what to run; the rest is filled in.
func (b *builder) spawn(s spawnSpec) error {
	b.complete(&s)
	p, err := spawnPatiently(s)
	if err != nil {
		return err
	}
	return b.adopt(p)
}

// complete fills in what is the same for everything that is run.
func (b *builder) complete(s *spawnSpec) {
	d := b.driver
	if s.userns == 0 {
		s.userns, s.who = int(b.shell.slot.userns.Fd()), guestWho
	}
	s.null, s.output, s.control = int(d.null.Fd()), int(b.write.Fd()), -1
	if b.far != nil {
		s.control = int(b.far.Fd())
	}
	s.directory = workingDirectory(b.spec)
	s.cgroup, s.tasks = b.group.birth(), b.group.tasks()
	s.filter, s.lastCap, s.existing = d.filter, d.lastCap, d.limits
}

// adopt makes p the builder's process.
func (b *builder) adopt(p spawned) error {
	b.process = p
	b.driver.strays.add(p.pid)
	// Watched by Go's poller, so that waiting for the process takes no thread.
	err := unix.SetNonblock(p.pidfd, true)
	b.pidfd = os.NewFile(uintptr(p.pidfd), "pidfd")
	b.defers(func() {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
		_, _ = syscall.Wait4(p.pid, nil, 0, nil)
		b.driver.strays.drop(p.pid)
		_ = b.pidfd.Close()
	})
	return os.NewSyscallError("set nonblocking", err)
}

// environment is what the runtime gets: the function's own variables count over
// the runtime's, and where the Runtime API is nobody may say but us.
func (b *builder) environment() []string {
	const api = "AWS_LAMBDA_RUNTIME_API"
	ours := []string{api + "=" + runtimeAPIAddress}
	if app := b.spec.Version.App; app != nil {
		ours = []string{"PORT=" + strconv.Itoa(app.Port)}
	}
	if b.far != nil {
		ours = append(ours, controlVariable)
	}
	env := make([]string, 0, len(b.spec.Runtime.Env)+len(b.spec.Env)+len(ours))
	return override(override(append(env, b.spec.Runtime.Env...), b.spec.Env), ours)
}

// override puts variables, none of them twice, in the places of those in env that have
// their names, and the others behind. One of the two is short.
func override(env, with []string) []string {
	had := len(env)
	for _, v := range with {
		if i := position(env[:had], v); i >= 0 {
			env[i] = v
		} else {
			env = append(env, v)
		}
	}
	return env
}

// position is where env has the variable that v is a value of; -1 is nowhere.
func position(env []string, v string) int {
	name, _, _ := strings.Cut(v, "=")
	return slices.IndexFunc(env, func(v string) bool {
		return len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name
	})
}

// guest is what the builder has made so far.
func (b *builder) guest() *guest {
	return &guest{driver: b.driver, group: b.group, slot: b.shell.slot, link: b.shell.link, listener: b.shell.listener,
		output: b.output, control: b.control, process: b.process, pidfd: b.pidfd, anchor: b.anchor, trees: b.trees, exited: make(chan struct{})}
}

// finish makes the instance, which owns everything from here on.
func (b *builder) finish() (*Instance, error) {
	if !b.spec.Background {
		b.group.settle()
	}
	i := b.instance(b.guest(), lambent.OriginStart)
	if err := b.driver.live.Add(i.id, i); err != nil {
		return nil, err
	}
	i.tmp = b.shell.takeTmp()
	if at := b.process.executed; !at.IsZero() {
		b.doneAt(lambent.StageSandbox, at)
	}
	i.learn = b.driver.reserve.learner(b.spec, nil)
	if i.began = b.stage; i.control == nil {
		b.done(lambent.StageRuntime)
		i.began = b.stage
		i.turnedAt(time.Time{})
	}
	i.watch()
	i.run()
	if b.fault != nil {
		i.fail(b.fault)
	}
	i.trees.whenFailed(func(f *sandbox.Failure) { i.end(f); i.killRuntime() })
	return i, nil
}
