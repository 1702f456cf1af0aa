package artifact

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestHeadersAreNotKept is for a layer of directories whose headers say much more than what
// is made of them: compressed they are next to nothing, and all of them were in memory
// until the end.
func TestHeadersAreNotKept(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	const many = 200
	u := &layerUnpacker{root: root, left: 1, sum: sha256.New()}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	archive := &bulky{left: many, atEnd: func() {
		runtime.GC()
		runtime.ReadMemStats(&after)
	}}
	if err := u.unpack(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 16<<20 {
		t.Errorf("%d MB are held after %d headers of half a MB", held>>20, many)
	}
	if _, err := root.Lstat(fmt.Sprint("d", many-1)); err != nil {
		t.Error(err)
	}
}

// bulky is an archive of directories with large headers.
type bulky struct {
	left  int
	buf   bytes.Buffer
	atEnd func()
}

func (b *bulky) Read(p []byte) (int, error) {
	if b.buf.Len() == 0 {
		if b.left == 0 {
			b.atEnd()
			return 0, io.EOF
		}
		b.left--
		w := tar.NewWriter(&b.buf)
		h := &tar.Header{Name: fmt.Sprint("d", b.left), Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"BULKY.x": strings.Repeat("x", 512<<10)}}
		if err := w.WriteHeader(h); err != nil {
			return 0, err
		}
	}
	return b.buf.Read(p)
}
