package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func commit(t testing.TB, s store.Records, ops ...store.Op) int64 {
	t.Helper()
	revision, err := s.Commit(t.Context(), ops...)
	if err != nil {
		t.Fatalf("commit: %v (%v)", err, errors.Unwrap(err))
	}
	return revision
}

// wantRefused opens dir and expects one line with the reason and the words.
func wantRefused(t *testing.T, dir, reason string, words ...string) {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir})
	if err == nil {
		closeStore(t, s)
		t.Fatalf("%s is opened", dir)
	}
	wantLine(t, err, reason, append(words, dir)...)
}

func wantLine(t *testing.T, err error, reason string, words ...string) {
	t.Helper()
	if lambent.ReasonOf(err) != reason || strings.Contains(fmt.Sprint(err), "\n") {
		t.Errorf("reason %q, error %q, want %q and one line (cause: %v)", lambent.ReasonOf(err), err, reason, errors.Unwrap(err))
	}
	for _, word := range words {
		if !strings.Contains(fmt.Sprint(err), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestReopeningKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s := openSQLite(t, dir)
	commit(t, s, put("a", "1"), put("b", "2"))
	last := commit(t, s, put("a", "3"), store.Op{Key: "b", Delete: true})
	closeStore(t, s)
	s = openSQLite(t, dir)
	defer closeStore(t, s)
	r, err := s.Get(t.Context(), "a")
	if err != nil || string(r.Value) != "3" || r.Revision != last {
		t.Errorf("after reopening a is %q at %d, %v, want 3 at %d", r.Value, r.Revision, err, last)
	}
	n := 0
	for r, err := range s.Watch(t.Context(), "", last-1) { // deletions are kept, too
		if err != nil || r.Revision != last {
			t.Fatalf("watch gives %v, %v", r, err)
		}
		if n++; n == 2 {
			break
		}
	}
	if next := commit(t, s, put("c", "4")); next <= last {
		t.Errorf("the revision went from %d to %d", last, next)
	}
}

func TestTwoServersOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	s := openSQLite(t, dir)
	_, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir})
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("opening it again: %v, want ErrLocked", err)
	}
	wantLine(t, err, store.ReasonLocked, dir, fmt.Sprintf("process %d", os.Getpid()))
	commit(t, s, put("a", "1")) // the first is not disturbed
	closeStore(t, s)
	closeStore(t, openSQLite(t, dir))
}

// A server that is started right after another one was killed does not stumble over what
// that one had just forked, and has its lock still.
func TestLockOfAKilledServer(t *testing.T) {
	dir := t.TempDir()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintln(lock, gone.Process.Pid)
	if err := errors.Join(err, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)); err != nil {
		t.Fatal(err)
	}
	orphan := exec.Command("sleep", "0.3")
	orphan.ExtraFiles = []*os.File{lock}
	if err := errors.Join(orphan.Start(), lock.Close()); err != nil {
		t.Fatal(err)
	}
	closeStore(t, openSQLite(t, dir))
	if err := orphan.Wait(); err != nil {
		t.Error(err)
	}
}

func TestNewerDataIsRefused(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, openSQLite(t, dir))
	if err := os.WriteFile(filepath.Join(dir, "format"), fmt.Append(nil, store.Format+1), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dir, store.ReasonNewer, "newer version")
	if _, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir}); !errors.Is(err, store.ErrNewer) {
		t.Errorf("opening it: %v, want ErrNewer", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "format"), []byte("soup"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dir, store.ReasonCorrupt, "format number")
}

func TestDamagedDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openSQLite(t, dir)
	for i := range 200 {
		commit(t, s, put(fmt.Sprintf("key/%d", i), strings.Repeat("v", 1000)))
	}
	closeStore(t, s)
	path := filepath.Join(dir, store.File)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func([]byte){
		"header": func(b []byte) { copy(b, "this is not a database") },
		"pages": func(b []byte) {
			for i := 4096; i < len(b); i++ {
				b[i] = 0xa5
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			broken := append([]byte{}, sound...)
			harm(broken)
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, dir, store.ReasonCorrupt, "damaged")
		})
	}
}

func TestDamageFoundLaterIsReported(t *testing.T) {
	dir := t.TempDir()
	s := openSQLite(t, dir)
	for i := range 400 {
		commit(t, s, put(fmt.Sprintf("key/%03d", i), strings.Repeat("v", 1000)))
	}
	closeStore(t, s)
	path := filepath.Join(dir, store.File)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) / 2; i < len(data)/2+64<<10; i++ {
		data[i] = 0xa5
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openSQLite(t, dir)
	defer closeStore(t, s)
	for _, err = range s.Scan(t.Context(), "") {
		if err != nil {
			break
		}
	}
	wantLine(t, err, store.ReasonCorrupt, "damaged")
}

func TestUnusablePathsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir}); err == nil {
			closeStore(t, s)
			t.Errorf("%q is opened", dir)
		}
	}
}

// mountTmpfs gives a file system of its own size, or skips.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := mountTmpfs(t, "size=4m")
	s := openSQLite(t, dir)
	commit(t, s, put("a", "1"))
	closeStore(t, s)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dir, store.ReasonReadOnly, "cannot be written")
}

func TestFullDisk(t *testing.T) {
	dir := mountTmpfs(t, "size=2m")
	s := openSQLite(t, dir)
	defer closeStore(t, s)
	first := commit(t, s, put("first", "kept"))
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Commit(t.Context(), put("big", strings.Repeat("x", 1<<20)), put("first", "lost"))
	wantLine(t, err, store.ReasonDiskFull, "disk is full")
	if r, err := s.Get(t.Context(), "first"); err != nil || string(r.Value) != "kept" || r.Revision != first {
		t.Errorf("after the failure first is %q at %d, %v", r.Value, r.Revision, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if second := commit(t, s, put("second", "works")); second != first+1 {
		t.Errorf("the next revision is %d, want %d", second, first+1)
	}
}

func TestFullDiskAtTheStart(t *testing.T) {
	dir := mountTmpfs(t, "size=64k")
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dir, store.ReasonDiskFull, "disk is full")
}

// Ten thousand records are read within the time that a restart may take; the
// bound is ten times what a slow machine needs.
func TestScanOfManyRecords(t *testing.T) {
	s := openSQLite(t, t.TempDir())
	defer closeStore(t, s)
	var ops []store.Op
	for i := range 10_000 {
		ops = append(ops, put(fmt.Sprintf("version/000000000000/function-%05d/$LATEST", i), strings.Repeat("v", 1024)))
	}
	commit(t, s, ops...)
	start, n := time.Now(), 0
	for _, err := range s.Scan(t.Context(), "version/") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if took := time.Since(start); n != len(ops) || took > 3*time.Second {
		t.Errorf("read %d records in %v", n, took)
	} else {
		t.Logf("read %d records in %v", n, took)
	}
}
