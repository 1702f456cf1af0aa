package artifact_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/artifact"
)

// A file of the cache that changes behind the store's back is found out at the
// first use after opening, or by the scrub, and the code is unpacked again.
func TestDamagedTreeIsRebuilt(t *testing.T) {
	damages := map[string]func(t *testing.T, dir string){
		"content": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "lib/a.py")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			// The same size and time: only the bytes tell.
			must(t, os.WriteFile(path, []byte("XXXX"), 0o644))
			must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
		"missing file": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "lib/a.py"))) },
		"extra file":   func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "b.py"), nil, 0o644)) },
		"mode":         func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "main.py"), 0o777)) },
		"link":         func(t *testing.T, dir string) { must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "p"))) },
		"no seal":      func(t *testing.T, dir string) { must(t, os.Remove(dir+".seal")) },
	}
	finds := map[string]func(t *testing.T, root string, s *artifact.Store) *artifact.Store{
		"reopened": func(t *testing.T, root string, _ *artifact.Store) *artifact.Store {
			return open(t, artifact.Options{Dir: root})
		},
		"scrubbed": func(t *testing.T, _ string, s *artifact.Store) *artifact.Store {
			must(t, s.Scrub(testContext(t), 1<<20))
			return s
		},
	}
	for damage, do := range damages {
		for find, look := range finds {
			t.Run(damage+", "+find, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "artifacts")
				s := open(t, artifact.Options{Dir: root})
				info := mustPut(t, s, build(t, file{name: "main.py", body: "main"}, file{name: "lib/a.py", body: "good"}))
				dir, release := mustUse(t, s, info.Digest)
				want := strings.Join(tree(t, dir), "\n")
				release()
				do(t, dir)
				s = look(t, root, s)
				dir, release = mustUse(t, s, info.Digest)
				defer release()
				if got := strings.Join(tree(t, dir), "\n"); got != want {
					t.Errorf("the tree is\n%s\nwant\n%s", got, want)
				}
				if got, err := os.ReadFile(filepath.Join(dir, "lib/a.py")); string(got) != "good" {
					t.Errorf("lib/a.py is %q, %v", got, err)
				}
				if info, err := os.Stat(filepath.Join(dir, "main.py")); err != nil || info.Mode() != 0o644 {
					t.Errorf("main.py is %v, %v", info.Mode(), err)
				}
			})
		}
	}
}

// What a running instance has mounted stays under its feet when a scrub finds it
// damaged: only the name goes.
func TestScrubLeavesPinnedFiles(t *testing.T) {
	s := open(t, artifact.Options{})
	info := mustPut(t, s, build(t, file{name: "main.py", body: "main"}))
	dir, release := mustUse(t, s, info.Digest)
	defer release()
	held, err := os.Open(filepath.Join(dir, "main.py"))
	must(t, err)
	defer func() { _ = held.Close() }()
	must(t, os.WriteFile(filepath.Join(dir, "more"), nil, 0o644))
	must(t, s.Scrub(testContext(t), 1<<20))
	if info, err := os.Stat(held.Name()); err == nil {
		t.Errorf("the damaged tree still has its name: %v", info)
	}
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		if st, err := held.Stat(); err != nil || st.Size() != 4 {
			t.Errorf("the held file: %v", err)
		}
	}
	again, done := mustUse(t, s, info.Digest)
	defer done()
	if got := tree(t, again); len(got) != 1 {
		t.Errorf("rebuilt beside the pinned one: %v", got)
	}
}

func TestTrimDropsTheLongestUnused(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	kb := strings.Repeat("x", 1000)
	old := mustPut(t, s, build(t, file{name: "old", body: kb}))
	pinned := mustPut(t, s, build(t, file{name: "pinned", body: kb}))
	young := mustPut(t, s, build(t, file{name: "young", body: kb}))
	_, hold := mustUse(t, s, pinned.Digest)
	defer hold()
	time.Sleep(2 * time.Millisecond)
	_, release := mustUse(t, s, young.Digest)
	release()

	if freed, err := s.Trim(testContext(t), 2000); err != nil || freed != 1000 {
		t.Errorf("freed %d, %v; want 1000", freed, err)
	}
	has := func(d string) bool {
		found, _ := filepath.Glob(filepath.Join(root, "trees", "*", d))
		return len(found) == 1
	}
	if has(string(old.Digest)) || !has(string(pinned.Digest)) || !has(string(young.Digest)) {
		t.Error("it was not the longest unused that went")
	}
	// Pinned code stays, even if the limit is then not met.
	if freed, err := s.Trim(testContext(t), 0); err != nil || freed != 1000 || !has(string(pinned.Digest)) {
		t.Errorf("freed %d, %v; the pinned code is there: %v", freed, err, has(string(pinned.Digest)))
	}
	dir, release := mustUse(t, s, old.Digest)
	defer release()
	if got := tree(t, dir); len(got) != 1 || s.CacheBytes() != 2000 {
		t.Errorf("used after the trim: %v; the cache holds %d bytes", got, s.CacheBytes())
	}
	// A store that is opened on the folder knows what is in it once it is asked.
	s = open(t, artifact.Options{Dir: root})
	if freed, err := s.Trim(testContext(t), 1000); err != nil || freed != 1000 {
		t.Errorf("after opening again: freed %d, %v; want 1000", freed, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
