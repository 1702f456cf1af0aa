package linux

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dialIn connects to an address in another network, which a descriptor of that network
// or of a process in it (setns(2)) stands for. Only the socket has to be made there.
func dialIn(ctx context.Context, network *os.File, at netip.AddrPort) (net.Conn, error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	fd, err := socketIn(network, family, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer func() { _ = f.Close() }() // the connection has a copy
	if deadline, ok := ctx.Deadline(); ok {
		if err := f.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Connect(int(fd), address)
		return !errors.Is(failed, unix.EINPROGRESS) && !errors.Is(failed, unix.EALREADY)
	})
	if failed != nil && !errors.Is(failed, unix.EISCONN) {
		err = errors.Join(err, os.NewSyscallError("connect", failed))
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// hostNetwork is the network that the server is in.
var hostNetwork = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/ns/net") })

// socketIn makes a socket in another network, one that does not block. The calling thread is there only
// for that: sockets stay where they were made.
func socketIn(network *os.File, family, kind, protocol int) (fd int, err error) {
	home, err := hostNetwork()
	if err != nil {
		return -1, err
	}
	raw, err := network.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlled := raw.Control(func(ns uintptr) { fd, err = socketFrom(int(ns), int(home.Fd()), family, kind, protocol) })
	if controlled != nil {
		return -1, controlled
	}
	return fd, err
}

// socketFrom makes the socket in the network ns, and leaves the thread at home.
func socketFrom(ns, home, family, kind, protocol int) (fd int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return -1, os.NewSyscallError("setns net", err)
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		panic("a thread cannot leave an instance's network: " + back.Error())
	}
	return fd, os.NewSyscallError("socket", err)
}
