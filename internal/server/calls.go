package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/invoke"
	"lambent.dev/lambent/internal/lambdaapi"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Functions call the API on the listener that every instance has for its Runtime API.
// Whoever speaks there is a tenant's: what a call may cost is bounded, and it ends with
// the instance.
const (
	callBody    = lambent.MaxPayload     // bytes of one request
	callBodies  = 8 * lambent.MaxPayload // of all that one instance has open
	callTimeout = lambent.MaxTimeout + time.Minute
)

// caller is an instance whose function calls the API.
type caller struct {
	sandbox.Caller
	bodies *semaphore.Weighted
	key    func() auth.Key // derived once
}

// callerKey carries a *caller in the context of its connections.
type callerKey struct{}

// call is a connection of it.
type call struct {
	net.Conn
	from *caller
}

// CloseWrite ends what is written: net/http does so before it closes a connection of
// which not all was read.
func (c call) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// session is the instance as auth knows it.
func session(v *lambent.Version, id string) auth.Session {
	return auth.Session{Account: v.Namespace, Function: v.Function, Version: v.Number, Instance: id, Role: v.Role}
}

// callsFrom is a [sandbox.Calls].
func (s *Server) callsFrom(from sandbox.Caller) func(net.Conn) {
	c := &caller{Caller: from, bodies: semaphore.NewWeighted(callBodies)}
	c.key = sync.OnceValue(func() auth.Key { return s.keys.Session(session(from.Version, from.ID)) })
	return func(conn net.Conn) { s.calls.Put(call{conn, c}) }
}

// openCalls starts to answer functions. It ends after the last instance has.
func (s *Server) openCalls(context.Context) error {
	s.calls = httpwire.NewQueue(s.api.Addr())
	srv := &http.Server{
		Handler:           http.HandlerFunc(s.answerFunction),
		ReadHeaderTimeout: headerTimeout, WriteTimeout: callTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, c.(call).from)
		},
	}
	// Programs may use one pool of connections for their runtime's API and this one: a
	// connection that was kept would be used for the other. Nothing is left open when
	// the instance is frozen, either.
	srv.SetKeepAlivesEnabled(false)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(s.calls) }() // waited for by the closer
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			_ = srv.Close() // its connections were the instances', which are gone
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// answerFunction answers a request from inside an instance.
func (s *Server) answerFunction(w http.ResponseWriter, r *http.Request) {
	from := r.Context().Value(callerKey{}).(*caller)
	if strings.HasPrefix(r.URL.Path, lambdaapi.CodePath) { // a link, which says itself what it is good for
		s.lambda.ServeHTTP(w, r)
		return
	}
	size := r.ContentLength
	if size < 0 || size > callBody {
		size = callBody // what is beyond is refused
	}
	if from.bodies.Acquire(r.Context(), size) != nil {
		return // it has gone
	}
	defer from.bodies.Release(size)
	admitted := func(r *http.Request) { lead(r, from.Trace()) }
	by := lambent.Cause{Namespace: from.Version.Namespace, Function: from.Version.Function, Number: from.Version.Number}
	r = r.WithContext(lambent.WithCause(auth.Within(r.Context(), from.key()), by))
	if s.front.Leads(r) {
		r.Body = http.MaxBytesReader(w, r.Body, callBody+1) // an application's is passed through
		s.front.ServeInside(w, r, admitted)
		return
	}
	o, permitted := s.signing(), s.permitted()
	o.MaxBody = callBody
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admitted(r)
		permitted.ServeHTTP(w, r)
	})
	s.keys.Middleware(next, o).ServeHTTP(w, r)
}

// lead makes a call part of the chain that has led to it: that of the invocation which
// the instance has, whether or not its function passes the tracing header on.
func lead(r *http.Request, current string) {
	if trace := invoke.Lead(telemetry.Caller(r.Header), current); trace != "" {
		r.Header.Set("X-Amzn-Trace-Id", trace)
		r.Header.Del("Traceparent")
	}
}
