package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/certs/acmetest"
)

// book is a Book that tests write in.
type book struct {
	mu    sync.Mutex // guards names
	names map[string]*lambent.Domain
}

func (b *book) Domain(name string) *lambent.Domain {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[name]
}

func (b *book) Domains() []*lambent.Domain {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*lambent.Domain
	for _, d := range b.names {
		out = append(out, d)
	}
	return out
}

func (b *book) put(d lambent.Domain) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names == nil {
		b.names = map[string]*lambent.Domain{}
	}
	b.names[d.Name] = &d
}

// site is a store that serves both addresses, as the server has it do.
type site struct {
	*Store
	t       testing.TB
	book    *book
	acme    ACME
	roots   *x509.CertPool
	tls     net.Listener
	front   *http.Server
	back    *http.Server
	serving sync.WaitGroup
	dir     string
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newSite(t testing.TB, authority *acmetest.Authority, change func(*ACME)) *site {
	t.Helper()
	pem, err := os.ReadFile(authority.RootsFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	x := &site{t: t, book: &book{}, roots: authority.Roots, dir: t.TempDir()}
	x.acme = ACME{Directory: authority.Directory, Dir: filepath.Join(x.dir, "acme"), Book: x.book, Roots: roots, Email: "ops@example.com"}
	if change != nil {
		change(&x.acme)
	}
	plain := listen(t, "127.0.0.1:0")
	x.serve(plain, listen(t, "127.0.0.1:0"))
	authority.Prove(plain.Addr().(*net.TCPAddr).Port, x.tls.Addr().(*net.TCPAddr).Port)
	t.Cleanup(func() { x.end() })
	return x
}

func (x *site) serve(plain, secure net.Listener) {
	x.t.Helper()
	x.acme.HTTP, x.acme.TLS, x.tls = plain.Addr(), secure.Addr(), secure
	var err error
	if x.Store, err = Open(Options{Dir: filepath.Join(x.dir, "certificates"), ACME: &x.acme}); err != nil {
		x.t.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	quiet := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: nil}
	}
	x.front, x.back = quiet(x.Challenges(hello)), quiet(hello)
	x.back.TLSConfig = x.TLS()
	x.serving.Go(func() { _ = x.front.Serve(plain) })
	x.serving.Go(func() { _ = x.back.ServeTLS(secure, "", "") })
}

func (x *site) end() {
	_, _ = x.front.Close(), x.back.Close()
	x.serving.Wait()
	_ = x.Close()
}

// restart opens the store again, on the same addresses and files.
func (x *site) restart() {
	x.t.Helper()
	x.end()
	x.serve(listen(x.t, x.acme.HTTP.String()), listen(x.t, x.acme.TLS.String()))
}

// get asks for a name and gives the certificate that was shown.
func (x *site) get(name string) (*x509.Certificate, error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 30*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{RootCAs: x.roots, ServerName: name}}
	c, err := d.DialContext(ctx, "tcp", x.tls.Addr().String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// TestIssue gets certificates by either proof, and has them after a restart without
// asking again.
func TestIssue(t *testing.T) {
	for _, challenge := range []string{ChallengeHTTP, ChallengeTLS, ""} {
		t.Run("challenge "+challenge, func(t *testing.T) {
			authority := acmetest.Start(t, acmetest.Options{})
			x := newSite(t, authority, func(a *ACME) { a.Challenge = challenge })
			if _, err := x.get("a.test"); err == nil {
				t.Fatal("a name was served before it had a certificate")
			}
			d, err := x.Issue(t.Context(), "a.test")
			if err != nil || d.Name != "a.test" || !d.ACME || d.Expires.Before(time.Now()) {
				t.Fatalf("issue: %+v %v", d, err)
			}
			x.book.put(lambent.Domain{Name: "a.test"})
			first, err := x.get("A.test.")
			if err != nil {
				t.Fatal(err)
			}
			orders := authority.Orders()
			x.restart()
			again, err := x.get("a.test")
			if err != nil || !again.Equal(first) || authority.Orders() != orders {
				t.Errorf("after a restart: another certificate, %d orders (%v)", authority.Orders()-orders, err)
			}
			private(t, x.acme.Dir)
			if list := x.List(); len(list) != 1 || !list[0].ACME || list[0].Problem != "" {
				t.Errorf("list %+v", list)
			}
			if err := x.Forget(t.Context(), "a.test"); err != nil || x.Certificate("a.test") != nil {
				t.Errorf("it is still there (%v)", err)
			}
			left, err := filepath.Glob(filepath.Join(x.acme.Dir, "certificates", "*", "*"))
			if err != nil || len(left) != 0 {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}

// private looks for files that others may read.
func private(t *testing.T, dir string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%d files, %v", found, err)
	}
}

// TestOnDemand asks for names that are known, not known, and unable to get one.
func TestOnDemand(t *testing.T) {
	authority := acmetest.Start(t, acmetest.Options{})
	x := newSite(t, authority, func(a *ACME) { a.Challenge = ChallengeHTTP }) // of two, a failure of one may be worth an order for the other
	x.book.put(lambent.Domain{Name: "known.test", OnDemand: true})
	x.book.put(lambent.Domain{Name: "gone.test", OnDemand: true})
	var work sync.WaitGroup
	for range 5 {
		work.Go(func() {
			if _, err := x.get("known.test"); err != nil {
				t.Errorf("a known name: %v", err)
			}
		})
	}
	work.Wait()
	if n := authority.Orders(); n != 1 {
		t.Errorf("five clients at once were worth %d orders", n)
	}
	for _, name := range []string{"unknown.test", "127.0.0.1", "sub.known.test"} {
		if _, err := x.get(name); err == nil {
			t.Errorf("%s was served", name)
		}
	}
	for range 3 {
		if _, err := x.get("gone.test"); err == nil {
			t.Error("a name that leads nowhere was served")
		}
	}
	if n := authority.Orders(); n != 2 {
		t.Errorf("%d orders, want one more for the name that leads nowhere", n-1)
	}
}

// TestRefused tells why, and does not ask again soon.
func TestRefused(t *testing.T) {
	authority := acmetest.Start(t, acmetest.Options{})
	x := newSite(t, authority, nil)
	_, err := x.Issue(t.Context(), "gone.test")
	if lambent.CodeOf(err) != lambent.CodeUnavailable || lambent.ReasonOf(err) != "CertificateNotIssued" || !strings.Contains(err.Error(), "gone.test") || !strings.Contains(err.Error(), authority.Directory) {
		t.Errorf("refusal: %v", err)
	}
	t.Log(err)
	orders := authority.Orders()
	if _, err = x.Issue(t.Context(), "gone.test"); err == nil || !strings.Contains(err.Error(), "next attempt") || authority.Orders() != orders {
		t.Errorf("at once: %v, %d orders", err, authority.Orders()-orders)
	}
	for _, name := range []string{"", "localhost", "*.a.test", "10.0.0.1", "A.test", "a..test", strings.Repeat("a.", 150) + "test"} {
		if _, err := x.Issue(t.Context(), name); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	none := open(t, t.TempDir())
	if _, err := none.Issue(t.Context(), "a.test"); lambent.ReasonOf(err) != "NoACME" {
		t.Errorf("without an authority: %v", err)
	}
}

// TestPauses doubles them, up to a bound, and a success ends them.
func TestPauses(t *testing.T) {
	now := time.Unix(1000, 0)
	a := &authority{failed: map[string]failure{}, asked: map[string]int{}, now: func() time.Time { return now }, ctx: t.Context()}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		a.begin("a.test")
		a.done("a.test", io.EOF)
		if got := a.failure("a.test").until.Sub(now); got != want*time.Minute {
			t.Errorf("pause %v, want %v", got, want*time.Minute)
		}
	}
	a.begin("a.test")
	a.done("a.test", nil)
	if f := a.failure("a.test"); f.err != nil || len(a.asked) != 0 {
		t.Errorf("after a success: %+v", f)
	}
}

// TestRenew lives through the end of a certificate.
func TestRenew(t *testing.T) {
	authority := acmetest.Start(t, acmetest.Options{Validity: 8 * time.Second})
	x := newSite(t, authority, func(a *ACME) { a.Check = time.Second })
	x.book.put(lambent.Domain{Name: "a.test"})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }() // waited for below
	defer func() { stop(); <-done }()
	var first *x509.Certificate
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		c, err := x.get("a.test")
		switch {
		case err == nil && first == nil:
			first = c
		case err == nil && !c.Equal(first):
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not renewed after %v (%v)", time.Since(first.NotBefore), err)
		}
	}
}

// TestAccount is known to an authority that serves only whom it knows.
func TestAccount(t *testing.T) {
	const id, key = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	authority := acmetest.Start(t, acmetest.Options{KeyID: id, MACKey: key})
	x := newSite(t, authority, nil)
	if _, err := x.Issue(t.Context(), "a.test"); err == nil {
		t.Error("a stranger got a certificate")
	}
	x = newSite(t, authority, func(a *ACME) { a.KeyID, a.MACKey = id, key })
	if _, err := x.Issue(t.Context(), "a.test"); err != nil {
		t.Error(err)
	}
}

// TestProofIsGuarded answers nobody's questions about names that are not served.
func TestProofIsGuarded(t *testing.T) {
	authority := acmetest.Start(t, acmetest.Options{})
	x := newSite(t, authority, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+x.acme.HTTP.String()+proofPath+"token", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "a.test"
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "HTTP/1.1" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := x.TLS().GetCertificate(&tls.ClientHelloInfo{ServerName: "a.test", SupportedProtos: []string{"acme-tls/1"}}); err == nil {
		t.Error("proof of a name that is not served")
	}
}
