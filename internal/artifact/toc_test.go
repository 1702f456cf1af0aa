package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/artifact"
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

// TestIndexOfNothing is for an index that is next to nothing as it comes, and has millions
// of entries.
func TestIndexOfNothing(t *testing.T) {
	for entries, says := range map[string]string{
		"[" + strings.Repeat("{},", 500_000) + "{}]": "more than 500000 entries",
		"{}": "no list", `"x"`: "no list", "[1]": "cannot unmarshal",
	} {
		s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
		data, digest := tocOnly(t, []byte(`{"version":1,"entries":`+entries+`}`))
		l := artifact.Layer{Digest: hexDigest(data), DiffID: hexDigest(nil), Size: int64(len(data)), Limit: 1 << 30}
		err := s.PutIndex(testContext(t), artifact.Coming{Layer: l, TOC: digest}, &remote{data: data})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("an index of %d bytes: %v, want one that says %q", len(data), err, says)
		}
	}
}
