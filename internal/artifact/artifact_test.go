package artifact_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

func open(t testing.TB, o artifact.Options) *artifact.Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "artifacts")
	}
	s, err := artifact.Open(o)
	if err != nil {
		t.Fatalf("open the artifacts: %v", err)
	}
	return s
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustPut(t testing.TB, s *artifact.Store, zip []byte) artifact.Info {
	t.Helper()
	info, err := s.Put(testContext(t), artifact.Source{Zip: zip})
	if err != nil {
		t.Fatalf("put: %v (%v)", err, errors.Unwrap(err))
	}
	return info
}

func mustUse(t testing.TB, s *artifact.Store, d lambent.Digest) (string, func()) {
	t.Helper()
	dir, release, err := s.Use(testContext(t), d)
	if err != nil {
		t.Fatalf("use %s: %v (%v)", d, err, errors.Unwrap(err))
	}
	return dir, release
}

// tree lists what is below dir, relative to it.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wantClean fails when the store holds anything: blob, tree or leftover.
func wantClean(t testing.TB, dir string) {
	t.Helper()
	for _, name := range tree(t, dir) {
		if name != "blobs" && name != "layers" && name != "coming" && name != "trees" && name != "temp" && filepath.Dir(name) != "trees" {
			t.Errorf("%s is left in the store", name)
		}
	}
}

func TestPutStoresAndUnpacks(t *testing.T) {
	when := time.Date(2021, 3, 4, 5, 6, 8, 0, time.UTC)
	code := build(t,
		file{name: "pkg/", mode: fs.ModeDir | 0o700},
		file{name: "pkg/mod.py", body: "import os\n", mode: 0o600, when: when},
		file{name: "bootstrap", body: "#!/bin/sh\n", mode: 0o4700},
		file{name: "deep/er/x", body: "x"},
		file{name: "empty"},
		file{name: "link", body: "pkg/mod.py", mode: fs.ModeSymlink | 0o777},
		file{name: "pkg/up", body: "../deep/er/../er/x", mode: fs.ModeSymlink | 0o777},
		file{name: "README", body: "upper"}, file{name: "readme", body: "lower"},
	)
	s := open(t, artifact.Options{})
	info := mustPut(t, s, code)
	sum := sha256.Sum256(code)
	want := artifact.Info{Digest: lambent.Digest(hex.EncodeToString(sum[:])), Size: int64(len(code)), Unpacked: 21 + 10 + 18 + 10}
	if want.Unpacked = int64(len("import os\n#!/bin/sh\nxpkg/mod.py../deep/er/../er/xupperlower")); info != want {
		t.Errorf("put gives %+v, want %+v", info, want)
	}
	if again := mustPut(t, s, code); again != info {
		t.Errorf("putting it again gives %+v, want %+v", again, info)
	}
	dir, release := mustUse(t, s, info.Digest)
	defer release()
	wantFile(t, dir, "pkg/mod.py", "import os\n", 0o644)
	wantFile(t, dir, "bootstrap", "#!/bin/sh\n", 0o755)
	wantFile(t, dir, "deep/er/x", "x", 0o644)
	wantFile(t, dir, "empty", "", 0o644)
	wantFile(t, dir, "README", "upper", 0o644)
	wantFile(t, dir, "readme", "lower", 0o644)
	wantFile(t, dir, "link", "import os\n", 0o644)
	wantFile(t, dir, "pkg/up", "x", 0o644)
	for _, sub := range []string{"", "pkg", "deep", "deep/er"} {
		if st, err := os.Stat(filepath.Join(dir, sub)); err != nil || st.Mode() != fs.ModeDir|0o755 {
			t.Errorf("directory %q: %v, %v, want 0755", sub, st.Mode(), err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "pkg/mod.py")); err != nil || !st.ModTime().Equal(when) {
		t.Errorf("the file's time is %v, %v, want %v", st.ModTime(), err, when)
	}
	wantBlob(t, s, info.Digest, code)
}

func wantFile(t *testing.T, dir, name, body string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(got) != body {
		t.Errorf("%s holds %q, %v, want %q", name, got, err, body)
		return
	}
	if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != mode {
		t.Errorf("%s has mode %v, %v, want %v", name, st.Mode(), err, mode)
	}
}

func wantBlob(t *testing.T, s *artifact.Store, d lambent.Digest, want []byte) {
	t.Helper()
	blob, size, err := s.Blob(d)
	if err != nil {
		t.Fatalf("blob: %v", err)
	}
	got, err := io.ReadAll(blob)
	if err = errors.Join(err, blob.Close()); err != nil || !bytes.Equal(got, want) || size != int64(len(want)) {
		t.Errorf("blob has %d bytes of %d, %v, not those that were put", len(got), size, err)
	}
}

func TestUnknownDigestsAreNotFound(t *testing.T) {
	s := open(t, artifact.Options{})
	for _, d := range []lambent.Digest{
		"", "x", "../../etc/passwd", lambent.Digest(strings.Repeat("0", 64)),
		lambent.Digest(strings.Repeat("A", 64)), lambent.Digest("../" + strings.Repeat("0", 61)),
	} {
		if _, _, err := s.Use(testContext(t), d); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("use %q: %v, want not found", d, err)
		}
		if _, _, err := s.Blob(d); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("blob %q: %v, want not found", d, err)
		}
	}
}

func TestConcurrentPutsShareOneUnpack(t *testing.T) {
	var mu sync.Mutex // guards unpacked
	unpacked := 0
	s := open(t, artifact.Options{Point: func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if name == "artifact.after-unpack" {
			unpacked++
		}
	}})
	code := build(t, file{name: "a", body: strings.Repeat("a", 1<<16)})
	var all sync.WaitGroup
	infos, errs := make([]artifact.Info, 16), make([]error, 16)
	for i := range infos {
		all.Go(func() { infos[i], errs[i] = s.Put(testContext(t), artifact.Source{Zip: code}) })
	}
	all.Wait()
	for i := range infos {
		if errs[i] != nil || infos[i] != infos[0] {
			t.Errorf("put %d: %+v, %v", i, infos[i], errs[i])
		}
	}
	if unpacked != 1 {
		t.Errorf("unpacked %d times, want once", unpacked)
	}
}

func TestPutObeysItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, artifact.Source{Zip: build(t, file{name: "a", body: "a"})})
	if lambent.CodeOf(err) != lambent.CodeCanceled || !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context: %v", err)
	}
	wantClean(t, dir)
}

func TestUseRestoresALostTree(t *testing.T) {
	s := open(t, artifact.Options{})
	info := mustPut(t, s, build(t, file{name: "a", body: "a"}))
	dir, release := mustUse(t, s, info.Digest)
	release()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	dir, release = mustUse(t, s, info.Digest)
	release()
	wantFile(t, dir, "a", "a", 0o644)
}

func TestDamagedBlobIsNotBelieved(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	code := build(t, file{name: "a", body: "a"})
	info := mustPut(t, s, code)
	dir, release := mustUse(t, s, info.Digest)
	release()
	other := build(t, file{name: "b", body: "b"})
	err := errors.Join(os.RemoveAll(dir), os.WriteFile(filepath.Join(root, "blobs", string(info.Digest)), other, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Use(testContext(t), info.Digest); lambent.CodeOf(err) != lambent.CodeUnavailable || lambent.ReasonOf(err) != artifact.ReasonDamaged {
		t.Errorf("use of a damaged blob: %v", err)
	}
}

func TestOpenSweepsLeftovers(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	info := mustPut(t, open(t, artifact.Options{Dir: root}), build(t, file{name: "a", body: "a"}))
	leftover := filepath.Join(root, "temp", "tree-1", "sub")
	err := errors.Join(os.MkdirAll(leftover, 0o755), os.WriteFile(filepath.Join(root, "temp", "blob-1"), []byte("half"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, artifact.Options{Dir: root})
	if left := tree(t, filepath.Join(root, "temp")); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
	dir, release := mustUse(t, s, info.Digest)
	defer release()
	wantFile(t, dir, "a", "a", 0o644)
}

func TestNoSourceIsRefused(t *testing.T) {
	s := open(t, artifact.Options{})
	code := build(t, file{name: "a", body: "a"})
	for name, src := range map[string]artifact.Source{
		"nothing": {}, "bucket only": {S3Bucket: "b"}, "key only": {S3Key: "k"}, "both": {Zip: code, S3Bucket: "bucket", S3Key: "k"},
	} {
		if _, err := s.Put(testContext(t), src); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func TestOpenRefusesWhatItCannotWrite(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", filepath.Join(blocked, "artifacts"), "/proc/artifacts"} {
		if _, err := artifact.Open(artifact.Options{Dir: dir}); err == nil {
			t.Errorf("open %q succeeds", dir)
		}
	}
}
