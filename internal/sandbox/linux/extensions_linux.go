package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// External extensions are programs in the extensions folder of a function's layers
// (AWS Lambda developer guide, "Using the Lambda Extensions API"). They run beside
// the runtime, in the same sandbox and within the same limits, and write into the
// function's log. On AWS they are there before the runtime starts. Here the runtime
// is the first process of the sandbox, which starts them all but at once, and gets
// no event before each of them has registered and asked for one. That also means
// that they cannot outlive it: in the end they are told, and waited for, first.
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

// extensionNames are the programs in the layers' folders, in order. What is no
// program is left out.
func extensionNames(layers []string) ([]string, error) {
	var names []string
	for _, layer := range layers {
		entries, err := os.ReadDir(filepath.Join(layer, "extensions"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			if info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// findExtensions looks for extensions. A function that has some starts from
// nothing: what waits in a reserve began without them.
func (b *builder) findExtensions() error {
	if b.spec.Version.App != nil {
		return nil
	}
	names, err := extensionNames(b.spec.Layers)
	if err != nil {
		return fmt.Errorf("look for extensions: %w", err)
	}
	b.names = names
	b.spec.NoReserve = b.spec.NoReserve || len(names) > 0
	return nil
}

// notForExtensions are variables that only the runtime gets (AWS Lambda developer
// guide, "Using the Lambda Extensions API", "Environment variables").
var notForExtensions = []string{"_HANDLER=", "AWS_EXECUTION_ENV=", "AWS_LAMBDA_LOG_GROUP_NAME=", "AWS_LAMBDA_LOG_STREAM_NAME=", controlVariable}

// spawnExtensions starts them from the thread that has started the runtime. One
// that cannot be executed is the function's fault, which the instance will say.
func (b *builder) spawnExtensions() error {
	if len(b.names) == 0 || b.process.entry != nil {
		return nil
	}
	if len(b.names) > maxExtensions {
		b.fault = &sandbox.Failure{Type: "Extension.TooManyExtensions", Message: fmt.Sprintf("There are %d extensions, %d are allowed", len(b.names), maxExtensions)}
		return nil
	}
	if err := unix.Setns(b.process.pidfd, unix.CLONE_NEWPID); err != nil {
		return os.NewSyscallError("setns pid", err)
	}
	if err := b.openAside(); err != nil {
		return err
	}
	env := slices.DeleteFunc(b.environment(), func(v string) bool {
		return slices.ContainsFunc(notForExtensions, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	for _, name := range b.names {
		s := spawnSpec{env: env, command: []string{extensionsDir + "/" + name}, beside: true}
		b.complete(&s)
		s.control, s.directory, s.output = -1, "/", int(b.asideWrite.Fd())
		p, err := spawnPatiently(s)
		if err != nil {
			return fmt.Errorf("start extension %s: %w", name, err)
		}
		if err := b.adoptExtension(name, p); err != nil {
			return err
		}
		if p.entry != nil {
			b.fault = &sandbox.Failure{Type: "Extension.LaunchError", Message: p.entry.Message}
			return nil
		}
	}
	return nil
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

// accompany reaps an extension. One that ends before its instance does takes that
// along, as on AWS.
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

// fail ends the instance for a reason that is not how its runtime ended.
func (i *Instance) fail(f *sandbox.Failure) {
	i.fault.CompareAndSwap(nil, f)
	i.kill()
}

// sayGoodbye tells the extensions, and then the runtime, that the instance ends,
// and gives them their time: nothing where no extension has registered.
func (i *Instance) sayGoodbye(ctx context.Context) {
	i.parting.Store(true)
	if !i.session.Registered() || i.dead() {
		return
	}
	grace := shutdownGrace
	if len(i.extensions) > 0 {
		grace = externalGrace
	}
	deadline := time.Now().Add(grace)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	_ = i.group.freeze(false)
	i.lastTelemetry(ctx, grace/2)
	told := i.session.Shutdown("spindown", deadline)
	for _, e := range i.extensions {
		if !slices.Contains(told, e.name) {
			continue
		}
		select {
		case <-e.exited:
		case <-i.exited:
		case <-ctx.Done():
		}
	}
	if i.aside != nil {
		i.aside.drain() // their last words come before the runtime's
	}
	i.bid(ctx, shutdownGrace)
}
