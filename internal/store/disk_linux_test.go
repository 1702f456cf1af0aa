package store

import (
	"os"
	"path/filepath"
	"testing"
)

// A file is synced by the kernel's queue and, where there is none, by a call that
// waits; both tell of an error.
func TestSyncer(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSyncer(file)
	for range 3 {
		if _, err := file.WriteString("text"); err != nil {
			t.Fatal(err)
		}
		if err := s.sync(); err != nil {
			t.Error(err)
		}
	}
	plain := &syncer{file: file}
	if err := plain.sync(); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if s.sync() == nil || plain.sync() == nil {
		t.Error("a closed file is synced")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }() // nothing was read
	if s = newSyncer(w); s.sync() == nil {
		t.Error("a pipe is synced")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
