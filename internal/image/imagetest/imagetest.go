// Package imagetest makes container images and serves them, for tests: layers
// from lists of files, images from layers, and an in-process registry that asks
// for a login. It holds no assertions.
package imagetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The login that a [Registry] asks for.
const (
	User     = "puller"
	Password = "let-me-in"
)

// Registry is a registry of this process.
type Registry struct {
	Host string // "127.0.0.1:port"
	Open bool   // asks nobody for a login
	// Tokens has it want a token, which /token gives for the login (CNCF distribution,
	// "Token Authentication Specification"); Expire makes all that were given worthless.
	Tokens  bool
	expired atomic.Int64
	// Change, if set, answers requests before the registry does; true is enough.
	Change func(w http.ResponseWriter, r *http.Request) bool
	// Files are blobs that are on disk, by their digest ("sha256:..."): the registry
	// has them without a push.
	Files map[string]string
	// Sent counts the bytes of blobs that went out.
	Sent atomic.Int64
}

// counted is an answer whose bytes are counted.
type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// file answers for a blob that is on disk.
func (r *Registry) file(w http.ResponseWriter, req *http.Request) bool {
	digest := path.Base(req.URL.Path)
	name := r.Files[digest]
	if name == "" || req.Method != http.MethodGet && req.Method != http.MethodHead {
		return false
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(w, req, name)
	return true
}

// Start starts a registry; the test stops it.
func Start(t testing.TB) *Registry {
	t.Helper()
	reg := &Registry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !reg.Open && !reg.admits(w, r) {
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = counted{w, &reg.Sent}
		}
		if (reg.Change == nil || !reg.Change(w, r)) && !reg.file(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	reg.Host = u.Host
	return reg
}

// Expire has the registry ask everybody for a new token.
func (r *Registry) Expire() { r.expired.Add(1) }

// admits asks for a login, or a token that was given for one.
func (r *Registry) admits(w http.ResponseWriter, req *http.Request) bool {
	user, password, _ := req.BasicAuth()
	known := user == User && password == Password
	token := strconv.FormatInt(r.expired.Load(), 10)
	switch {
	case r.Tokens && known && req.URL.Path == "/token":
		_, _ = io.WriteString(w, `{"token": "`+token+`"}`) // the client may be gone
		return false
	case r.Tokens && req.Header.Get("Authorization") == "Bearer "+token:
		return true
	case r.Tokens:
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token",service="test"`)
	case known:
		return true
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	}
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

// Push puts an image, or an index, into the registry and returns its reference.
func (r *Registry) Push(t testing.TB, repository string, what remote.Taggable) string {
	t.Helper()
	reference := r.Host + "/" + repository
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	login := remote.WithAuth(&authn.Basic{Username: User, Password: Password})
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what, login)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, login)
	}
	if err != nil {
		t.Fatal(err)
	}
	return reference
}

// Layer makes a layer of names and contents. A name that ends in "!" is
// executable, one that ends in "/" a directory; content that begins with "->" is
// the target of a link.
func Layer(t testing.TB, files ...[2]string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := tar.Header{Name: f[0], Typeflag: tar.TypeReg, Mode: 0o644}
		if n, ok := strings.CutSuffix(f[0], "!"); ok {
			h.Name, h.Mode = n, 0o755
		}
		content := f[1]
		switch target, link := strings.CutPrefix(content, "->"); {
		case link:
			h.Typeflag, h.Linkname, content = tar.TypeSymlink, target, ""
		case strings.HasSuffix(h.Name, "/"):
			h.Typeflag, h.Mode, content = tar.TypeDir, 0o755, ""
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Image makes an image of layers, the lowest first. Its platform is linux/arch,
// as Go calls architectures.
func Image(t testing.TB, arch string, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	var all []mutate.Addendum
	for _, l := range layers {
		all = append(all, addendum(t, l))
	}
	img, err := mutate.Append(empty.Image, all...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", arch, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// Archive writes a tar archive of files of noise, which cannot be compressed, after
// files of given content; it is as large as it is told, about.
func Archive(t testing.TB, to string, size, each int64, files ...[2]string) {
	t.Helper()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, file := range files {
		name, program := strings.CutSuffix(file[0], "!")
		h := tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(file[1]))}
		if program {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			t.Fatal(err)
		}
	}
	noise := rand.NewChaCha8([32]byte{1})
	for n := int64(0); n*each < size; n++ {
		h := tar.Header{Name: "data/" + strconv.FormatInt(n, 10), Typeflag: tar.TypeReg, Mode: 0o644, Size: each}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, noise, each); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
