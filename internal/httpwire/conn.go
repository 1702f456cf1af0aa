package httpwire

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
)

// phase is what a connection waits for when it reads.
type phase uint8

const (
	phaseIdle phase = iota // the first byte of a request
	phaseHead              // the rest of its head
	phaseBody              // its body, or that the client goes away
	phaseNone              // never: see conn.set
)

// Uses of a connection, which decide what Shutdown does with it.
const (
	useIdle int32 = iota
	useBusy
	useClosed
)

// conn is one connection of a client. All but use belongs to its goroutine.
type conn struct {
	s      *Server
	nc     net.Conn
	remote string
	r      *Reader
	use    atomic.Int32
	// phase decides the deadline of reads. set is the phase whose deadline, at, is
	// set; custom tells that the handler has chosen one for the body.
	phase, set phase
	at         time.Time
	custom     bool

	request  request
	response response
}

func newConn(s *Server, nc net.Conn) *conn {
	nc = Quick(nc)
	c := &conn{s: s, nc: nc, set: phaseNone, remote: nc.RemoteAddr().String()}
	c.r = NewReader(c, nc, Limits{Header: s.Header, Line: s.Header})
	c.response.c = c
	return c
}

func (c *conn) close() {
	c.use.Store(useClosed)
	_ = c.nc.Close() // it ends either way
}

// closeIdle closes the connection unless a request is on it.
func (c *conn) closeIdle() {
	if c.use.CompareAndSwap(useIdle, useClosed) {
		_ = c.nc.Close() // it was not used
	}
}

// past is a deadline that makes reads return what is there, or nothing.
var past = time.Unix(1, 0)

// park has the connection's goroutine give it up unless a request is on it. Only
// it can tell: a request may be read and not be noticed yet.
func (c *conn) park() {
	if c.use.Load() == useIdle {
		_ = c.nc.SetReadDeadline(past) // who reads finds out
	}
}

// Read reads from the connection within the time that is allowed for what it
// waits for.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.deadline(); err != nil {
		return 0, err
	}
	if c.phase == phaseIdle && c.s.parks.Load() { // the deadline of park may have been set before ours
		_ = c.nc.SetReadDeadline(past) // the read fails if it does
	}
	n, err := c.nc.Read(p)
	if n == 0 && c.phase == phaseIdle && c.s.parks.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, c.s.keep(c)
	}
	if n > 0 && c.phase == phaseIdle {
		c.phase = phaseHead
		if !c.use.CompareAndSwap(useIdle, useBusy) {
			return 0, net.ErrClosed
		}
	}
	return n, err
}

// deadline sets the deadline of the next read. Setting one costs as much as the
// read, so an idle connection's is set anew only when less than Idle is left.
func (c *conn) deadline() error {
	var at time.Time
	now := time.Now()
	switch c.phase {
	case phaseIdle:
		if c.set == phaseIdle && c.at.Sub(now) >= c.s.Idle {
			return nil
		}
		at = now.Add(c.s.Idle + c.s.Idle/4)
	case c.set:
		return nil
	case phaseHead:
		at = now.Add(c.s.HeaderTimeout)
	}
	c.at, c.set = at, c.phase
	return c.nc.SetReadDeadline(at)
}

// serve answers the requests of the connection, one after the other.
func (c *conn) serve() {
	defer c.recover()
	for {
		taken, err := c.next()
		switch {
		case errors.Is(err, errParked):
			c.close()
			return
		case err != nil:
			c.refuse(err)
			c.close()
			return
		case !taken:
			c.handOver()
			return
		}
		if !c.answer() {
			c.close()
			return
		}
		c.use.Store(useIdle)
		if c.s.isClosing() { // Shutdown may have missed that it is idle
			c.close()
			return
		}
	}
}

// next reads a request's head. taken is false when the connection is net/http's
// from here on.
func (c *conn) next() (taken bool, err error) {
	if c.phase = phaseIdle; c.custom {
		c.set, c.custom = phaseNone, false
	}
	if c.r.buf.r < c.r.buf.w { // sent along with the request before
		c.phase = phaseHead
		if !c.use.CompareAndSwap(useIdle, useBusy) {
			return false, net.ErrClosed
		}
	}
	if err := c.r.nextLine(); err != nil {
		return false, err
	}
	h := &c.r.Head
	if h.preface || !h.Old && (h.Target[0] != '/' || !c.s.Takes(h.Method, h.Target)) {
		return false, nil
	}
	if err := c.r.nextFields(); err != nil {
		return false, noEOF(err)
	}
	if h.Old { // net/http takes these too, but would pass over a transfer coding, which they cannot have
		return false, nil
	}
	c.phase = phaseBody
	for name := range c.r.Fields() {
		if is(name, "Upgrade") || is(name, "Trailer") || is(name, "Pragma") { // net/http has more to do with these
			return false, nil
		}
	}
	return true, nil
}

// handOver gives the connection to net/http with all that was read of it.
func (c *conn) handOver() {
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		c.close()
		return
	}
	c.s.other.Put(Replay(c.nc, c.r))
}

// underway counts the requests that are being answered, of all servers: they share
// the processors.
var underway atomic.Int32

// answer runs the handler; it is false when the connection is of no more use.
func (c *conn) answer() bool {
	underway.Add(1)
	defer underway.Add(-1)
	w := &c.response
	r, err := c.request.begin(c)
	if err != nil {
		c.refuse(bad("malformed request target"))
		return false
	}
	life := r.Context().(*life)
	defer life.end()
	w.begin(c.r.Head.KeepAlive)
	c.s.Handler.ServeHTTP(w, r)
	if !w.finish() {
		return false
	}
	life.end()
	if !c.skip() {
		linger(c.nc)
		return false
	}
	return !w.close
}

// maxSkip is how many bytes of a body that the handler left are read, so that the
// connection can be used again; it is net/http's figure.
const maxSkip = 256 << 10

// skip reads them, for as long as a head may take. It is false when the connection is of no
// more use.
func (c *conn) skip() bool {
	if c.r.Ended() {
		return true
	}
	return c.response.SetReadDeadline(time.Now().Add(c.s.HeaderTimeout)) == nil && c.r.Skip(maxSkip)
}

// refuse answers what is no request, as net/http does; who has gone or been too
// slow gets no answer.
func (c *conn) refuse(err error) {
	var wrong *Error
	if !errors.As(err, &wrong) {
		return
	}
	status := strconv.Itoa(wrong.Status) + " " + http.StatusText(wrong.Status)
	_, err = io.WriteString(c.nc, "HTTP/1.1 "+status+"\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+
		status+": "+wrong.Reason)
	if err == nil {
		linger(c.nc)
	}
}

// recover ends the connection of a handler that panicked, as net/http does.
func (c *conn) recover() {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		c.s.Log.Error("a handler panicked", "panic", v, "stack", string(debug.Stack()))
	}
	c.close()
}
