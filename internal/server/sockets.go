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

// Sockets are listening sockets by what is served on them. Who holds them keeps
// them open: what connects is not refused, but waits for a server.
type Sockets map[string]*os.File

// The names of the sockets.
const (
	socketAPI     = "api"
	socketGateway = "gateway"
	socketTLS     = "tls"
)

// lingering is how long a server that is replaced answers on the connections that
// it has, without accepting others, and asks their clients to close them: a client
// that is calling all the time is never on a connection that is being closed.
const lingering = 500 * time.Millisecond

// socket is a listener that can stop accepting without closing the socket.
type socket struct {
	*net.TCPListener
	closing chan struct{}
	once    sync.Once
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
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.sockets[name] = kept
	held := &socket{TCPListener: tcp, closing: make(chan struct{})}
	s.closers = append(s.closers, func() error {
		return errors.Join(closeListener(held)(), s.dropSocket(name))
	})
	return held, nil
}

func (s *Server) inherit(ctx context.Context, name, address string) (net.Listener, error) {
	var lc net.ListenConfig
	file := s.hooks.Sockets[name]
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

// Sockets hands out the server's sockets, which Close leaves open then. They are
// the caller's.
func (s *Server) Sockets() Sockets {
	out := s.sockets
	s.sockets = Sockets{}
	return out
}

// dropSocket closes a socket that nobody has asked for.
func (s *Server) dropSocket(name string) error {
	file := s.sockets[name]
	delete(s.sockets, name)
	if file == nil {
		return nil
	}
	return file.Close()
}

// Accept implements net.Listener. After pause it only returns with Close.
func (l *socket) Accept() (net.Conn, error) {
	nc, err := l.TCPListener.Accept()
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		<-l.closing
		return nil, net.ErrClosed
	}
	return nc, err
}

// pause leaves what connects from now on in the kernel's queue.
func (l *socket) pause() error { return l.SetDeadline(time.Unix(1, 0)) }

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
	time.Sleep(lingering)
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
