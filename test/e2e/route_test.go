package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// run has the command line do something.
func run(t *testing.T, s *harness.Server, args ...string) string {
	t.Helper()
	out, stderr, err := s.CLI("", args...)
	if err != nil {
		t.Fatalf("lambent %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return out
}

// TestRoutesAndDomains leads requests by routes to a function, over HTTP and, by a
// name with a certificate, over HTTP/2, before and after a restart.
func TestRoutesAndDomains(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{"LAMBENT_TLS_LISTEN=127.0.0.1:0", "LAMBENT_TLS_REDIRECT=true", "LAMBENT_LOG_ACCESS=true"}})
	s.Create(t, harness.Function{Name: "orders", Runtime: "python3.12", Handler: "index.handler", Zip: harness.Zip(t, map[string]string{"index.py": webApp})})
	run(t, s, "route", "add", "GET", "api.test/o/{id}", "orders", "--public", "--set-header", "X-Id=${path.id}", "--set-query", "who=${path.id}", "--remove-query", "secret")
	run(t, s, "route", "add", "/keyed", "orders", "--key")
	key := strings.TrimSpace(run(t, s, "apikey", "create", "mobile"))
	roots, chain, private := harness.Certificate(t, "api.test")
	if out := run(t, s, "domain", "add", "api.test", "--cert", chain, "--key", private); !strings.Contains(out, "api.test") {
		t.Errorf("domain add: %s", out)
	}
	for _, when := range []string{"at first", "after a restart"} {
		plain, secure := toGateway(t, s), toTLS(t, s, roots)
		r := newRequest(t, "GET", "http://other.test/keyed", "")
		if got := ask(t, plain, r); got.status != 403 {
			t.Errorf("%s: without key: %d", when, got.status)
		}
		r.Header.Set("X-Api-Key", key)
		if got := ask(t, plain, r); got.status != 201 {
			t.Errorf("%s: with key: %d %s", when, got.status, got.body)
		}
		plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		got := ask(t, plain, newRequest(t, "GET", "http://api.test/o/7?a=b", ""))
		if to := got.header.Get("Location"); got.status != 308 || !strings.HasPrefix(to, "https://api.test:") || !strings.HasSuffix(to, "/o/7?a=b") {
			t.Errorf("%s: redirect: %d %s", when, got.status, to)
		}
		got = ask(t, secure, newRequest(t, "GET", "https://api.test/o/7?secret=1", ""))
		var e struct {
			RawQueryString string
			RouteKey       string
			Headers        map[string]string
			PathParameters map[string]string
			RequestContext struct{ HTTP struct{ Protocol string } }
		}
		if err := json.Unmarshal([]byte(got.body), &e); err != nil || got.status != 201 {
			t.Fatalf("%s: %d %s (%v)", when, got.status, got.body, err)
		}
		if e.RouteKey != "GET /o/{id}" || e.PathParameters["id"] != "7" || e.Headers["x-id"] != "7" || e.RawQueryString != "who=7" || e.Headers["x-forwarded-proto"] != "https" || e.RequestContext.HTTP.Protocol != "HTTP/2.0" {
			t.Errorf("%s: event %+v", when, e)
		}
		if res, err := secure.Do(newRequest(t, "GET", "https://other.test/", "")); err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: a name without a certificate was served", when)
		}
		if log := s.Stderr(); !strings.Contains(log, "host=api.test method=GET path=/o/7 status=308") || !strings.Contains(log, "path=/o/7 status=201") {
			t.Errorf("%s: access log:\n%s", when, log)
		}
		s.Restart()
	}
}

// tlsOf is the address of the gateway's TLS listener, "host:port".
func tlsOf(t *testing.T, s *harness.Server) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Data, "endpoints.json"))
	if err != nil {
		t.Fatal(err)
	}
	var at struct{ TLS string }
	if err := json.Unmarshal(text, &at); err != nil || at.TLS == "" {
		t.Fatalf("no TLS in %s (%v)", text, err)
	}
	return strings.TrimPrefix(at.TLS, "https://")
}

// toTLS is a client for which every name is the gateway's TLS listener.
func toTLS(t *testing.T, s *harness.Server, roots *x509.CertPool) *http.Client {
	t.Helper()
	at := tlsOf(t, s)
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, at)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}
