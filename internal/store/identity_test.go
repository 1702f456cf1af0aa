package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// A directory belongs with the database that it was first used with: another one, or none
// any more, is refused until the operator says otherwise.
func TestOtherDatabaseIsRefused(t *testing.T) {
	urls := map[string]string{"SQLite": "", "PostgreSQL": postgresURL(t), "another PostgreSQL": postgresURL(t)}
	dir := filepath.Join(t.TempDir(), "data")
	use := func(name string) error {
		t.Helper()
		s, err := store.Open(t.Context(), store.Options{Dir: dir, URL: urls[name]})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	wantRefused := func(name string) {
		t.Helper()
		err := use(name)
		if lambent.ReasonOf(err) != store.ReasonOther || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for first := range urls {
		for name := range urls {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := use(first); err != nil {
					t.Fatal(err)
				}
			}
			if name == first {
				continue
			}
			wantRefused(name)
			if err := use(first); err != nil {
				t.Errorf("%s after %s was refused: %v", first, name, err)
			}
			if err := os.Remove(filepath.Join(dir, "database")); err != nil {
				t.Fatal(err)
			}
			if err := use(name); err != nil {
				t.Errorf("%s, which is to be used now: %v", name, err)
			}
			wantRefused(first)
		}
	}
}

// A database that has gone is not taken for one that knows of no code.
func TestLostDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)()
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, store.File+end)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if _, err := store.Open(t.Context(), store.Options{Dir: dir}); lambent.ReasonOf(err) != store.ReasonOther {
		t.Error(err)
	}
}

// open opens a database in dir; what it returns closes it.
func open(t *testing.T, dir string) (end func()) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return func() { closeStore(t, s) }
}
