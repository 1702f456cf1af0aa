package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"

	"lambent.dev/lambent/internal/sandbox"
)

// maxHeader bounds a request's headers, in bytes: clients send the X-Ray cause of
// an error, up to 1 MiB of it, as a header.
const maxHeader = 1<<20 + 64<<10

// closer is what Close has to end.
type closer interface{ Close() error }

// Serve answers the runtime on l until Close, which also closes l. It returns
// nil after Close and the listener's error otherwise. Every connection's
// goroutine has ended when it returns.
func (s *Session) Serve(l net.Listener) error {
	srv := &http.Server{
		Handler:        s.Handler(),
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(discard{}, "", 0),
		ConnState: func(_ net.Conn, st http.ConnState) {
			switch st {
			case http.StateNew:
				s.serving.Add(1)
			case http.StateClosed, http.StateHijacked:
				s.serving.Done()
			}
		},
		BaseContext: func(net.Listener) context.Context { return context.Background() },
	}
	if !s.track(srv) {
		return l.Close()
	}
	err := srv.Serve(l)
	s.untrack(srv)
	_ = srv.Close() // the connections that are left; l is closed already
	s.serving.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the runtime API: %w", err)
}

// track makes Close end c too; it is false when Close was called already.
func (s *Session) track(c closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
		s.conns[c] = struct{}{}
		return true
	}
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
	select {
	case <-s.closed:
	default:
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

// discard swallows net/http's complaints about what a runtime sends.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
