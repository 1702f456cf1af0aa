package runtimes_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"lambent.dev/lambent/internal/runtimes"
	bootstraps "lambent.dev/lambent/runtimes"
)

// A bootstrap that a power cut has emptied, or somebody has taken away, is there again
// with the next server.
func TestDamagedBootstrapsAreMadeAgain(t *testing.T) {
	dir := t.TempDir()
	for name, damage := range map[string]func(file string) error{
		"none":     func(string) error { return nil },
		"emptied":  func(file string) error { return os.Truncate(file, 0) },
		"changed":  func(file string) error { return os.WriteFile(file, []byte("#"), 0o644) },
		"missing":  os.Remove,
		"no files": func(file string) error { return os.RemoveAll(filepath.Dir(filepath.Dir(file))) },
	} {
		open(t, runtimes.Options{DataDir: dir})
		found, err := filepath.Glob(dir + "/runtimes/.bootstrap-*/python/bootstrap.py")
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: bootstraps are at %v (%v)", name, found, err)
		}
		if err := damage(found[0]); err != nil {
			t.Fatal(err)
		}
		open(t, runtimes.Options{DataDir: dir})
		want, err := bootstraps.Files.ReadFile("python/bootstrap.py")
		if err != nil {
			t.Fatal(err)
		}
		if have, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s: the bootstrap has %d bytes, want %d: %v", name, len(have), len(want), err)
		}
		if left := names(t, dir+"/runtimes"); len(left) > 0 {
			t.Errorf("%s: %v are left", name, left)
		}
	}
}

// What an installation that was cut off has left is gone with the next server, and so is
// what an earlier lambent laid out; what was installed, and what somebody put there, is not.
func TestWhatIsLeftOfInstallationsGoes(t *testing.T) {
	dir := t.TempDir()
	open(t, runtimes.Options{DataDir: dir})
	for _, path := range []string{".tmp-123/bin/node", ".bootstrap-0123456789abcdef/python/bootstrap.py", "nodejs22.x/bin/note", ".mine/x"} {
		path = filepath.Join(dir, "runtimes", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open(t, runtimes.Options{DataDir: dir})
	for pattern, want := range map[string]int{".tmp-*": 0, ".bootstrap-*/python/bootstrap.py": 1, "nodejs22.x/bin/note": 1, ".mine/x": 1} {
		if found, err := filepath.Glob(filepath.Join(dir, "runtimes", pattern)); err != nil || len(found) != want {
			t.Errorf("%s: %v, %v", pattern, found, err)
		}
	}
}
