package runtimes_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
)

// A blank that is remembered is for starts of the same kind only: where packages have come
// meanwhile it is another one.
func TestRememberedBlanks(t *testing.T) {
	name, data := pythonsFor(t)[0], t.TempDir()
	c, err := runtimes.Open(t.Context(), runtimes.Options{DataDir: data, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	key := func() string {
		rt, err := c.Resolve(&lambent.Version{Runtime: name, Handler: "a.b", MemoryMB: 128})
		if err != nil || rt.Blank == nil {
			t.Fatal(rt.Blank, err)
		}
		return rt.Blank.Key
	}
	first := key()
	if again := key(); again != first {
		t.Errorf("the same start has the blank %s, and had %s", again, first)
	}
	packages := filepath.Join(data, "runtimes", "packages")
	if err := os.MkdirAll(filepath.Join(packages, "set"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("set", filepath.Join(packages, name)); err != nil {
		t.Fatal(err)
	}
	if with := key(); with == first {
		t.Error("a start with packages has the blank of one without")
	}
	if err := os.Remove(filepath.Join(packages, name)); err != nil {
		t.Fatal(err)
	}
	if without := key(); without != first {
		t.Errorf("without packages the blank is %s, and was %s", without, first)
	}
}
