package artifact_test

import (
	"archive/zip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// FuzzPut feeds anything to Put. Whatever it says, nothing may lie outside the
// store, a refusal leaves nothing behind, and what is accepted is a tree of
// readable files and of links that stay within it.
func FuzzPut(f *testing.F) {
	f.Add([]byte{})
	f.Add(build(f))
	f.Add(build(f, file{name: "a", body: "text"}, file{name: "b/c", body: "more"}))
	f.Add(build(f, file{name: "../a", body: "x"}))
	f.Add(build(f, link("l", "d/../d/a"), file{name: "d/a", mode: 0o4755}))
	f.Add(build(f, link("here", "."), link("d/y", "../here/../x")))
	f.Add(build(f, file{name: "a", body: "xyz", claim: 1 << 40, method: zip.Deflate}))
	f.Add(deflated(f, "big", 10_000))
	f.Add(zip64(f))
	f.Add(overlapping(f, 3))
	f.Add(many(3))
	f.Fuzz(func(t *testing.T, code []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "artifacts")
		s := open(t, artifact.Options{Dir: dir})
		info, err := s.Put(testContext(t), artifact.Source{Zip: code})
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Fatalf("beside the store there are %v, %v", left, err)
		}
		if err != nil {
			var known *lambent.Error
			if !errors.As(err, &known) || (known.Code != lambent.CodeInvalid && known.Code != lambent.CodeTooLarge) {
				t.Fatalf("put fails with %v (%v)", err, errors.Unwrap(err))
			}
			wantClean(t, dir)
			return
		}
		root, release := mustUse(t, s, info.Digest)
		defer release()
		wantSafe(t, root, info.Unpacked)
	})
}

func wantSafe(t *testing.T, root string, unpacked int64) {
	t.Helper()
	var size int64
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		switch mode := st.Mode(); {
		case mode == 0o644, mode == 0o755:
			size += st.Size()
		case mode == fs.ModeDir|0o755:
		case mode.Type() == fs.ModeSymlink:
			size += st.Size()
			to, err := filepath.EvalSymlinks(path)
			if err == nil && to != root && !strings.HasPrefix(to, root+"/") {
				t.Errorf("%s leads to %s", path, to)
			}
		default:
			t.Errorf("%s has mode %v", path, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if size != unpacked {
		t.Errorf("the tree has %d bytes, not %d", size, unpacked)
	}
}
