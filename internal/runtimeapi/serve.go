package runtimeapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// maxConns is how many connections one runtime may hold open: each costs the
// server a goroutine and up to maxHeader bytes.
const maxConns = 16

// smallBody is the size in bytes up to which a body is copied behind its head,
// to leave in one write.
const smallBody = 16 << 10

// acceptPause is the wait after an accept that failed for want of descriptors or
// memory, which the rest of the server may give back.
const acceptPause = 20 * time.Millisecond

// closer is what Close has to end.
type closer interface{ Close() error }

// Serve answers the runtime on l until Close, which also closes l. It returns
// nil after Close; an error of the listener ends the session and is returned.
// Every connection's goroutine has ended by then.
//
// It speaks HTTP itself (see wire.go): with net/http two thirds of a round trip's
// processor time went into its server. It has no time-outs: a slow runtime holds up nothing but itself, and an idle
// connection may be frozen for hours between two events.
func (s *Session) Serve(l net.Listener) error {
	if !s.track(l) {
		return l.Close()
	}
	err := s.accept(l)
	s.untrack(l)
	s.Close()
	s.serving.Wait()
	return err
}

func (s *Session) accept(l net.Listener) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.open(c)
		case s.isClosed():
			return nil
		case isShortage(err):
			select {
			case <-time.After(acceptPause):
			case <-s.closed:
			}
		default:
			return fmt.Errorf("serve the runtime API: %w", err)
		}
	}
}

// isShortage tells whether an accept failed for a reason that passes.
func isShortage(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Session) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// open serves c in its own goroutine, which Serve waits for, or closes it if
// there are too many.
func (s *Session) open(c net.Conn) {
	s.mu.Lock()
	full := len(s.conns) > maxConns // one of them is the listener
	s.mu.Unlock()
	if full || !s.track(c) {
		_ = c.Close() // it was not used
		return
	}
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		s.converse(c)
		s.untrack(c)
		_ = c.Close() // its last answer has been written, or could not be
	}()
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
}

// converse answers the requests of one connection, one after the other.
func (s *Session) converse(c net.Conn) {
	r := newReader(c)
	head := make([]byte, 0, 1<<10)
	for {
		req, err := r.next()
		var wrong *requestError
		if errors.As(err, &wrong) {
			out := refuse(wrong.status, "InvalidRequest", wrong.reason)
			_, _ = c.Write(append(appendHead(head[:0], out, false), out.body...)) // the last word
			return
		}
		if err != nil {
			return
		}
		out, ok := s.respond(req)
		if !ok {
			return
		}
		keep := req.keepAlive && (r.ended || !req.expect)
		head = appendHead(head[:0], out, keep)
		// What is left of a refused body is read after the refusal is out: a
		// client reads the one or sends the other first, as it likes.
		if head, err = writeOut(c, head, out.payload()); err != nil || !r.skip() || !keep {
			return
		}
	}
}

// respond does what req asks for; ok is false when there is nobody to answer.
func (s *Session) respond(req *request) (out reply, ok bool) {
	op, id := route(req.method, req.path)
	switch op {
	case opNext:
		return s.next(nil)
	case opResponse:
		return s.answer(stepResponse, id, &req.post), true
	case opError:
		return s.answer(stepError, id, &req.post), true
	case opInitError:
		return s.initError(&req.post), true
	}
	return s.do(op), true
}

// payload is the body of the reply.
func (out reply) payload() []byte {
	if out.event != nil {
		return out.event.event.Payload
	}
	return out.body
}

// appendHead appends the reply's status line and headers to b.
func appendHead(b []byte, out reply, keep bool) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(out.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(out.status)...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(out.payload())), 10)
	b = append(b, "\r\n"...)
	if x := out.event; x != nil {
		x.each(func(name, value string) {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		})
	}
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

// writeOut writes head and body in one system call where the connection can, and
// returns the buffer to use again.
func writeOut(c net.Conn, head, body []byte) ([]byte, error) {
	if len(body) <= smallBody {
		head = append(head, body...)
		_, err := c.Write(head)
		return head, err
	}
	parts := net.Buffers{head, body}
	_, err := parts.WriteTo(c)
	return head, err
}
