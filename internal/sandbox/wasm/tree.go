package wasm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasi "github.com/tetratelabs/wazero/sys"
)

const (
	maxPath = 4096 // bytes of a path, as on Linux
	maxOpen = 1024 // files that an instance can have open, as RLIMIT_NOFILE elsewhere
	// maxNames is how many names an instance's open directories can have listed together:
	// those lists are in the server's memory.
	maxNames = 4 * maxFiles
)

// errFull stands for what the engine has no number of: no space left, and too many
// open files.
const errFull = sys.EIO

// handles counts open files: those of one instance, and below it those of all,
// which come out of the server's own.
type handles struct {
	open, most atomic.Int64
	names      atomic.Int64 // that open directories have listed
	all        *handles
}

func newHandles(most int64, all *handles) *handles {
	h := &handles{all: all}
	h.most.Store(most)
	return h
}

func (h *handles) take() bool {
	for at := h; at != nil; at = at.all {
		if at.open.Add(1) > at.most.Load() {
			for back := h; back != at.all; back = back.all {
				back.open.Add(-1)
			}
			return false
		}
	}
	return true
}

func (h *handles) give() {
	for at := h; at != nil; at = at.all {
		at.open.Add(-1)
	}
}

// list takes the place of so many names more; false when there are too many.
func (h *handles) list(names int) bool {
	if h.names.Add(int64(names)) > maxNames {
		h.unlist(names)
		return false
	}
	return true
}

func (h *handles) unlist(names int) { h.names.Add(-int64(names)) }

// tree is a part of the file system as a module sees it: directories on top of
// each other, the first one on top. No path leads out of them, whatever links
// there are: [os.Root] sees to that. Only a tree with room can be written to, and
// has one directory.
type tree struct {
	sys.UnimplementedFS
	// dirs are opened, the last one on top, when the module first looks: most never do.
	dirs    []string
	roots   []*os.Root
	handles *handles
	room    *room
}

var _ sys.FS = (*tree)(nil)

// local is a path below a root.
func local(path string) (string, sys.Errno) {
	if len(path) > maxPath {
		return "", sys.ENAMETOOLONG
	}
	if path = strings.TrimLeft(path, "/"); path == "" {
		path = "."
	}
	return path, 0
}

// errno translates an error of package os. One that is not the system's is a path
// that would lead out.
func errno(err error) sys.Errno {
	if err == nil {
		return 0
	}
	if e := sys.UnwrapOSError(err); e != sys.EIO {
		return e
	}
	return sys.EACCES
}

// look opens what has to be open for a look at the tree.
func (t *tree) look() error {
	for len(t.dirs) > 0 {
		root, err := os.OpenRoot(t.dirs[0])
		if err != nil {
			return err
		}
		t.dirs, t.roots = t.dirs[1:], append([]*os.Root{root}, t.roots...)
	}
	return nil
}

// close lets go of the directories, which were opened for reading.
func (t *tree) close() {
	for _, r := range t.roots {
		_ = r.Close()
	}
	t.dirs, t.roots = nil, nil
}

// find gives the topmost root that has path.
func (t *tree) find(path string) (*os.Root, fs.FileInfo, sys.Errno) {
	if err := t.look(); err != nil {
		return nil, nil, errno(err)
	}
	var last error = syscall.ENOENT
	for _, r := range t.roots {
		info, err := r.Lstat(path)
		if err == nil {
			return r, info, 0
		}
		last = err
	}
	return nil, nil, errno(last)
}

// OpenFile opens what find finds. A directory is opened in every root.
func (t *tree) OpenFile(path string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	path, e := local(path)
	if e != 0 {
		return nil, e
	}
	const writes = sys.O_RDWR | sys.O_WRONLY | sys.O_CREAT | sys.O_TRUNC | sys.O_APPEND
	if t.room == nil && flag&writes != 0 {
		return nil, sys.EROFS
	}
	root, info, e := t.find(path)
	made := flag&sys.O_CREAT != 0 && (e == sys.ENOENT || e == 0 && flag&sys.O_NOFOLLOW == 0 && leadsNowhere(root, path, info))
	switch {
	case made:
		if root = t.roots[0]; !t.room.file() {
			return nil, errFull
		}
	case e != 0:
		return nil, e
	case info.Mode()&fs.ModeSymlink != 0 && flag&sys.O_NOFOLLOW != 0:
		return nil, sys.ELOOP
	}
	var f sys.File
	if e = errFull; t.handles.take() {
		if f, e = t.open(root, path, flag, perm); e != 0 {
			t.handles.give()
		}
	}
	if e != 0 {
		if made {
			t.room.unfile()
		}
		return nil, e
	}
	return f, 0
}

// leadsNowhere tells of a link to a file that does not exist.
func leadsNowhere(root *os.Root, path string, link fs.FileInfo) bool {
	if link.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	_, err := root.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func (t *tree) open(root *os.Root, path string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	// Without O_NONBLOCK the open of a pipe would wait. Appending is done by
	// [file], which has to know where it writes.
	how := syscall.O_NONBLOCK
	for _, f := range []struct {
		wasi sys.Oflag
		os   int
	}{{sys.O_WRONLY, os.O_WRONLY}, {sys.O_RDWR, os.O_RDWR}, {sys.O_CREAT, os.O_CREATE}, {sys.O_EXCL, os.O_EXCL},
		{sys.O_TRUNC, os.O_TRUNC}, {sys.O_DIRECTORY, syscall.O_DIRECTORY}} {
		if flag&f.wasi != 0 {
			how |= f.os
		}
	}
	f, err := root.OpenFile(path, how, perm.Perm()|0o600)
	if err != nil {
		return nil, errno(err)
	}
	info, err := f.Stat()
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, sys.EACCES
	}
	if info.IsDir() {
		return &directory{tree: t, path: path, f: f}, 0
	}
	out := &file{tree: t, f: f, append: flag&sys.O_APPEND != 0, ino: inode(info)}
	if t.room != nil {
		t.room.opened(out.ino, info.Size())
	}
	return out, 0
}

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

func (t *tree) Lstat(path string) (wasi.Stat_t, sys.Errno) {
	path, e := local(path)
	if e != 0 {
		return wasi.Stat_t{}, e
	}
	_, info, e := t.find(path)
	if e != 0 {
		return wasi.Stat_t{}, e
	}
	return wasi.NewStat_t(info), 0
}

func (t *tree) Stat(path string) (wasi.Stat_t, sys.Errno) {
	path, e := local(path)
	if e != 0 {
		return wasi.Stat_t{}, e
	}
	root, _, e := t.find(path)
	if e != 0 {
		return wasi.Stat_t{}, e
	}
	info, err := root.Stat(path)
	if err != nil {
		return wasi.Stat_t{}, errno(err)
	}
	return wasi.NewStat_t(info), 0
}

func (t *tree) Readlink(path string) (string, sys.Errno) {
	path, e := local(path)
	if e != 0 {
		return "", e
	}
	root, _, e := t.find(path)
	if e != 0 {
		return "", e
	}
	to, err := root.Readlink(path)
	return to, errno(err)
}

// change runs a change of the tree; made tells that it needs room for one more
// file.
func (t *tree) change(path string, made bool, do func(root *os.Root, path string) error) sys.Errno {
	path, e := local(path)
	switch {
	case e != 0:
		return e
	case t.room == nil:
		return sys.EROFS
	case made && !t.room.file():
		return errFull
	}
	e = errno(do(t.roots[0], path))
	if made && e != 0 {
		t.room.unfile()
	}
	return e
}

func (t *tree) Mkdir(path string, perm fs.FileMode) sys.Errno {
	return t.change(path, true, func(r *os.Root, path string) error { return r.Mkdir(path, perm.Perm()|0o700) })
}

func (t *tree) Symlink(to, path string) sys.Errno {
	if len(to) > maxPath {
		return sys.ENAMETOOLONG
	}
	return t.change(path, true, func(r *os.Root, path string) error { return r.Symlink(to, path) })
}

func (t *tree) Utimens(path string, atim, mtim int64) sys.Errno {
	return t.change(path, false, func(r *os.Root, path string) error {
		info, err := r.Stat(path)
		if err != nil {
			return err
		}
		return r.Chtimes(path, moment(atim, info), moment(mtim, info))
	})
}

// moment is a time as WASI gives it, or the one that the file has.
func moment(at int64, info fs.FileInfo) time.Time {
	if at == sys.UTIME_OMIT {
		return info.ModTime()
	}
	return time.Unix(0, at)
}

// remove deletes a file or an empty directory.
func (t *tree) remove(path string, dir bool) sys.Errno {
	return t.change(path, false, func(r *os.Root, path string) error {
		info, err := r.Lstat(path)
		switch {
		case err != nil:
			return err
		case dir && !info.IsDir():
			return syscall.ENOTDIR
		case !dir && info.IsDir():
			return syscall.EISDIR
		}
		if err := r.Remove(path); err != nil {
			return err
		}
		t.room.removed(inode(info))
		return nil
	})
}

func (t *tree) Rmdir(path string) sys.Errno  { return t.remove(path, true) }
func (t *tree) Unlink(path string) sys.Errno { return t.remove(path, false) }

// Rename moves within the tree, over what is there.
func (t *tree) Rename(from, to string) sys.Errno {
	to, e := local(to)
	if e != 0 {
		return e
	}
	return t.change(from, false, func(r *os.Root, from string) error {
		source, err := r.Lstat(from)
		if err != nil {
			return err
		}
		target, missing := r.Lstat(to)
		if err := r.Rename(from, to); err != nil {
			return err
		}
		if missing == nil && inode(target) != inode(source) {
			t.room.removed(inode(target))
		}
		return nil
	})
}

// entries lists a directory, each name once, the topmost's.
func (t *tree) entries(path string) ([]sys.Dirent, sys.Errno) {
	var out []sys.Dirent
	seen := map[string]bool{}
	found := sys.ENOENT
	if err := t.look(); err != nil {
		return nil, errno(err)
	}
	for _, r := range t.roots {
		f, err := r.Open(filepath.Clean(path))
		if err != nil {
			continue
		}
		list, err := f.ReadDir(-1)
		_ = f.Close()
		if err != nil {
			continue
		}
		found = 0
		for _, entry := range list {
			info, err := entry.Info()
			if err != nil || seen[entry.Name()] {
				continue
			}
			seen[entry.Name()] = true
			out = append(out, sys.Dirent{Ino: inode(info), Name: entry.Name(), Type: info.Mode().Type()})
		}
	}
	return out, found
}
