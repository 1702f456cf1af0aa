package artifact_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// chunked is a layer that `skopeo copy --dest-compress-format zstd:chunked` (1.9.3) has
// written, and what its image says of it.
func chunked(t testing.TB) (artifact.Coming, *remote) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "chunked.tar.zst"))
	must(t, err)
	return artifact.Coming{
		Layer: artifact.Layer{Digest: "abef226f9e385420c07db92df645c488c7ab21965a671474c6ef210541771e02",
			DiffID: "de36c303a5ee6796dc7978e810311b0475686954b44451db622fa65e272c44a9", Size: int64(len(data)), Limit: 1 << 20},
		TOC:      "sha256:ac24fe16100be0304a41d6ab70077537484015e7c38b5e8069c91576983f6988",
		Position: "226852:1130:3991:1", From: "registry.example/team/app",
	}, &remote{data: data}
}

// inArchive are the regular files of a zstd layer, read as a tar archive.
func inArchive(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(data))
	must(t, err)
	defer z.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		if h.Typeflag == tar.TypeReg && !strings.Contains(h.Name, ".wh.") {
			files[h.Name], err = io.ReadAll(r)
			must(t, err)
		}
	}
}

// A zstd:chunked layer is read by its table of contents as it is when it is unpacked.
func TestChunkedLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make whiteouts")
	}
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	c, r := chunked(t)
	tree := putIndex(t, s, c, r)
	if read := r.read.Load(); read > 2<<10 {
		t.Errorf("for its table of contents %d bytes were fetched", read)
	}
	for _, name := range []string{"bin/run", "text", "empty", "holes", "allzero"} {
		if _, err := readAll(t, tree, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if read := r.read.Load(); read > 16<<10 {
		t.Errorf("for all but the largest file %d bytes were fetched", read)
	}
	files, asked := inArchive(t, r.data), r.asked.Load()
	for name, want := range files {
		if got, err := readAll(t, tree, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: equal %v, %v", name, bytes.Equal(got, want), err)
		}
	}
	if n := r.asked.Load() - asked; len(files) != 6 || n > 2 {
		t.Errorf("read %d files; it was asked %d times for the small pieces of the largest", len(files), n)
	}
	if n := tree.Find("bin/run"); n.UID != 7 || n.Mode != 0o755 || n != tree.Find("hard") || tree.Find("link").Target != "bin/run" || !tree.Find("gone/old").Whiteout {
		t.Errorf("is %+v", n)
	}
	_, err := s.PutLayer(testContext(t), c.Layer, bytes.NewReader(r.data))
	must(t, err)
	dir, release := mustUse(t, s, c.Digest)
	defer release()
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s in the directory: equal %v, %v", name, bytes.Equal(got, want), err)
		}
	}
}

// A damaged piece gives no byte, and takes none of its neighbours with it, which are
// fetched together.
func TestDamagedPieceOfAChunkedLayer(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	c, r := chunked(t)
	tree := putIndex(t, s, c, r)
	want := inArchive(t, r.data)["noise"]
	r.data[150_000] ^= 1
	read := func(at, n int) error {
		p := make([]byte, n)
		err := tree.Read(testContext(t), tree.Find("noise"), p, int64(at))
		if err == nil && !bytes.Equal(p, want[at:at+n]) {
			t.Errorf("other bytes at %d", at)
		}
		return err
	}
	if err := read(0, 100); err != nil {
		t.Errorf("before it: %v", err)
	}
	if err := read(140_000, 20_000); lambent.ReasonOf(err) != artifact.ReasonBadLayer || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("the piece itself: %v", err)
	}
	if err := read(219_000, 1000); err != nil {
		t.Errorf("behind it: %v", err)
	}
	r.data[150_000] ^= 1
	if err := read(0, len(want)); err != nil {
		t.Errorf("after it was mended: %v", err)
	}
}

// What an image says of a zstd:chunked layer may be anything.
func TestChunkedLayerThatIsNone(t *testing.T) {
	for _, c := range []struct{ position, toc, says string }{
		{"", "", "read where its index is"}, // it is no eStargz layer
		{"226852:1130:3991", "", "no place"},
		{"226852:1130:3991:2", "", "no place"},
		{"-1:1130:3991:1", "", "no place"},
		{"226852:0:3991:1", "", "no place"},
		{"226852:1130:99999999999:1", "", "no place"},
		{"226852:9223372036854775807:3991:1", "", "no place"},
		{"9223372036854775807:1130:3991:1", "", "no place"},
		{"228000:1130:3991:1", "", "no place"},
		{"226851:1130:3991:1", "", "not the one"},
		{"226852:1130:3991:1", "sha256:0", "not the one"},
	} {
		t.Run(c.position, func(t *testing.T) {
			s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
			coming, r := chunked(t)
			coming.Position = c.position
			if c.toc != "" {
				coming.TOC = c.toc
			}
			if err := s.PutIndex(testContext(t), coming, r); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("put: %v, want one that says %q", err, c.says)
			}
			if all, _ := s.Coming(); len(all) > 0 {
				t.Errorf("it is coming in: %v", all)
			}
		})
	}
}

// A layer may begin with a frame that decoders pass over.
func TestLayerThatBeginsWithASkippableFrame(t *testing.T) {
	s := open(t, artifact.Options{Dir: filepath.Join(t.TempDir(), "artifacts")})
	archive := archiveOf(t, map[string][]byte{"file": []byte("content")})
	z, err := zstd.NewWriter(nil)
	must(t, err)
	data := append([]byte{0x5e, 0x2a, 0x4d, 0x18}, binary.LittleEndian.AppendUint32(nil, 3)...)
	data = z.EncodeAll(archive, append(data, "abc"...))
	l := artifact.Layer{Digest: hexDigest(data), DiffID: hexDigest(archive), Size: int64(len(data)), Limit: 1 << 20}
	_, err = s.PutLayer(testContext(t), l, bytes.NewReader(data))
	must(t, err)
	dir, release := mustUse(t, s, l.Digest)
	defer release()
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "content" {
		t.Errorf("read %q, %v", got, err)
	}
}

// chunkedOnly is a zstd:chunked layer that has nothing but that table of contents.
func chunkedOnly(t testing.TB, toc []byte) (data []byte, digest, position string) {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	must(t, err)
	packed := z.EncodeAll(toc, nil)
	return append(make([]byte, 100), packed...), "sha256:" + string(hexDigest(packed)), fmt.Sprintf("100:%d:%d:1", len(packed), max(len(toc), 1))
}
