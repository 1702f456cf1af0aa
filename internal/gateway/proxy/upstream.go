package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"lambent.dev/lambent/internal/httpwire"
)

const (
	// maxHead bounds the head of an answer, in bytes.
	maxHead  = 256 << 10
	headRoom = 4 << 10 // of buffer that a connection begins with
	keepRoom = 64 << 10
	// keepFor is how long a connection is kept without use: less than the servers
	// do that close early (gunicorn two seconds, Node.js five), because a request
	// that meets their end is lost or sent twice.
	keepFor = 1500 * time.Millisecond
	// trustFor is how long a connection is taken to be open without looking, and
	// trustLess for a request that is not sent twice.
	trustFor  = 5 * time.Millisecond
	trustLess = time.Millisecond
)

// blocks are buffers for bodies.
var blocks = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// upstream is one connection to an instance. It belongs to one exchange at a time.
type upstream struct {
	nc       net.Conn
	b        []byte // b[r:w] has been read and not been used
	r, w     int
	out      []byte    // the request as it is written
	values   []string  // of the answer's header
	deadline time.Time // of reads
	moved    time.Time // when something came
	idleAt   time.Time // when it was put back
	way      way
}

// take gives a connection that is kept, or a new one. careful looks twice at one
// that is kept.
func (h *home) take(ctx context.Context, careful bool) (u *upstream, reused bool, err error) {
	trust := trustFor
	if careful {
		trust = trustLess
	}
	for {
		u := h.pop()
		if u == nil {
			break
		}
		idle := time.Since(u.idleAt)
		if idle < keepFor && (idle < trust || u.open()) {
			return u, true, nil
		}
		u.close()
	}
	nc, err := h.to.Dial(ctx)
	if err != nil {
		return nil, false, err
	}
	return &upstream{nc: httpwire.Expect(httpwire.Quick(nc)), b: make([]byte, headRoom)}, false, nil
}

func (h *home) pop() *upstream {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.free)
	if n == 0 {
		return nil
	}
	u := h.free[n-1]
	h.free[n-1] = nil
	h.free = h.free[:n-1]
	return u
}

// put keeps a connection.
func (h *home) put(u *upstream) {
	if len(u.b) > keepRoom {
		u.b = make([]byte, headRoom)
	}
	u.way = way{watch: u.way.watch}
	u.idleAt = time.Now()
	h.mu.Lock()
	closed := h.closed
	if !closed {
		h.free = append(h.free, u)
		if h.sweeper == nil {
			h.sweeper = time.AfterFunc(keepFor, h.sweep)
		}
	}
	h.mu.Unlock()
	if closed {
		u.close()
	}
}

// sweep gives back the connections that nobody has used for too long. It comes
// again as long as there are any.
func (h *home) sweep() {
	now := time.Now()
	h.mu.Lock()
	n := 0
	for n < len(h.free) && now.Sub(h.free[n].idleAt) >= keepFor { // the longest idle come first
		n++
	}
	old := slices.Clone(h.free[:n])
	h.free = slices.Delete(h.free, 0, n)
	if h.sweeper = nil; len(h.free) > 0 && !h.closed {
		h.sweeper = time.AfterFunc(keepFor, h.sweep)
	}
	h.mu.Unlock()
	for _, u := range old {
		u.close()
	}
}

func (u *upstream) close() { _ = u.nc.Close() } // it ends either way

func (u *upstream) setDeadline(at time.Time) {
	u.deadline = at
	_ = u.nc.SetReadDeadline(at) // a closed connection is found out by the read
}

var errReset = syscall.ECONNRESET

func isReset(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) }

// fill reads more.
func (u *upstream) fill() error {
	if u.r == u.w {
		u.r, u.w = 0, 0
	}
	if u.w == len(u.b) {
		if u.r > 0 {
			u.w = copy(u.b, u.b[u.r:u.w])
			u.r = 0
		} else {
			u.b = append(u.b, make([]byte, len(u.b))...)
		}
	}
	n, err := u.nc.Read(u.b[u.w:])
	u.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
