package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// External extensions are programs in /opt/extensions, which a function's layers or its
// image bring (AWS Lambda developer guide, "Using the Lambda Extensions API"). They run
// beside the runtime, in the same sandbox and within the same limits, and write into the
// function's log. The runtime waits until each of them has registered, and gets no event
// before each has asked for one. An [anchor] has them outlive it: they are told how it
// ended, and what they want to know of that.
const (
	extensionsDir = "/opt/extensions"
	// maxExtensions is AWS's limit.
	maxExtensions = 10
	// externalGrace is how long all of them, and the runtime, have after they were
	// told of the end.
	externalGrace = 2 * time.Second
)

// extension is the process of one.
type extension struct {
	name   string
	pid    int
	pidfd  *os.File
	exited chan struct{}
}

// expectExtensions looks whether there may be extensions. A function that has some
// starts from nothing: what waits in a reserve began without them.
func (b *builder) expectExtensions() {
	if b.spec.Version.App != nil {
		return
	}
	b.extended = b.spec.Version.Image != nil
	for _, layer := range b.spec.Layers {
		_, err := os.Lstat(filepath.Join(layer, "extensions"))
		b.extended = b.extended || err == nil
	}
	b.spec.NoReserve = b.spec.NoReserve || b.extended
}

// extensionNames are the files of the folder, in order, or one more than there may be.
// The calling thread sees the function's files and no others, so that no link leads
// anywhere else. As on AWS, a file that is no program is one that cannot be started.
func extensionNames() (names []string, err error) {
	dir, err := os.Open(extensionsDir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for extensions: %w", err)
	}
	defer func() { _ = dir.Close() }()
	for len(names) <= maxExtensions {
		entries, err := dir.ReadDir(64)
		for _, e := range entries {
			if !e.IsDir() {
				names = append(names, e.Name())
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOTDIR) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("look for extensions: %w", err)
		}
	}
	slices.Sort(names)
	return names, nil
}

// notForExtensions are variables that only the runtime gets (AWS Lambda developer
// guide, "Using the Lambda Extensions API", "Environment variables").
var notForExtensions = []string{
	"_HANDLER=", "AWS_EXECUTION_ENV=", "AWS_LAMBDA_LOG_GROUP_NAME=", "AWS_LAMBDA_LOG_STREAM_NAME=",
	"LAMBDA_RUNTIME_DIR=", "LAMBDA_TASK_ROOT=", "AWS_XRAY_CONTEXT_MISSING=", "AWS_XRAY_DAEMON_ADDRESS=",
	"_AWS_XRAY_DAEMON_ADDRESS=", "_AWS_XRAY_DAEMON_PORT=", controlVariable,
}

// launch starts what runs in the instance, from the thread that is in its namespaces.
func (b *builder) launch() error {
	if err := b.spawnExtensions(); err != nil {
		return err
	}
	s := spawnSpec{env: b.environment(), slack: timerSlack(b.spec.Version), beside: b.anchor != nil}
	s.command, s.absent = chooseProgram(b.spec.Runtime)
	if b.spec.Version.Image != nil {
		b.asImage(&s)
	}
	err := b.spawn(s)
	if err != nil && b.unreadable(&s) {
		err = b.spawn(s)
	}
	if err == nil && b.waits() {
		err = os.NewSyscallError("stop the runtime", unix.PidfdSendSignal(b.process.pidfd, unix.SIGSTOP, nil, 0))
	}
	return err
}

// spawnExtensions starts them, after the anchor, from the thread that will start the
// runtime. One that cannot be executed is the function's fault, which the instance
// will say.
func (b *builder) spawnExtensions() error {
	if !b.extended {
		return nil
	}
	names, err := extensionNames()
	if err != nil || len(names) == 0 {
		return err
	}
	if len(names) > maxExtensions {
		b.fault = &sandbox.Failure{Type: "Extension.TooManyExtensions", Message: fmt.Sprintf("There are more than %d extensions", maxExtensions)}
		return nil
	}
	if err := b.spawnAnchor(); err != nil {
		return err
	}
	if err := b.openAside(); err != nil {
		return err
	}
	b.names = names
	env := slices.DeleteFunc(b.environment(), func(v string) bool {
		return slices.ContainsFunc(notForExtensions, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	for _, name := range names {
		if err := b.spawnExtension(name, env); err != nil || b.fault != nil {
			return err
		}
	}
	return nil
}

func (b *builder) spawnExtension(name string, env []string) error {
	s := spawnSpec{env: env, command: []string{extensionsDir + "/" + name}, beside: true}
	b.complete(&s)
	if b.spec.Version.Image != nil {
		b.asImage(&s)
	}
	s.control, s.directory, s.output = -1, "/", int(b.asideWrite.Fd())
	p, err := spawnPatiently(s)
	if err != nil {
		return fmt.Errorf("start extension %s: %w", name, err)
	}
	if p.entry != nil {
		b.fault = &sandbox.Failure{Type: "Extension.LaunchError", Message: p.entry.Message}
	}
	return b.adoptExtension(name, p)
}

// waits tells whether the runtime has to wait until extensions have registered.
func (b *builder) waits() bool {
	return len(b.extensions) > 0 && b.fault == nil && b.process.entry == nil
}

// openAside makes the extensions' own output pipe, so that what they write can be told
// from what the function does.
func (b *builder) openAside() (err error) {
	if b.aside, b.asideWrite, err = newOutput(b.spec.Output); err == nil {
		b.defers(func() { _ = b.aside.pipe.Close() })
	}
	return err
}

func (b *builder) adoptExtension(name string, p spawned) error {
	e := &extension{name: name, pid: p.pid, pidfd: os.NewFile(uintptr(p.pidfd), "pidfd"), exited: make(chan struct{})}
	b.driver.strays.add(p.pid)
	b.extensions = append(b.extensions, e)
	b.defers(func() {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
		_, _ = syscall.Wait4(p.pid, nil, 0, nil)
		b.driver.strays.drop(p.pid)
		_ = e.pidfd.Close()
	})
	return os.NewSyscallError("set nonblocking", unix.SetNonblock(p.pidfd, true))
}

// accompanyAll returns when no extension is there any more.
func (i *Instance) accompanyAll() {
	var all sync.WaitGroup
	for _, e := range i.extensions {
		all.Go(func() { i.accompany(e) })
	}
	all.Wait()
}

// accompany reaps an extension. One that ends before its instance does takes that
// along, as on AWS: for the reason that it has given, if it has.
func (i *Instance) accompany(e *extension) {
	defer close(e.exited)
	status := reap(e.pid, e.pidfd)
	i.driver.strays.drop(e.pid)
	_ = e.pidfd.Close()
	if i.parting.Load() || i.dead() || i.ended() {
		return
	}
	why := fmt.Sprintf("exit status %d", status.ExitStatus())
	if status.Signaled() {
		why = "signal: " + status.Signal().String()
	}
	i.fail(&sandbox.Failure{Type: "Extension.Crash", Message: "Extension " + e.name + " exited with error: " + why})
}

// fail ends the runtime for a reason that is not how it ended.
func (i *Instance) fail(f *sandbox.Failure) {
	i.fault.CompareAndSwap(nil, f)
	i.killRuntime()
}

// letRun has the runtime go on once all extensions have registered.
func (i *Instance) letRun() {
	select {
	case <-i.session.AllRegistered():
		_ = unix.PidfdSendSignal(i.process.pidfd, unix.SIGCONT, nil, 0) // it may have ended
	case <-i.exited:
	}
}

// sayGoodbye tells those in the instance that it ends, and gives them their time:
// nothing where no extension has registered. reason is for extensions.
func (i *Instance) sayGoodbye(ctx context.Context, reason string) {
	i.parting.Store(true)
	if !i.session.Registered() {
		return
	}
	if i.anchor != nil {
		i.sayGoodbyeBeside(ctx, reason)
		return
	}
	if i.dead() {
		return
	}
	deadline := time.Now().Add(shutdownGrace)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	_ = i.group.freeze(false)
	i.lastTelemetry(ctx, shutdownGrace/2)
	i.session.Shutdown(reason, deadline)
	i.bid(ctx, unix.SIGTERM, shutdownGrace, never)
}

// sayGoodbyeBeside is sayGoodbye where programs run beside the runtime: as on AWS the
// runtime goes first, then they get what they have not been told yet, and then they go
// ("Lambda execution environment", "Shutdown phase").
func (i *Instance) sayGoodbyeBeside(ctx context.Context, reason string) {
	deadline := time.Now().Add(externalGrace)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	_ = i.group.freeze(false)
	i.bid(ctx, unix.SIGTERM, shutdownGrace, never)
	i.killRuntime()
	select {
	case <-i.over:
	case <-ctx.Done():
		return
	}
	i.lastTelemetry(ctx, externalGrace/2)
	told := i.session.Shutdown(reason, deadline)
	for _, e := range i.extensions {
		if !slices.Contains(told, e.name) {
			continue
		}
		select {
		case <-e.exited:
		case <-ctx.Done():
			return
		}
	}
}

// Lingers tells whether extensions have a while after the instance's end.
func (i *Instance) Lingers() bool { return i.anchor != nil }
