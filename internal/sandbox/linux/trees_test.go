package linux

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/filetree"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// memoryTree is a tree whose content is in memory; reading may be made to fail, all
// of it or of one file from some place on, or to hang.
type memoryTree struct {
	*filetree.Tree
	content map[*filetree.Node][]byte
	read    atomic.Int64 // bytes
	fails   atomic.Bool
	part    *filetree.Node // set before it is read
	beyond  int64
	hangs   atomic.Bool
}

func newMemoryTree(t *testing.T, files map[string]string) *memoryTree {
	t.Helper()
	m := &memoryTree{Tree: filetree.New(), content: map[*filetree.Node][]byte{}}
	m.Read = func(ctx context.Context, n *filetree.Node, p []byte, at int64) error {
		switch {
		case m.fails.Load() && (m.part == nil || m.part == n && at+int64(len(p)) > m.beyond):
			return lambent.Errorf(lambent.CodeTimeout, "The registry did not answer in time.")
		case m.hangs.Load():
			<-ctx.Done()
			return ctx.Err()
		}
		m.read.Add(int64(copy(p, m.content[n][at:])))
		return nil
	}
	for name, content := range files {
		n := &filetree.Node{Mode: 0o755, Size: int64(len(content))}
		if target, link := strings.CutPrefix(content, "->"); link {
			n = &filetree.Node{Mode: fs.ModeSymlink | 0o777, Target: target, Size: int64(len(target))}
		}
		m.put(t, name, n)
		m.content[n] = []byte(content)
	}
	return m
}

func (m *memoryTree) put(t *testing.T, name string, n *filetree.Node) {
	t.Helper()
	dir, err := m.Dir(strings.TrimPrefix(filepath.Dir(name), "."))
	if err == nil {
		err = m.Put(dir, filepath.Base(name), n)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func probeProgram(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(sandboxtest.Probe(t), "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// comingSpec is one of an image whose layers are directories and trees.
func comingSpec(id string, i lambent.Image, layers ...any) sandbox.Spec {
	s := imageSpecOf(id, i)
	s.Trees = map[int]*filetree.Tree{}
	for n, l := range layers {
		if dir, ok := l.(string); ok {
			s.Root = append(s.Root, dir)
			continue
		}
		s.Root, s.Trees[n] = append(s.Root, ""), l.(*memoryTree).Tree
	}
	return s
}

func needFUSE(t *testing.T) {
	t.Helper()
	needRoot(t)
	if err := CanMountTrees(); err != nil {
		t.Skip(err)
	}
}

// TestImageThatIsComing starts a program that is fetched while it is executed.
func TestImageThatIsComing(t *testing.T) {
	needFUSE(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	base := layerOf(t, map[string]string{"etc/passwd": testPasswd, "data/lower": "lower", "data/both": "lower", "data/hidden": "x", "fresh/old": "x", "deep/a/b": "below"})
	big := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<18)) // 4 MB
	m := newMemoryTree(t, map[string]string{"bin/probe": probeProgram(t), "data/both": "upper", "data/mine": "m", "data/big": big, "data/link": "->both", "fresh/new": "new", "deep/c": "above"})
	m.Find("data/mine").Mode, m.Find("data/mine").UID = 0o600, 33
	m.Find("data/both").Mode = 0o600 // root's
	m.put(t, "data/hidden", &filetree.Node{Whiteout: true})
	m.Find("fresh").Opaque = true
	l := sandboxtest.Start(t, d, comingSpec("coming", lambent.Image{EntryPoint: []string{"probe"}, Directory: "/data", User: "www", Env: []string{"PATH=/bin"}}, base, m))
	for path, want := range map[string]string{"lower": "lower", "mine": "m", "/fresh/new": "new", "/deep/a/b": "below", "/deep/c": "above", "/bin/../data/lower": "lower"} {
		if got := l.Do("read", 0, path); got != want {
			t.Errorf("%s is %.80q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"both", "link", "hidden", "/fresh/old", "/data/none"} {
		if got := l.Do("read", 0, path); !strings.HasPrefix(got, "ERROR: ") {
			t.Errorf("%s is %.80q", path, got)
		}
	}
	if got := l.Do("write", 0, "/data/new", "x"); !strings.HasPrefix(got, "ERROR: ") {
		t.Errorf("wrote into the image: %s", got)
	}
	before := m.read.Load()
	if got := l.Do("read", 0, "big"); got != big {
		t.Errorf("a file of %d bytes has %d", len(big), len(got))
	}
	if n := m.read.Load() - before; n < int64(len(big)) || n > int64(len(big))+1<<20 {
		t.Errorf("to read %d bytes, %d were fetched", len(big), n)
	}
}

// TestOneListing opens a directory very often, which costs the server no more than once.
func TestOneListing(t *testing.T) {
	m := newMemoryTree(t, map[string]string{"etc/hosts": "", "etc/passwd": ""})
	tr := newTrees(map[int]*filetree.Tree{0: m.Tree}, func(int) uint32 { return 0 })
	at := uint64(fuse.FUSE_ROOT_ID)
	for _, name := range []string{"0", "etc"} {
		var found fuse.EntryOut
		if s := tr.Lookup(nil, &fuse.InHeader{NodeId: at}, name, &found); s != fuse.OK || found.NodeId == 0 {
			t.Fatalf("%s: %v", name, s)
		}
		at = found.NodeId
	}
	const times = 1000
	handles := make([]uint64, times)
	for i := range handles {
		var out fuse.OpenOut
		if s := tr.OpenDir(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: at}}, &out); s != fuse.OK {
			t.Fatal(s)
		}
		handles[i] = out.Fh
	}
	if n := len(tr.listings); n != 1 {
		t.Errorf("%d listings of one directory", n)
	}
	for i, fh := range handles {
		list := fuse.NewDirEntryList(make([]byte, 4096), 0)
		if s := tr.ReadDir(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: at}, Fh: fh}, list); s != fuse.OK || list.Offset != 4 {
			t.Fatalf("entry %d of the list is the last one, want 4: %v", list.Offset, s)
		}
		tr.ReleaseDir(&fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: at}, Fh: fh})
		if n := len(tr.listings); (n == 0) != (i == times-1) {
			t.Fatalf("%d listings after %d of %d were closed", n, i+1, times)
		}
	}
}

// TestImageThatStopsComing has a program read what cannot be had any more.
func TestImageThatStopsComing(t *testing.T) {
	needFUSE(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	image := lambent.Image{EntryPoint: []string{"/bin/probe"}, Directory: "/"}
	tree := func() *memoryTree {
		return newMemoryTree(t, map[string]string{"bin/probe": probeProgram(t), "file": "content"})
	}
	t.Run("while it runs", func(t *testing.T) {
		m := tree()
		l := sandboxtest.Start(t, d, comingSpec("stops", image, m))
		m.fails.Store(true)
		a := l.Invoke(sandboxtest.Command{Do: "read", Args: []string{"/file"}}, 10*time.Second)
		if a.Failure == nil || a.Failure.Type != "Runtime.ImageUnreadable" || !strings.Contains(a.Failure.Message, "did not answer in time") {
			t.Errorf("answer: %+v", a.Failure)
		}
	})
	t.Run("ahead of what is read", func(t *testing.T) {
		m := newMemoryTree(t, map[string]string{"bin/probe": probeProgram(t), "large": strings.Repeat("0123456789abcdef", 1<<14)})
		m.part, m.beyond = m.Find("large"), 8<<10
		l := sandboxtest.Start(t, d, comingSpec("ahead", image, m))
		m.fails.Store(true)
		if got := l.Do("read", 5000, "/large"); len(got) != 5000 || !strings.HasPrefix(got, "0123456789") {
			t.Errorf("what is there: %.80q", got)
		}
		a := l.Invoke(sandboxtest.Command{Do: "read", Args: []string{"/large"}}, 10*time.Second)
		if a.Failure == nil || a.Failure.Type != "Runtime.ImageUnreadable" {
			t.Errorf("all of it: %+v", a.Failure)
		}
	})
	t.Run("while it starts", func(t *testing.T) {
		m := tree()
		m.fails.Store(true)
		spec := comingSpec("stops", image, m)
		spec.Output = &sandboxtest.Lines{}
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = i.Stop(context.Background()) }()
		r, err := i.Init(t.Context())
		if err != nil || r.Failure == nil || r.Failure.Type != "Runtime.ImageUnreadable" {
			t.Errorf("init: %+v, %v", r.Failure, err)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		m := tree()
		l := sandboxtest.Start(t, d, comingSpec("hangs", image, m))
		m.hangs.Store(true)
		began := time.Now()
		a := l.Invoke(sandboxtest.Command{Do: "read", Args: []string{"/file"}}, time.Second)
		if a.Failure == nil || a.Failure.Type != "Sandbox.Timedout" || time.Since(began) > 5*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), a.Failure)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := l.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

// Many instances start while the garbage collector stops the world again and
// again: serving files and forking in one process must not wait for each other.
func TestManyImagesThatAreComing(t *testing.T) {
	needFUSE(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	m := newMemoryTree(t, map[string]string{"bin/probe": probeProgram(t), "file": "content"})
	image := lambent.Image{EntryPoint: []string{"/bin/probe"}, Directory: "/"}
	collectGarbage(t)
	for n := range 4 {
		t.Run(string(rune('a'+n)), func(t *testing.T) {
			t.Parallel()
			for range 3 {
				l := sandboxtest.Start(t, d, comingSpec("many-"+string(rune('a'+n)), image, m))
				if got := l.Do("read", 0, "/file"); got != "content" {
					t.Errorf("read %q", got)
				}
				_ = l.Stop(t.Context())
			}
		})
	}
}

// collectGarbage keeps collecting until the test and its parts are over.
func collectGarbage(t *testing.T) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}
