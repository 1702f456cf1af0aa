package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// tarOf makes an archive of headers; a file's content is its name.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = h.Name
		}
		h.Size = int64(len(content))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		must(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(content))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func hexDigest(b []byte) lambent.Digest {
	sum := sha256.Sum256(b)
	return lambent.Digest(hex.EncodeToString(sum[:]))
}

// layerOf is how an image would describe the compressed archive.
func layerOf(t testing.TB, archive []byte) (artifact.Layer, []byte) {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(archive)
	must(t, errors.Join(err, w.Close()))
	return artifact.Layer{Digest: hexDigest(b.Bytes()), DiffID: hexDigest(archive), Size: int64(b.Len()), Limit: 1 << 20}, b.Bytes()
}

func dirEntry(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o700}
}
func fileEntry(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
func linkEntry(kind byte, name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: kind, Linkname: target}
}

func putLayer(t testing.TB, s *artifact.Store, headers ...tar.Header) artifact.Layer {
	t.Helper()
	l, data := layerOf(t, tarOf(t, headers...))
	if _, err := s.PutLayer(testContext(t), l, bytes.NewReader(data)); err != nil {
		t.Fatalf("put: %v (%v)", err, errors.Unwrap(err))
	}
	return l
}

func TestLayerIsUnpackedForAnOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make whiteouts")
	}
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	l := putLayer(t, s,
		dirEntry("./"), dirEntry("./usr/"), tar.Header{Name: "usr/bin/tool", Typeflag: tar.TypeReg, Mode: 0o4755},
		linkEntry(tar.TypeSymlink, "bin", "usr/bin"), fileEntry("bin/through-link"),
		linkEntry(tar.TypeSymlink, "var/run", "/run"), fileEntry("var/run/through-absolute"),
		linkEntry(tar.TypeLink, "hard", "usr/bin/tool"),
		linkEntry(tar.TypeSymlink, "out", "../../../../etc/passwd"),
		fileEntry("gone/.wh.old"), fileEntry("fresh/.wh..wh..opq"), fileEntry("fresh/new"),
		fileEntry(".wh.again"), dirEntry("again"),
		tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8}, tar.Header{Name: "pipe", Typeflag: tar.TypeFifo},
		fileEntry("twice"), linkEntry(tar.TypeSymlink, "twice", "bin"),
		tar.Header{Name: "secret", Typeflag: tar.TypeReg, Mode: 0o600},
	)
	dir, release := mustUse(t, s, l.Digest)
	defer release()
	for name, mode := range map[string]fs.FileMode{
		"usr": fs.ModeDir | 0o700, "usr/bin/tool": 0o755, "usr/bin/through-link": 0o644, "run/through-absolute": 0o644,
		"hard": 0o755, "out": fs.ModeSymlink | 0o777, "twice": fs.ModeSymlink | 0o777, "secret": 0o600,
		"gone/old": fs.ModeDevice | fs.ModeCharDevice, "fresh/new": 0o644, "again": fs.ModeDir | 0o700,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info, err, mode)
		}
	}
	for _, name := range []string{"dev/sda", "pipe", "fresh/.wh..wh..opq", "gone/.wh.old"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want nothing", name, err)
		}
	}
	for _, name := range []string{"fresh", "again"} {
		value := make([]byte, 8)
		n, err := unix.Getxattr(filepath.Join(dir, name), "trusted.overlay.opaque", value)
		if err != nil || string(value[:n]) != "y" {
			t.Errorf("%s is not opaque: %q, %v", name, value[:max(n, 0)], err)
		}
	}
}

// Files keep the numbers of the users that they belong to, links and directories
// too, and directories their sticky bit.
func TestLayerKeepsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	owned := func(h tar.Header, uid, gid int) tar.Header {
		h.Uid, h.Gid = uid, gid
		return h
	}
	l := putLayer(t, s,
		owned(dirEntry("home/app/"), 1000, 1001), owned(fileEntry("home/app/.key"), 1000, 1001),
		owned(linkEntry(tar.TypeSymlink, "link", "/nowhere"), 5, 6), owned(fileEntry("far"), 1<<20, -1),
		tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, fileEntry("new/place"), dirEntry("./"),
	)
	dir, release := mustUse(t, s, l.Digest)
	defer release()
	for name, want := range map[string]struct {
		uid, gid uint32
		mode     fs.FileMode
	}{
		"home": {0, 0, fs.ModeDir | 0o755}, "home/app": {1000, 1001, fs.ModeDir | 0o700}, "home/app/.key": {1000, 1001, 0o644},
		"link": {5, 6, fs.ModeSymlink | 0o777}, "far": {65534, 65534, 0o644}, "tmp": {0, 0, fs.ModeDir | fs.ModeSticky | 0o777},
		"new": {0, 0, fs.ModeDir | 0o755}, ".": {0, 0, fs.ModeDir | 0o700},
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != want.uid || st.Gid != want.gid || info.Mode() != want.mode {
			t.Errorf("%s is %d:%d %v, want %+v", name, st.Uid, st.Gid, info.Mode(), want)
		}
	}
}

// What is nothing but zeroes takes no room on the disk, wherever it is in a file.
func TestLayerKeepsHoles(t *testing.T) {
	const size = 8 << 20
	content := make([]byte, size)
	copy(content[1<<20:], "middle")
	content[5<<20] = 1
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "var/log/lastlog", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}))
	_, err := w.Write(content)
	must(t, errors.Join(err, w.Close()))
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	l, data := layerOf(t, b.Bytes())
	l.Limit = 2 * size
	if n, err := s.PutLayer(testContext(t), l, bytes.NewReader(data)); err != nil || n != size {
		t.Fatalf("put: %d bytes, %v", n, err)
	}
	dir, release := mustUse(t, s, l.Digest)
	defer release()
	name := filepath.Join(dir, "var/log/lastlog")
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, content) {
		t.Errorf("it has %d bytes, or other ones: %v", len(got), err)
	}
	if used := infoOf(t, name).Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
		t.Errorf("it takes %d bytes on the disk", used)
	}
}

// Old GNU tar has a kind of entry of its own for sparse files.
func TestLayerHasSparseFiles(t *testing.T) {
	from := t.TempDir()
	log, err := os.Create(filepath.Join(from, "log"))
	must(t, err)
	_, err = log.WriteAt([]byte("end"), 1<<20)
	must(t, errors.Join(err, log.Close()))
	archive, err := exec.CommandContext(testContext(t), "tar", "-C", from, "--sparse", "--format=gnu", "-c", "log").Output()
	must(t, err)
	if h, err := tar.NewReader(bytes.NewReader(archive)).Next(); err != nil || h.Typeflag != tar.TypeGNUSparse {
		t.Fatalf("the archive has %+v, %v", h, err)
	}
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	l, data := layerOf(t, archive)
	l.Limit = 2 << 20
	if _, err := s.PutLayer(testContext(t), l, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	dir, release := mustUse(t, s, l.Digest)
	defer release()
	if b, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || len(b) != 1<<20+3 || string(b[1<<20:]) != "end" {
		t.Errorf("it has %d bytes, %v", len(b), err)
	}
}

// A layer that the cache has lost is unpacked again from what is stored, and one
// that nobody refers to is collected as code is.
func TestLayerIsRestoredAndCollected(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	l := putLayer(t, s, fileEntry("etc/os-release"))
	if !s.HasLayer(l.Digest) {
		t.Fatal("the layer is not there")
	}
	dir, release := mustUse(t, s, l.Digest)
	release()
	must(t, os.RemoveAll(dir))
	s = open(t, artifact.Options{Dir: root})
	dir, release = mustUse(t, s, l.Digest)
	if b, err := os.ReadFile(filepath.Join(dir, "etc/os-release")); string(b) != "etc/os-release" {
		t.Errorf("restored %q, %v", b, err)
	}
	release()
	if freed, err := s.Collect(testContext(t), nil, 0); err != nil || freed == 0 {
		t.Errorf("collected %d, %v", freed, err)
	}
	if s.HasLayer(l.Digest) {
		t.Error("the layer is still there")
	}
}

// A layer whose tree was changed is found out by the scrub, not by a use.
func TestChangedLayerIsScrubbed(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	l := putLayer(t, open(t, artifact.Options{Dir: root}), fileEntry("a"))
	s := open(t, artifact.Options{Dir: root})
	dir, release := mustUse(t, s, l.Digest)
	release()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("b"), 0o644))
	dir, release = mustUse(t, s, l.Digest)
	if b, err := os.ReadFile(filepath.Join(dir, "a")); string(b) != "b" {
		t.Errorf("a use has looked at it all: %q, %v", b, err)
	}
	release()
	must(t, s.Scrub(testContext(t), 1<<20))
	dir, release = mustUse(t, s, l.Digest)
	defer release()
	if b, err := os.ReadFile(filepath.Join(dir, "a")); string(b) != "a" {
		t.Errorf("after the scrub it is %q, %v", b, err)
	}
}

// ending is a context that ends when it has been asked for a number of times.
type ending struct {
	context.Context
	left atomic.Int32
}

// Err implements context.Context.
func (c *ending) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// A scrub that is stopped, wherever it is, says nothing of what it has not read.
func TestStoppedScrubBlamesNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	l := putLayer(t, open(t, artifact.Options{Dir: root}), fileEntry("a"), fileEntry("b"))
	s := open(t, artifact.Options{Dir: root})
	dir, release := mustUse(t, s, l.Digest)
	release()
	was := infoOf(t, dir)
	for n := range int32(40) {
		ctx := &ending{Context: testContext(t)}
		ctx.left.Store(n)
		err := s.Scrub(ctx, 1<<20)
		dir, release := mustUse(t, s, l.Digest)
		release()
		if !os.SameFile(infoOf(t, dir), was) {
			t.Fatalf("stopped at its step %d (%v), it has taken a sound tree away", n, err)
		}
		if err == nil && n < 5 {
			t.Errorf("stopped at its step %d, it says nothing of that", n)
		}
	}
}

// A stored layer that is damaged is not unpacked, and can be put again.
func TestDamagedLayerCanBePutAgain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	l := putLayer(t, s, fileEntry("a"))
	path := filepath.Join(root, "layers", string(l.Digest))
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
	if _, err := s.Trim(testContext(t), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Use(testContext(t), l.Digest); lambent.CodeOf(err) != lambent.CodeUnavailable || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("use: %v", err)
	}
	if s.HasLayer(l.Digest) {
		t.Error("it is still taken for the layer")
	}
	putLayer(t, s, fileEntry("a"))
	_, release := mustUse(t, s, l.Digest)
	release()
}

func TestBadLayersAreRefused(t *testing.T) {
	good := tarOf(t, fileEntry("a"))
	cases := map[string]struct {
		headers []tar.Header
		change  func(l *artifact.Layer, data []byte) []byte
		says    string
	}{
		"up":            {headers: []tar.Header{fileEntry("../a")}, says: ".."},
		"inner up":      {headers: []tar.Header{fileEntry("a/../../b")}, says: ".."},
		"nameless":      {headers: []tar.Header{fileEntry("a/.wh.")}, says: "no name"},
		"whiteout up":   {headers: []tar.Header{fileEntry("a/.wh...")}, says: "no name"},
		"opaque root":   {headers: []tar.Header{fileEntry(".wh..wh..opq")}, says: "not supported"},
		"circle":        {headers: []tar.Header{linkEntry(tar.TypeSymlink, "a", "b"), linkEntry(tar.TypeSymlink, "b", "a"), fileEntry("a/c")}, says: "circle"},
		"hard link out": {headers: []tar.Header{linkEntry(tar.TypeLink, "a", "/etc/passwd")}, says: "no file of its layer"},
		"hard link on":  {headers: []tar.Header{linkEntry(tar.TypeLink, "a", "b"), fileEntry("b")}, says: "or comes later in it"},
		"hard link up":  {headers: []tar.Header{linkEntry(tar.TypeLink, "a", "../../etc/passwd")}, says: ".."},
		"deep":          {headers: []tar.Header{fileEntry(strings.Repeat("d/", 200) + "a")}, says: "deep"},
		"short":         {change: func(_ *artifact.Layer, data []byte) []byte { return data[:len(data)-1] }, says: "bytes"},
		"long":          {change: func(_ *artifact.Layer, data []byte) []byte { return append(data, 'x') }, says: "bytes"},
		"corrupt": {change: func(_ *artifact.Layer, data []byte) []byte {
			data = slices.Clone(data)
			data[len(data)/2] ^= 1
			return data
		}, says: "damaged"},
		"other content": {change: func(l *artifact.Layer, data []byte) []byte { l.DiffID = hexDigest(nil); return data }, says: "its content has the digest"},
		"too large":     {change: func(l *artifact.Layer, data []byte) []byte { l.Limit = 0; return data }, says: "too large"},
		"not a digest":  {change: func(l *artifact.Layer, data []byte) []byte { l.Digest = "../../x"; return data }, says: "digests"},
		"not a tar": {change: func(l *artifact.Layer, _ []byte) []byte {
			data := []byte(strings.Repeat("nonsense", 200))
			l.Digest, l.DiffID, l.Size = hexDigest(data), hexDigest(data), int64(len(data))
			return data
		}, says: "read it"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "artifacts")
			s := open(t, artifact.Options{Dir: root})
			archive := good
			if c.headers != nil {
				archive = tarOf(t, c.headers...)
			}
			l, data := layerOf(t, archive)
			if c.change != nil {
				data = c.change(&l, data)
			}
			_, err := s.PutLayer(testContext(t), l, bytes.NewReader(data))
			if lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("put: %v (%s), want one that says %q", err, lambent.CodeOf(err), c.says)
			}
			wantClean(t, root)
		})
	}
}

// What is in bytes never decides what they are taken for.
func TestLayerIsNeverCode(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	archive := tarOf(t, fileEntry("a"))
	// A zip may have anything before it: this one has a tar archive.
	both := append(slices.Clone(archive), build(t, file{name: "main.py", body: "main"})...)
	l := artifact.Layer{Digest: hexDigest(both), DiffID: hexDigest(both), Size: int64(len(both)), Limit: 1 << 20}
	if _, err := s.PutLayer(testContext(t), l, bytes.NewReader(both)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(testContext(t), artifact.Source{Zip: both}); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("put as code: %v", err)
	}
}

func FuzzPutLayer(f *testing.F) {
	f.Add(tarOf(f, dirEntry("usr/"), fileEntry("usr/a"), linkEntry(tar.TypeLink, "b", "usr/a"), linkEntry(tar.TypeSymlink, "c", "/usr")))
	f.Add(tarOf(f, linkEntry(tar.TypeSymlink, "c", "/etc"), fileEntry("c/.wh.a"), fileEntry("c/passwd"), fileEntry("d/.wh..wh..opq")))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		s := open(t, artifact.Options{Dir: filepath.Join(parent, "artifacts")})
		d := hexDigest(data)
		_, err := s.PutLayer(testContext(t), artifact.Layer{Digest: d, DiffID: d, Size: int64(len(data)), Limit: 1 << 20}, bytes.NewReader(data))
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Fatalf("beside the store there are %v, %v", left, err)
		}
		if err != nil {
			if lambent.CodeOf(err) != lambent.CodeInvalid {
				t.Fatalf("put: %v (%v)", err, errors.Unwrap(err))
			}
			wantClean(t, filepath.Join(parent, "artifacts"))
		}
	})
}

// reboot has the machine forget what it has not kept.
func reboot(t *testing.T, root string) *artifact.Store {
	t.Helper()
	boots, err := filepath.Glob(filepath.Join(root, "trees", "*"))
	must(t, err)
	if len(boots) != 1 {
		t.Fatalf("there are trees of %d boots", len(boots))
	}
	must(t, os.Rename(boots[0], filepath.Join(root, "trees", "an-earlier-boot")))
	return open(t, artifact.Options{Dir: root})
}

func infoOf(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info
}

// A layer is unpacked once, also when the machine is started again, if its tree is known
// to be on the disk.
func TestLayerOutlivesTheBoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	kept := putLayer(t, s, fileEntry("etc/kept"))
	must(t, s.Keep(testContext(t), 0))
	fresh := putLayer(t, s, fileEntry("etc/fresh"))
	must(t, s.Keep(testContext(t), time.Hour))
	was := map[lambent.Digest]fs.FileInfo{}
	for _, l := range []artifact.Layer{kept, fresh} {
		dir, release := mustUse(t, s, l.Digest)
		was[l.Digest] = infoOf(t, dir)
		release()
	}

	s = reboot(t, root)
	for l, want := range map[artifact.Layer]bool{kept: true, fresh: false} {
		dir, release := mustUse(t, s, l.Digest)
		if got := os.SameFile(infoOf(t, dir), was[l.Digest]); got != want {
			t.Errorf("kept %v: the same directory: %v", want, got)
		}
		release()
	}
	if _, err := s.Collect(testContext(t), map[lambent.Digest]bool{kept.Digest: true, fresh.Digest: true}, 0); err != nil {
		t.Fatal(err)
	}

	// What takes the place of a damaged one is not known to be there.
	dir, release := mustUse(t, s, kept.Digest)
	release()
	must(t, os.WriteFile(filepath.Join(dir, "etc/kept"), []byte("other"), 0o600))
	must(t, s.Scrub(testContext(t), 1<<20))
	dir, release = mustUse(t, s, kept.Digest)
	again := infoOf(t, dir)
	release()
	s = reboot(t, root)
	dir, release = mustUse(t, s, kept.Digest)
	defer release()
	if b, err := os.ReadFile(filepath.Join(dir, "etc/kept")); string(b) != "etc/kept" || os.SameFile(infoOf(t, dir), again) {
		t.Errorf("after the damage it has %q, %v", b, err)
	}
}
