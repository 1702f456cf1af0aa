package image

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lambent.dev/lambent"
)

// Registry is what the operator says of a registry.
type Registry struct {
	Host     string // as references name it, with the port if there is one
	Username string
	Password string
	Token    string // of the registry, in place of user and password
	// Insecure lets it be spoken to without TLS.
	Insecure bool
}

// Errors of the way to a registry.
var (
	errPrivate = errors.New("a private address that is not configured")
	errPlain   = errors.New("not without TLS")
)

// FromDockerConfig reads the logins of a Docker client's configuration. Helpers,
// which are programs, are not asked.
func FromDockerConfig(path string) ([]Registry, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the logins: %w", err)
	}
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read the logins in %s: it is not the JSON of a Docker configuration", path)
	}
	var all []Registry
	for host, a := range file.Auths {
		r := Registry{Host: hostOf(host), Username: a.Username, Password: a.Password, Token: a.RegistryToken}
		if pair, err := base64.StdEncoding.DecodeString(a.Auth); err == nil && len(pair) > 0 {
			r.Username, r.Password, _ = strings.Cut(string(pair), ":")
		}
		all = append(all, r)
	}
	return all, nil
}

// hostOf is a registry's name in a reference; configurations have URLs, too, and
// Docker Hub under an old one.
func hostOf(text string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if host == "docker.io" || host == "registry-1.docker.io" {
		return name.DefaultRegistry
	}
	return host
}

// session talks to one registry, for one image. Connections are its own: what may
// be reached depends on what the image's reference names.
type session struct {
	room      *Room
	host      string // that the reference names
	transport *http.Transport
}

func (r *Room) session(host string) *session {
	s := &session{room: r, host: host}
	s.transport = &http.Transport{
		DialContext: s.dial, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: idleTimeout,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: r.o.Resolve, MaxResponseHeaderBytes: 256 << 10,
	}
	return s
}

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second
)

func (s *session) close() { s.transport.CloseIdleConnections() }

func (s *session) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(s), remote.WithAuthFromKeychain(s), remote.WithUserAgent("lambent"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 3})}
}

// Resolve is the login for a registry ([authn.Keychain]).
func (s *session) Resolve(to authn.Resource) (authn.Authenticator, error) {
	c, ok := s.room.configured(to.RegistryStr())
	switch {
	case !ok:
		return authn.Anonymous, nil
	case c.Token != "":
		return authn.FromConfig(authn.AuthConfig{RegistryToken: c.Token}), nil
	case c.Username != "":
		return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password}), nil
	}
	return authn.Anonymous, nil
}

func (r *Room) configured(host string) (Registry, bool) {
	for _, c := range r.o.Registries {
		if hostOf(c.Host) == host {
			return c, true
		}
	}
	return Registry{}, false
}

// RoundTrip sends a request, to the registry or to where it sends us, and bounds
// what is not a layer or the like, whose sizes are known.
func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !loopback(req.URL.Hostname()) {
		if c, ok := s.room.configured(req.URL.Host); !ok || !c.Insecure {
			return nil, errPlain
		}
	}
	res, err := s.transport.RoundTrip(req)
	switch {
	case err != nil && req.URL.Host != s.host:
		return nil, fmt.Errorf("%w: %w", errElsewhere, err)
	case err != nil:
		return nil, err
	}
	if !forBlob(req) {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxConfig+1), res.Body}
	}
	return res, nil
}

// forBlob tells whether a blob was asked for, wherever that has led (OCI distribution
// specification, "Endpoints"). A repository may be called so, too.
func forBlob(req *http.Request) bool {
	for req.Response != nil && req.Response.Request != nil { // which sent us here
		req = req.Response.Request
	}
	return path.Base(path.Dir(req.URL.Path)) == "blobs"
}

func loopback(host string) bool {
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// dial connects. To a private address only a reference or the configuration leads,
// never an answer: a registry could make the server ask what only it can reach.
func (s *session) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	named := s.host == address || s.host == host && (port == "443" || port == "80")
	_, known := s.room.configured(address)
	if _, bare := s.room.configured(host); bare && (port == "443" || port == "80") {
		known = true
	}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		switch addr := to.Addr().Unmap(); {
		case known, lambent.PublicAddress(addr):
			return nil
		case named && !addr.IsLinkLocalUnicast(): // where clouds answer with credentials
			return nil
		}
		return errPrivate
	}
	return d.DialContext(ctx, network, address)
}
