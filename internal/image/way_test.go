package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUntrusted words what really goes wrong between a client and a server.
func TestUntrusted(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	rude := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer rude.Close()
	trusting := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for name, c := range map[string]struct {
		url    string
		config *tls.Config
		want   string
	}{
		"authority": {secure.URL, &tls.Config{}, "The registry r has a certificate (TLS) of an authority that this host does not know."},
		"name":      {secure.URL, &tls.Config{RootCAs: trusting, ServerName: "other.test"}, "The registry r has a certificate (TLS) for another name."},
		"version":   {secure.URL, &tls.Config{RootCAs: trusting, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "The registry r could not agree on TLS."},
		"plain":     {strings.Replace(plain.URL, "http:", "https:", 1), &tls.Config{}, "The registry r does not speak TLS: "},
		"rude":      {rude.URL, nil, "The registry r broke the connection off."},
	} {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: c.config}}
		res, err := client.Get(c.url)
		if err == nil {
			_ = res.Body.Close()
			t.Fatalf("%s: it works", name)
		}
		if got := unreachable("the registry r", err); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q for %v, want %q", name, got, err, c.want)
		}
		client.CloseIdleConnections()
	}
}

// TestFailedWay: what a place is called that a registry leads to is not said.
func TestFailedWay(t *testing.T) {
	name := &net.DNSError{Name: "secret.internal", IsNotFound: true}
	slow := &net.DNSError{Name: "r", IsTimeout: true}
	r := New(Options{})
	for want, err := range map[string]error{
		"The source image r.io/a:1 cannot be read. The name of the registry r.io is not known (DNS).":                           name,
		"The source image r.io/a:1 cannot be read. The name of a place that the registry r.io leads to is not known (DNS).":     fmt.Errorf("%w: %w", errElsewhere, name),
		"The name of the registry r.io could not be looked up (DNS).":                                                           slow,
		"The source image r.io/a:1 cannot be read. The registry r.io cannot be reached from this network.":                      syscall.EHOSTUNREACH,
		"The source image r.io/a:1 cannot be read. A place that the registry r.io leads to refuses connections.":                fmt.Errorf("%w: dial 192.0.2.7:5000: %w", errElsewhere, syscall.ECONNREFUSED),
		"The registry r.io did not answer in time, when it was asked for the source image r.io/a:1.":                            context.DeadlineExceeded,
		"The registry of the source image r.io/a:1 leads to a private address, which is not configured: name it in registries.": fmt.Errorf("%w: %w", errElsewhere, errPrivate),
		"The source image r.io/a:1 cannot be read from its registry.":                                                           errors.New("192.0.2.7 says so"),
	} {
		if got := r.failed(t.Context(), "r.io/a:1", err); got.Error() != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// A registry does not lead the server to networks that are not public, of whatever kind.
func TestAnswersLeadToPublicAddresses(t *testing.T) {
	s := New(Options{}).session("r.io")
	defer s.close()
	for _, address := range []string{"10.0.0.1:443", "100.64.0.1:443", "198.18.0.1:443", "240.0.0.1:443"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if c, err := s.dial(ctx, "tcp", address); !errors.Is(err, errPrivate) {
			t.Errorf("%s: %v, %v", address, c, err)
		}
	}
}
