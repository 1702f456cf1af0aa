package linux

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// guest is a runtime process and what it has on the host, whether it has a
// function yet or not: an [Instance] is a guest with a function, a [blank] one
// without.
type guest struct {
	driver   *Driver
	group    group
	slot     *slot
	link     netlink.Link
	listener net.Listener
	output   *output
	control  *control // nil if the runtime does not speak it
	process  spawned
	anchor   *anchor // nil where the runtime is the first process
	pidfd    *os.File
	trees    *trees // what of its image is fetched when it is read; nil if nothing is

	status syscall.WaitStatus // valid once exited is closed
	exited chan struct{}      // closed when the process and its output have ended
	work   sync.WaitGroup     // for the goroutines of watch
}

// watch starts the goroutines that read the guest's output and reap it.
func (g *guest) watch() {
	// Functions go before the server does when the host runs out of memory.
	_ = writeFile("/proc/"+strconv.Itoa(g.process.pid)+"/oom_score_adj", "500")
	if a := g.anchor; a != nil {
		g.work.Go(func() {
			reap(a.pid, a.pidfd)
			g.driver.strays.drop(a.pid)
		})
	}
	read := make(chan struct{})
	g.work.Go(func() {
		defer close(read)
		g.output.run()
	})
	g.work.Go(func() {
		defer close(g.exited)
		if g.anchor != nil {
			killGroup(g.process.pid, g.pidfd)
		}
		g.status = reap(g.process.pid, g.pidfd)
		g.driver.strays.drop(g.process.pid)
		// Every writer is dead, so the pipe ends; what it holds comes first, so
		// that the log is whole when the answer goes out. A process outside the
		// sandbox that came by a copy of the pipe (a fork that nobody heard of again)
		// does not hold anything up.
		select {
		case <-read:
		case <-time.After(lastWords):
			_ = g.output.pipe.Close()
			<-read
		}
	})
}

// lastWords is how long the output of a process that is dead may take to end.
const lastWords = 3 * time.Second

// reap waits for a process. The kernel ends the first one of a pid namespace only
// after everything else in there.
func reap(pid int, pidfd *os.File) syscall.WaitStatus {
	var status syscall.WaitStatus
	wait := func(options int) bool {
		for {
			got, err := syscall.Wait4(pid, &status, options, nil)
			if !errors.Is(err, unix.EINTR) {
				return got != 0
			}
		}
	}
	raw, err := pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return wait(unix.WNOHANG) })
	}
	if err != nil {
		wait(0)
	}
	return status
}

// kill ends everything in the sandbox.
func (g *guest) kill() {
	if g.anchor != nil {
		g.anchor.kill()
	}
	g.killRuntime()
}

// killRuntime ends the runtime, and with it all that is not an extension.
func (g *guest) killRuntime() {
	_ = unix.PidfdSendSignal(g.process.pidfd, unix.SIGKILL, nil, 0)
	_ = g.group.freeze(false) // a frozen process of cgroup v1 cannot die
}

// network is a process that stands for the guest's network: no descriptor is kept for it.
func (g *guest) network() *os.File {
	if g.anchor != nil { // the runtime may be dead while others still listen
		return g.anchor.pidfd
	}
	return g.pidfd
}

// dead tells whether the process has ended.
func (g *guest) dead() bool {
	select {
	case <-g.exited:
		return true
	default:
		return false
	}
}

// teardown gives everything back. Nothing of the guest runs any more.
func (g *guest) teardown() error {
	g.trees.whenFailed(nil) // the process's descriptor is not its own any more
	g.group.close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = g.listener.Close()
	_ = g.output.pipe.Close()
	_ = g.pidfd.Close()
	if g.anchor != nil {
		_ = g.anchor.pidfd.Close()
	}
	if g.control != nil {
		g.control.close()
	}
	err := errors.Join(removeGroup(ctx, g.group.paths()), g.trees.await(ctx))
	if g.driver.network != nil {
		err = errors.Join(err, g.driver.network.remove(g.link))
	}
	if err == nil {
		// A slot whose link is still there would meet it again.
		g.driver.slots.give(g.slot)
	}
	return err
}
