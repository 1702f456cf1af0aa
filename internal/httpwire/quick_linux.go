package httpwire

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// quickMost is the most that is read or written by one call that Go's scheduler
// does not know of, in bytes: copying it takes some ten microseconds.
const quickMost = 64 << 10

// quick is a socket that is read and written without telling Go's scheduler, which
// expects of every system call that it may take long: before one it wakes its
// monitor thread, if that sleeps, and after 20 µs it lets another thread go on. A
// socket that never blocks needs neither: where nothing else is announced, the
// monitor finds nothing to do and looks less and less often.
type quick struct {
	net.Conn
	raw     syscall.RawConn
	r, w    transfer
	answers answers // guarded by r.mu
}

// transfer is one direction. Its function is kept, so that a call allocates
// nothing.
type transfer struct {
	mu   sync.Mutex // guards what follows
	p    []byte
	n    int
	err  error
	once func(fd uintptr) (done bool)
}

// Quick is c, if it is a socket, with reads and writes that cost less.
func Quick(c net.Conn) net.Conn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return c
	}
	q := &quick{Conn: c, raw: raw}
	q.r.once = func(fd uintptr) bool { return q.r.try(syscall.SYS_READ, fd) || q.r.expect(fd, &q.answers) }
	q.w.once = func(fd uintptr) bool { return q.w.try(syscall.SYS_WRITE, fd) }
	return q
}

// plainConn is the connection below a quick one.
func plainConn(c net.Conn) net.Conn {
	if q, ok := c.(*quick); ok {
		return q.Conn
	}
	return c
}

// rawCall is a read or write that returns at once.
func rawCall(trap, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// try makes one call; it is false when the socket has to be waited for.
func (t *transfer) try(trap, fd uintptr) bool {
	n, errno := rawCall(trap, fd, t.p)
	switch errno {
	case 0:
		t.n = n
	case syscall.EAGAIN:
		return false
	default:
		t.err = errno
	}
	return true
}

// expect is try over and over for a moment, where that is worth it.
func (t *transfer) expect(fd uintptr, a *answers) bool {
	if !a.worth(underway.Load()) {
		return false
	}
	came, inTime := lookFor(soon, func() bool { return t.try(syscall.SYS_READ, fd) })
	a.looked(inTime)
	return came
}

// run makes one call with p, when the socket is ready for it. wait is RawConn's.
func (t *transfer) run(p []byte, wait func(func(uintptr) bool) error) (int, error) {
	t.p, t.n, t.err = p[:min(len(p), quickMost)], 0, nil
	err := wait(t.once)
	t.p = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

// Read implements io.Reader.
func (q *quick) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return q.Conn.Read(p)
	}
	q.r.mu.Lock()
	defer q.r.mu.Unlock()
	n, err := q.r.run(p, q.raw.Read)
	switch {
	case err != nil:
		return 0, q.failed("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements io.Writer.
func (q *quick) Write(p []byte) (int, error) {
	q.w.mu.Lock()
	defer q.w.mu.Unlock()
	for sent := 0; ; {
		n, err := q.w.run(p[sent:], q.raw.Write)
		sent += n
		if err != nil {
			return sent, q.failed("write", err)
		}
		if sent == len(p) {
			return sent, nil
		}
	}
}

// failed is an error as package net has it.
func (q *quick) failed(call string, err error) error {
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // as transfer sets it
		return &net.OpError{Op: call, Net: "tcp", Source: q.LocalAddr(), Addr: q.RemoteAddr(), Err: os.NewSyscallError(call, errno)}
	}
	return err
}

// CloseWrite ends what is written, and leaves reading open.
func (q *quick) CloseWrite() error {
	if half, ok := q.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return q.Close()
}

// SyscallConn implements syscall.Conn.
func (q *quick) SyscallConn() (syscall.RawConn, error) { return q.raw, nil }

// AckAtOnce has what comes on c until the next write acknowledged when it is read,
// and not up to 40 ms later: a peer that does not set TCP_NODELAY holds back a small
// segment until the one before it is acknowledged (RFC 896).
func AckAtOnce(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // without it what comes is late, and no worse
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		})
	}
}
