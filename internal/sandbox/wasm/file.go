package wasm

import (
	"errors"
	"io"
	"os"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasi "github.com/tetratelabs/wazero/sys"
)

// position is a name for the engine's Seek, which has not the signature of
// io.Seeker's: go vet would take it for a mistake.
type position = int64

// file is an open regular file. One guest uses it, so it has no lock.
type file struct {
	sys.UnimplementedFile
	tree   *tree
	f      *os.File
	ino    uint64
	pos    int64
	append bool
	closed bool
}

func (f *file) Dev() (uint64, sys.Errno)     { return 0, 0 }
func (f *file) Ino() (wasi.Inode, sys.Errno) { return f.ino, 0 }
func (f *file) IsDir() (bool, sys.Errno)     { return false, 0 }
func (f *file) IsAppend() bool               { return f.append }
func (f *file) Sync() sys.Errno              { return 0 } // nothing outlives the instance
func (f *file) Datasync() sys.Errno          { return 0 }

func (f *file) SetAppend(enable bool) sys.Errno {
	f.append = enable
	return 0
}

func (f *file) Stat() (wasi.Stat_t, sys.Errno) {
	info, err := f.f.Stat()
	if err != nil {
		return wasi.Stat_t{}, errno(err)
	}
	return wasi.NewStat_t(info), 0
}

func (f *file) Read(p []byte) (int, sys.Errno) {
	n, e := f.Pread(p, f.pos)
	f.pos += int64(n)
	return n, e
}

func (f *file) Pread(p []byte, off int64) (int, sys.Errno) {
	if off < 0 {
		return 0, sys.EINVAL
	}
	n, err := f.f.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, errno(err)
	}
	return n, 0
}

func (f *file) Seek(offset position, whence int) (int64, sys.Errno) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		info, err := f.f.Stat()
		if err != nil {
			return 0, errno(err)
		}
		offset += info.Size()
	default:
		return 0, sys.EINVAL
	}
	if offset < 0 {
		return 0, sys.EINVAL
	}
	f.pos = offset
	return offset, 0
}

func (f *file) Write(p []byte) (int, sys.Errno) {
	if f.append {
		info, err := f.f.Stat()
		if err != nil {
			return 0, errno(err)
		}
		f.pos = info.Size()
	}
	n, e := f.Pwrite(p, f.pos)
	f.pos += int64(n)
	return n, e
}

// Pwrite writes as much as there is room for.
func (f *file) Pwrite(p []byte, off int64) (int, sys.Errno) {
	switch {
	case off < 0:
		return 0, sys.EINVAL
	case f.tree.room == nil:
		return 0, sys.EBADF
	case len(p) == 0:
		return 0, 0
	}
	fits := f.tree.room.grow(f.ino, off, off+int64(len(p))) - off
	if fits <= 0 {
		return 0, errFull
	}
	n, err := f.f.WriteAt(p[:min(fits, int64(len(p)))], off)
	return n, errno(err)
}

func (f *file) Truncate(size int64) sys.Errno {
	switch {
	case size < 0:
		return sys.EINVAL
	case f.tree.room == nil:
		return sys.EBADF
	case f.tree.room.grow(f.ino, size-1, size) < size:
		return errFull
	}
	if err := f.f.Truncate(size); err != nil {
		return errno(err)
	}
	f.tree.room.cut(f.ino, size)
	return 0
}

func (f *file) Utimens(atim, mtim int64) sys.Errno {
	if f.tree.room == nil {
		return sys.EROFS
	}
	return 0 // times of scratch files mean nothing
}

func (f *file) Close() sys.Errno {
	if f.closed {
		return 0
	}
	f.closed = true
	err := f.f.Close()
	f.tree.handles.give()
	if f.tree.room != nil {
		f.tree.room.closed(f.ino)
	}
	return errno(err)
}

// directory is an open directory.
type directory struct {
	sys.DirFile
	tree   *tree
	path   string
	f      *os.File // the topmost
	list   []sys.Dirent
	listed bool
	at     int
	closed bool
}

func (d *directory) Dev() (uint64, sys.Errno) { return 0, 0 }

func (d *directory) Ino() (wasi.Inode, sys.Errno) {
	st, e := d.Stat()
	return st.Ino, e
}

func (d *directory) Stat() (wasi.Stat_t, sys.Errno) {
	info, err := d.f.Stat()
	if err != nil {
		return wasi.Stat_t{}, errno(err)
	}
	return wasi.NewStat_t(info), 0
}

// Seek knows only the way back to the start.
func (d *directory) Seek(offset position, whence int) (int64, sys.Errno) {
	if offset != 0 || whence != io.SeekStart {
		return 0, sys.EISDIR
	}
	d.forget()
	return 0, 0
}

// forget drops the list.
func (d *directory) forget() {
	d.tree.handles.unlist(len(d.list))
	d.list, d.listed, d.at = nil, false, 0
}

func (d *directory) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	if !d.listed {
		list, e := d.tree.entries(d.path)
		if e != 0 {
			return nil, e
		}
		if !d.tree.handles.list(len(list)) {
			return nil, errFull
		}
		d.list, d.listed = list, true
	}
	end := len(d.list)
	if n > 0 {
		end = min(end, d.at+n)
	}
	out := d.list[d.at:end]
	d.at = end
	return out, 0
}

func (d *directory) Sync() sys.Errno              { return 0 }
func (d *directory) Datasync() sys.Errno          { return 0 }
func (d *directory) Utimens(_, _ int64) sys.Errno { return 0 }

func (d *directory) Close() sys.Errno {
	if d.closed {
		return 0
	}
	d.closed = true
	d.forget()
	d.tree.handles.give()
	return errno(d.f.Close())
}
