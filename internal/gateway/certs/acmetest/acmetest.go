// Package acmetest runs a certificate authority on loopback for tests: Pebble, which
// speaks ACME as the public ones do and asks for real proof, and a name server for
// which every name is this host. It knows nothing of lambent.
package acmetest

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Authority is a running one.
type Authority struct {
	Directory string // URL
	// RootsFile is what its own TLS is checked by, Roots that of the certificates
	// it issues.
	RootsFile string
	Roots     *x509.CertPool

	orders  atomic.Int64
	handler atomic.Pointer[http.Handler]
	dns     string
	ca      *ca.CAImpl
	db      *db.MemoryStore
	keyed   bool
	log     *log.Logger
}

// Options of an authority.
type Options struct {
	Validity time.Duration // of certificates, whole seconds; 0 is a year or more
	// KeyID and MACKey, if set, are of the only account that it serves.
	KeyID, MACKey string
}

// Start starts an authority, which issues nothing before Prove.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	a := &Authority{dns: names(t), db: db.NewMemoryStore(), keyed: o.KeyID != "", log: log.New(io.Discard, "", 0)}
	if a.keyed {
		if err := a.db.AddExternalAccountKeyByID(o.KeyID, o.MACKey); err != nil {
			t.Fatal(err)
		}
	}
	a.ca = ca.New(a.log, a.db, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "for tests", ValidityPeriod: uint64(o.Validity / time.Second)}})
	a.Roots = x509.NewCertPool()
	a.Roots.AppendCertsFromPEM(a.ca.GetRootCert(0).PEM())
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := a.handler.Load()
		if h == nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/order-plz") {
			a.orders.Add(1)
		}
		(*h).ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	a.Directory = srv.URL + wfe.DirectoryPath
	a.RootsFile = filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(a.RootsFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// Prove has proof asked for at these ports of every name.
func (a *Authority) Prove(httpPort, tlsPort int) {
	v := va.New(a.log, httpPort, tlsPort, true, a.dns, a.db)
	front := wfe.New(a.log, a.db, v, a.ca, []string{"authority.test"}, true, a.keyed, 0, 0)
	h := front.Handler()
	a.handler.Store(&h)
}

// Orders is how many certificates have been asked for.
func (a *Authority) Orders() int64 { return a.orders.Load() }

// names serves names: each is this host, but those below "gone.test" are none.
func names(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, in *dns.Msg) {
		out := new(dns.Msg)
		out.SetReply(in)
		for _, q := range in.Question {
			switch {
			case strings.HasSuffix(q.Name, "gone.test."):
				out.Rcode = dns.RcodeNameError
			case q.Qtype == dns.TypeA:
				out.Answer = append(out.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)})
			}
		}
		_ = w.WriteMsg(out) // who asked may be gone
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ActivateAndServe() }() // waited for below
	t.Cleanup(func() { _ = srv.Shutdown(); _ = l.Close(); <-done })
	return l.Addr().String()
}
