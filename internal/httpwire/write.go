package httpwire

import (
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"
)

// WriteParts writes head and body to c, in one system call where they fit one. It
// may append to head, and returns it to be used again.
func WriteParts(c net.Conn, head, body []byte) ([]byte, error) {
	if len(body) <= SmallBody {
		head = append(head, body...)
		_, err := c.Write(head)
		return head, err
	}
	parts := net.Buffers{head, body}
	_, err := parts.WriteTo(plainConn(c))
	return head, err
}

// WriteBody writes a body whose length was told. What does not fit into a socket's
// buffer waits for the peer, who has that long for each part.
func WriteBody(w http.ResponseWriter, body []byte, patience time.Duration) error {
	const part = 256 << 10
	if len(body) <= part/4 {
		_, err := w.Write(body)
		return err
	}
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection keeps it else
	for p := range slices.Chunk(body, part) {
		_ = control.SetWriteDeadline(time.Now().Add(patience)) // only a connection has one
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Now writes to a socket without ever waiting for the peer.
type Now struct {
	raw syscall.RawConn // nil where there is no socket
	p   []byte
	n   int
	err syscall.Errno
	// send is kept, so that a call allocates nothing.
	send func(fd uintptr) (done bool)
}

// NewNow writes to c. Where c is no socket nothing is ever written.
func NewNow(c net.Conn) *Now {
	w := &Now{}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	w.send = func(fd uintptr) bool {
		w.n, w.err = rawCall(syscall.SYS_WRITE, fd, w.p)
		return true
	}
	return w
}

// Write writes as much of p as the system takes at once, which may be nothing.
func (w *Now) Write(p []byte) (int, error) {
	if w.raw == nil {
		return 0, nil
	}
	w.p, w.n, w.err = p, 0, 0
	err := w.raw.Write(w.send)
	w.p = nil
	switch {
	case err != nil: // closed
	case w.err == 0:
		return w.n, nil
	case w.err != syscall.EAGAIN:
		err = os.NewSyscallError("write", w.err)
	}
	return 0, err
}
