package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/event"
	"lambent.dev/lambent/internal/invoke"
)

// transports are net/http's connections to one instance: for upgrades and for
// HTTP/2.
type transports struct{ one, two *http.Transport }

func (h *home) makeTransports() *transports {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := h.to.Dial(ctx)
		if err != nil {
			return nil, invoke.UnsentError{Cause: err}
		}
		return &idleConn{Conn: c, limit: h.idle}, nil
	}
	t := &transports{
		one: &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: keepFor, MaxResponseHeaderBytes: maxHead},
		two: &http.Transport{DialContext: dial, DisableCompression: true, IdleConnTimeout: h.idle, MaxResponseHeaderBytes: maxHead, Protocols: new(http.Protocols)},
	}
	t.two.Protocols.SetUnencryptedHTTP2(true)
	return t
}

func (t *transports) close() {
	t.one.CloseIdleConnections()
	t.two.CloseIdleConnections()
}

// of picks the protocol for a request. gRPC needs HTTP/2 all the way (gRPC over
// HTTP/2); any other application may not speak it.
func (t *transports) of(r *http.Request) *http.Transport {
	if event.IsGRPC(r) {
		return t.two
	}
	return t.one
}

// general passes any request, by net/http.
func (x *exchange) general(ctx context.Context, h *home) error {
	var failed error
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := h.await(x.r, cancel)
	defer late.answered()
	own := maps.Clone(x.w.Header())
	clear(x.w.Header()) // what goes before the answer clears it, too
	rp := &httputil.ReverseProxy{
		Rewrite:       x.rewrite,
		Transport:     h.slow().of(x.r),
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // errors come back from here
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ModifyResponse: func(res *http.Response) error {
			late.answered()
			x.begun = true
			x.join(own, res)
			x.inv.Broken = res.StatusCode >= http.StatusInternalServerError
			if res.StatusCode != http.StatusSwitchingProtocols {
				res.Body = &noted{res.Body, &failed}
			}
			return nil
		},
	}
	out := x.r.WithContext(ctx)
	if out.ContentLength != 0 {
		late.ReadCloser = out.Body
		out.Body = late
	}
	cut := run(func() { rp.ServeHTTP(x.w, out) })
	if !x.begun {
		maps.Copy(x.w.Header(), own)
	}
	var why *failure
	var unsent invoke.UnsentError
	switch {
	case failed == nil && !cut:
		return nil
	case x.r.Context().Err() != nil:
		return errGone
	case errors.As(context.Cause(ctx), &why):
		return why
	case lambent.CodeOf(failed) == lambent.CodeTooLarge:
		return bodyError(failed)
	case errors.As(failed, &unsent) && !x.begun && x.r.ContentLength == 0:
		return unsent
	case errors.Is(failed, os.ErrDeadlineExceeded):
		return h.quiet()
	case failed == nil:
		return errGone
	}
	return h.broken(failed)
}

// awaited is a request's body that bounds the wait for the answer, as [way.untilHead]
// does: by the function's time-out from its end on, and before that by silence.
type awaited struct {
	io.ReadCloser
	h      *home
	timer  *time.Timer
	over   atomic.Bool // all of it has been sent
	headed atomic.Bool // the answer is there
}

// await begins to wait for the answer to r; cancel gets the reason when it is too late.
func (h *home) await(r *http.Request, cancel context.CancelCauseFunc) *awaited {
	a := &awaited{h: h}
	a.over.Store(r.ContentLength == 0)
	a.timer = time.AfterFunc(a.left(), func() {
		if a.over.Load() {
			cancel(h.late())
		} else {
			cancel(h.quiet())
		}
	})
	return a
}

func (a *awaited) left() time.Duration {
	if a.over.Load() {
		return a.h.version.Timeout
	}
	return a.h.idle
}

// answered ends the wait.
func (a *awaited) answered() {
	a.headed.Store(true)
	a.timer.Stop()
}

// Read implements io.Reader.
func (a *awaited) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if (n > 0 || err != nil) && !a.headed.Load() {
		a.over.Store(errors.Is(err, io.EOF))
		a.timer.Reset(a.left())
		if a.headed.Load() { // meanwhile
			a.timer.Stop()
		}
	}
	return n, err
}

// join gives an answer the gateway's own headers, by the rules of [way.header].
func (x *exchange) join(own http.Header, res *http.Response) {
	out := x.w.Header()
	maps.Copy(out, own)
	if _, cors := own["Access-Control-Allow-Origin"]; cors {
		maps.DeleteFunc(res.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Access-Control-") })
	}
	if res.Header["X-Amzn-Requestid"] != nil {
		delete(out, "X-Amzn-Requestid")
	}
	if res.Header["Content-Type"] == nil && res.StatusCode != http.StatusSwitchingProtocols {
		out["Content-Type"] = nil
	}
}

// run tells whether f has given up on the connection.
func run(f func()) (cut bool) {
	defer func() {
		v := recover()
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			cut = true
		} else if v != nil {
			panic(v)
		}
	}()
	f()
	return false
}

// noted remembers what a body ended by, if not by its end.
type noted struct {
	io.ReadCloser
	err *error
}

// Read implements io.Reader.
func (n *noted) Read(p []byte) (int, error) {
	c, err := n.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		*n.err = err
	}
	return c, err
}

// rewrite makes the request what the application sees.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.Host = pr.In.Host
	pr.Out.URL = &url.URL{Scheme: "http", Host: "app", RawQuery: x.t.Query}
	if strings.HasPrefix(x.t.Path, "//") { // Opaque would make it a host
		pr.Out.URL.Path, pr.Out.URL.RawPath = x.t.Path, x.t.Path
		if p, err := url.PathUnescape(x.t.Path); err == nil {
			pr.Out.URL.Path = p
		}
	} else {
		pr.Out.URL.Opaque = x.t.Path
	}
	h := pr.Out.Header
	maps.DeleteFunc(h, func(name string, _ []string) bool { return name == "Expect" || isOurs(name) })
	pr.SetXForwarded()
	if x.t.Prefix != "" {
		h.Set("X-Forwarded-Prefix", x.t.Prefix)
	}
	if h["X-Request-Id"] == nil && x.t.RequestID != "" {
		h.Set("X-Request-Id", x.t.RequestID)
	}
}

// idleConn ends a connection on which nothing has been sent for a while in either
// direction.
type idleConn struct {
	net.Conn
	limit time.Duration
	wrote atomic.Int64 // when, in ns
}

// Read implements io.Reader.
func (c *idleConn) Read(p []byte) (int, error) {
	for {
		if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, c.wrote.Load())) < c.limit {
			continue
		}
		return n, err
	}
}

// Write implements io.Writer.
func (c *idleConn) Write(p []byte) (int, error) {
	c.wrote.Store(time.Now().UnixNano())
	return c.Conn.Write(p)
}
