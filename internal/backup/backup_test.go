package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/backup"
	"lambent.dev/lambent/internal/store"
)

// data is a data directory with something of everything; its store is open.
func data(t *testing.T) (string, *store.SQLite) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"credentials": "secret", "certificates/a.pem": "pem", "artifacts/blobs/abc": "code", "artifacts/layers/def": "layer", "artifacts/coming/ghi": "from where",
		"artifacts/trees/x/abc": "unpacked", "logs/g/1": "line", "endpoints.json": "{}", "backup-old/records.db": "left",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Commit(t.Context(), store.Op{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	return dir, s
}

func archive(t *testing.T, logs bool) (dir string, file []byte) {
	t.Helper()
	dir, s := data(t)
	var out bytes.Buffer
	err := backup.Source{Data: dir, Store: s, Version: "1", Now: time.Now()}.Write(t.Context(), &out, logs)
	if err != nil {
		t.Fatal(err)
	}
	return dir, out.Bytes()
}

func files(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			inside, _ := filepath.Rel(dir, path)
			names = append(names, inside)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestRoundTrip(t *testing.T) {
	for logs, want := range map[bool]string{
		false: "artifacts/blobs/abc artifacts/coming/ghi artifacts/layers/def certificates/a.pem credentials records.db",
		true:  "artifacts/blobs/abc artifacts/coming/ghi artifacts/layers/def certificates/a.pem credentials logs/g/1 records.db",
	} {
		from, file := archive(t, logs)
		to := filepath.Join(t.TempDir(), "new", "data")
		head, err := backup.Target{Data: to}.Restore(t.Context(), bytes.NewReader(file))
		if err != nil || head.Logs != logs || head.Schema != store.Format {
			t.Fatalf("restore: %+v, %v", head, err)
		}
		if got := files(t, to); got != want {
			t.Errorf("restored are %s, want %s", got, want)
		}
		if left := files(t, filepath.Dir(to)); strings.Contains(left, "restoring") {
			t.Errorf("left is %s", left)
		}
		s, err := store.OpenSQLite(t.Context(), store.Options{Dir: to})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(t.Context(), "k"); err != nil || string(r.Value) != "v" {
			t.Errorf("the record is %q, %v", r.Value, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := backup.Tidy(from); err != nil || strings.Contains(files(t, from), "backup-") {
			t.Errorf("after tidying there are %s, %v", files(t, from), err)
		}
	}
}

func TestDamagedArchivesAreRefused(t *testing.T) {
	_, file := archive(t, true)
	for name, c := range map[string]struct {
		file  []byte
		words string
	}{
		"empty":   {nil, "not a backup"},
		"text":    {bytes.Repeat([]byte("soup "), 1000), "not a backup"},
		"cut":     {file[:len(file)/2], "cut off"},
		"no sums": {edit(t, file, "checksums.json", ""), "cut off"},
		"lost":    {edit(t, file, "credentials", ""), "checksums"},
		"changed": {bytes.Replace(file, []byte("secret"), []byte("Secret"), 1), "checksums"},
		"escapes": {edit(t, file, "certificates/a.pem", "certificates/../../a"), "no place"},
	} {
		to := filepath.Join(t.TempDir(), "data")
		_, err := backup.Target{Data: to}.Restore(t.Context(), bytes.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
		if left := files(t, filepath.Dir(to)); left != "" {
			t.Errorf("%s: left is %s", name, left)
		}
	}
	newer := bytes.Replace(file, []byte(`"format": 1`), []byte(`"format": 9`), 1)
	if _, err := backup.Verify(bytes.NewReader(newer)); !errors.Is(err, store.ErrNewer) {
		t.Errorf("a newer one: %v", err)
	}
}

// edit is an archive of which one entry has another name, or is left out.
func edit(t *testing.T, file []byte, name, to string) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(file)), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		if h.Name == name {
			if h.Name = to; to == "" {
				continue
			}
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUsedDirectoriesAreRefused(t *testing.T) {
	dir, file := archive(t, false)
	for name, want := range map[string]string{dir: "in use", filepath.Join(dir, "logs"): "not empty"} {
		_, err := backup.Target{Data: name}.Restore(t.Context(), bytes.NewReader(file))
		if lambent.CodeOf(err) != lambent.CodeConflict || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Folders on file systems of their own are copied.
func TestFoldersElsewhere(t *testing.T) {
	dir, s := data(t)
	blobs := filepath.Join(dir, "artifacts", "blobs")
	if err := syscall.Mount("tmpfs", blobs, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(blobs, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(blobs, "other"), []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (backup.Source{Data: dir, Store: s, Now: time.Now()}).Write(t.Context(), &out, false); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "data")
	if _, err := (backup.Target{Data: to}).Restore(t.Context(), bytes.NewReader(out.Bytes())); err != nil {
		t.Fatal(err)
	}
	if got := files(t, to); !strings.Contains(got, "artifacts/blobs/other ") {
		t.Errorf("restored are %s", got)
	}
}

// A file system of its own is refused before anything is written, into a database above all.
func TestRestoreOntoAMountPoint(t *testing.T) {
	_, file := archive(t, false)
	parent := t.TempDir()
	to := filepath.Join(parent, "data")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", to, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	})
	_, err := backup.Target{Data: to, URL: "postgres://nobody@127.0.0.1:1/none"}.Restore(t.Context(), bytes.NewReader(file))
	if lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), "mount point: choose a directory in it") {
		t.Errorf("restore: %v", err)
	}
	if left := files(t, parent); left != "" {
		t.Errorf("left is %s", left)
	}
	if _, err := (backup.Target{Data: filepath.Join(to, "lambent")}).Restore(t.Context(), bytes.NewReader(file)); err != nil {
		t.Errorf("restore into a directory in it: %v", err)
	}
}

// Whoever leaves while a backup is written gets an archive that is refused, and
// nothing is left.
func TestBackupThatIsBrokenOff(t *testing.T) {
	dir, s := data(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	err := backup.Source{Data: dir, Store: leaving{s, cancel}, Now: time.Now()}.Write(ctx, &out, true)
	if err == nil {
		t.Error("it is whole")
	}
	if _, err := backup.Verify(&out); err == nil {
		t.Error("it is taken for whole")
	}
	if left := files(t, dir); strings.Count(left, "backup-") != 1 { // what data made
		t.Errorf("left is %s", left)
	}
}

// leaving cancels once the snapshot is taken.
type leaving struct {
	*store.SQLite
	cancel context.CancelFunc
}

func (l leaving) Snapshot(ctx context.Context, path string) error {
	defer l.cancel()
	return l.SQLite.Snapshot(ctx, path)
}

// FuzzVerify: no archive makes it fall over, or is taken without its checksums.
func FuzzVerify(f *testing.F) {
	head, err := json.Marshal(backup.Head{Format: 1, Schema: 1})
	if err != nil {
		f.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range map[string]string{"lambent-backup.json": string(head)} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600}); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(out.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if head, err := backup.Verify(bytes.NewReader(data)); err == nil && head.Format > backup.Format {
			t.Errorf("format %d is taken", head.Format)
		}
	})
}
