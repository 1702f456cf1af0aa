package runtimeapi

import (
	"fmt"
	"net"

	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/sandbox"
)

// Bounds of the connections that one instance may hold open. Each costs the server a
// goroutine, and up to twice the size of a head: those of maxRuntimeConns are large
// (see limits), and a runtime needs one or two.
const (
	maxRuntimeConns = 16
	maxConns        = 128 // with those on which the function calls the API
)

// closer is what Close has to end.
type closer interface{ Close() error }

// Serve answers the runtime on l until Close, which also closes l. It returns
// nil after Close; an error of the listener ends the session and is returned.
// Every connection's goroutine has ended by then.
//
// It speaks HTTP by httpwire: with net/http two thirds of a round trip's
// processor time went into its server. It has no time-outs: a slow runtime holds
// up nothing but itself, and an idle connection may be frozen for hours between
// two events.
func (s *Session) Serve(l net.Listener) error {
	if !s.track(l) {
		return l.Close()
	}
	err := httpwire.Accept(l, s.closed, s.Open)
	if err != nil {
		err = fmt.Errorf("serve the runtime API: %w", err)
	}
	s.untrack(l)
	s.Close()
	s.serving.Wait()
	return err
}

func (s *Session) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Open serves c, a connection that the runtime has without having made it, in a
// goroutine of its own, which Serve waits for; or it closes c, if there are too many.
func (s *Session) Open(c net.Conn) {
	s.mu.Lock()
	open := len(s.conns) - 1 // without the listener
	s.mu.Unlock()
	if open >= maxConns || !s.track(c) {
		_ = c.Close() // it was not used
		return
	}
	most := limits
	if open >= maxRuntimeConns {
		most = callLimits
	}
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		if l := newLine(s, c, most); l.converse() {
			s.opts.Calls(&callConn{httpwire.Replay(l.c, l.r), s, c})
			return
		}
		s.untrack(c)
		_ = c.Close() // its last answer has been written, or could not be
	}()
}

// callConn is a connection that is not the session's to read any more. It counts as
// one of the instance's, and ends with the session, which does not wait for it.
type callConn struct {
	*httpwire.Replayed
	s *Session
	c net.Conn // as it is tracked
}

// Close implements net.Conn.
func (c *callConn) Close() error {
	c.s.untrack(c.c)
	return c.Replayed.Close()
}

// track makes Close end c too; it is false when Close was called already.
func (s *Session) track(c closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Session) untrack(c closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Close ends every request that is open and makes Serve return. An event that is
// open ends as if the runtime had gone. It may be called again.
func (s *Session) Close() {
	s.mu.Lock()
	if !s.isClosed() {
		close(s.closed)
	}
	s.end(sandbox.Failure{Type: "Sandbox.Failure", Message: "The sandbox was closed"})
	open := make([]closer, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // it ends either way
	}
	s.closeRelay()
}
