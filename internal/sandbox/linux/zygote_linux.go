package linux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// Patience with an interpreter that forks: for one fork, which a cold start may
// wait for, and for what is done in the background.
const (
	forkPatience    = time.Second
	preloadPatience = 5 * time.Minute
)

// A zygote is replaced after so long or so many forks, because all its forks share
// its address layout and hash secret.
const (
	zygoteAge   = time.Hour
	zygoteForks = 4000
)

// maxDatagram bounds what goes to and from a zygote, in bytes.
const maxDatagram = 64 << 10

// zygote is an interpreter that forks blanks: a helper of the server's, with the
// host's root, in a copy of the runtime's root and a network namespace without a
// link. No function's code ever runs in it. It is told what to do by datagrams
// (runtimes/README.md).
type zygote struct {
	process spawned
	pidfd   *os.File
	born    time.Time
	exited  chan struct{}
	work    sync.WaitGroup
	free    func() // gives back what only the first of a tree has; may be nil

	forks  atomic.Int64
	broken atomic.Bool // it has not answered as it should: it is being ended

	mu   sync.Mutex // lets one operation at a time speak on sock
	sock *net.UnixConn
}

// socketToZygote makes a pair of sockets that keep datagrams apart.
func socketToZygote() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "zygote"), os.NewFile(uintptr(pair[1]), "zygote")
	defer func() { _ = near.Close() }() // FileConn has a copy
	conn, err := net.FileConn(near)
	if err != nil {
		_ = far.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), far, nil
}

// newZygote starts the first interpreter of a tree and waits until it answers.
func (d *Driver) newZygote(ctx context.Context, name string, rt sandbox.Runtime) (*zygote, error) {
	b := &builder{driver: d, spec: sandbox.Spec{Runtime: rt}}
	z, err := b.zygote(name)
	b.closeStartOnly()
	if err != nil {
		b.undo()
		return nil, fmt.Errorf("start a zygote of %s: %w", rt.Blank.Key, err)
	}
	// An operation without anything to do, for the answer.
	up, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	if _, err := z.preload(up, nil); err != nil {
		z.end()
		return nil, fmt.Errorf("wait for a zygote of %s: %w", rt.Blank.Key, err)
	}
	b.group.settle()
	return z, nil
}

// zygote makes the process, from a thread in namespaces of its own.
func (b *builder) zygote(name string) (*zygote, error) {
	d, rt := b.driver, b.spec.Runtime
	base, _, err := d.roots.get(rt.Mounts)
	if err != nil {
		return nil, err
	}
	defer func() { _ = base.Close() }()
	if err := b.makeGroup(name, limits{}); err != nil {
		return nil, err
	}
	b.spec.Runtime.Control = false // it has a socket of another kind
	if err := b.openPipes(blankLog{d.opts.Log, rt.Blank.Key}); err != nil {
		return nil, err
	}
	conn, far, err := socketToZygote()
	if err != nil {
		return nil, err
	}
	defer func() { _ = far.Close() }()
	b.defers(func() { _ = conn.Close() })
	s := spawnSpec{command: rt.Blank.Zygote, env: append(slices.Clone(rt.Blank.Env), controlVariable, blankVariable),
		null: int(d.null.Fd()), output: int(b.write.Fd()), control: int(far.Fd()), cgroup: b.group.birth(), tasks: b.group.tasks()}
	var p spawned
	onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err == nil {
			unix.Umask(0o022)
			err = enterRoot(base)
		}
		if err == nil {
			p, err = spawnHelper(s)
		}
	})
	if err != nil {
		return nil, err
	}
	output, group := b.output, b.group
	z, err := d.watchZygote(p.pid, p.pidfd, conn)
	if err != nil {
		return nil, err
	}
	z.work.Go(output.run)
	z.free = func() {
		_ = output.pipe.Close()
		group.close()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := removeGroup(ctx, group.paths()); err != nil {
			d.opts.Log.Error("a zygote's cgroup is left behind", "group", name, "err", err)
		}
	}
	return z, nil
}

// watchZygote makes a zygote of a process that exists.
func (d *Driver) watchZygote(pid, pidfd int, conn *net.UnixConn) (*zygote, error) {
	d.strays.add(pid)
	z := &zygote{process: spawned{pid: pid, pidfd: pidfd}, sock: conn, born: time.Now(), exited: make(chan struct{})}
	err := unix.SetNonblock(pidfd, true)
	z.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	z.work.Go(func() {
		defer close(z.exited)
		reap(pid, z.pidfd)
		d.strays.drop(pid)
	})
	return z, os.NewSyscallError("set nonblocking", err)
}

// end ends the process and gives back what it has. Its forks and nodes live on.
func (z *zygote) end() {
	_ = unix.PidfdSendSignal(z.process.pidfd, unix.SIGKILL, nil, 0)
	z.broken.Store(true)
	<-z.exited
	_ = z.sock.Close()
	if z.free != nil {
		z.free() // ends its nodes too: they are in its group, and hold its output
	}
	z.work.Wait()
	_ = z.pidfd.Close()
}

// dead tells whether the process has ended or is no good.
func (z *zygote) dead() bool {
	select {
	case <-z.exited:
		return true
	default:
		return z.broken.Load()
	}
}

// worn tells whether it is time for another one.
func (z *zygote) worn(now time.Time) bool {
	return z.forks.Load() >= zygoteForks || now.Sub(z.born) > zygoteAge
}

// request is one datagram to a zygote.
type request struct {
	Op      string   `json:"op"`
	Steps   []wire   `json:"steps,omitempty"`
	Control int      `json:"control,omitempty"`
	Hurry   bool     `json:"hurry,omitempty"` // the fork shall not go over its start before it is up
	Modules []string `json:"modules,omitzero"`
}

// reply is one from it.
type reply struct {
	PID    int               `json:"pid"`
	Loaded []string          `json:"loaded"`
	Failed map[string]string `json:"failed"`
	Error  string            `json:"error"`
}

// errRefused is an answer that says no: the zygote is well.
var errRefused = errors.New("the zygote refuses")

// ask sends a request and waits for the answer, so long from when its turn has
// come. An error that is not errRefused leaves the zygote of no use: what comes
// next on the socket is nobody's answer. So does the end of ctx, once its turn has
// come.
func (z *zygote) ask(ctx context.Context, q request, fds []int, patience time.Duration) (r reply, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.broken.Load() || ctx.Err() != nil {
		return r, fmt.Errorf("%w: it is broken, or was asked too late", errRefused)
	}
	defer func() {
		if err != nil && !errors.Is(err, errRefused) {
			z.broken.Store(true)
			_ = unix.PidfdSendSignal(z.process.pidfd, unix.SIGKILL, nil, 0)
		}
	}()
	message, err := json.Marshal(q)
	if err != nil || len(message) > maxDatagram {
		return r, fmt.Errorf("%w: a request of %d bytes: %w", errRefused, len(message), err)
	}
	if err := z.sock.SetDeadline(time.Now().Add(patience)); err != nil {
		return r, err
	}
	defer context.AfterFunc(ctx, func() { _ = z.sock.SetDeadline(time.Unix(1, 0)) })()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := z.sock.WriteMsgUnix(message, rights, nil); err != nil {
		return r, err
	}
	buf := make([]byte, maxDatagram)
	n, err := z.sock.Read(buf)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(buf[:n], &r); err != nil {
		return r, fmt.Errorf("read the zygote's answer: %w", err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%w: %.200s", errRefused, r.Error)
	}
	if q.Op == "fork" {
		z.forks.Add(1)
	}
	return r, nil
}

// preload lets it import modules, and returns those that it has now.
func (z *zygote) preload(ctx context.Context, modules []string) ([]string, error) {
	if modules == nil {
		modules = []string{}
	}
	r, err := z.ask(ctx, request{Op: "preload", Modules: modules}, nil, preloadPatience)
	return r.Loaded, err
}

// branch makes another zygote, which has what this one has.
func (d *Driver) branch(ctx context.Context, z *zygote) (_ *zygote, err error) {
	d.strays.begin()
	defer func() { d.strays.end(err != nil && !errors.Is(err, errRefused)) }()
	conn, far, err := socketToZygote()
	if err != nil {
		return nil, err
	}
	defer func() { _ = far.Close() }()
	r, err := z.ask(ctx, request{Op: "node"}, []int{int(far.Fd())}, forkPatience)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	pidfd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		_ = conn.Close()
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	child, err := d.watchZygote(r.PID, pidfd, conn)
	if err != nil {
		child.end()
		return nil, err
	}
	return child, nil
}

// fork makes the builder's process a fork of z, in the shell's namespaces; in a hurry it
// is up without having gone over its start.
func (b *builder) fork(ctx context.Context, z *zygote, hurry bool) (err error) {
	b.driver.strays.begin()
	defer func() { b.driver.strays.end(err != nil && !errors.Is(err, errRefused)) }()
	var tid int
	b.shell.run(func() { tid = unix.Gettid() })
	s := &spawnSpec{}
	b.complete(s)
	p := &program{}
	s.join(p)
	for _, ns := range []struct {
		name string
		flag int
	}{{"mnt", unix.CLONE_NEWNS}, {"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}} {
		f, err := os.Open("/proc/self/task/" + strconv.Itoa(tid) + "/ns/" + ns.name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		p.do("setns "+ns.name, unix.SYS_SETNS, descriptor(f.Fd()), ns.flag)
	}
	s.lockDown(p)
	steps, fds := p.wire()
	if err := ctx.Err(); err != nil {
		return err
	}
	// One whose caller goes away meanwhile is finished: the zygote is for all.
	q := request{Op: "fork", Steps: steps, Control: slices.Index(fds, s.control), Hurry: hurry}
	r, err := z.ask(context.WithoutCancel(ctx), q, fds, forkPatience)
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	// It is ours to wait for, so that the number stays its own until then.
	pidfd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	return b.adopt(spawned{pid: r.PID, pidfd: pidfd, executed: time.Now()})
}
