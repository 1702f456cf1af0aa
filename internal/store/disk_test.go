package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// mountImage mounts the ext4 file system in a file, which it makes when it is
// new, or skips.
func mountImage(t *testing.T, image string, fresh bool) string {
	t.Helper()
	if fresh {
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 24<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
			t.Skipf("mkfs.ext4: %v: %s", err, out)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mount %s: %v: %s", image, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount %s: %v: %s", dir, err, out)
		}
	})
	return filepath.Join(dir, "data")
}

// A queue on a full disk refuses, loses nothing that it has acknowledged, and goes
// on once there is room, without being opened again.
func TestQueueOnFullDisk(t *testing.T) {
	t.Run("tmpfs", func(t *testing.T) { testFullDisk(t, mountTmpfs(t, "size=6m"), 3<<20) })
	t.Run("ext4", func(t *testing.T) {
		testFullDisk(t, filepath.Dir(mountImage(t, filepath.Join(t.TempDir(), "disk"), true)), 12<<20)
	})
}

// testFullDisk fills a disk on which so many bytes are taken by something else,
// which then goes away.
func testFullDisk(t *testing.T, disk string, other int) {
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, other), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSQLite(t, filepath.Join(disk, "queue"))
	defer closeStore(t, s)
	var kept []string
	var err error
	for i := 0; err == nil; i++ {
		j := numbered(fmt.Sprint(i))
		j.Body = []byte(strings.Repeat("x", 20_000))
		if err = s.Push(t.Context(), j); err == nil {
			kept = append(kept, j.ID)
		}
		if i > 5000 {
			t.Fatal("the disk does not get full")
		}
	}
	wantLine(t, err, store.ReasonDiskFull, "disk is full")
	if lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("the code is %s", lambent.CodeOf(err))
	}
	for range 3 { // it stays full
		err := s.Push(t.Context(), store.Job{ID: "big", Lane: "l", Status: store.JobWaiting, Created: time.Unix(1e9, 0), Body: make([]byte, 1<<20)})
		wantLine(t, err, store.ReasonDiskFull)
	}
	for _, id := range kept {
		if _, err := s.Job(t.Context(), id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), numbered("after")); err != nil {
		t.Fatalf("there is room again: %v (%v)", err, errors.Unwrap(err))
	}
	jobs, err := s.Take(t.Context(), "lane", len(kept)+10, time.Unix(2e9, 0), time.Unix(3e9, 0))
	if err != nil || len(jobs) != len(kept)+1 {
		t.Errorf("took %d jobs of %d, %v", len(jobs), len(kept)+1, err)
	}
}

// A full disk may have room for the log, which a server that was killed has left long, and
// none for more of the log's index: that is a full disk like any other.
func TestLogIndexOnFullDisk(t *testing.T) {
	disk, first := mountTmpfs(t, "size=64m"), t.TempDir()
	s := openSQLite(t, first)
	large := strings.Repeat("x", 12<<20)
	commit(t, s, put("a", large), put("b", large)) // the log becomes as long as it is kept
	for i := range 100 {
		commit(t, s, put("small", fmt.Sprint(i))) // and begins anew
	}
	killed := filepath.Join(disk, "killed")
	if err := os.Mkdir(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{store.File, store.File + "-wal"} {
		if out, err := exec.Command("cp", filepath.Join(first, name), killed).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	closeStore(t, s)
	s = openSQLite(t, killed)
	defer closeStore(t, s)
	other := filepath.Join(disk, "other")
	if out, err := exec.Command("cp", "/dev/zero", other).CombinedOutput(); err == nil {
		t.Fatalf("the disk is not full: %s", out)
	}
	kept := 0
	var err error
	for ; err == nil; kept++ {
		j := numbered(fmt.Sprint(kept))
		j.Body = []byte(strings.Repeat("x", 8_000))
		err = s.Push(t.Context(), j)
	}
	wantLine(t, err, store.ReasonDiskFull, "disk is full")
	t.Logf("after %d jobs: %v", kept-1, errors.Unwrap(err))
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), numbered("after")); err != nil {
		t.Fatalf("there is room again: %v (%v)", err, errors.Unwrap(err))
	}
}

// What an earlier version wrote is brought up to date, and an earlier version
// refuses it from then on.
func TestOldDatabaseIsMigrated(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/format-1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := openSQLite(t, dir)
		for i := range 10 {
			r, err := s.Get(t.Context(), fmt.Sprintf("function/000000000000/f%d", i))
			want := fmt.Sprintf("value %d", i)
			switch i {
			case 3:
				want = "changed"
			case 4:
				if !errors.Is(err, store.ErrNotFound) {
					t.Errorf("the deleted record: %v", err)
				}
				continue
			}
			if err != nil || string(r.Value) != want {
				t.Errorf("record %d is %q, %v", i, r.Value, err)
			}
		}
		n := 0
		for range s.Watch(t.Context(), "", 10) {
			if n++; n == 2 { // the last commit: one change, one deletion
				break
			}
		}
		if err := s.Push(t.Context(), numbered(fmt.Sprint(time.Now().UnixNano()))); err != nil {
			t.Error(err)
		}
		closeStore(t, s)
	}
	text, err := os.ReadFile(filepath.Join(dir, "format"))
	if err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(store.Format) {
		t.Errorf("the format is %q, %v", text, err)
	}
}
