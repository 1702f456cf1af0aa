package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"golang.org/x/sync/singleflight"

	"lambent.dev/lambent"
)

// Book knows the names for which certificates are got.
type Book interface {
	Domain(name string) *lambent.Domain // nil is none
	Domains() []*lambent.Domain
}

// The kinds of proof that a name is ours (RFC 8555, section 8.3, and RFC 8737).
const (
	ChallengeHTTP = "http-01"     // by the gateway's address for HTTP
	ChallengeTLS  = "tls-alpn-01" // by its address for HTTPS
)

// ACME says where certificates come from (RFC 8555). Directory, Dir and Book are
// required. Who lets names be added agrees to the terms of the authority.
type ACME struct {
	Directory string // URL
	Dir       string // of the account, the keys and the certificates
	Book      Book
	Email     string         // where the authority writes to; "" is nowhere
	Roots     *x509.CertPool // that the authority's own TLS is checked by; nil is the host's
	// Challenge is the only kind of proof to give; "" is either.
	Challenge string
	// KeyID and MACKey name an account at the authority (RFC 8555, section 7.3.4),
	// where it wants that.
	KeyID, MACKey string
	// HTTP and TLS are the addresses that proofs are asked for at, which ports 80
	// and 443 of the names lead to.
	HTTP, TLS net.Addr
	// Check is how often it is looked whether a certificate has to be renewed; 0 is
	// ten minutes.
	Check time.Duration
}

const (
	// issueTimeout bounds one attempt to get a certificate.
	issueTimeout = 90 * time.Second
	// firstPause follows a failed attempt; it doubles up to lastPause. The largest
	// authority bears five failures of a name in an hour (Let's Encrypt, "Rate
	// limits").
	firstPause = 2 * time.Minute
	lastPause  = time.Hour
	// tend is how often names without a certificate are looked for.
	tend = 10 * time.Second
)

// authority gets certificates and renews them.
type authority struct {
	o      ACME
	log    *slog.Logger
	now    func() time.Time
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer quiet
	flight singleflight.Group
	ctx    context.Context // of the attempts: nobody who waits for one ends it
	stop   context.CancelFunc
	work   sync.WaitGroup // the attempts

	mu     sync.Mutex // guards the rest
	failed map[string]failure
	asked  map[string]int // names that are being asked for
	closed bool
}

// failure is what came of the last attempts for a name.
type failure struct {
	err   error
	pause time.Duration
	until time.Time // when the next attempt may be
}

// quiet is an issuer that asks nothing of a terminal.
type quiet struct{ *certmagic.ACMEIssuer }

// PreCheck implements certmagic.PreChecker.
func (q quiet) PreCheck(ctx context.Context, names []string, _ bool) error {
	return q.ACMEIssuer.PreCheck(ctx, names, false)
}

func newAuthority(o ACME, log *slog.Logger, now func() time.Time) *authority {
	a := &authority{o: o, log: log, now: now, failed: map[string]failure{}, asked: map[string]int{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	logger := zapTo(log)
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: cmp.Or(o.Check, certmagic.DefaultRenewCheckInterval),
		Logger:             logger,
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: o.Dir},
		OCSP:    certmagic.OCSPConfig{DisableStapling: true}, // short lives have taken its place
		Logger:  logger,
	})
	template := certmagic.ACMEIssuer{
		CA: o.Directory, Email: o.Email, Agreed: true, TrustedRoots: o.Roots,
		DisableHTTPChallenge: o.Challenge == ChallengeTLS, DisableTLSALPNChallenge: o.Challenge == ChallengeHTTP,
		CertObtainTimeout: issueTimeout, Logger: logger,
	}
	// The listeners are there: these say where, so that no others are opened.
	template.ListenHost, template.AltHTTPPort = hostPort(o.HTTP)
	_, template.AltTLSALPNPort = hostPort(o.TLS)
	if o.KeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: o.KeyID, MACKey: o.MACKey}
	}
	a.issuer = quiet{certmagic.NewACMEIssuer(a.config, template)}
	a.config.Issuers = []certmagic.Issuer{a.issuer}
	return a
}

func hostPort(addr net.Addr) (host string, port int) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "", 0
	}
	if !tcp.IP.IsUnspecified() {
		host = tcp.IP.String()
	}
	return host, tcp.Port
}

// close ends the attempts and waits for them.
func (a *authority) close() {
	a.mu.Lock()
	was := a.closed
	a.closed = true
	a.mu.Unlock()
	if was {
		return
	}
	a.stop()
	a.work.Wait()
	a.cache.Stop()
}

// begin admits an attempt; it is false once all ends.
func (a *authority) begin(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.asked[name]++
	a.work.Add(1)
	return true
}

func (a *authority) done(name string, err error) {
	a.mu.Lock()
	if a.asked[name]--; a.asked[name] <= 0 {
		delete(a.asked, name)
	}
	switch {
	case err == nil:
		delete(a.failed, name)
	case a.ctx.Err() == nil:
		pause := min(max(2*a.failed[name].pause, firstPause), lastPause)
		a.failed[name] = failure{err, pause, a.now().Add(pause)}
	}
	a.mu.Unlock()
	a.work.Done()
}

// expects tells whether proof may be asked for a name.
func (a *authority) expects(name string) bool {
	a.mu.Lock()
	asked := a.asked[name] > 0
	a.mu.Unlock()
	return asked || a.o.Book.Domain(name) != nil
}

// failure is what the last attempt for a name ended with; its err is nil if it
// went well, or if there was none.
func (a *authority) failure(name string) failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed[name]
}

// issue gets a certificate for a name, or loads it, unless there is one. It waits
// until ctx ends, but the attempt does not end with it.
func (a *authority) issue(ctx context.Context, name string) error {
	if f := a.failure(name); f.err != nil && a.now().Before(f.until) {
		e := lambent.Errorf(lambent.CodeUnavailable, "%s; the next attempt may be at %s", f.err, f.until.UTC().Format(time.RFC3339))
		return e.WithReason("CertificateNotIssued")
	}
	result := a.flight.DoChan(name, func() (any, error) {
		if !a.begin(name) {
			return nil, lambent.Errorf(lambent.CodeCanceled, "the server stops")
		}
		ctx, cancel := context.WithTimeout(a.ctx, issueTimeout)
		defer cancel()
		err := a.explain(name, a.config.ManageSync(ctx, []string{name}))
		a.done(name, err)
		return nil, err
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return lambent.Errorf(lambent.CodeCanceled, "wait for the certificate for %s: %w", name, context.Cause(ctx))
	}
}

// explain says what the authority says, and to whom.
func (a *authority) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	why := err.Error()
	var problem acme.Problem
	if errors.As(err, &problem) && problem.Detail != "" {
		why = problem.Detail
		for _, sub := range problem.Subproblems {
			why += "; " + sub.Detail
		}
		if i := strings.LastIndexByte(problem.Type, ':'); i >= 0 {
			why += " (" + problem.Type[i+1:] + ")"
		}
	}
	return &lambent.Error{Code: lambent.CodeUnavailable, Reason: "CertificateNotIssued", Cause: err,
		Message: a.o.Directory + " has not issued a certificate for " + name + ": " + why}
}

// certificate is the certificate of a name that is loaded; nil is none.
func (a *authority) certificate(name string) *tls.Certificate {
	var best *certmagic.Certificate
	for _, c := range a.cache.AllMatchingCertificates(name) {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c
		}
	}
	if best == nil {
		return nil
	}
	return &best.Certificate
}

// domain is what there is of a name's certificate.
func (a *authority) domain(name string) Domain {
	d := Domain{Name: name}
	if cert := a.certificate(name); cert != nil {
		d = domain(name, cert)
	} else if f := a.failure(name); f.err != nil {
		d.Problem = f.err.Error()
	}
	d.ACME = true
	return d
}

// forget gives a certificate up, and what is kept of it.
func (a *authority) forget(ctx context.Context, name string) error {
	a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
	a.mu.Lock()
	delete(a.failed, name)
	a.mu.Unlock()
	return a.config.Storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(a.issuer.IssuerKey(), name))
}

// run gets the certificates of the names that have none, except those that wait to
// be asked for, until ctx ends.
func (a *authority) run(ctx context.Context) {
	a.tend(ctx)
	// What expired while the server was off need not wait for the next check.
	if err := a.cache.RenewManagedCertificates(ctx); err != nil {
		a.log.Warn("renew certificates", "err", err)
	}
	tick := time.NewTicker(tend)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.tend(ctx)
		}
	}
}

func (a *authority) tend(ctx context.Context) {
	for _, d := range a.o.Book.Domains() {
		if ctx.Err() != nil {
			return
		}
		if a.certificate(d.Name) != nil || d.OnDemand || a.now().Before(a.failure(d.Name).until) {
			continue
		}
		if err := a.issue(ctx, d.Name); err != nil && ctx.Err() == nil {
			a.log.Warn("get certificate", "name", d.Name, "err", err)
		}
	}
}

// isProof tells a handshake that asks for proof of a name (RFC 8737, section 3).
func isProof(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol})
}

// proofPath is where proof of a name is asked for (RFC 8555, section 8.3).
const proofPath = "/.well-known/acme-challenge/"

// Challenges answers the questions of an authority in front of next.
func (s *Store) Challenges(next http.Handler) http.Handler {
	a := s.authority
	if a == nil || a.o.Challenge == ChallengeTLS {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.RequestURI, proofPath) && a.expects(normal(hostOf(r.Host))) && a.issuer.HandleHTTPChallenge(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostOf(hostport string) string {
	host, _, _ := strings.Cut(hostport, ":")
	return host
}

// Issue gets a certificate for a name, and uses it from now on. The names of the
// Book are renewed; Issue does not add to it.
func (s *Store) Issue(ctx context.Context, name string) (Domain, error) {
	if err := s.Issuable(name); err != nil {
		return Domain{}, err
	}
	if err := s.authority.issue(ctx, name); err != nil {
		return Domain{}, err
	}
	return s.authority.domain(name), nil
}

// Issuable tells why no certificate can be got for a name.
func (s *Store) Issuable(name string) error {
	switch {
	case s.authority == nil:
		return lambent.Errorf(lambent.CodeUnsupported, "the server gets no certificates: set tls.acme.directory in its configuration").WithReason("NoACME")
	case len(name) > 200 || !nameForm.MatchString(name) || !strings.Contains(name, ".") || net.ParseIP(name) != nil:
		return lambent.Errorf(lambent.CodeInvalid, "%q is not a host name of two or more labels in lower case", name)
	case strings.HasPrefix(name, "*"):
		return lambent.Errorf(lambent.CodeInvalid, "a certificate for %s is given for proof by the name service only: add each name, or bring a certificate of your own", name)
	}
	return nil
}

// Forget gives up the certificate that was got for a name.
func (s *Store) Forget(ctx context.Context, name string) error {
	if s.authority == nil {
		return nil
	}
	if err := s.authority.forget(ctx, name); err != nil {
		return &lambent.Error{Code: lambent.CodeUnavailable, Message: "the certificate could not be deleted", Cause: err}
	}
	return nil
}

// Close ends what Issue has begun, and the renewals.
func (s *Store) Close() error {
	if s.authority != nil {
		s.authority.close()
	}
	return nil
}
