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

// sumOf is what the application of appServer answers for the files data/0 to last of
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
func TestLargeImage(t *testing.T) { largeImage(t, imagetest.Indexed) }

// TestLargeChunkedImage does the same with the index of zstd:chunked.
func TestLargeChunkedImage(t *testing.T) { largeImage(t, imagetest.Chunked) }

func largeImage(t *testing.T, index func(t testing.TB, archive, to string) (v1.Layer, string)) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	const each = 1 << 20
	size := int64(100 << 20)
	if os.Getenv("LAMBENT_TEST_LARGE") != "" {
		size = 2 << 30
	}
	twentieth := int(size/each)/20 - 1
	dir := t.TempDir()
	archive := filepath.Join(dir, "tar")
	imagetest.Archive(t, archive, size, each, [2]string{"usr/bin/serve!", appServer(t)}, [2]string{"etc/os-release", "NAME=Large\n"})
	layer, digest := index(t, archive, filepath.Join(dir, "layer"))
	registry := imagetest.Start(t)
	registry.Files = map[string]string{digest: filepath.Join(dir, "layer")}
	small := imagetest.Layer(t, [2]string{"data/on-top", "on top"})
	image := imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"serve"}, WorkingDir: "/", ExposedPorts: map[string]struct{}{"8080/tcp": {}}}, layer, small)
	var refuses atomic.Int32 // the status of all that the registry answers; 0 for none
	registry.Change = func(w http.ResponseWriter, _ *http.Request) bool {
		status := int(refuses.Load())
		if status != 0 {
			w.WriteHeader(status)
		}
		return status != 0
	}
	reference := registry.Push(t, "team/large:1", image)
	s := harness.Start(t, harness.Options{
		Config: fmt.Sprintf("registries:\n  - host: %s\n    username: %s\n    password: %s\n", registry.Host, imagetest.User, imagetest.Password),
		Args:   []string{"--set", "instances.idle=2s", "--set", "instances.prediction.histogram=false"},
	})
	registry.Sent.Store(0)
	began := time.Now()
	app := publish(t, s, "large", "--image", reference, "--port", "8080", "--start-timeout", "30s", "--memory", "512")
	c := &http.Client{Timeout: time.Minute}
	get := func(path string) reply { return ask(t, c, newRequest(t, "GET", app+"/"+path, "")) }
	deployed := time.Since(began)
	if got, want := get(fmt.Sprintf("sum/%d", twentieth)), sumOf(t, archive, twentieth); got.status != 200 || got.body != want {
		t.Fatalf("answers %+v, want %s\n%s", got, want, s.Stderr())
	}
	sent := registry.Sent.Load()
	t.Logf("deployed in %v, first answer after %v; %d of %d MB were fetched (%.1f %%)", deployed, time.Since(began), sent>>20, size>>20, float64(sent)*100/float64(size))
	if sent > size/10 {
		t.Errorf("for the first answer %d of %d bytes were fetched", sent, size)
	}
	if got := get("data/on-top"); got.body != "on top" {
		t.Errorf("the layer above: %+v", got)
	}

	if got := get("etc/os-release"); got.body != "NAME=Large\n" {
		t.Errorf("a small file: %+v", got)
	}

	t.Run("registry is away", func(t *testing.T) {
		if got := get("usr/bin/serve"); got.status != 200 { // all of it: the next instance may need other pages
			t.Errorf("the program: %d", got.status)
		}
		refuses.Store(http.StatusServiceUnavailable)
		began := time.Now()
		got := get(fmt.Sprintf("sum/%d", twentieth+20))
		if got.status != 502 || !strings.HasPrefix(got.header.Get("X-Lambent-Error"), "application: ") ||
			!strings.Contains(got.body, "A file of the image is not here yet: The registry of the source image") || time.Since(began) > 50*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), got)
		}
		if got = get("etc/os-release"); got.body != "NAME=Large\n" { // what was fetched is still there, for the next instance
			t.Errorf("afterwards: %+v\n%s", got, s.Stderr())
		}
		refuses.Store(0)
	})
	t.Run("comes in", func(t *testing.T) {
		comesTrue(t, 4*time.Minute, "the layer is here", func() bool {
			_, err := os.Stat(filepath.Join(s.Data, "artifacts", "layers", strings.TrimPrefix(digest, "sha256:")))
			coming, _ := filepath.Glob(filepath.Join(s.Data, "artifacts", "coming", "*"))
			return err == nil && len(coming) == 0
		})
		refuses.Store(http.StatusTeapot)
		last := int(size/each) - 1
		if got, want := get(fmt.Sprintf("sum/%d", last)), sumOf(t, archive, last); got.body != want {
			t.Errorf("without its registry: %+v, want %s", got, want)
		}
		comesTrue(t, 20*time.Second, "scaled to zero", func() bool { return len(s.Instances()) == 0 })
		if got, want := get(fmt.Sprintf("sum/%d", last)), sumOf(t, archive, last); got.body != want {
			t.Errorf("from the directory: %+v, want %s", got, want)
		}
	})
}
