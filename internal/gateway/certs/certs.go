// Package certs owns the certificates of the gateway's own domains: a directory of
// files, one name in each, which an operator may fill as well as the API does, and
// those that it gets from an authority by ACME and renews. It answers for the name
// that a client asks for and takes new files up while it runs. It refuses names
// without a certificate, so that nobody is shown another domain's, asks for none
// that package catalog does not know, and never lets go of a good certificate for
// the sake of a bad file.
package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"

	"lambent.dev/lambent"
)

// Reread is how often the directory is looked at.
const Reread = 2 * time.Second

// maxFile bounds a file of the directory, in bytes.
const maxFile = 1 << 20

// Domain is a name with its certificate.
type Domain struct {
	Name    string
	Names   []string // all that the certificate is for
	Issuer  string
	Expires time.Time // zero while there is no certificate yet
	ACME    bool      // it is got from the authority
	Problem string    // why there is none; "" is nothing
}

// Options are what a Store is made of. Dir is required.
type Options struct {
	Dir  string
	ACME *ACME            // nil gets no certificates
	Log  *slog.Logger     // discarded when nil
	Now  func() time.Time // time.Now when nil
}

// Store is safe for concurrent use; who asks for a certificate takes no lock.
type Store struct {
	o         Options
	authority *authority                                  // nil is none
	names     atomic.Pointer[map[string]*tls.Certificate] // "*.example.com" as it is

	mu    sync.Mutex // guards files, and who reads or writes the directory
	files map[string]*file
}

// file is what came of one file.
type file struct {
	stamp string           // changes when the file does
	cert  *tls.Certificate // the last good one; nil is none
}

// Open reads the directory, which need not exist. A file that is bad is logged and
// skipped. The Store has to be closed.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o: o, files: map[string]*file{}}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	if o.ACME != nil {
		s.authority = newAuthority(*o.ACME, o.Log, o.Now)
	}
	return s, nil
}

// Run takes up changes of the directory, and gets the certificates that are
// missing, until ctx ends; it returns nil.
func (s *Store) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	if s.authority != nil {
		work.Go(func() { s.authority.run(ctx) })
	}
	tick := time.NewTicker(Reread)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.Reload(); err != nil {
				s.o.Log.Warn("read certificates", "err", err)
			}
		}
	}
}

// Reload looks at the directory now.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reload()
}

// reload is Reload for who holds mu.
func (s *Store) reload() error {
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	seen, changed := map[string]bool{}, false
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".pem" && ext != ".crt" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		seen[e.Name()] = true
		changed = s.look(e.Name()) || changed
	}
	for name := range s.files {
		if !seen[name] {
			delete(s.files, name)
			changed = true
		}
	}
	if changed || s.names.Load() == nil {
		s.index()
	}
	return nil
}

// look reads a file if it has changed; it tells whether its certificate has.
func (s *Store) look(name string) bool {
	path := filepath.Join(s.o.Dir, name)
	keyPath := path
	if stem, ok := strings.CutSuffix(path, ".crt"); ok {
		keyPath = stem + ".key"
	}
	stamp := stampOf(path) + stampOf(keyPath)
	f := s.files[name]
	if f != nil && f.stamp == stamp {
		return false
	}
	if f == nil {
		f = &file{}
		s.files[name] = f
	}
	f.stamp = stamp
	cert, err := read(path, keyPath)
	if err != nil {
		s.o.Log.Warn("certificate is not used", "file", path, "err", err)
		return false
	}
	f.cert = cert
	return true
}

func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "none "
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
}

func read(path, keyPath string) (*tls.Certificate, error) {
	chain, err := readFile(path)
	if err != nil {
		return nil, err
	}
	key := chain
	if keyPath != path {
		if key, err = readFile(keyPath); err != nil {
			return nil, err
		}
	}
	return parse(chain, key)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, errors.New("it is not a file of at most 1 MiB")
	}
	return os.ReadFile(path)
}

func parse(chain, key []byte) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, err
		}
	}
	if len(cert.Leaf.DNSNames) == 0 {
		return nil, errors.New("the certificate names no host")
	}
	return &cert, nil
}

// index makes the map of names. Of two certificates for one name the one that
// expires later is used.
func (s *Store) index() {
	names := map[string]*tls.Certificate{}
	for _, f := range s.files {
		if f.cert == nil {
			continue
		}
		for _, name := range f.cert.Leaf.DNSNames {
			name = strings.ToLower(name)
			if old := names[name]; old == nil || old.Leaf.NotAfter.Before(f.cert.Leaf.NotAfter) {
				names[name] = f.cert
			}
		}
	}
	s.names.Store(&names)
}

// Certificate finds the certificate for a host: its own, else a wildcard's, which
// stands for one label (RFC 6125, section 6.4.3), else one that was got. nil is
// none.
func (s *Store) Certificate(host string) *tls.Certificate {
	names := *s.names.Load()
	host = normal(host)
	if cert := names[host]; cert != nil {
		return cert
	}
	if _, parent, ok := strings.Cut(host, "."); ok && names["*."+parent] != nil {
		return names["*."+parent]
	}
	if s.authority != nil && host != "" {
		return s.authority.certificate(host)
	}
	return nil
}

func normal(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

var errProof = errors.New("no proof of the name is being asked for")

// TLS is the configuration of a listener: TLS 1.2 and above, HTTP/2 and HTTP/1.1.
func (s *Store) TLS() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: s.answer}
	if s.authority != nil {
		c.NextProtos = append(c.NextProtos, acmez.ACMETLS1Protocol)
	}
	return c
}

// answer finds the certificate that a client asks for. One that the Book knows and
// that is not there yet is got now. With neither a certificate nor an error, crypto/tls
// tells the client that it does not know the name (RFC 6066, section 3), where an error
// would look like a fault of the server.
func (s *Store) answer(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a, name := s.authority, normal(hello.ServerName)
	if a != nil && isProof(hello) {
		if !a.expects(name) {
			return nil, errProof
		}
		return a.config.GetCertificate(hello)
	}
	if cert := s.Certificate(name); cert != nil {
		return cert, nil
	}
	if a == nil || a.o.Book.Domain(name) == nil {
		return nil, nil
	}
	if err := a.issue(hello.Context(), name); err != nil {
		a.log.Warn("get certificate", "name", name, "err", err)
		return nil, err
	}
	return a.certificate(name), nil // none if the name was given up meanwhile
}

var nameForm = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// path is the file of a name.
func (s *Store) path(name string) (string, error) {
	if len(name) > 200 || !nameForm.MatchString(name) {
		return "", lambent.Errorf(lambent.CodeInvalid, "%q is not a host name in lower case, nor *. and one", name)
	}
	return filepath.Join(s.o.Dir, strings.Replace(name, "*", "_wildcard", 1)+".pem"), nil
}

// Put keeps a certificate with its chain, and its key, both PEM, for a name that is
// among those of the certificate, and uses it from now on.
func (s *Store) Put(name string, chain, key []byte) (Domain, error) {
	path, err := s.path(name)
	if err != nil {
		return Domain{}, err
	}
	if len(chain)+len(key) > maxFile-1 {
		return Domain{}, lambent.Errorf(lambent.CodeTooLarge, "a certificate with its key has at most %d bytes", maxFile)
	}
	cert, err := parse(chain, key)
	if err != nil {
		return Domain{}, &lambent.Error{Code: lambent.CodeInvalid, Reason: "InvalidCertificate", Message: "the certificate cannot be used: " + err.Error(), Cause: err}
	}
	switch now := s.o.Now(); {
	case !slices.ContainsFunc(cert.Leaf.DNSNames, func(n string) bool { return covers(n, name) }):
		return Domain{}, lambent.Errorf(lambent.CodeInvalid, "the certificate is for %s, not for %s", strings.Join(cert.Leaf.DNSNames, ", "), name)
	case now.After(cert.Leaf.NotAfter):
		return Domain{}, lambent.Errorf(lambent.CodeInvalid, "the certificate has expired at %s", cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := write(path, slices.Concat(certificates(chain), []byte{'\n'}, bytes.TrimSpace(key), []byte{'\n'})); err != nil {
		return Domain{}, &lambent.Error{Code: lambent.CodeUnavailable, Message: "the certificate could not be written", Cause: err}
	}
	if err := s.reload(); err != nil {
		return Domain{}, &lambent.Error{Code: lambent.CodeUnavailable, Message: "the certificates could not be read", Cause: err}
	}
	return domain(name, cert), nil
}

func covers(pattern, name string) bool {
	pattern = strings.ToLower(pattern)
	_, parent, ok := strings.Cut(name, ".")
	return pattern == name || ok && pattern == "*."+parent
}

// certificates keeps the certificates of a PEM file only, so that a key in it is not
// there twice.
func certificates(text []byte) (out []byte) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(block)...)
		}
	}
}

// write replaces a file as a whole, readable by its owner only.
func write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Delete forgets the certificate that was put for a name.
func (s *Store) Delete(name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return lambent.Errorf(lambent.CodeNotFound, "there is no certificate for %s", name)
	} else if err != nil {
		return &lambent.Error{Code: lambent.CodeUnavailable, Message: "the certificate could not be deleted", Cause: err}
	}
	return s.reload()
}

// List returns the names and their certificates, in order, and the names that have
// to get one.
func (s *Store) List() []Domain {
	var out []Domain
	files := *s.names.Load()
	for name, cert := range files {
		out = append(out, domain(name, cert))
	}
	if a := s.authority; a != nil {
		for _, known := range a.o.Book.Domains() {
			if files[known.Name] == nil {
				out = append(out, a.domain(known.Name))
			}
		}
	}
	slices.SortFunc(out, func(a, b Domain) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func domain(name string, cert *tls.Certificate) Domain {
	return Domain{Name: name, Names: cert.Leaf.DNSNames, Issuer: cert.Leaf.Issuer.String(), Expires: cert.Leaf.NotAfter}
}
