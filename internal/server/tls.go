package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/gateway/certs"
	"lambent.dev/lambent/internal/httpapi"
	"lambent.dev/lambent/internal/httpwire"
)

// listenTLS takes the address of the gateway for HTTPS, if there shall be one.
func (s *Server) listenTLS(ctx context.Context) (err error) {
	if s.config.TLS.Listen == "" {
		return nil
	}
	if s.tls, err = s.listenOn(ctx, socketTLS, s.config.TLS.Listen); err != nil {
		return fmt.Errorf("listen for the gateway with TLS on %s: %w", s.config.TLS.Listen, plain(err))
	}
	return nil
}

// openCertificates opens the room of the certificates, which knows its names from
// the catalog.
func (s *Server) openCertificates(context.Context) (err error) {
	if s.tls == nil {
		return nil
	}
	o := certs.Options{Dir: filepath.Join(s.config.Data, "certificates"), Log: s.log}
	if c := s.config.TLS.ACME; c.Directory != "" {
		o.ACME = &certs.ACME{
			Directory: c.Directory, Dir: filepath.Join(s.config.Data, "acme"), Book: s.catalog, Email: c.Email,
			Challenge: c.Challenge, KeyID: c.KeyID, MACKey: string(c.MACKey), HTTP: s.gateway.Addr(), TLS: s.tls.Addr(),
		}
		if o.ACME.Roots, err = roots(c.Roots); err != nil {
			return err
		}
	}
	if s.certs, err = certs.Open(o); err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	s.closers = append(s.closers, s.certs.Close)
	return nil
}

func roots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read tls.acme.roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read tls.acme.roots: there is no certificate in %s", path)
	}
	return pool, nil
}

// domains is the interface without a value in it when there is no TLS.
func (s *Server) domains() httpapi.Domains {
	if s.certs == nil {
		return nil
	}
	return domains{s.certs, s.catalog}
}

// domains are the certificates, and the names for which the server gets them.
type domains struct {
	certs   *certs.Store
	catalog *catalog.Catalog
}

// List implements httpapi.Domains.
func (d domains) List() []certs.Domain { return d.certs.List() }

// Put implements httpapi.Domains. The certificate takes the place of one that the
// server has got.
func (d domains) Put(ctx context.Context, name string, chain, key []byte) (certs.Domain, error) {
	out, err := d.certs.Put(name, chain, key)
	if err == nil {
		_, err = d.forget(ctx, name)
	}
	return out, err
}

// Issue implements httpapi.Domains. A name whose certificate cannot be got is not
// kept, unless it shall be got later.
func (d domains) Issue(ctx context.Context, name string, onDemand bool) (out certs.Domain, err error) {
	if err = d.certs.Issuable(name); err != nil {
		return out, err
	}
	out = certs.Domain{Name: name, ACME: true}
	if !onDemand {
		if out, err = d.certs.Issue(ctx, name); err != nil {
			return out, err
		}
	}
	if err = d.catalog.PutDomain(ctx, lambent.Domain{Name: name, OnDemand: onDemand}); err != nil {
		return out, err
	}
	if err = d.certs.Delete(name); lambent.CodeOf(err) == lambent.CodeNotFound {
		err = nil
	}
	return out, err
}

// Delete implements httpapi.Domains.
func (d domains) Delete(ctx context.Context, name string) error {
	forgotten, err := d.forget(ctx, name)
	if err != nil {
		return err
	}
	if err = d.certs.Delete(name); forgotten && lambent.CodeOf(err) == lambent.CodeNotFound {
		return nil
	}
	return err
}

// forget gives up a certificate that the server has got; it is false when there is
// none.
func (d domains) forget(ctx context.Context, name string) (bool, error) {
	if d.catalog.Domain(name) == nil {
		return false, nil
	}
	if err := d.catalog.DeleteDomain(ctx, name); err != nil {
		return false, err
	}
	return true, d.certs.Forget(ctx, name)
}

// serveTLS answers on the gateway's address for HTTPS. All of it is net/http's,
// which speaks HTTP/2 there.
func (s *Server) serveTLS(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := s.newHTTP(h)
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.TLSConfig = s.certs.TLS()
	return s.serve(ctx, l, func(l net.Listener) error {
		return srv.Serve(tls.NewListener(httpwire.Gently(l, ctx.Done()), srv.TLSConfig))
	}, func(grace context.Context) error {
		return shutdown(grace, srv.Shutdown, srv.Close)
	})
}

// plainly is what the gateway's address for HTTP serves: next, behind the questions
// of an authority for proof.
func (s *Server) plainly(next http.Handler) http.Handler {
	if s.tls == nil {
		return next
	}
	return s.certs.Challenges(next)
}

// secureAddress tells where requests without TLS for names that have a certificate are
// sent; nil if that is not asked for.
func (s *Server) secureAddress() func(*http.Request) string {
	if s.tls == nil || !s.config.TLS.Redirect {
		return nil
	}
	port := ""
	if _, p, err := net.SplitHostPort(s.tls.Addr().String()); err == nil && p != "443" {
		port = ":" + p
	}
	return func(r *http.Request) string {
		host, _, _ := strings.Cut(r.Host, ":")
		if r.TLS != nil || s.certs.Certificate(host) == nil || !strings.HasPrefix(r.RequestURI, "/") {
			return ""
		}
		return "https://" + host + port + r.RequestURI // the name is one of a certificate, and the rest begins with its path
	}
}
