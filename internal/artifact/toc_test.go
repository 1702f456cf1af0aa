package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"golang.org/x/sys/unix"
)

// tocOnly is a layer that has nothing but that table of contents.
func tocOnly(t testing.TB, toc []byte) (data []byte, digest string) {
	t.Helper()
	var b bytes.Buffer
	_, _ = b.Write(make([]byte, 100)) // where content would be
	at := b.Len()
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	must(t, w.WriteHeader(&tar.Header{Name: estargz.TOCTarName, Typeflag: tar.TypeReg, Size: int64(len(toc))}))
	_, err := w.Write(toc)
	must(t, errors.Join(err, w.Close(), z.Close()))
	var footer bytes.Buffer
	fz, err := gzip.NewWriterLevel(&footer, gzip.NoCompression)
	must(t, err)
	fz.Extra = []byte{'S', 'G', 22, 0}
	fz.Extra = append(fz.Extra, []byte(hex16(at)+"STARGZ")...)
	must(t, fz.Close())
	return append(b.Bytes(), footer.Bytes()...), "sha256:" + string(hexDigest(toc))
}

func hex16(n int) string {
	const digits = "0123456789abcdef"
	p := []byte("0000000000000000")
	for i := 15; n > 0; i, n = i-1, n/16 {
		p[i] = digits[n%16]
	}
	return string(p)
}

func ownerOfFile(info fs.FileInfo) (uid, gid uint32) {
	s := info.Sys().(*syscall.Stat_t)
	return s.Uid, s.Gid
}

func isOpaque(path string) bool {
	value := make([]byte, 8)
	n, err := unix.Lgetxattr(path, "trusted.overlay.opaque", value)
	return err == nil && string(value[:n]) == "y"
}
