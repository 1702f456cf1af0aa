package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"lambent.dev/lambent/internal/gateway/certs"
	"lambent.dev/lambent/internal/httpapi"
)

// listenTLS takes the address of the gateway for HTTPS, if there shall be one.
func (s *Server) listenTLS(ctx context.Context) (err error) {
	if s.config.TLS.Listen == "" {
		return nil
	}
	if s.certs, err = certs.Open(certs.Options{Dir: filepath.Join(s.config.Data, "certificates"), Log: s.log}); err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	var lc net.ListenConfig
	if s.tls, err = lc.Listen(ctx, "tcp", s.config.TLS.Listen); err != nil {
		return fmt.Errorf("listen for the gateway with TLS on %s: %w", s.config.TLS.Listen, plain(err))
	}
	s.closers = append(s.closers, closeListener(s.tls))
	return nil
}

// domains is the interface without a value in it when there is no TLS.
func (s *Server) domains() httpapi.Domains {
	if s.certs == nil {
		return nil
	}
	return s.certs
}

// serveTLS answers on the gateway's address for HTTPS. All of it is net/http's,
// which speaks HTTP/2 there.
func (s *Server) serveTLS(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := s.newHTTP(h)
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.TLSConfig = s.certs.TLS()
	return serve(ctx, l, func(l net.Listener) error { return srv.Serve(tls.NewListener(l, srv.TLSConfig)) }, func(grace context.Context) error {
		return shutdown(grace, srv.Shutdown, srv.Close)
	})
}

// redirecting sends requests for names that have a certificate to HTTPS, if that is
// asked for.
func (s *Server) redirecting(next http.Handler) http.Handler {
	if !s.config.TLS.Redirect || s.tls == nil {
		return next
	}
	port := ""
	if _, p, err := net.SplitHostPort(s.tls.Addr().String()); err == nil && p != "443" {
		port = ":" + p
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, found := strings.Cut(r.Host, ":")
		if !found {
			host = r.Host
		}
		if s.certs.Certificate(host) == nil || !strings.HasPrefix(r.RequestURI, "/") {
			next.ServeHTTP(w, r)
			return
		}
		// The name is one of a certificate, and the rest begins with its path. 308
		// keeps the method (RFC 9110, section 15.4.9).
		w.Header().Set("Location", "https://"+host+port+r.RequestURI)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}
