package image_test

import (
	"archive/tar"
	"errors"
	"os"
	"testing"
)

// tarOfDir puts a directory into an archive.
func tarOfDir(t *testing.T, dir, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
