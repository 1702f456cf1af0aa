package image_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/image/imagetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// arch is this host's, as functions call it.
var arch = map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]

// other is not this host's, as Go calls it.
var other = map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]

type rig struct {
	*image.Room
	registry *imagetest.Registry
	store    *artifact.Store
}

func open(t *testing.T) rig {
	t.Helper()
	store, err := artifact.Open(artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	if err != nil {
		t.Fatal(err)
	}
	registry := imagetest.Start(t)
	room := image.New(image.Options{Layers: store, Resolve: 2 * time.Second, Idle: 300 * time.Millisecond, Registries: []image.Registry{
		{Host: registry.Host, Username: imagetest.User, Password: imagetest.Password},
	}})
	return rig{room, registry, store}
}

var plain = v1.Config{
	Entrypoint: []string{"/bin/run"}, Cmd: []string{"a", "b"}, WorkingDir: "/work", User: "1000:1000", Env: []string{"A=1"},
	ExposedPorts: map[string]struct{}{"9000/udp": {}, "8443/tcp": {}, "8080": {}}, Volumes: map[string]struct{}{"/var/data": {}, "/cache": {}}, StopSignal: "SIGQUIT",
}

func layers(t *testing.T) []v1.Layer {
	t.Helper()
	return []v1.Layer{imagetest.Layer(t, [2]string{"etc/base", "base"}), imagetest.Layer(t, [2]string{"bin/run!", "run"})}
}

func TestPull(t *testing.T) {
	x := open(t)
	img := imagetest.Image(t, runtime.GOARCH, plain, layers(t)...)
	reference := x.registry.Push(t, "team/app:v1", img)
	found, err := x.Resolve(t.Context(), reference, arch)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if found.Reference != reference || found.Digest != digest.String() || found.Directory != "/work" || found.User != "1000:1000" ||
		found.Port != 8080 || !slices.Equal(found.EntryPoint, plain.Entrypoint) || !slices.Equal(found.Command, plain.Cmd) || !slices.Equal(found.Env, plain.Env) ||
		found.StopSignal != 3 || !slices.Equal(found.Volumes, []string{"/cache", "/var/data"}) {
		t.Errorf("resolved %+v", found)
	}
	// The tag moves on: what was resolved is what is pulled.
	x.registry.Push(t, "team/app:v1", imagetest.Image(t, runtime.GOARCH, v1.Config{}, imagetest.Layer(t, [2]string{"x", "x"})))
	if err := x.Pull(t.Context(), found); err != nil {
		t.Fatal(err)
	}
	for i, file := range []string{"etc/base", "bin/run"} {
		dir, release, err := x.store.Use(t.Context(), found.Layers[i])
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, file)); string(b) != filepath.Base(file) {
			t.Errorf("%s is %q, %v", file, b, err)
		}
		release()
	}
	// What is here is not asked for again.
	x.registry.Change = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusTeapot); return true }
	if err := x.Pull(t.Context(), found); err != nil {
		t.Errorf("pull again: %v", err)
	}
}

func TestIndex(t *testing.T) {
	x := open(t)
	ours, theirs := imagetest.Image(t, runtime.GOARCH, plain, layers(t)...), imagetest.Image(t, other, plain, layers(t)...)
	add := func(img v1.Image, a string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a}}}
	}
	both := x.registry.Push(t, "both", mutate.AppendManifests(empty.Index, add(theirs, other), add(ours, runtime.GOARCH)))
	found, err := x.Resolve(t.Context(), both, arch)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := ours.Digest(); found.Digest != want.String() {
		t.Errorf("resolved %s, want %s", found.Digest, want)
	}
	foreign := x.registry.Push(t, "foreign", mutate.AppendManifests(empty.Index, add(theirs, other)))
	if _, err := x.Resolve(t.Context(), foreign, arch); lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), "linux/"+other) {
		t.Errorf("foreign index: %v", err)
	}
}

// Each fault says what is wrong and whose it is.
func TestFaults(t *testing.T) {
	private := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the private place was asked") }))
	defer private.Close()
	_, port, err := net.SplitHostPort(private.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hang := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	var blobs atomic.Int64
	blob := func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet
	}
	for name, c := range map[string]struct {
		change func(w http.ResponseWriter, r *http.Request) bool
		code   lambent.Code
		says   string
	}{
		"redirect to a private address": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.2:"+port+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}, lambent.CodeInvalid, "private address"},
		"redirect to the clouds' metadata": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
			return true
		}, lambent.CodeInvalid, "private address"},
		"redirect without TLS": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://192.0.2.1/v2/", http.StatusTemporaryRedirect)
			return true
		}, lambent.CodeInvalid, "does not speak TLS"},
		"hangs": {func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				hang(w, r)
				return true
			}
			return false
		}, lambent.CodeTimeout, "in time"},
		"stalls in a layer": {func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) && blobs.Add(1) > 1 { // the first is the configuration
				hang(w, r)
				return true
			}
			return false
		}, lambent.CodeTimeout, "in time"},
		"fails": {func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }, lambent.CodeDenied, "permission"},
		"missing blob": {func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				w.WriteHeader(http.StatusNotFound)
			}
			return blob(r)
		}, lambent.CodeInvalid, "does not exist"},
		"corrupt blob": {func(w http.ResponseWriter, r *http.Request) bool {
			if !blob(r) {
				return false
			}
			_, _ = io.WriteString(w, "nonsense")
			return true
		}, lambent.CodeInvalid, ""},
		"huge manifest": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			_, _ = w.Write(make([]byte, 8<<20))
			return true
		}, lambent.CodeInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t)
			reference := x.registry.Push(t, "a/b:1", imagetest.Image(t, runtime.GOARCH, plain, layers(t)...))
			found, err := x.Resolve(t.Context(), reference, arch)
			if err != nil {
				t.Fatal(err)
			}
			x.registry.Change = c.change
			if err := x.Pull(t.Context(), found); lambent.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("pull: %v (%s, %v), want one that says %q", err, lambent.CodeOf(err), errors.Unwrap(err), c.says)
			}
			for _, d := range found.Layers {
				if x.store.HasLayer(d) {
					t.Errorf("layer %s is there", d)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	x := open(t)
	many := make([]v1.Layer, 128)
	for i := range many {
		many[i] = imagetest.Layer(t, [2]string{"f", strings.Repeat("x", i)})
	}
	for name, c := range map[string]struct {
		reference, says string
	}{
		"not a reference": {"A:B:C", "is not valid"},
		"a path":          {"oci:/etc", "does not exist"},
		"foreign":         {x.registry.Push(t, "foreign", imagetest.Image(t, other, plain, layers(t)...)), "is for " + other},
		"layers":          {x.registry.Push(t, "many", imagetest.Image(t, runtime.GOARCH, plain, many...)), "128 layers"},
		"none":            {x.registry.Push(t, "none", imagetest.Image(t, runtime.GOARCH, plain)), "no layers"},
		"zero":            {x.registry.Push(t, "zero", imagetest.Image(t, runtime.GOARCH, v1.Config{Env: []string{"A=\x00"}}, layers(t)...)), "zero byte"},
	} {
		if name == "a path" {
			continue // it would be asked of Docker Hub, as any other name
		}
		if _, err := x.Resolve(t.Context(), c.reference, arch); lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		}
	}
}

// An image on disk is offered to a server on this host in each of its forms.
func TestOffer(t *testing.T) {
	dir := t.TempDir()
	img := imagetest.Image(t, runtime.GOARCH, plain, layers(t)...)
	at, err := layout.Write(filepath.Join(dir, "My Layout"), empty.Index)
	if err == nil {
		err = at.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "docker.tar"), tag, img); err != nil {
		t.Fatal(err)
	}
	tarOfDir(t, filepath.Join(dir, "My Layout"), filepath.Join(dir, "oci.tar"))
	sources := []string{"oci:" + dir + "/My Layout", "docker-archive:" + dir + "/docker.tar", "oci-archive:" + dir + "/oci.tar"}
	for _, source := range sources[1:] {
		_, file, _ := strings.Cut(source, ":")
		compress(t, file)
		sources = append(sources, source+".gz")
	}
	for _, source := range sources {
		reference, done, err := image.Offer(t.Context(), source, arch)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		x := open(t)
		found, err := x.Resolve(t.Context(), reference, arch)
		if err == nil {
			err = x.Pull(t.Context(), found)
		}
		if err != nil {
			t.Errorf("%s as %s: %v (%v)", source, reference, err, errors.Unwrap(err))
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := image.Offer(context.Background(), "oci:"+dir+"/nothing", arch); err == nil {
		t.Error("nothing was offered")
	}
}

// compress makes a compressed copy of a file beside it.
func compress(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(data)
	if err = errors.Join(err, z.Close(), os.WriteFile(file+".gz", b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// One image of several on disk is named by its tag, as skopeo has it.
func TestOfferByTag(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a:b")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	want, refs := map[string]string{}, map[name.Reference]v1.Image{}
	for _, tag := range []string{"1", "2", "team/app:3"} {
		img := imagetest.Image(t, runtime.GOARCH, v1.Config{Entrypoint: []string{"/bin/" + tag}}, layers(t)...)
		digest, err := img.Digest()
		if err == nil {
			err = path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
		}
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.NewTag("app:" + strings.ReplaceAll(tag, "/app:", ""))
		if err != nil {
			t.Fatal(err)
		}
		want[tag], refs[ref] = digest.String(), img
	}
	foreign := imagetest.Image(t, "s390x", v1.Config{}, layers(t)...)
	both := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: foreign, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: imagetest.Image(t, runtime.GOARCH, plain, layers(t)...), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	if err := path.AppendIndex(both, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "both"})); err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(dir, "docker.tar")
	if err := tarball.MultiRefWriteToFile(docker, refs); err != nil {
		t.Fatal(err)
	}
	for source, digest := range map[string]string{
		"oci:" + dir + ":1": want["1"], "oci:" + dir + ":2": want["2"], "oci:" + dir + ":team/app:3": want["team/app:3"],
		"docker-archive:" + docker + ":app:1": "", "oci:" + dir + ":both": "",
	} {
		reference, done, err := image.Offer(t.Context(), source, arch)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		found, err := open(t).Resolve(t.Context(), reference, arch)
		if err != nil || digest != "" && found.Digest != digest || strings.HasPrefix(source, "docker") && !slices.Equal(found.EntryPoint, []string{"/bin/1"}) {
			t.Errorf("%s: %+v, %v; want %s", source, found, err, digest)
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	}
	for _, source := range []string{"oci:" + dir, "oci:" + dir + ":9"} {
		if _, _, err := image.Offer(t.Context(), source, arch); err == nil || !strings.Contains(err.Error(), "1, 2, both, team/app:3: choose one by :TAG") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestDockerConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	text := `{"auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="}, "r.example:5000": {"registrytoken": "tok"}}, "credsStore": "evil"}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := image.FromDockerConfig(path)
	slices.SortFunc(all, func(a, b image.Registry) int { return strings.Compare(a.Host, b.Host) })
	want := []image.Registry{{Host: "index.docker.io", Username: "user", Password: "pa:ss"}, {Host: "r.example:5000", Token: "tok"}}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("read %+v, %v", all, err)
	}
}

// A manifest is read up to its bound, whatever the repository is called, and wherever the
// registry leads to for it.
func TestManifestIsReadWithinBounds(t *testing.T) {
	var sent atomic.Int64
	huge := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		piece := []byte(strings.Repeat("{},", 1<<16))
		_, _ = io.WriteString(w, `{"schemaVersion": 2, "layers": [`) // who asks may be gone
		for range 256 {                                              // 48 MB
			n, err := w.Write(piece)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `{}]}`)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { huge(w) }))
	t.Cleanup(elsewhere.Close)
	registry := imagetest.Start(t)
	registry.Open = true
	registry.Change = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/led/manifests/"):
			http.Redirect(w, r, elsewhere.URL+"/blobs/m", http.StatusTemporaryRedirect)
		case strings.Contains(r.URL.Path, "/manifests/"):
			huge(w)
		default:
			return false
		}
		return true
	}
	room := image.New(image.Options{Layers: openStore(t, filepath.Join(t.TempDir(), "artifacts")), Registries: []image.Registry{
		{Host: strings.TrimPrefix(elsewhere.URL, "http://"), Insecure: true},
	}})
	for _, name := range []string{"a/b", "blobs/b", "a/led"} {
		sent.Store(0)
		if _, err := room.Resolve(t.Context(), registry.Host+"/"+name+":1", arch); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if n := sent.Load(); n > 24<<20 { // what lies in sockets counts
			t.Errorf("%s: %d bytes were taken", name, n)
		}
	}
}
