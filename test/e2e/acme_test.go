package e2e

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/gateway/certs/acmetest"
	"lambent.dev/lambent/test/harness"
)

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address[strings.LastIndexByte(address, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestACME has the server get certificates from an authority, for a name that is
// added and for one that a client asks for, and tells why it gets none.
func TestACME(t *testing.T) {
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			authority := acmetest.Start(t, acmetest.Options{})
			s := harness.Start(t, harness.Options{Env: []string{
				"LAMBENT_TLS_LISTEN=127.0.0.1:0", "LAMBENT_TLS_REDIRECT=true", "LAMBENT_TLS_ACME_DIRECTORY=" + authority.Directory,
				"LAMBENT_TLS_ACME_ROOTS=" + authority.RootsFile, "LAMBENT_TLS_ACME_CHALLENGE=" + challenge, "LAMBENT_TLS_ACME_EMAIL=ops@example.com",
			}})
			authority.Prove(portOf(t, s.Gateway), portOf(t, tlsOf(t, s)))
			s.Create(t, harness.Function{Name: "orders", Runtime: "python3.12", Handler: "index.handler", Zip: harness.Zip(t, map[string]string{"index.py": webApp})})
			run(t, s, "route", "add", "/{rest+}", "orders", "--public")
			if out := run(t, s, "domain", "add", "api.test", "--acme"); !strings.Contains(out, "renewed") || !strings.Contains(out, "Pebble") {
				t.Errorf("domain add: %s", out)
			}
			run(t, s, "domain", "add", "later.test", "--acme", "--on-demand")
			if _, stderr, err := s.CLI("", "domain", "add", "gone.test", "--acme"); err == nil || !strings.Contains(stderr, "has not issued a certificate for gone.test") {
				t.Errorf("a name that leads nowhere: %v %s", err, stderr)
			}
			for _, when := range []string{"at first", "after a restart"} {
				secure := toTLS(t, s, authority.Roots)
				for _, host := range []string{"api.test", "later.test"} {
					if got := ask(t, secure, newRequest(t, "GET", "https://"+host+"/x", "")); got.status != 201 {
						t.Errorf("%s: %s: %d %s", when, host, got.status, got.body)
					}
				}
				if res, err := secure.Do(newRequest(t, "GET", "https://gone.test/", "")); err == nil {
					_ = res.Body.Close()
					t.Errorf("%s: a name without a certificate was served", when)
				}
				s.Restart()
			}
			run(t, s, "domain", "delete", "api.test")
			if out := run(t, s, "domain", "list"); strings.Contains(out, "api.test") || !strings.Contains(out, "later.test") || strings.Contains(out, "gone.test") {
				t.Errorf("domain list: %s", out)
			}
		})
	}
}
