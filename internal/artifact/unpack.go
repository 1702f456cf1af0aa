package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"lambent.dev/lambent"
)

// copyBuffer is the memory that unpacking takes beside the inflater's window.
const copyBuffer = 64 << 10

// unpack makes the plan's entries beneath root. Files and directories come
// first, links last, so that nothing is written through a link even though
// [os.Root] would not let one lead out. The tree belongs to the server's user;
// everyone may read it, who may write it is the mount's affair.
//
// An archive that holds other than it declares is refused; the caller removes
// what is there by then.
func (p *plan) unpack(ctx context.Context, root *os.Root) error {
	buffer := make([]byte, copyBuffer)
	left := p.unpacked
	for _, e := range p.entries {
		if err := ctx.Err(); err != nil {
			return canceled("unpack code", err)
		}
		if e.kind == fs.ModeSymlink {
			continue
		}
		if err := root.MkdirAll(path.Dir(e.name), 0o755); err != nil {
			return made(e, err)
		}
		if e.kind == fs.ModeDir {
			if err := root.MkdirAll(e.name, 0o755); err != nil {
				return made(e, err)
			}
			continue
		}
		n, err := e.write(root, buffer)
		if err != nil {
			return err
		}
		if left -= n; left < 0 {
			return unpackedTooLarge()
		}
	}
	return p.finish(root)
}

// finish makes the links, then sets the directories' times, deepest first, since
// making things in a directory changes its time.
func (p *plan) finish(root *os.Root) error {
	for _, e := range p.entries {
		if e.kind != fs.ModeSymlink {
			continue
		}
		err := root.MkdirAll(path.Dir(e.name), 0o755)
		if err == nil {
			err = root.Symlink(e.target, e.name)
		}
		if err != nil {
			return made(e, err)
		}
	}
	for _, e := range slices.Backward(p.entries) {
		if e.kind != fs.ModeDir {
			continue
		}
		if err := root.Chtimes(e.name, e.time(), e.time()); err != nil {
			return made(e, err)
		}
	}
	return nil
}

// write makes a regular file and returns its size in bytes.
func (e entry) write(root *os.Root, buffer []byte) (n int64, err error) {
	from, err := e.file.Open()
	if err != nil {
		return 0, badZip("entry %.200q: %w", e.name, err)
	}
	defer func() { _ = from.Close() }() // it has nothing left to say after the last read
	to, err := root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, made(e, err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	// Reading one byte more than declared is what lets the reader see the end and
	// compare the checksum, or tell us that there is more.
	declared := int64(e.file.UncompressedSize64)
	source := &faulty{r: io.LimitReader(from, declared+1)}
	n, err = io.CopyBuffer(struct{ io.Writer }{to}, source, buffer)
	if source.err != nil || (err == nil && n != declared) {
		return n, badZip("entry %.200q has %d of %d bytes: %w", e.name, n, declared, source.err)
	}
	if err != nil {
		return n, made(e, err)
	}
	if err := to.Chmod(e.mode()); err != nil {
		return n, made(e, err)
	}
	return n, made(e, root.Chtimes(e.name, e.time(), e.time()))
}

// mode is 0644, or 0755 for what anyone may execute: the user in the sandbox is
// not the one who made the archive, and set-user-ID bits are never taken over.
func (e entry) mode() fs.FileMode {
	if e.file.Mode().Perm()&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// time is when the entry was last changed. Archives without one, or from outside
// the range that file systems know, get the first that zip can express.
func (e entry) time() time.Time {
	if t := e.file.Modified; t.Year() >= 1980 && t.Year() < 2108 {
		return t
	}
	return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
}

// made words an error of the file system: names that it cannot hold are the
// archive's fault, the rest is ours.
func made(e entry, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENAMETOOLONG) ||
		errors.Is(err, syscall.ENOTDIR):
		return badZip("entry %.200q: %w", e.name, err)
	}
	return fmt.Errorf("entry %.200q: %w", e.name, err)
}

// faulty remembers an error of the reader, to tell it from one of the writer.
type faulty struct {
	r   io.Reader
	err error
}

func (f *faulty) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// over tells whether the code and what shares its limit are too large together.
func (p *plan) over(others int64) bool { return others > lambent.MaxUnzipped-p.unpacked }
