package httpwire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what a [Server] serves, and what a client may cost. All fields but
// Adopt are required.
type Options struct {
	// Handler serves the requests that Takes picks. A request, its header and its
	// body are the connection's: they end with the call. So does its context, which
	// also ends when the client goes away, once somebody asks for that.
	Handler http.Handler
	// Takes picks requests by method and target, which it must not keep. The rest
	// of the head does not matter: what has a need for more than Handler gets
	// (an upgrade, HTTP/1.0, trailers) goes the other way by itself.
	Takes func(method string, target []byte) bool
	// Other serves all other connections. Its owner shuts it down.
	Other *http.Server
	// Header is the most bytes of a head, HeaderTimeout how long it may take from
	// its first byte on, and after the answer what the handler left of the body; Idle is
	// how long a connection may rest between requests.
	Header              int
	HeaderTimeout, Idle time.Duration
	Log                 *slog.Logger
	// Adopt are connections that another server has parked, to go on with; there may
	// be none.
	Adopt []net.Conn
}

// Server answers requests of one kind by itself and gives connections with others
// to net/http: see the package's doc.
type Server struct {
	Options
	other *Queue
	conns sync.WaitGroup

	mu       sync.Mutex // guards what follows
	open     map[*conn]struct{}
	listener net.Listener
	closing  chan struct{} // closed by Shutdown and Close
	parked   []*os.File

	parks atomic.Bool // connections without a request are kept, not closed
}

// NewServer makes a server, to be run by Serve once.
func NewServer(o Options) *Server {
	return &Server{Options: o, open: make(map[*conn]struct{}), closing: make(chan struct{})}
}

// Serve answers on l until Shutdown or Close, and then returns
// [http.ErrServerClosed]. It also runs Other, on the connections that are its.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listener, s.other = l, NewQueue(l.Addr())
	closing := s.isClosing()
	s.mu.Unlock()
	if closing {
		_ = l.Close() // it was not used
		return http.ErrServerClosed
	}
	others := make(chan error, 1)
	go func() { others <- s.Other.Serve(s.other) }()
	for _, nc := range s.Adopt {
		s.start(nc)
	}
	err := Accept(l, s.closing, s.start)
	if err == nil {
		err = http.ErrServerClosed
	}
	_ = s.other.Close() // only tells Other, which may know
	if other := <-others; errors.Is(err, http.ErrServerClosed) && !errors.Is(other, http.ErrServerClosed) && !errors.Is(other, net.ErrClosed) {
		err = other
	}
	return err
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// start serves nc in its own goroutine, which Shutdown waits for.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		_ = nc.Close() // it was not used
		return
	}
	s.open[c] = struct{}{}
	s.conns.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	})
}

// Shutdown closes the listener and all idle connections, and waits for the
// requests that are being answered. When ctx ends first its error is returned;
// Close then cuts them.
func (s *Server) Shutdown(ctx context.Context) error {
	if !s.parks.Load() {
		s.stop((*conn).closeIdle)
	}
	done := make(chan struct{})
	go func() { s.conns.Wait(); close(done) }() // ends when the connections have, at the latest after Close
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Park is Shutdown for a server that another one replaces: connections without a
// request are not closed, but returned, at most that many. The other server
// adopts them, and their clients notice nothing.
func (s *Server) Park(ctx context.Context, most int) ([]*os.File, error) {
	s.parks.Store(true)
	s.stop((*conn).park)
	err := s.Shutdown(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.parked
	s.parked = nil
	for len(kept) > most {
		_ = kept[len(kept)-1].Close() // its client comes again
		kept = kept[:len(kept)-1]
	}
	return kept, err
}

// errParked tells a connection's goroutine that the connection is kept.
var errParked = errors.New("the connection is kept for another server")

// keep keeps the connection open beyond this server.
func (s *Server) keep(c *conn) error {
	filer, ok := plainConn(c.nc).(interface{ File() (*os.File, error) })
	if !ok {
		return net.ErrClosed
	}
	file, err := filer.File()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked = append(s.parked, file)
	return errParked
}

// Close closes the listener and all connections.
func (s *Server) Close() {
	s.stop((*conn).close)
}

func (s *Server) stop(end func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosing() {
		close(s.closing)
	}
	if s.listener != nil {
		_ = s.listener.Close() // it ends either way
	}
	for c := range s.open {
		end(c)
	}
}
