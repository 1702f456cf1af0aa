package artifact_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// Archives of random links, many of them through one another: whatever Put
// accepts, the kernel itself finds no link among it that leaves the tree
// (openat2(2), RESOLVE_BENEATH).
func TestAcceptedLinksStayBeneathTheRoot(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "c", "d/a", "d/b", "d/e/a", "f/b"})
		target := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", ".", "..", ".."}), 1, 5)
		files := []file{{name: "d/e/file", body: "x"}, {name: "f/file", body: "x"}}
		for _, n := range rapid.SliceOfNDistinct(name, 1, 4, rapid.ID[string]).Draw(rt, "names") {
			files = append(files, link(n, strings.Join(target.Draw(rt, "target of "+n), "/")))
		}
		info, err := s.Put(testContext(t), artifact.Source{Zip: build(t, files...)})
		if lambent.CodeOf(err) == lambent.CodeInvalid {
			return
		}
		if err != nil {
			rt.Fatalf("put: %v (%v)", err, errors.Unwrap(err))
		}
		accepted++
		root, release := mustUse(t, s, info.Digest)
		defer release()
		dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = unix.Close(dir) }()
		for _, f := range files {
			if f.mode&fs.ModeSymlink == 0 {
				continue
			}
			fd, err := unix.Openat2(dir, f.name, &unix.OpenHow{Flags: unix.O_PATH, Resolve: unix.RESOLVE_BENEATH})
			if err == nil {
				_ = unix.Close(fd)
			} else if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
				rt.Fatalf("%s -> %s: %v, among %v", f.name, f.body, err, files)
			}
		}
	})
	if accepted == 0 {
		t.Error("nothing was ever accepted")
	}
}
