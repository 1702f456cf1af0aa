package e2e

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/image/imagetest"
	"lambent.dev/lambent/test/harness"
)

// sumOf is what testdata/files answers for the files data/0 to last of
// an archive.
func sumOf(t *testing.T, archive string, last int) string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h, total := sha256.New(), int64(0)
	for r := tar.NewReader(f); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("the archive has not so many files")
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Name, "data/") {
			continue
		}
		n, err := io.Copy(h, r)
		if err != nil {
			t.Fatal(err)
		}
		if total += n; e.Name == fmt.Sprintf("data/%d", last) {
			return fmt.Sprintf("%d %x", total, h.Sum(nil))
		}
	}
}

// TestLargeImage deploys an image of 100 MB, of 2 GB when LAMBENT_TEST_LARGE is set, whose
// first answer needs 5 % of it. What is fetched until then is counted, and what
// happens while the rest has not come.
func TestLargeImage(t *testing.T) {
	t.Parallel()
	l := deployLarge(t, imagetest.Indexed)
	l.firstAnswer(t)
	t.Run("registry is away", l.registryAway)
	t.Run("comes in", l.comesIn)
}

// TestLargeChunkedImage does the same with the index of zstd:chunked, for which the
// registry is no other.
func TestLargeChunkedImage(t *testing.T) {
	t.Parallel()
	l := deployLarge(t, imagetest.Chunked)
	l.firstAnswer(t)
	t.Run("comes in", l.comesIn)
}

// large is an application of a large image.
type large struct {
	s        *harness.Server
	registry *imagetest.Registry
	refuses  atomic.Int32 // the status of all that the registry answers; 0 for none
	size     int64        // of the image, about
	archive  string       // what the image has
	digest   string       // of its large layer
	app      string       // address
	client   *http.Client
	deployed time.Duration // what that took
}

// largeFile is the size of each file that large images are made of.
const largeFile = 1 << 20

func deployLarge(t *testing.T, index func(t testing.TB, archive, to string) (v1.Layer, string)) *large {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	l := &large{size: 100 << 20, archive: filepath.Join(dir, "tar"), registry: imagetest.Start(t), client: &http.Client{Timeout: time.Minute}}
	if os.Getenv("LAMBENT_TEST_LARGE") != "" {
		l.size = 2 << 30
	}
	imagetest.Archive(t, l.archive, l.size, largeFile, [2]string{"usr/bin/serve!", files.Content(t)}, [2]string{"etc/os-release", "NAME=Large\n"})
	layer, digest := index(t, l.archive, filepath.Join(dir, "layer"))
	l.digest = digest
	l.registry.Files = map[string]string{digest: filepath.Join(dir, "layer")}
	l.registry.Change = func(w http.ResponseWriter, _ *http.Request) bool {
		status := int(l.refuses.Load())
		if status != 0 {
			w.WriteHeader(status)
		}
		return status != 0
	}
	small := imagetest.Layer(t, [2]string{"data/on-top", "on top"})
	image := imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"serve"}, WorkingDir: "/", ExposedPorts: map[string]struct{}{"8080/tcp": {}}}, layer, small)
	reference := l.registry.Push(t, "team/large:1", image)
	l.s = harness.Start(t, harness.Options{
		Config: fmt.Sprintf("registries:\n  - host: %s\n    username: %s\n    password: %s\n", l.registry.Host, imagetest.User, imagetest.Password),
		Args:   []string{"--set", "instances.idle=2s", "--set", "instances.prediction.histogram=false"},
	})
	l.registry.Sent.Store(0)
	began := time.Now()
	l.app = publish(t, l.s, "large", "--image", reference, "--port", "8080", "--start-timeout", "30s", "--memory", "512")
	l.deployed = time.Since(began)
	return l
}

func (l *large) get(t *testing.T, path string) reply {
	t.Helper()
	return ask(t, l.client, newRequest(t, "GET", l.app+"/"+path, ""))
}

// sum asks for the sum of the files 0 to last, and wants the right one.
func (l *large) sum(t *testing.T, when string, last int) {
	t.Helper()
	if got, want := l.get(t, fmt.Sprintf("sum/%d", last)), sumOf(t, l.archive, last); got.status != 200 || got.body != want {
		t.Fatalf("%s: %+v, want %s\n%s", when, got, want, l.s.Stderr())
	}
}

// twentieth is the last file of those that the first answer needs.
func (l *large) twentieth() int { return int(l.size/largeFile)/20 - 1 }

func (l *large) firstAnswer(t *testing.T) {
	t.Helper()
	began := time.Now()
	l.sum(t, "the first answer", l.twentieth())
	sent := l.registry.Sent.Load()
	t.Logf("deployed in %v, first answer after another %v; %d of %d MB were fetched (%.1f %%)",
		l.deployed, time.Since(began), sent>>20, l.size>>20, float64(sent)*100/float64(l.size))
	if sent > l.size/10 {
		t.Errorf("for the first answer %d of %d bytes were fetched", sent, l.size)
	}
	if got := l.get(t, "data/on-top"); got.body != "on top" {
		t.Errorf("the layer above: %+v", got)
	}
	if got := l.get(t, "etc/os-release"); got.body != "NAME=Large\n" {
		t.Errorf("a small file: %+v", got)
	}
}

// registryAway reads what has not come when the registry does not give it.
func (l *large) registryAway(t *testing.T) {
	if got := l.get(t, "usr/bin/serve"); got.status != 200 { // all of it: the next instance may need other pages
		t.Errorf("the program: %d", got.status)
	}
	l.refuses.Store(http.StatusServiceUnavailable)
	defer l.refuses.Store(0)
	began := time.Now()
	got := l.get(t, fmt.Sprintf("sum/%d", l.twentieth()+20))
	if got.status != 502 || !strings.HasPrefix(got.header.Get("X-Lambent-Error"), "application: ") ||
		!strings.Contains(got.body, "A file of the image is not here yet: The registry of the source image") || time.Since(began) > 50*time.Second {
		t.Errorf("after %v: %+v", time.Since(began), got)
	}
	if got = l.get(t, "etc/os-release"); got.body != "NAME=Large\n" { // what was fetched is still there, for the next instance
		t.Errorf("afterwards: %+v\n%s", got, l.s.Stderr())
	}
}

// comesIn waits for the rest: then the registry is not needed any more.
func (l *large) comesIn(t *testing.T) {
	comesTrue(t, 4*time.Minute, "the layer is here", func() bool {
		_, err := os.Stat(filepath.Join(l.s.Data, "artifacts", "layers", strings.TrimPrefix(l.digest, "sha256:")))
		coming, _ := filepath.Glob(filepath.Join(l.s.Data, "artifacts", "coming", "*"))
		return err == nil && len(coming) == 0
	})
	l.refuses.Store(http.StatusTeapot)
	last := int(l.size/largeFile) - 1
	l.sum(t, "without its registry", last)
	comesTrue(t, 20*time.Second, "scaled to zero", func() bool { return len(l.s.Instances()) == 0 })
	l.sum(t, "from the directory", last)
}
