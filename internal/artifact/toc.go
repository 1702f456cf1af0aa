package artifact

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"

	"lambent.dev/lambent/internal/filetree"
)

// Bounds on the index of a layer: the table of contents of eStargz (containerd,
// stargz-snapshotter, "eStargz: Standard-Compatible Extensions to Tar.gz Layers"), which
// zstd:chunked has, too.
const (
	maxTOC        = 64 << 20 // bytes of its JSON
	maxTOCEntries = 500_000  // which takes 160 MB for a while; the common tools write more bytes for each
	maxPackedTOC  = 16 << 20 // bytes as it comes
	maxChunk      = 16 << 20 // bytes of a chunk's content
	maxChunkRange = 32 << 20 // bytes that have to be fetched, or undone, for one
)

// Ranges reads parts of a layer as it came: n bytes from a place on. It returns all
// of them or an error, in bounded time. It may be called from any goroutine.
type Ranges interface {
	ReadRange(ctx context.Context, at, n int64) ([]byte, error)
}

// chunk is a piece of a file's content: where its compressed form is, and what it
// must be.
type chunk struct {
	from, to int64 // of the layer as it came
	inner    int64 // bytes before it in what that holds
	at, size int64 // of the file
	zeros    bool  // all of it; there is nothing to fetch
	sum      [sha256.Size]byte
}

// index is what a layer's table of contents says.
type index struct {
	tree   *filetree.Tree
	chunks []chunk // of all files, each file's together and in order
	files  []pieces
	size   int64 // bytes of all files
}

func (i *index) parts() int { return len(i.tree.Nodes) + len(i.chunks) }

// pieces are the chunks of one file, which its node's Place leads to.
type pieces struct {
	first, count int
	base         int64 // where the file begins in all of the content
}

// readTOC reads the table of contents of a layer. It must have the digest that the
// image's manifest says, which is what makes the digests in it worth something.
func readTOC(ctx context.Context, src Ranges, c Coming) (*index, error) {
	read := readStargz
	if c.Position != "" {
		read = readChunked
	}
	raw, end, err := read(ctx, src, c)
	if err != nil {
		return nil, err
	}
	var toc contents
	if err := json.Unmarshal(raw, &toc); err != nil {
		return nil, fmt.Errorf("read its index: %w", err)
	}
	return newIndex(&toc, end)
}

// contents is a table of contents. Both formats have the same one, but for a few
// fields that zstd:chunked has added.
type contents struct {
	Entries tocEntries `json:"entries"`
}

// tocEntries are bounded while they are read: "{}" is one, and takes a hundred times as
// much memory.
type tocEntries []*tocEntry

// UnmarshalJSON implements json.Unmarshaler.
func (all *tocEntries) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return errors.New("it has no list of entries")
	}
	for d.More() {
		if len(*all) == maxTOCEntries {
			return fmt.Errorf("it has more than %d entries", maxTOCEntries)
		}
		var e *tocEntry
		if err := d.Decode(&e); err != nil {
			return err
		}
		*all = append(*all, e)
	}
	return nil
}

type tocEntry struct {
	estargz.TOCEntry
	EndOffset int64  `json:"endOffset"` // of a file: behind the last of its pieces
	ChunkType string `json:"chunkType"`
}

// zeros is the type of a piece that has no other bytes.
const zeros = "zeros"

// readStargz reads the table of contents at the end of an eStargz layer, and tells
// where it begins.
func readStargz(ctx context.Context, src Ranges, c Coming) (raw []byte, at int64, err error) {
	if c.Size < estargz.FooterSize {
		return nil, 0, errors.New("it is too short to have an index")
	}
	footer, err := src.ReadRange(ctx, c.Size-estargz.FooterSize, estargz.FooterSize)
	if err != nil {
		return nil, 0, err
	}
	gz := &estargz.GzipDecompressor{}
	_, at, _, err = gz.ParseFooter(footer)
	if err != nil {
		return nil, 0, fmt.Errorf("read where its index is: %w", err)
	}
	length := c.Size - estargz.FooterSize - at
	if at < 0 || length <= 0 || length > maxPackedTOC {
		return nil, 0, errNoPlace
	}
	packed, err := src.ReadRange(ctx, at, length)
	if err != nil {
		return nil, 0, err
	}
	text, err := gz.DecompressTOC(bytes.NewReader(packed))
	if err != nil {
		return nil, 0, fmt.Errorf("read its index: %w", err)
	}
	defer func() { _ = text.Close() }() // only read
	if raw, err = readTable(text); err != nil {
		return nil, 0, err
	}
	if !named(raw, c.TOC) {
		return nil, 0, errOther
	}
	return raw, at, nil
}

// readChunked reads the table of contents of a zstd:chunked layer, in a frame that
// decoders skip, and tells where it begins. Its place and the digest of its compressed
// form are in the image's manifest; the footer, which repeats the place, is not needed
// (containers, storage, pkg/chunked).
func readChunked(ctx context.Context, src Ranges, c Coming) (raw []byte, at int64, err error) {
	var length, unpacked, version int64
	if n, err := fmt.Sscanf(c.Position, "%d:%d:%d:%d", &at, &length, &unpacked, &version); err != nil || n != 4 || version != 1 {
		return nil, 0, errNoPlace
	}
	if at <= 0 || length <= 0 || length > maxPackedTOC || at > c.Size-length || unpacked <= 0 || unpacked > maxTOC {
		return nil, 0, errNoPlace
	}
	packed, err := src.ReadRange(ctx, at, length)
	if err != nil {
		return nil, 0, err
	}
	if !named(packed, c.TOC) {
		return nil, 0, errOther
	}
	text, done, err := decompress(bytes.NewReader(packed), maxTOC)
	if err != nil {
		return nil, 0, fmt.Errorf("read its index: %w", err)
	}
	defer done()
	raw, err = readTable(text)
	return raw, at, err
}

// Errors of a table of contents.
var (
	errNoPlace = errors.New("its index has no place that could be")
	errOther   = errors.New("its index is not the one that the image names")
)

func readTable(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxTOC+1))
	if err != nil {
		return nil, fmt.Errorf("read its index: %w", err)
	}
	if len(raw) > maxTOC {
		return nil, fmt.Errorf("its index has more than %d bytes", maxTOC)
	}
	return raw, nil
}

// named tells whether that is what a digest names.
func named(p []byte, digest string) bool {
	sum := sha256.Sum256(p)
	return "sha256:"+hex.EncodeToString(sum[:]) == digest
}

// newIndex makes the tree. What is not as plain as the common tools write it is an
// error: such a layer is fetched whole, which can do more.
func newIndex(toc *contents, end int64) (*index, error) {
	i := &index{tree: filetree.New()}
	ends := boundaries(toc, end)
	var file *filetree.Node // that chunks belong to
	for _, e := range toc.Entries {
		if e == nil {
			return nil, errors.New("its index has an entry that is none")
		}
		if e.Type == "chunk" {
			if file == nil {
				return nil, fmt.Errorf("entry %.200q: a chunk of no file", e.Name)
			}
			if err := i.chunk(file, e, ends); err != nil {
				return nil, fmt.Errorf("entry %.200q: %w", e.Name, err)
			}
			continue
		}
		if err := i.whole(file); err != nil {
			return nil, err
		}
		var err error
		if file, err = i.entry(e, ends); err != nil {
			return nil, fmt.Errorf("entry %.200q: %w", e.Name, err)
		}
	}
	return i, i.whole(file)
}

// boundaries are the places at which something compressed begins, in order, and
// the end of the last.
func boundaries(toc *contents, end int64) []int64 {
	all := []int64{end}
	for _, e := range toc.Entries {
		if e == nil {
			continue
		}
		for _, at := range []int64{e.Offset, e.EndOffset} {
			if at > 0 {
				all = append(all, at)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// entry puts one thing into the tree, as [layerUnpacker.entry] does on the disk. It
// returns a file whose chunks follow.
func (i *index) entry(e *tocEntry, ends []int64) (*filetree.Node, error) {
	if slices.Contains(strings.Split(e.Name, "/"), "..") {
		return nil, errors.New("has .. in its name")
	}
	clean := strings.TrimPrefix(path.Clean("/"+e.Name), "/")
	n := i.node(e)
	if clean == "" {
		if e.Type == "dir" {
			root := i.tree.Root()
			root.Mode, root.UID, root.GID, root.ModTime = n.Mode, n.UID, n.GID, n.ModTime
		}
		return nil, nil
	}
	parent, base := path.Split(clean)
	if parent == "" && ofTheIndex(base) {
		return nil, nil
	}
	dir, err := i.tree.Dir(strings.TrimSuffix(parent, "/"))
	if err != nil {
		return nil, err
	}
	had := dir.Children[base]
	switch {
	case base == whiteoutOpaque:
		if parent == "" {
			return nil, errors.New("removes all layers below")
		}
		dir.Opaque = true
		return nil, nil
	case strings.HasPrefix(base, whiteoutMeta):
		return nil, nil
	case strings.HasPrefix(base, whiteout):
		return nil, i.remove(dir, strings.TrimPrefix(base, whiteout))
	}
	switch e.Type {
	case "dir":
		if had != nil && had.Children != nil {
			had.Mode, had.UID, had.GID, had.ModTime = n.Mode, n.UID, n.GID, n.ModTime
			return nil, nil
		}
		n.Children, n.Opaque = map[string]*filetree.Node{}, had != nil && had.Whiteout
		return nil, i.tree.Put(dir, base, n)
	case "reg":
		if err := i.tree.Put(dir, base, n); err != nil || n.Size == 0 {
			return nil, err
		}
		n.Place = len(i.files)
		i.files = append(i.files, pieces{first: len(i.chunks), base: i.size})
		if i.size += n.Size; i.size < 0 || i.size > maxLayer {
			return nil, fmt.Errorf("the layer has more than %d bytes", int64(maxLayer))
		}
		return n, i.chunk(n, e, ends)
	case "symlink":
		n.Target, n.Size = e.LinkName, int64(len(e.LinkName))
		return nil, i.tree.Put(dir, base, n)
	case "hardlink":
		target := i.tree.Find(strings.TrimPrefix(path.Clean("/"+e.LinkName), "/"))
		if target == nil || target.Children != nil || target.Whiteout {
			return nil, errNoTarget
		}
		if target == had {
			return nil, nil
		}
		return nil, i.tree.Put(dir, base, target)
	}
	return nil, nil // devices, pipes: there is nothing behind them in a sandbox
}

// ofTheIndex tells whether a name in the root belongs to the index itself.
func ofTheIndex(name string) bool {
	return name == estargz.TOCTarName || name == estargz.PrefetchLandmark || name == estargz.NoPrefetchLandmark
}

func (i *index) node(e *tocEntry) *filetree.Node {
	n := &filetree.Node{UID: layerID(e.UID), GID: layerID(e.GID), ModTime: time.Unix(0, 0)}
	if t, err := time.Parse(time.RFC3339, e.ModTime3339); err == nil && t.Year() >= 1970 && t.Year() < 2400 {
		n.ModTime = t
	}
	n.Mode = fs.FileMode(e.Mode) & fs.ModePerm
	switch e.Type {
	case "dir":
		n.Mode |= fs.ModeDir
		if e.Mode&0o1000 != 0 {
			n.Mode |= fs.ModeSticky
		}
	case "symlink":
		n.Mode = fs.ModeSymlink | 0o777
	case "reg":
		n.Size = e.Size
	}
	return n
}

// remove hides a name of the layers below, unless this layer has it, too.
func (i *index) remove(dir *filetree.Node, name string) error {
	switch had := dir.Children[name]; {
	case had == nil:
		return i.tree.Put(dir, name, &filetree.Node{Whiteout: true})
	case had.Children != nil:
		had.Opaque = true
	}
	return nil
}

// chunk adds the next piece of a file.
func (i *index) chunk(file *filetree.Node, e *tocEntry, ends []int64) error {
	of, at := &i.files[file.Place], int64(0)
	if of.count > 0 {
		last := i.chunks[len(i.chunks)-1]
		at = last.at + last.size
	}
	c := chunk{from: e.Offset, inner: e.InnerOffset, at: at, size: cmp.Or(e.ChunkSize, file.Size-at), zeros: e.ChunkType == zeros}
	if e.ChunkOffset != at || c.size <= 0 || c.size > file.Size-at {
		return errors.New("its pieces do not fit together")
	}
	of.count++
	if c.zeros {
		i.chunks = append(i.chunks, c)
		return nil
	}
	next, found := slices.BinarySearch(ends, e.Offset)
	if !found || next+1 >= len(ends) || e.Offset <= 0 {
		return errors.New("its content has no place that could be")
	}
	c.to = ends[next+1]
	digest := e.ChunkDigest
	if digest == "" && c.size == file.Size { // which zstd:chunked says once
		digest = e.Digest
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	switch {
	case c.size > maxChunk || c.to-c.from > maxChunkRange || c.inner < 0 || c.inner+c.size > maxChunkRange:
		return errors.New("has a piece that is too large")
	case err != nil || len(sum) != sha256.Size:
		return errors.New("has a piece without a digest")
	}
	copy(c.sum[:], sum)
	i.chunks = append(i.chunks, c)
	return nil
}

// whole refuses a file of which something is missing.
func (i *index) whole(file *filetree.Node) error {
	if file == nil {
		return nil
	}
	if last := i.chunks[len(i.chunks)-1]; last.at+last.size != file.Size {
		return errors.New("a file in its index has not all of its pieces")
	}
	return nil
}

// covering is the piece of a file that has a byte.
func (i *index) covering(file *filetree.Node, at int64) int {
	of := i.files[file.Place]
	n, _ := slices.BinarySearchFunc(i.chunks[of.first:of.first+of.count], at, func(c chunk, at int64) int {
		switch {
		case c.at+c.size <= at:
			return -1
		case c.at > at:
			return 1
		}
		return 0
	})
	return of.first + n
}

// undo makes a piece's content of its compressed form, and compares it.
func (c *chunk) undo(packed []byte) ([]byte, error) {
	z, done, err := decompress(bytes.NewReader(packed), maxChunkRange)
	if err != nil {
		return nil, badLayer("a piece of it is damaged: %w", err)
	}
	defer done()
	if _, err := io.CopyN(io.Discard, z, c.inner); err != nil {
		return nil, badLayer("a piece of it is damaged: %w", err)
	}
	content := make([]byte, c.size)
	if _, err := io.ReadFull(z, content); err != nil {
		return nil, badLayer("a piece of it is damaged: %w", err)
	}
	if sha256.Sum256(content) != c.sum {
		return nil, badLayer("a piece of it is damaged: its digest is not the one in the index")
	}
	return content, nil
}
