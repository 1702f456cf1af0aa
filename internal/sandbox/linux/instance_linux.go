package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
)

// Instance is one process tree and what it has on the host.
type Instance struct {
	id       string
	driver   *Driver
	session  *runtimeapi.Session
	group    group
	slot     *slot
	link     netlink.Link
	listener net.Listener
	output   *output
	process  spawned
	pidfd    *os.File
	share    float64 // processors, once initialised

	done   chan struct{} // closed when no event can be taken
	exited chan struct{} // closed when the process and its output have ended
	gone   chan struct{} // closed when Stop is through
	work   sync.WaitGroup

	stopOnce sync.Once

	// mu guards why, last, stopErr and tmp.
	mu      sync.Mutex
	tmp     *volume // nil when it was kept
	why     *sandbox.Failure
	last    *sandbox.Usage // counters as they were in the end
	stopErr error
}

var (
	_ sandbox.Instance = (*Instance)(nil)
	_ sandbox.Freezer  = (*Instance)(nil)
	_ sandbox.Keeper   = (*Instance)(nil)
)

// run starts the instance's three goroutines. Stop waits for them.
func (i *Instance) run() {
	i.work.Go(func() { _ = i.session.Serve(i.listener) })
	read := make(chan struct{})
	i.work.Go(func() {
		defer close(read)
		i.output.run()
	})
	i.work.Go(func() {
		defer close(i.exited)
		f := i.failure(i.wait())
		// Every writer is dead, so the pipe ends; what it holds comes first, so
		// that the log is whole when the answer goes out.
		<-read
		i.end(f)
		i.session.Exited(*f)
	})
}

// wait reaps the process. The kernel ends it only after everything else in its
// pid namespace.
func (i *Instance) wait() syscall.WaitStatus {
	var status syscall.WaitStatus
	reap := func(options int) bool {
		for {
			pid, err := syscall.Wait4(i.process.pid, &status, options, nil)
			if !errors.Is(err, unix.EINTR) {
				return pid != 0
			}
		}
	}
	raw, err := i.pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return reap(unix.WNOHANG) })
	}
	if err != nil {
		reap(0)
	}
	return status
}

// failure words an exit as AWS does.
func (i *Instance) failure(status syscall.WaitStatus) *sandbox.Failure {
	if i.process.entry != nil {
		return i.process.entry
	}
	f := &sandbox.Failure{Type: "Runtime.ExitError"}
	switch {
	case status.Signaled():
		f.Message = "Runtime exited with error: signal: " + status.Signal().String()
		if i.group.usage().OOMKills > 0 {
			f.ReportType = "Runtime.OutOfMemory"
		}
	case status.ExitStatus() == 0:
		f.Message = "Runtime exited without providing a reason"
	default:
		f.Message = fmt.Sprintf("Runtime exited with error: exit status %d", status.ExitStatus())
	}
	return f
}

// end records why no further event can be taken; the first reason counts.
func (i *Instance) end(f *sandbox.Failure) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.why == nil {
		i.why = f
		close(i.done)
	}
}

func (i *Instance) kill() { _ = unix.PidfdSendSignal(i.process.pidfd, unix.SIGKILL, nil, 0) }

// Init waits for the runtime, and takes the processor's extra share back.
func (i *Instance) Init(ctx context.Context) (sandbox.InitResult, error) {
	r, err := i.session.Init(ctx)
	i.driver.shells.refill()
	if err != nil {
		return r, err
	}
	i.output.drain()
	if r.Failure != nil {
		return r, nil
	}
	if err := i.group.setCPUs(i.share); err != nil && !i.dead() {
		return r, lambent.Errorf(lambent.CodeInternal, "limit the processor: %w", err)
	}
	return r, nil
}

func (i *Instance) dead() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// killTimeout is how long an invocation that timed out waits for the process to
// be gone before it answers without its last words.
const killTimeout = 2 * time.Second

// Invoke hands the event to the runtime. Whatever the function wrote before its
// answer has been passed on when Invoke returns.
func (i *Instance) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	a, err := i.session.Invoke(ctx, ev)
	if err != nil {
		return a, err
	}
	if f := a.Failure; f != nil && (f.Type == "Sandbox.Timedout" || f.Type == "Sandbox.Failure") {
		// The process is somewhere in the middle of it, and stays there.
		i.end(f)
		i.kill()
		select {
		case <-i.exited:
		case <-time.After(killTimeout):
		}
	}
	i.output.drain()
	return a, nil
}

// Ready is the session's.
func (i *Instance) Ready() <-chan struct{} { return i.session.Ready() }

// Done is closed when the process has ended or is being ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Why tells why Done is closed.
func (i *Instance) Why() *sandbox.Failure {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.why
}

// Usage reads the cgroup's counters, or the last ones of an instance that ended.
func (i *Instance) Usage() sandbox.Usage {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last != nil {
		return *i.last
	}
	return i.group.usage()
}

// MaxMemory reads the one counter that every invocation reports.
func (i *Instance) MaxMemory() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last != nil {
		return i.last.MaxMemoryBytes
	}
	return i.group.peak()
}

// KeepTmp takes the content of /tmp out of the instance's end.
func (i *Instance) KeepTmp() sandbox.Tmp {
	i.mu.Lock()
	defer i.mu.Unlock()
	v := i.tmp
	if v == nil || !v.mapped {
		return nil
	}
	i.tmp = nil
	return v
}

// Freeze halts every process of the instance where it is.
func (i *Instance) Freeze() error { return i.group.freeze(true) }

// Thaw lets them go on.
func (i *Instance) Thaw() error { return i.group.freeze(false) }

// Stop kills everything in the sandbox and gives back what it had on the host.
// If ctx ends first, the rest is done in the background, and Close waits for it.
func (i *Instance) Stop(ctx context.Context) error {
	i.stopOnce.Do(func() {
		i.end(&sandbox.Failure{Type: "Sandbox.Failure", Message: "The sandbox was stopped"})
		i.kill()
		_ = i.group.freeze(false) // a frozen process of cgroup v1 cannot die
		go func() {
			defer close(i.gone)
			i.work.Wait()
			i.teardown()
		}()
		i.session.Close()
	})
	select {
	case <-i.gone:
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.stopErr
	case <-ctx.Done():
		return lambent.Errorf(lambent.CodeTimeout, "stop sandbox %s: %w", i.id, ctx.Err())
	}
}

// teardown gives everything back. Nothing of the instance runs any more.
func (i *Instance) teardown() {
	u := i.group.usage()
	i.mu.Lock()
	i.last = &u
	i.group.close()
	if i.tmp != nil {
		_ = i.tmp.Close()
		i.tmp = nil
	}
	i.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = i.listener.Close()
	_ = i.output.pipe.Close()
	_ = i.pidfd.Close()
	err := removeGroup(ctx, i.group.paths())
	if i.driver.network != nil {
		err = errors.Join(err, i.driver.network.remove(i.link))
	}
	if err == nil {
		// A slot whose link is still there would meet it again.
		i.driver.slots.give(i.slot)
	} else {
		err = lambent.Errorf(lambent.CodeInternal, "clean up sandbox %s: %w", i.id, err)
	}
	i.mu.Lock()
	i.stopErr = err
	i.mu.Unlock()
	i.driver.drop(i)
}
