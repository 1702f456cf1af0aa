package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/filetree"
)

// remote is a layer that is somewhere else.
type remote struct {
	mu     sync.Mutex // guards data and err
	data   []byte
	err    error
	read   atomic.Int64 // bytes
	asked  atomic.Int64 // times
	before func()       // called before each answer; may be nil
}

func (r *remote) ReadRange(_ context.Context, at, n int64) ([]byte, error) {
	if r.before != nil {
		r.before()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	r.read.Add(n)
	r.asked.Add(1)
	return bytes.Clone(r.data[at : at+n]), nil
}

func (r *remote) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// indexed makes an eStargz layer of an archive, and what an image says of it.
func indexed(t testing.TB, archive []byte) (artifact.Coming, *remote) {
	t.Helper()
	blob, err := estargz.Build(io.NewSectionReader(bytes.NewReader(archive), 0, int64(len(archive))), estargz.WithChunkSize(64<<10))
	must(t, err)
	data, err := io.ReadAll(blob)
	must(t, errors.Join(err, blob.Close()))
	return artifact.Coming{
		Layer: artifact.Layer{Digest: hexDigest(data), DiffID: lambent.Digest(blob.DiffID().Encoded()), Size: int64(len(data)), Limit: 1 << 30},
		TOC:   blob.TOCDigest().String(), From: "registry.example/team/app",
	}, &remote{data: data}
}

// noise is content that does not compress.
func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	p := make([]byte, n)
	_, _ = r.Read(p)
	return p
}

// archiveOf is an archive of files with these contents, after headers.
func archiveOf(t testing.TB, files map[string][]byte, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		must(t, w.WriteHeader(&h))
	}
	for name, content := range files {
		must(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func putIndex(t testing.TB, s *artifact.Store, c artifact.Coming, r *remote) *filetree.Tree {
	t.Helper()
	must(t, s.PutIndex(testContext(t), c, r))
	tree, release, ok := s.Tree(c.Digest)
	if !ok {
		t.Fatal("it is not coming in")
	}
	t.Cleanup(release)
	return tree
}

func readAll(t testing.TB, tree *filetree.Tree, name string) ([]byte, error) {
	t.Helper()
	n := tree.Find(name)
	if n == nil {
		t.Fatalf("there is no %s", name)
	}
	p := make([]byte, n.Size)
	return p, tree.Read(testContext(t), n, p, 0)
}

func TestLayerIsReadBeforeItIsHere(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	files := map[string][]byte{"app/main": noise(1, 300_000), "app/empty": nil, "app/small": []byte("small")}
	for n := range 20 {
		files["data/"+string(rune('a'+n))] = noise(uint64(n+2), 200_000)
	}
	c, r := indexed(t, archiveOf(t, files))
	tree := putIndex(t, s, c, r)
	for _, name := range []string{"app/small", "app/main", "app/empty"} {
		if got, err := readAll(t, tree, name); err != nil || !bytes.Equal(got, files[name]) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if read := r.read.Load(); read > c.Size/8 {
		t.Errorf("to read 300 KB, %d of %d bytes were fetched", read, c.Size)
	}
	if n := tree.Find("app/main"); n.UID != 7 || n.Mode != 0o640 {
		t.Errorf("is %+v", n)
	}
	asked := r.asked.Load()
	// A piece of the middle, over the edge of a chunk, that was fetched before.
	p := make([]byte, 50_000)
	must(t, tree.Read(testContext(t), tree.Find("app/main"), p, 40_000))
	if !bytes.Equal(p, files["app/main"][40_000:90_000]) || r.asked.Load() != asked {
		t.Errorf("read again: equal %v, asked %d times more", bytes.Equal(p, files["app/main"][40_000:90_000]), r.asked.Load()-asked)
	}
	// It is not code, and not whole.
	if _, _, err := s.Use(testContext(t), c.Digest); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("it can be used as if it were here: %v", err)
	}

	// The rest comes: those who have it go on without the registry, others get the
	// directory.
	_, err := s.PutLayer(testContext(t), c.Layer, bytes.NewReader(r.data))
	must(t, err)
	r.fail(errors.New("gone"))
	for name, want := range files {
		if got, err := readAll(t, tree, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s afterwards: %d bytes, %v", name, len(got), err)
		}
	}
	if _, _, ok := s.Tree(c.Digest); ok {
		t.Error("it is still coming in")
	}
	dir, release := mustUse(t, s, c.Digest)
	defer release()
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s in the directory: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, estargz.TOCTarName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the index is in the directory: %v", err)
	}
	if all, err := s.Coming(); err != nil || len(all) > 0 {
		t.Errorf("still coming: %v, %v", all, err)
	}
}

// A tree that is read lazily and the directory that comes of the layer are the same.
func TestTreeIsLikeTheDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make whiteouts")
	}
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	c, r := indexed(t, archiveOf(t, map[string][]byte{"z/file": []byte("content")},
		tar.Header{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 3, Gid: 4}, tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd", Uid: 9},
		tar.Header{Name: "gone/.wh.old", Typeflag: tar.TypeReg, Mode: 0o600}, tar.Header{Name: "fresh/.wh..wh..opq", Typeflag: tar.TypeReg},
		tar.Header{Name: ".wh.again", Typeflag: tar.TypeReg}, tar.Header{Name: "again/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "first", Typeflag: tar.TypeReg, Mode: 0o4755}, tar.Header{Name: "second", Typeflag: tar.TypeLink, Linkname: "first"},
		tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8}, tar.Header{Name: "implied/by/this", Typeflag: tar.TypeReg, Mode: 0o644},
	))
	tree := putIndex(t, s, c, r)
	_, err := s.PutLayer(testContext(t), c.Layer, bytes.NewReader(r.data))
	must(t, err)
	dir, release := mustUse(t, s, c.Digest)
	defer release()
	seen := 0
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		seen++
		name, _ := filepath.Rel(dir, path)
		n := tree.Find(name)
		if n == nil {
			t.Errorf("%s is not in the tree", name)
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		uid, gid := ownerOfFile(info)
		switch {
		case info.Mode()&fs.ModeCharDevice != 0:
			if !n.Whiteout {
				t.Errorf("%s hides nothing in the tree", name)
			}
		case info.Mode() != n.Mode || int(uid) != n.UID || int(gid) != n.GID || e.Type().IsRegular() && info.Size() != n.Size:
			t.Errorf("%s is %v %d:%d, in the tree %v %d:%d", name, info.Mode(), uid, gid, n.Mode, n.UID, n.GID)
		case isOpaque(path) != n.Opaque:
			t.Errorf("%s is opaque: %v, in the tree %v", name, isOpaque(path), n.Opaque)
		}
		return nil
	}))
	if seen < 13 {
		t.Errorf("looked at %d files", seen)
	}
	if a, b := tree.Find("first"), tree.Find("second"); a != b || a.Links != 2 {
		t.Errorf("the hard link is another file: %+v, %+v", a, b)
	}
}

func TestFaultsOfALayerThatComesIn(t *testing.T) {
	content := noise(1, 400_000)
	archive := archiveOf(t, map[string][]byte{"file": content})
	t.Run("damaged piece", func(t *testing.T) {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		c, r := indexed(t, archive)
		tree := putIndex(t, s, c, r)
		r.data[len(r.data)/2] ^= 1
		if _, err := readAll(t, tree, "file"); lambent.ReasonOf(err) != artifact.ReasonBadLayer || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("read: %v", err)
		}
		r.data[len(r.data)/2] ^= 1 // the registry mends it
		if got, err := readAll(t, tree, "file"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after it was mended: %v", err)
		}
	})
	t.Run("gone and back", func(t *testing.T) {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		c, r := indexed(t, archive)
		tree := putIndex(t, s, c, r)
		r.fail(lambent.Errorf(lambent.CodeTimeout, "no answer"))
		if _, err := readAll(t, tree, "file"); err == nil || !strings.Contains(err.Error(), "no answer") {
			t.Errorf("read: %v", err)
		}
		r.fail(nil)
		if got, err := readAll(t, tree, "file"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("other index", func(t *testing.T) {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		c, r := indexed(t, archive)
		c.TOC = "sha256:" + strings.Repeat("0", 64)
		if err := s.PutIndex(testContext(t), c, r); err == nil || !strings.Contains(err.Error(), "not the one that the image names") {
			t.Errorf("put: %v", err)
		}
		if all, _ := s.Coming(); len(all) > 0 {
			t.Errorf("it is coming in: %v", all)
		}
	})
	t.Run("no index", func(t *testing.T) {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		l, data := layerOf(t, archive)
		if err := s.PutIndex(testContext(t), artifact.Coming{Layer: l, TOC: "sha256:0"}, &remote{data: data}); err == nil {
			t.Error("a layer without an index has one")
		}
	})
	t.Run("too large", func(t *testing.T) {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		c, r := indexed(t, archive)
		c.Limit = 399_999
		if err := s.PutIndex(testContext(t), c, r); lambent.ReasonOf(err) != artifact.ReasonBadLayer {
			t.Errorf("put: %v", err)
		}
	})
	t.Run("reader goes", func(t *testing.T) {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		c, r := indexed(t, archive)
		tree := putIndex(t, s, c, r)
		hang := make(chan struct{})
		r.before = func() { <-hang }
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := tree.Read(ctx, tree.Find("file"), make([]byte, 10), 0); lambent.CodeOf(err) != lambent.CodeCanceled || time.Since(began) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		close(hang)
		if got, err := readAll(t, tree, "file"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("another reader: %v", err)
		}
	})
}

// Many readers of one piece have it fetched once.
func TestPieceIsFetchedOnce(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	content := noise(1, 60_000)
	c, r := indexed(t, archiveOf(t, map[string][]byte{"file": content}))
	tree := putIndex(t, s, c, r)
	asked := r.asked.Load()
	r.before = func() { time.Sleep(20 * time.Millisecond) }
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() {
			if got, err := readAll(t, tree, "file"); err != nil || !bytes.Equal(got, content) {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if n := r.asked.Load() - asked; n != 1 {
		t.Errorf("it was fetched %d times", n)
	}
}

// A later server knows what is to come; what nobody names any more is given up.
func TestComingOutlivesTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: dir})
	c, r := indexed(t, archiveOf(t, map[string][]byte{"file": noise(1, 100_000)}))
	must(t, s.PutIndex(testContext(t), c, r))
	s = open(t, artifact.Options{Dir: dir})
	all, err := s.Coming()
	if err != nil || len(all) != 1 || all[0] != c {
		t.Fatalf("coming: %+v, %v", all, err)
	}
	if _, _, ok := s.Tree(c.Digest); ok {
		t.Error("it is read without an index")
	}
	if _, _, err := s.Use(testContext(t), c.Digest); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("use: %v", err)
	}
	must(t, s.PutIndex(testContext(t), all[0], r))
	if _, err := s.Collect(testContext(t), map[lambent.Digest]bool{c.Digest: true}, 0); err != nil {
		t.Fatal(err)
	}
	_, release, ok := s.Tree(c.Digest)
	if !ok {
		t.Fatal("a layer of a function was given up")
	}
	for _, want := range []int{1, 0} { // pinned, and not
		if _, err := s.Collect(testContext(t), nil, 0); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Coming(); err != nil || len(all) != want {
			t.Errorf("after a collection: %v, %v; want %d", all, err, want)
		}
		release()
	}
}

// The indexes of all layers that are to come have a bound together; what finds no room is
// to be put whole, and makes room.
func TestIndexesAreBounded(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts"), MostIndexed: 25})
	var all []artifact.Coming
	var remotes []*remote
	for n := range 3 {
		files := map[string][]byte{}
		for i := range 5 { // with the root and a piece for each, 11 parts
			files[fmt.Sprintf("%d-%d", n, i)] = noise(uint64(n*5+i), 1000)
		}
		c, r := indexed(t, archiveOf(t, files))
		all, remotes = append(all, c), append(remotes, r)
	}
	for n := range 2 {
		must(t, s.PutIndex(testContext(t), all[n], remotes[n]))
	}
	if err := s.PutIndex(testContext(t), all[2], remotes[2]); lambent.CodeOf(err) != lambent.CodeUnavailable || !strings.Contains(err.Error(), "22 files and pieces") {
		t.Fatalf("a third index: %v", err)
	}
	if coming, err := s.Coming(); err != nil || len(coming) != 2 {
		t.Errorf("noted are %v, %v", coming, err)
	}
	_, err := s.PutLayer(testContext(t), all[0].Layer, bytes.NewReader(remotes[0].data))
	must(t, err)
	must(t, s.PutIndex(testContext(t), all[2], remotes[2]))
}

// FuzzIndex reads tables of contents that are not well-formed.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"version":1,"entries":[{"name":"a","type":"reg","size":4,"offset":10,"chunkDigest":"sha256:` + strings.Repeat("ab", 32) + `"}]}`))
	f.Add([]byte(`{"entries":[{"name":"a/../b","type":"dir"},null,{"name":"a","type":"chunk"},{"name":".wh.x","type":"reg"},{"type":"hardlink","linkName":"a"}]}`))
	f.Add([]byte(`{"entries":[{"name":"a","type":"reg","size":9,"offset":8,"endOffset":30,"chunkSize":4,"chunkType":"zeros"},{"type":"chunk","chunkOffset":4,"offset":20,"chunkSize":5}]}`))
	s := open(f, artifact.Options{Dir: filepath.Join(f.TempDir(), "artifacts")})
	f.Fuzz(func(t *testing.T, toc []byte) {
		stargz, digest := tocOnly(t, toc)
		fuzzIndex(t, s, artifact.Coming{TOC: digest}, stargz)
		zstd, digest, position := chunkedOnly(t, toc)
		fuzzIndex(t, s, artifact.Coming{TOC: digest, Position: position}, zstd)
	})
}

func fuzzIndex(t *testing.T, s *artifact.Store, c artifact.Coming, data []byte) {
	c.Layer = artifact.Layer{Digest: hexDigest(data), DiffID: hexDigest(data), Size: int64(len(data)), Limit: 1 << 20}
	if s.PutIndex(testContext(t), c, &remote{data: data}) != nil {
		return
	}
	tree, release, _ := s.Tree(c.Digest)
	for _, n := range tree.Nodes {
		if n.Mode.IsRegular() && !n.Whiteout {
			_ = tree.Read(testContext(t), n, make([]byte, min(n.Size, 1<<16)), 0)
		}
	}
	release()
	_, err := s.Collect(testContext(t), nil, 0)
	must(t, err)
}
