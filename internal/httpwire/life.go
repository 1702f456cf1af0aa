package httpwire

import (
	"context"
	"sync"
	"time"
)

// watchAfter is how long somebody must have been waiting for the end of a request
// before its connection is watched. Most waits are over by then, and a watch costs
// two switches of goroutines and two deadlines.
const watchAfter = 25 * time.Millisecond

// life is the context of one request: it ends with it, or when the client goes
// away before. That is found out by reading from the connection, which is only
// done when somebody waits for it and the body is read.
type life struct {
	c *conn

	mu      sync.Mutex // guards what follows
	done    chan struct{}
	err     error
	body    bool // has been read to its end
	timer   *time.Timer
	watched chan struct{} // closed when the watch that runs has ended, nil if none does
}

// Deadline implements context.Context.
func (*life) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (*life) Value(any) any { return nil }

// Err implements context.Context.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Done implements context.Context.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.err != nil {
			close(l.done)
		} else {
			l.arm()
		}
	}
	return l.done
}

// bodyEnded tells that nothing but the watch reads from the connection any more.
func (l *life) bodyEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.body {
		l.body = true
		l.arm()
	}
}

// arm starts the watch, in a while, once there is a need and it is possible. The
// caller holds mu.
func (l *life) arm() {
	if l.done != nil && l.body && l.err == nil && l.timer == nil {
		l.timer = time.AfterFunc(watchAfter, l.watch)
	}
}

// watch waits for the next bytes, which stay in the buffer, or the end of the
// connection. Bytes are the next request's: the client is there, and nothing is
// known about it from then on, as with net/http.
func (l *life) watch() {
	l.mu.Lock()
	// The deadline is lifted here and not by the read, so that the one by which end
	// stops the read always comes later.
	if l.err == nil && l.c.deadline() != nil {
		l.cancel()
	}
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	watched := make(chan struct{})
	l.watched = watched
	l.mu.Unlock()
	defer close(watched)
	buf := &l.c.r.buf
	if buf.r < buf.w {
		return
	}
	if buf.fill() != nil {
		l.mu.Lock()
		l.cancel()
		l.mu.Unlock()
	}
}

// cancel ends the context. The caller holds mu.
func (l *life) cancel() {
	if l.err != nil {
		return
	}
	l.err = context.Canceled
	if l.done != nil {
		close(l.done)
	}
}

// end ends the context with the request, and the watch: the connection can be
// read again when it returns.
func (l *life) end() {
	l.mu.Lock()
	l.cancel()
	if l.timer != nil {
		l.timer.Stop()
	}
	watched := l.watched
	l.mu.Unlock()
	if watched == nil {
		return
	}
	select {
	case <-watched:
		return
	default:
	}
	// A read that this ends leaves nothing behind but the deadline, which is set
	// anew for the next request.
	_ = l.c.nc.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection, whose reads have ended
	<-watched
	l.c.set = phaseNone
}
