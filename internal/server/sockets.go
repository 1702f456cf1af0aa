package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// ErrReplaced is the cause with which the context of [Server.Run] ends when
// another server is to take over the sockets: see [Server.Sockets].
var ErrReplaced = errors.New("the server is replaced")

// Sockets are what a server hands to the next, by what is served on them. Who holds
// them keeps them open: what connects is not refused, but waits for a server.
type Sockets struct {
	Listening map[string]*os.File
	// Resting are connections of clients, on which no request was.
	Resting map[string][]*os.File
}

// maxResting bounds the connections that are handed over of each kind; the clients
// of the others connect again.
const maxResting = 4096

// The names of the sockets.
const (
	socketAPI     = "api"
	socketGateway = "gateway"
	socketTLS     = "tls"
)

// lingering is how long a server that is replaced answers on the connections that
// it has, without accepting others, and asks their clients to close them: where
// connections cannot be handed over, which is so for HTTP/2 and HTTPS, a client that
// is calling all the time is never on one that is being closed. Without such clients
// it is left out, because others wait meanwhile.
const lingering = 500 * time.Millisecond

// socket is a listener that can stop accepting without closing the socket.
type socket struct {
	*net.TCPListener
	closing chan struct{}
	once    sync.Once
	paused  chan struct{} // closed when Accept takes nothing any more
	pausing sync.Once
}

// listenOn takes an address, or the socket that an earlier server had on it.
func (s *Server) listenOn(ctx context.Context, name, address string) (net.Listener, error) {
	l, err := s.inherit(ctx, name, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the socket %s is not one of TCP", name), l.Close())
	}
	kept, err := tcp.File()
	if err := errors.Join(err, bePatient(tcp, patience)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.keepListening(name, kept)
	held := &socket{TCPListener: tcp, closing: make(chan struct{}), paused: make(chan struct{})}
	s.closers = append(s.closers, func() error {
		return errors.Join(closeListener(held)(), s.dropSocket(name))
	})
	return held, nil
}

func (s *Server) inherit(ctx context.Context, name, address string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // such a socket knows no patience
	lc.KeepAlive = -1         // that is [bePatient]'s, once for all connections
	file := s.hooks.Sockets.Listening[name]
	if file == nil {
		return lc.Listen(ctx, "tcp", address)
	}
	l, err := net.FileListener(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("take over the socket %s: %w", name, err)
	}
	if at, err := net.ResolveTCPAddr("tcp", address); err == nil && (at.Port == 0 || at.String() == l.Addr().String()) {
		return l, nil
	}
	if err := l.Close(); err != nil { // the address is another one now
		return nil, err
	}
	return lc.Listen(ctx, "tcp", address)
}

// adopt makes connections of what the earlier server has handed over.
func (s *Server) adopt(name string) []net.Conn {
	var conns []net.Conn
	for _, file := range s.hooks.Sockets.Resting[name] {
		nc, err := net.FileConn(file)
		if err := errors.Join(err, file.Close()); err != nil {
			s.log.Error("go on with a connection", "err", err)
			continue
		}
		conns = append(conns, nc)
	}
	return conns
}

func (s *Server) keepListening(name string, file *os.File) {
	s.socketsMu.Lock()
	defer s.socketsMu.Unlock()
	if s.sockets.Listening == nil {
		s.sockets.Listening = map[string]*os.File{}
	}
	s.sockets.Listening[name] = file
}

func (s *Server) keepResting(name string, files []*os.File) {
	s.socketsMu.Lock()
	defer s.socketsMu.Unlock()
	if s.sockets.Resting == nil {
		s.sockets.Resting = map[string][]*os.File{}
	}
	s.sockets.Resting[name] = files
}

// Sockets hands out the server's sockets when Run has returned; Close leaves them
// open then. They are the caller's.
func (s *Server) Sockets() Sockets {
	s.socketsMu.Lock()
	defer s.socketsMu.Unlock()
	out := s.sockets
	s.sockets = Sockets{}
	return out
}

// dropSocket closes a socket that nobody has asked for.
func (s *Server) dropSocket(name string) error {
	s.socketsMu.Lock()
	defer s.socketsMu.Unlock()
	var errs []error
	if file := s.sockets.Listening[name]; file != nil {
		errs = append(errs, file.Close())
	}
	for _, file := range s.sockets.Resting[name] {
		errs = append(errs, file.Close())
	}
	delete(s.sockets.Listening, name)
	delete(s.sockets.Resting, name)
	return errors.Join(errs...)
}

// Accept implements net.Listener. After pause it only returns with Close.
func (l *socket) Accept() (net.Conn, error) {
	nc, err := l.TCPListener.Accept()
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		l.pausing.Do(func() { close(l.paused) })
		<-l.closing
		return nil, net.ErrClosed
	}
	return nc, err
}

// pause leaves what connects from now on in the kernel's queue. Whoever was accepted
// before is being served when it returns, unless nobody accepts.
func (l *socket) pause() error {
	if err := l.SetDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	select {
	case <-l.paused:
	case <-time.After(lingering):
	}
	return nil
}

// Close implements net.Listener.
func (l *socket) Close() error {
	l.once.Do(func() { close(l.closing) })
	return l.TCPListener.Close()
}

// part is how a server that is replaced leaves its clients: it accepts nobody, and
// lingers. Any other server leaves at once.
func (s *Server) part(ctx context.Context, l net.Listener) {
	held, ok := l.(*socket)
	if !ok || !errors.Is(context.Cause(ctx), ErrReplaced) {
		return
	}
	if err := held.pause(); err != nil {
		s.log.Error("stop accepting", "addr", l.Addr().String(), "err", err)
	}
	s.parting.Store(true)
	s.callers.leave()
}

// lastAnswers asks clients to close their connections, once the server parts.
func (s *Server) lastAnswers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.parting.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
