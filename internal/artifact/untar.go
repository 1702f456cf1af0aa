package artifact

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"lambent.dev/lambent"
)

// Names in a layer by which it removes things from the layers below it (OCI image
// specification, "Image Layer Filesystem Changeset", Whiteouts).
const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// Bounds on a layer beside its size.
const (
	maxLayerEntries = 1_000_000
	maxOverhead     = 2 << 30   // bytes of its archive that are no file's
	maxZstdWindow   = 128 << 20 // memory for one layer; what the common tools write needs less
)

// decompress tells by its first bytes how a layer is compressed (RFC 1952, RFC
// 8878), and undoes it. What has to be remembered for that is bounded by window bytes.
func decompress(r io.Reader, window uint64) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, copyBuffer)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, badLayer("%w", err)
		}
		return z, func() { _ = z.Close() }, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), skippable(magic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(window))
		if err != nil {
			return nil, nil, badLayer("%w", err)
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// skippable tells whether a zstd frame begins that decoders pass over (RFC 8878,
// section 3.1.2), as tools that compress in parallel write them first.
func skippable(magic []byte) bool {
	return len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// layerUnpacker makes the tree of one layer. Everything goes through root, which
// no name and no link leads out of.
type layerUnpacker struct {
	root    *os.Root
	left    int64 // bytes that may still come
	entries int
	sum     hash.Hash // of the archive
	owns    bool      // files get the owners and modes that they have in the image
	buffer  []byte
	dirs    []looks // of directories, which get them at the end
}

// looks are what is kept of an entry's header: that may say a megabyte more.
type looks struct {
	name     string
	uid, gid int
	mode     fs.FileMode
	at       time.Time
}

func (u *layerUnpacker) looks(h *tar.Header) looks {
	return looks{strings.Clone(h.Name), layerID(h.Uid), layerID(h.Gid), u.mode(h), layerTime(h)}
}

func (u *layerUnpacker) unpack(ctx context.Context, archive io.Reader) error {
	u.buffer = make([]byte, copyBuffer)
	whole := &faulty{r: io.TeeReader(io.LimitReader(archive, u.left+maxOverhead), u.sum)}
	t := tar.NewReader(whole)
	for {
		if err := ctx.Err(); err != nil {
			return canceled("unpack a layer", err)
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return badLayer("read it: %w", err)
		}
		if u.entries++; u.entries > maxLayerEntries {
			return badLayer("it has more than %d entries", maxLayerEntries)
		}
		if err := u.entry(h, t); err != nil {
			return badEntry(h.Name, err)
		}
	}
	// The digest is over what comes after the archive's end, too.
	if _, err := io.Copy(io.Discard, io.LimitReader(whole, 1<<20)); err != nil {
		return badLayer("read it: %w", err)
	}
	for _, l := range slices.Backward(u.dirs) {
		if info, err := u.root.Lstat(l.name); err == nil && info.IsDir() {
			if err := u.settle(l); err != nil {
				return badEntry(l.name, err)
			}
		}
	}
	return nil
}

// settle gives what was made for an entry its owner, mode and time. It is no link.
func (u *layerUnpacker) settle(l looks) error {
	if err := u.own(l); err != nil {
		return err
	}
	if err := u.root.Chmod(l.name, l.mode); err != nil {
		return err
	}
	return u.root.Chtimes(l.name, l.at, l.at)
}

// own gives what was made for an entry to its user and group, by the numbers that
// they have in the image: a mount shows them as those of a sandbox.
func (u *layerUnpacker) own(l looks) error {
	if !u.owns {
		return nil
	}
	return u.root.Lchown(l.name, l.uid, l.gid)
}

// layerID is a user or group that an instance can have; nobody stands for others.
func layerID(id int) int {
	if id < 0 || id >= 1<<16 {
		return 65534
	}
	return id
}

// entry makes one thing. A later entry of a name takes the place of an earlier
// one.
func (u *layerUnpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := u.place(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag == tar.TypeDir {
			h.Name = name
			u.dirs = append(u.dirs, u.looks(h))
		}
		return nil
	}
	base := path.Base(name)
	switch {
	case base == whiteoutOpaque:
		return u.opaque(path.Dir(name))
	case name == base && ofTheIndex(name): // as it is when it is read by that
		return nil
	case strings.HasPrefix(base, whiteoutMeta):
		return nil // another union file system's own business
	case strings.HasPrefix(base, whiteout):
		return u.remove(path.Dir(name), strings.TrimPrefix(base, whiteout))
	}
	h.Name = name
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.file(h, content)
	case tar.TypeSymlink:
		if len(h.Linkname) > maxLink || strings.IndexByte(h.Linkname, 0) >= 0 || h.Linkname == "" {
			return errors.New("is a link with a bad target")
		}
		if err := u.clear(name); err != nil {
			return err
		}
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.own(u.looks(h))
	case tar.TypeLink:
		return u.hardlink(h)
	}
	return nil // devices, pipes: there is nothing behind them in a sandbox
}

// place is where an entry goes: its name with the links resolved that this layer
// has in its directories, which exist afterwards.
func (u *layerUnpacker) place(raw string) (string, error) {
	if len(raw) > maxName || strings.IndexByte(raw, 0) >= 0 {
		return "", errors.New("has a name that is too long or has a zero byte")
	}
	for part := range strings.SplitSeq(raw, "/") {
		if part == ".." {
			return "", errors.New("has .. in its name")
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+raw), "/")
	if clean == "" {
		return ".", nil
	}
	if strings.Count(clean, "/") > maxDepth {
		return "", fmt.Errorf("lies %d directories deep", strings.Count(clean, "/"))
	}
	dir, base := path.Split(clean)
	dir, err := u.resolve(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return "", err
	}
	return path.Join(dir, base), u.root.MkdirAll(dir, 0o755)
}

// resolve follows the links in a directory's path as the kernel would with the
// layer as its root.
func (u *layerUnpacker) resolve(dir string) (string, error) {
	at, rest := ".", dir
	for hops := 0; rest != ""; {
		part, after, _ := strings.Cut(rest, "/")
		rest = after
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := u.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			at = next
			continue
		case err != nil:
			return "", err
		case info.Mode().Type() != fs.ModeSymlink:
			at = next
			if !info.IsDir() { // something earlier gives way to a directory
				if err := u.directory(&tar.Header{Name: at, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
					return "", err
				}
			}
			continue
		}
		if hops++; hops > maxHops {
			return "", errors.New("lies under a link in a circle")
		}
		target, err := u.root.Readlink(next)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(target, "/") {
			at = "."
		}
		if rest = target + "/" + rest; len(rest) > 2*maxLink {
			return "", errors.New("lies under a link over too long a path")
		}
	}
	return at, nil
}

// clear makes room for another entry of that name.
func (u *layerUnpacker) clear(name string) error {
	if _, err := u.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return u.root.RemoveAll(name)
}

func (u *layerUnpacker) directory(h *tar.Header) error {
	info, err := u.root.Lstat(h.Name)
	switch {
	case err == nil && info.IsDir():
	case err == nil:
		// Removed and made again in one layer: nothing below shows through.
		hides := info.Mode().Type()&fs.ModeCharDevice != 0
		if err := u.root.Remove(h.Name); err != nil {
			return err
		}
		if err := u.root.Mkdir(h.Name, 0o755); err != nil {
			return err
		}
		if hides {
			if err := u.opaque(h.Name); err != nil {
				return err
			}
		}
	default:
		if err := u.root.Mkdir(h.Name, 0o755); err != nil {
			return err
		}
	}
	u.dirs = append(u.dirs, u.looks(h))
	return nil
}

func (u *layerUnpacker) file(h *tar.Header, content io.Reader) (err error) {
	if h.Size < 0 || h.Size > u.left {
		return badLayer("the image is too large when it is unpacked")
	}
	if err := u.clear(h.Name); err != nil {
		return err
	}
	to, err := u.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	n, err := io.CopyBuffer(holes{to}, struct{ io.Reader }{content}, u.buffer)
	u.left -= n
	if err != nil {
		return err
	}
	if err := to.Truncate(n); err != nil { // the last bytes may be a hole
		return err
	}
	return u.settle(u.looks(h))
}

// holes writes a file, but for its zeroes: an archive tells of sparse files where
// those are (lastlog of a user with a high number has gigabytes), and they shall not
// take up the disk.
type holes struct{ f *os.File }

// minHole is what a file system can leave out, in bytes.
const minHole = 4 << 10

var zeroes [copyBuffer]byte

// Write implements io.Writer.
func (h holes) Write(p []byte) (int, error) {
	if len(p) < minHole || len(p) > len(zeroes) || !bytes.Equal(p, zeroes[:len(p)]) {
		return h.f.Write(p)
	}
	if _, err := h.f.Seek(int64(len(p)), io.SeekCurrent); err != nil {
		return 0, err
	}
	return len(p), nil
}

// errNoTarget refuses a hard link that its layer cannot answer for: a layer's tree
// serves all images that name it, whatever they have below it.
var errNoTarget = errors.New("is a hard link to what is no file of its layer, or comes later in it")

// hardlink links to a file of the same layer.
func (u *layerUnpacker) hardlink(h *tar.Header) error {
	target, err := u.place(h.Linkname)
	if err != nil {
		return err
	}
	info, err := u.root.Lstat(target)
	if err != nil || !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
		return errNoTarget
	}
	if target == h.Name {
		return nil
	}
	if err := u.clear(h.Name); err != nil {
		return err
	}
	return u.root.Link(target, h.Name)
}

// remove hides a name of the layers below, unless this layer has it, too.
func (u *layerUnpacker) remove(dir, name string) error {
	if name == "" || name == "." || name == ".." {
		return errors.New("removes what has no name")
	}
	info, err := u.root.Lstat(path.Join(dir, name))
	switch {
	case err == nil && info.IsDir():
		return u.opaque(path.Join(dir, name))
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return u.in(dir, func(d *os.File) error { return hideName(d, name) })
}

// opaque hides what the layers below have in a directory.
func (u *layerUnpacker) opaque(dir string) error {
	if dir == "." { // an overlay does not look for it there
		return errors.New("removes all layers below, which is not supported")
	}
	return u.in(dir, hideBelow)
}

func (u *layerUnpacker) in(dir string, do func(d *os.File) error) error {
	d, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(do(d), d.Close())
}

// mode is a file's or directory's own mode, without what makes programs run as
// somebody else. Where everything belongs to the server's user, everybody may read
// it, as [entry.mode] has it for code.
func (u *layerUnpacker) mode(h *tar.Header) fs.FileMode {
	dir := h.Typeflag == tar.TypeDir
	if u.owns {
		mode := fs.FileMode(h.Mode) & fs.ModePerm
		if dir && h.Mode&0o1000 != 0 {
			mode |= fs.ModeSticky
		}
		return mode
	}
	if dir || h.Mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

func layerTime(h *tar.Header) time.Time {
	if t := h.ModTime; t.Year() >= 1970 && t.Year() < 2400 {
		return t
	}
	return time.Unix(0, 0)
}

func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) ||
		lambent.CodeOf(err) == lambent.CodeCanceled
}
