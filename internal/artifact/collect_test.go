package artifact_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// age makes a blob look as if it had been put some time ago.
func age(t *testing.T, root string, d lambent.Digest, by time.Duration) {
	t.Helper()
	when := time.Now().Add(-by)
	if err := os.Chtimes(filepath.Join(root, "blobs", string(d)), when, when); err != nil {
		t.Fatal(err)
	}
}

func mustCollect(t *testing.T, s *artifact.Store, alive ...lambent.Digest) int64 {
	t.Helper()
	set := map[lambent.Digest]bool{}
	for _, d := range alive {
		set[d] = true
	}
	freed, err := s.Collect(testContext(t), set, time.Hour)
	if err != nil {
		t.Fatalf("collect: %v (%v)", err, errors.Unwrap(err))
	}
	return freed
}

func TestCollectSparesAliveYoungAndPinned(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	var infos []artifact.Info
	for i := range 4 {
		infos = append(infos, mustPut(t, s, build(t, file{name: "a", body: fmt.Sprintf("code %d", i)})))
	}
	alive, young, pinned, dead := infos[0], infos[1], infos[2], infos[3]
	for _, info := range []artifact.Info{alive, pinned, dead} {
		age(t, root, info.Digest, 2*time.Hour)
	}
	_, release := mustUse(t, s, pinned.Digest)
	if freed := mustCollect(t, s, alive.Digest); freed != dead.Size+dead.Unpacked {
		t.Errorf("collect freed %d bytes, want %d", freed, dead.Size+dead.Unpacked)
	}
	if _, _, err := s.Use(testContext(t), dead.Digest); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("the dead code can still be used: %v", err)
	}
	for _, info := range []artifact.Info{alive, young, pinned} {
		_, done := mustUse(t, s, info.Digest)
		done()
	}
	release()
	release() // more than once does no harm
	if freed := mustCollect(t, s, alive.Digest); freed != pinned.Size+pinned.Unpacked {
		t.Errorf("collect freed %d bytes after the release, want %d", freed, pinned.Size+pinned.Unpacked)
	}
}

func TestPutMakesOldCodeYoung(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	code := build(t, file{name: "a", body: "a"})
	info := mustPut(t, s, code)
	age(t, root, info.Digest, 2*time.Hour)
	mustPut(t, s, code)
	if freed := mustCollect(t, s); freed != 0 {
		t.Errorf("collect freed %d bytes of code that was put just now", freed)
	}
}

func TestTreesOfAnotherBootAreNotUsed(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	info := mustPut(t, s, build(t, file{name: "a", body: "whole"}))
	dir, release := mustUse(t, s, info.Digest)
	release()
	stale := filepath.Join(root, "trees", "an-earlier-boot")
	if err := os.Rename(filepath.Dir(dir), stale); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stale, string(info.Digest), "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, artifact.Options{Dir: root})
	dir, release = mustUse(t, s, info.Digest)
	defer release()
	wantFile(t, dir, "a", "whole", 0o644)
	mustCollect(t, s, info.Digest)
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale trees are still there: %v", err)
	}
}

// Users, putters and a collector that takes everything race: what Use hands out
// must be whole until it is released.
func TestCollectAndUseRace(t *testing.T) {
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root})
	var codes [][]byte
	for i := range 3 {
		codes = append(codes, build(t, file{name: "x/a", body: fmt.Sprint(i)}, file{name: "x/b", body: fmt.Sprint(i)}))
	}
	faults := make(chan error, 16)
	var all, collector sync.WaitGroup
	stop := make(chan struct{})
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Collect(testContext(t), nil, 0); err != nil {
				faults <- fmt.Errorf("collect: %w", err)
				return
			}
		}
	})
	for worker := range 4 {
		all.Go(func() {
			for i := range 40 {
				if err := putAndUse(t, s, codes[(worker+i)%len(codes)]); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(stop)
	collector.Wait()
	close(faults)
	for err := range faults {
		t.Error(err)
	}
}

func putAndUse(t *testing.T, s *artifact.Store, code []byte) error {
	info, err := s.Put(testContext(t), artifact.Source{Zip: code})
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	dir, release, err := s.Use(testContext(t), info.Digest)
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		return nil // collected at once, as it may be
	}
	if err != nil {
		return fmt.Errorf("use: %w", err)
	}
	defer release()
	for _, name := range []string{"x/a", "x/b"} {
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("read pinned code: %w", err)
		}
	}
	return nil
}
