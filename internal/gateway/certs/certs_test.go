package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
)

// pair makes a certificate that signs itself.
func pair(t *testing.T, serial int64, expires time.Time, names ...string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: expires, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
}

var later = time.Now().Add(24 * time.Hour)

func serial(s *Store, host string) int64 {
	cert := s.Certificate(host)
	if cert == nil {
		return 0
	}
	return cert.Leaf.SerialNumber.Int64()
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNames(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "certificates"))
	for n, names := range [][]string{{"a.test", "www.a.test"}, {"*.a.test"}, {"b.test"}} {
		chain, key := pair(t, int64(n+1), later, names...)
		if d, err := s.Put(names[0], chain, key); err != nil || d.Name != names[0] || !d.Expires.Equal(later.Truncate(time.Second)) {
			t.Fatalf("put %v: %+v %v", names, d, err)
		}
	}
	for host, want := range map[string]int64{"a.test": 1, "WWW.a.test.": 1, "x.a.test": 2, "x.y.a.test": 0, "b.test": 3, "": 0, "c.test": 0, ".a.test": 2} {
		if got := serial(s, host); got != want {
			t.Errorf("%q gets certificate %d, want %d", host, got, want)
		}
	}
	again := open(t, s.o.Dir)
	if serial(again, "x.a.test") != 2 || len(again.List()) != 4 {
		t.Errorf("after a restart: %+v", again.List())
	}
	files, err := os.ReadDir(s.o.Dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", f.Name(), info.Mode(), err)
		}
	}
	if err := s.Delete("a.test"); err != nil || serial(s, "a.test") != 0 || serial(s, "www.a.test") != 2 {
		t.Errorf("delete: %v", err)
	}
	if err := s.Delete("a.test"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("delete again: %v", err)
	}
}

func TestPutRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	chain, key := pair(t, 1, later, "a.test")
	_, other := pair(t, 2, later, "a.test")
	old, oldKey := pair(t, 3, time.Now().Add(-time.Minute), "a.test")
	for name, c := range map[string]struct {
		name       string
		chain, key []byte
	}{
		"another key":  {"a.test", chain, other},
		"another name": {"b.test", chain, key},
		"no PEM":       {"a.test", []byte("x"), key},
		"expired":      {"a.test", old, oldKey},
		"way out":      {"../a.test", chain, key},
		"empty":        {"", chain, key},
		"upper case":   {"A.test", chain, key},
	} {
		if _, err := s.Put(c.name, c.chain, c.key); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.List()) != 0 {
		t.Errorf("%+v", s.List())
	}
}

// TestFilesAreTakenUp is the way of an operator: files come, change, break and go.
func TestFilesAreTakenUp(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }() // waited for below
		wait := func(want int64) {
			t.Helper()
			time.Sleep(2 * Reread)
			synctest.Wait()
			if got := serial(s, "a.test"); got != want {
				t.Errorf("certificate %d, want %d", got, want)
			}
		}
		first, firstKey := pair(t, 1, later, "a.test")
		put("site.crt", first)
		wait(0) // its key is not there yet
		put("site.key", firstKey)
		wait(1)
		second, secondKey := pair(t, 22, later, "a.test")
		put("site.crt", second)
		wait(1) // halfway
		put("site.key", secondKey)
		wait(22)
		put("site.crt", []byte("broken"))
		wait(22)
		if err := os.Remove(filepath.Join(dir, "site.crt")); err != nil {
			t.Fatal(err)
		}
		wait(0)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestServe has a client ask for two names and an unknown one, over both protocols.
func TestServe(t *testing.T) {
	s := open(t, t.TempDir())
	roots := x509.NewCertPool()
	for n, name := range []string{"a.test", "b.test"} {
		chain, key := pair(t, int64(n+1), later, name)
		roots.AppendCertsFromPEM(chain)
		if _, err := s.Put(name, chain, key); err != nil {
			t.Fatal(err)
		}
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.Host)
	}), TLSConfig: s.TLS(), ErrorLog: nil}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }() // waited for below
	t.Cleanup(func() { _ = srv.Close(); <-done })
	get := func(host string, h2 bool) (string, error) {
		tr := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
			},
		}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			return "", err
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	for host, h2 := range map[string]bool{"a.test": true, "b.test": false} {
		want := "HTTP/1.1 " + host
		if h2 {
			want = "HTTP/2.0 " + host
		}
		if got, err := get(host, h2); got != want || err != nil {
			t.Errorf("%s: %q %v", host, got, err)
		}
	}
	if _, err := get("c.test", true); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("unknown name: %v", err)
	}
}
