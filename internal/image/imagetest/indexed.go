package imagetest

import (
	"errors"
	"io"
	"maps"
	"os"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
)

// indexed is a layer with a table of contents, and what an image says of that.
type indexed struct {
	v1.Layer
	annotations map[string]string
}

// addendum is a layer as an image names it.
func addendum(t testing.TB, l v1.Layer) mutate.Addendum {
	t.Helper()
	a := mutate.Addendum{Layer: l}
	if i, ok := l.(indexed); ok {
		a.Layer, a.Annotations = i.Layer, i.annotations
	}
	mediaType, err := l.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	a.MediaType = mediaType
	return a
}

// Indexed makes an eStargz layer of a tar archive on disk, and writes it to a file
// that a [Registry] may have among its Files.
func Indexed(t testing.TB, archive, to string) (l v1.Layer, digest string) {
	t.Helper()
	said := map[string]string{}
	toc := build(t, archive, to, estargz.WithCompressionLevel(1))
	said[estargz.TOCJSONDigestAnnotation] = toc
	return stored(t, to, said)
}

// Chunked makes a zstd:chunked layer, as [Indexed] does an eStargz one.
func Chunked(t testing.TB, archive, to string) (l v1.Layer, digest string) {
	t.Helper()
	said := map[string]string{}
	toc := build(t, archive, to, estargz.WithChunkSize(64<<10), estargz.WithCompression(struct {
		*zstdchunked.Compressor
		*zstdchunked.Decompressor
	}{&zstdchunked.Compressor{CompressionLevel: zstd.SpeedFastest, Metadata: said}, &zstdchunked.Decompressor{}}))
	said = maps.Clone(said)
	said[estargz.TOCJSONDigestAnnotation] = toc // which some tools write, too
	return stored(t, to, said)
}

func build(t testing.TB, archive, to string, how ...estargz.Option) (toc string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := estargz.Build(io.NewSectionReader(f, 0, info.Size()), how...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, blob); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(blob.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return blob.TOCDigest().String()
}

func stored(t testing.TB, file string, said map[string]string) (v1.Layer, string) {
	t.Helper()
	l, err := tarball.LayerFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return indexed{l, said}, hash.String()
}
