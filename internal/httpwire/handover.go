package httpwire

import (
	"io"
	"net"
	"sync"
)

// Replayed is a connection of which some bytes have been read already.
type Replayed struct {
	net.Conn
	first []byte
}

// Replay is c for another reader, from the beginning of the request whose head r has
// read; r must not be used any more.
func Replay(c net.Conn, r *Reader) *Replayed {
	return &Replayed{Conn: plainConn(c), first: r.received()}
}

// Read implements io.Reader.
func (c *Replayed) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	if c.first = c.first[n:]; len(c.first) == 0 {
		c.first = nil // the buffer is no longer needed
	}
	return n, nil
}

// CloseWrite ends what is written, and leaves reading open: net/http looks for it.
func (c *Replayed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// ReadFrom lets files be sent without a copy: net/http looks for it.
func (c *Replayed) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(c.Conn, r)
}

// Queue is a listener for connections that somebody else has accepted.
type Queue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// NewQueue makes one that says it listens on addr.
func NewQueue(addr net.Addr) *Queue {
	return &Queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Put gives c to who accepts, or closes it if nobody will.
func (q *Queue) Put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close() // nobody is there to use it
	}
}

// Accept implements net.Listener.
func (q *Queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *Queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *Queue) Addr() net.Addr { return q.addr }
