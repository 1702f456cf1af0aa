package linux

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// early is a listener with a connection that a blank has made ahead: to accept it is
// then no part of a cold start.
type early struct {
	net.Listener

	mu   sync.Mutex // guards conn
	conn net.Conn   // nil once it has been accepted
}

// acceptEarly is l with the connection that waits at it, or l itself if none does.
func acceptEarly(l net.Listener) (net.Listener, error) {
	at, ok := l.(syscall.Conn)
	if !ok {
		return l, nil
	}
	raw, err := at.SyscallConn()
	if err != nil {
		return l, err
	}
	fd := -1
	if ctl := raw.Control(func(s uintptr) { fd, _, err = unix.Accept4(int(s), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) }); ctl != nil {
		return l, ctl
	}
	if errors.Is(err, unix.EAGAIN) {
		return l, nil // the runtime connects when it needs to
	}
	if err != nil {
		return l, os.NewSyscallError("accept4", err)
	}
	f := os.NewFile(uintptr(fd), "runtime")
	defer func() { _ = f.Close() }() // c has a descriptor of its own
	c, err := net.FileConn(f)
	if err != nil {
		return l, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetKeepAlive(false) // as listen has it
	}
	return &early{Listener: l, conn: c}, nil
}

// Accept gives the early connection first.
func (e *early) Accept() (net.Conn, error) {
	e.mu.Lock()
	c := e.conn
	e.conn = nil
	e.mu.Unlock()
	if c != nil {
		return c, nil
	}
	return e.Listener.Accept()
}

// Close closes the early connection too, if nobody has it.
func (e *early) Close() error {
	err := e.Listener.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		err = errors.Join(err, e.conn.Close())
		e.conn = nil
	}
	return err
}
