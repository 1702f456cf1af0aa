package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/gateway"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/lambdaapi"
)

// What a client of either address may cost: the same by whichever server.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10 // bytes
)

func (s *Server) newHTTP(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           s.lastAnswers(hurried(h)),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		Protocols:         protocols(),
		ConnState:         s.callers.watch,
		// As large as every peer may send (RFC 9113, section 4.2): a megabyte, which is
		// net/http's own choice, would be for each connection.
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: 16 << 10},
	}
}

// hurried gives a client headerTimeout for what the handler left of a body: net/http reads
// that, and would wait for it for ever. The next request has a deadline of its own.
func hurried(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.ProtoMajor == 1 && r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout)) // a connection that has ended says so by itself
		}
	})
}

// serveAPI answers on the API address. Invocations, which are most of what comes,
// are read by httpwire; all else is net/http's. The handler is the same.
func (s *Server) serveAPI(ctx context.Context, l net.Listener) error {
	return s.serveHTTP(ctx, socketAPI, l, s.apiHandler(), lambdaapi.IsInvoke)
}

// serveGateway answers on the gateway address, where httpwire reads all that it
// can.
func (s *Server) serveGateway(ctx context.Context, l net.Listener, h http.Handler) error {
	return s.serveHTTP(ctx, socketGateway, l, h, gateway.Takes)
}

// protocols are those of both addresses: HTTP/2 without TLS for who knows that it
// is spoken (RFC 9113, section 3.3), as gRPC's clients do.
func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// serveHTTP answers by h. What takes picks is read by httpwire, all else by
// net/http.
func (s *Server) serveHTTP(ctx context.Context, name string, l net.Listener, h http.Handler, takes func(method string, target []byte) bool) error {
	other := s.newHTTP(h)
	srv := httpwire.NewServer(httpwire.Options{
		Handler: s.lastAnswers(h), Takes: takes, Other: other,
		Header: maxHeader, HeaderTimeout: headerTimeout, Idle: idleTimeout, Log: s.log,
		Adopt: s.adopt(name),
	})
	gently := func(grace context.Context) error {
		if !errors.Is(context.Cause(ctx), ErrReplaced) {
			return srv.Shutdown(grace)
		}
		resting, err := srv.Park(grace, maxResting)
		s.keepResting(name, resting)
		return err
	}
	return s.serve(ctx, l, srv.Serve, func(grace context.Context) error {
		return both(
			func() error { return shutdown(grace, gently, func() error { srv.Close(); return nil }) },
			func() error { return shutdown(grace, other.Shutdown, other.Close) })
	})
}

// serve runs a server on l until ctx ends, then stops it.
func (s *Server) serve(ctx context.Context, l net.Listener, run func(net.Listener) error, end func(grace context.Context) error) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		s.part(ctx, l)
		grace, cancel := context.WithTimeout(context.Background(), s.config.Drain)
		defer cancel()
		stopped <- end(grace)
	})
	err := run(l)
	if errors.Is(err, http.ErrServerClosed) {
		return <-stopped
	}
	stop()
	return fmt.Errorf("serve on %s: %w", l.Addr(), err)
}

// shutdown lets running requests finish, and cuts them when grace ends.
func shutdown(grace context.Context, gently func(context.Context) error, hard func() error) error {
	err := gently(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		return hard()
	}
	return err
}

func both(a, b func() error) error {
	var group errgroup.Group
	group.Go(a)
	group.Go(b)
	return group.Wait()
}
