package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/filetree"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/image/imagetest"
)

// lazyRig is a rig whose room lets layers be used before they are here.
func lazyRig(t *testing.T, store *artifact.Store, registry *imagetest.Registry) rig {
	t.Helper()
	room := image.New(image.Options{
		Layers: store, Lazy: store, Resolve: 2 * time.Second, Idle: 300 * time.Millisecond, Quiet: 200 * time.Millisecond,
		Registries: []image.Registry{{Host: registry.Host, Username: imagetest.User, Password: imagetest.Password}},
	})
	return rig{room, registry, store}
}

// run runs the room until the test ends, or stop is called.
func run(t *testing.T, x rig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// large is an image with a layer of some 12 MB that has an index.
func large(t *testing.T) v1.Image { return largeBy(t, imagetest.Indexed) }

func largeBy(t *testing.T, index func(t testing.TB, archive, to string) (v1.Layer, string)) v1.Image {
	t.Helper()
	dir := t.TempDir()
	imagetest.Archive(t, filepath.Join(dir, "tar"), 12<<20, 1<<20, [2]string{"bin/run!", "program"})
	l, _ := index(t, filepath.Join(dir, "tar"), filepath.Join(dir, "layer"))
	return imagetest.Image(t, runtime.GOARCH, plain, imagetest.Layer(t, [2]string{"etc/base", "base"}), l)
}

func pulled(t *testing.T, x rig, reference string) *lambent.Image {
	t.Helper()
	found, err := x.Resolve(t.Context(), reference, arch)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Pull(t.Context(), found); err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, tree *filetree.Tree, name string, n int64) ([]byte, error) {
	t.Helper()
	node := tree.Find(name)
	if node == nil {
		t.Fatalf("there is no %s", name)
	}
	p := make([]byte, min(n, node.Size))
	return p, tree.Read(t.Context(), node, p, 0)
}

// here tells whether all of the layers of an image have come.
func here(x rig, i *lambent.Image) bool {
	for _, d := range i.Layers {
		if !x.store.HasLayer(d) {
			return false
		}
	}
	return true
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not: %s", what)
		}
	}
}

func openStore(t *testing.T, dir string) *artifact.Store {
	t.Helper()
	store, err := artifact.Open(artifact.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// An image whose layer has an index is there when that is read; the rest comes when
// nobody reads.
func TestLazyPull(t *testing.T) {
	t.Run("eStargz", func(t *testing.T) { lazyPull(t, large(t)) })
	t.Run("zstd:chunked", func(t *testing.T) { lazyPull(t, largeBy(t, imagetest.Chunked)) })
}

func lazyPull(t *testing.T, image v1.Image) {
	registry := imagetest.Start(t)
	x := lazyRig(t, openStore(t, filepath.Join(t.TempDir(), "artifacts")), registry)
	found := pulled(t, x, registry.Push(t, "a/large:1", image))
	if x.store.HasLayer(found.Layers[1]) || !x.store.HasLayer(found.Layers[0]) {
		t.Fatal("the small layer is fetched at once, the large one not")
	}
	tree, release, ok := x.store.Tree(found.Layers[1])
	if !ok {
		t.Fatal("the layer cannot be read")
	}
	defer release()
	if got, err := read(t, tree, "bin/run", 100); err != nil || string(got) != "program" {
		t.Fatalf("read %q, %v", got, err)
	}
	if _, err := read(t, tree, "data/3", 1000); err != nil {
		t.Fatal(err)
	}
	if sent := registry.Sent.Load(); sent > 2<<20 {
		t.Errorf("%d bytes were fetched to read two files", sent)
	}
	run(t, x)
	eventually(t, "all has come", func() bool { return here(x, found) })
	dir, done, err := x.store.Use(t.Context(), found.Layers[1])
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if b, err := os.ReadFile(filepath.Join(dir, "bin/run")); string(b) != "program" {
		t.Errorf("read %q, %v", b, err)
	}
}

// A registry may want a token, as the large public ones do, and forget it while a layer
// comes in.
func TestPullByToken(t *testing.T) {
	registry := imagetest.Start(t)
	registry.Tokens = true
	x := lazyRig(t, openStore(t, filepath.Join(t.TempDir(), "artifacts")), registry)
	found := pulled(t, x, registry.Push(t, "a/large:1", large(t)))
	tree, release, _ := x.store.Tree(found.Layers[1])
	defer release()
	for n := range 3 {
		registry.Expire()
		if _, err := read(t, tree, "data/"+strconv.Itoa(n), 1000); err != nil {
			t.Fatal(err)
		}
	}
	run(t, x)
	eventually(t, "all has come", func() bool { return here(x, found) })

	stranger := imagetest.Start(t)
	stranger.Tokens = true
	if _, err := x.Resolve(t.Context(), stranger.Push(t, "private:1", large(t)), arch); lambent.CodeOf(err) != lambent.CodeDenied {
		t.Errorf("without its login: %v", err)
	}
}

// A later server finds what is to come, and the registry may be away meanwhile.
func TestLazyPullAfterARestart(t *testing.T) {
	registry := imagetest.Start(t)
	dir := filepath.Join(t.TempDir(), "artifacts")
	x := lazyRig(t, openStore(t, dir), registry)
	var away atomic.Bool
	registry.Change = func(w http.ResponseWriter, _ *http.Request) bool {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return away.Load()
	}
	found := pulled(t, x, registry.Push(t, "a/large:1", large(t)))
	away.Store(true)
	x = lazyRig(t, openStore(t, dir), registry)
	stop := run(t, x)
	time.Sleep(300 * time.Millisecond)
	if _, _, err := x.store.Use(t.Context(), found.Layers[1]); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("use: %v", err)
	}
	stop()
	away.Store(false)
	run(t, lazyRig(t, x.store, registry))
	eventually(t, "all has come", func() bool { return here(x, found) })
}

// A layer that is here and noted as one to come, as after a loss of power or in a backup
// of that moment, is not asked for again.
func TestLazyPullIsNotDoneAgain(t *testing.T) {
	registry := imagetest.Start(t)
	dir := filepath.Join(t.TempDir(), "artifacts")
	x := lazyRig(t, openStore(t, dir), registry)
	found := pulled(t, x, registry.Push(t, "a/large:1", large(t)))
	note := filepath.Join(dir, "coming", string(found.Layers[1]))
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, x)
	eventually(t, "all has come", func() bool { return here(x, found) })
	stop()
	if err := os.WriteFile(note, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	registry.Change = func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	x = lazyRig(t, openStore(t, dir), registry)
	run(t, x)
	eventually(t, "nothing is to come", func() bool {
		all, err := x.store.Coming()
		return err == nil && len(all) == 0
	})
	if n := asked.Load(); n > 0 {
		t.Errorf("the registry was asked %d times", n)
	}
}

// What is wrong on the disk with one layer that is to come ends nothing, and one that has
// gone while it was looked for is none.
func TestLazyPullBesideADiskFault(t *testing.T) {
	registry := imagetest.Start(t)
	dir := filepath.Join(t.TempDir(), "artifacts")
	x := lazyRig(t, openStore(t, dir), registry)
	fault := filepath.Join(dir, "coming", "fault")
	if err := errors.Join(os.Mkdir(fault, 0o700), os.Symlink("nothing", filepath.Join(dir, "coming", "gone"))); err != nil {
		t.Fatal(err)
	}
	run(t, x)
	if _, err := x.store.Coming(); err == nil {
		t.Error("a directory is read as what is to come")
	}
	if err := os.Remove(fault); err != nil {
		t.Fatal(err)
	}
	found := pulled(t, x, registry.Push(t, "a/large:1", large(t)))
	eventually(t, "all has come", func() bool { return here(x, found) })
}

// Where a registry leads to may be signed: that is nothing for a log.
func TestSignedAddressesAreNotLogged(t *testing.T) {
	registry := imagetest.Start(t)
	var lines bytes.Buffer
	store := openStore(t, filepath.Join(t.TempDir(), "artifacts"))
	room := image.New(image.Options{
		Layers: store, Lazy: store, Idle: 300 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&lines, nil)),
		Registries: []image.Registry{{Host: registry.Host, Username: imagetest.User, Password: imagetest.Password}},
	})
	x := rig{room, registry, store}
	found := pulled(t, x, registry.Push(t, "a/large:1", large(t)))
	registry.Change = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://127.0.0.2:1/bucket?X-Amz-Signature=hunter2", http.StatusTemporaryRedirect)
		return true
	}
	tree, release, _ := store.Tree(found.Layers[1])
	defer release()
	if _, err := read(t, tree, "data/0", 1000); err == nil {
		t.Error("it is read")
	}
	if !strings.Contains(lines.String(), "127.0.0.2:1/bucket") || strings.Contains(lines.String(), "hunter2") {
		t.Errorf("logged is %s", &lines)
	}
}

// What goes wrong with a piece says so, within its time, and gives no wrong byte.
func TestLazyFaults(t *testing.T) {
	var size atomic.Int64 // of the layer
	part := func(r *http.Request) bool { return r.Header.Get("Range") != "" }
	for name, c := range map[string]struct {
		change func(w http.ResponseWriter, r *http.Request) bool
		code   lambent.Code
		says   string
	}{
		"hangs": {func(w http.ResponseWriter, r *http.Request) bool {
			if part(r) {
				w.Header().Set("Content-Range", strings.Replace(r.Header.Get("Range"), "=", " ", 1)+"/1")
				<-r.Context().Done()
			}
			return part(r)
		}, lambent.CodeTimeout, "did not answer in time"},
		"gone": {func(w http.ResponseWriter, r *http.Request) bool {
			if part(r) {
				w.WriteHeader(http.StatusNotFound)
			}
			return part(r)
		}, lambent.CodeInvalid, "does not exist"},
		"fails": {func(w http.ResponseWriter, r *http.Request) bool {
			if part(r) {
				w.WriteHeader(http.StatusBadGateway)
			}
			return part(r)
		}, lambent.CodeInvalid, "answers Bad Gateway"},
		"gives all": {func(w http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }, lambent.CodeInvalid, "cannot be read"},
		"other bytes": {func(w http.ResponseWriter, r *http.Request) bool {
			if !part(r) {
				return false
			}
			from, to, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
			first, _ := strconv.ParseInt(from, 10, 64)
			last, _ := strconv.ParseInt(to, 10, 64)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size.Load()))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, last-first+1))
			return true
		}, lambent.CodeInvalid, "damaged"},
		"private address": {func(w http.ResponseWriter, r *http.Request) bool {
			if part(r) {
				http.Redirect(w, r, "http://127.0.0.2:1"+r.URL.Path, http.StatusTemporaryRedirect)
			}
			return part(r)
		}, lambent.CodeInvalid, "private address"},
	} {
		t.Run(name, func(t *testing.T) {
			registry := imagetest.Start(t)
			var faulty atomic.Bool
			registry.Change = func(w http.ResponseWriter, r *http.Request) bool { return faulty.Load() && c.change(w, r) }
			x := lazyRig(t, openStore(t, filepath.Join(t.TempDir(), "artifacts")), registry)
			found := pulled(t, x, registry.Push(t, "a/large:1", large(t)))
			size.Store(layerSize(t, x))
			tree, release, _ := x.store.Tree(found.Layers[1])
			defer release()
			faulty.Store(true)
			began := time.Now()
			if got, err := read(t, tree, "data/0", 1<<20); lambent.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || time.Since(began) > 10*time.Second {
				t.Errorf("after %v %d bytes, %v; want one that says %q", time.Since(began), len(got), err, c.says)
			}
			faulty.Store(false)
			if _, err := read(t, tree, "data/0", 1<<20); err != nil {
				t.Errorf("and when it is well again: %v", err)
			}
		})
	}
}

func layerSize(t *testing.T, x rig) int64 {
	t.Helper()
	all, err := x.store.Coming()
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0].Size
}
