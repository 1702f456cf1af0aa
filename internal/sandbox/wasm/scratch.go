package wasm

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasi "github.com/tetratelabs/wazero/sys"
)

// maxFiles is how many files, directories and links /tmp can have.
const maxFiles = 64 << 10

// room is what is left of a /tmp. It counts the lengths of files, also of those
// that are deleted and still open; holes count as if they were full.
type room struct {
	mu    sync.Mutex // guards the rest
	left  int64      // bytes
	files int
	held  map[uint64]*held // by inode number
}

// held is one regular file.
type held struct {
	size int64
	open int
	gone bool // its last name
}

func newRoom(bytes int64) *room { return &room{left: bytes, held: map[uint64]*held{}} }

// file takes the place of one more name; false when there are too many.
func (r *room) file() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files >= maxFiles {
		return false
	}
	r.files++
	return true
}

func (r *room) unfile() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files--
}

// opened counts an open file; size is what it has now, after a truncation too.
func (r *room) opened(ino uint64, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[ino]
	if h == nil {
		h = &held{}
		r.held[ino] = h
	}
	h.open++
	r.left -= size - h.size
	h.size = size
}

// grow makes room for a file of size bytes, and gives how long it may become. Where none
// of the bytes after from would fit it takes nothing.
func (r *room) grow(ino uint64, from, size int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[ino]
	if h == nil || size <= h.size {
		return size
	}
	more := max(0, min(size-h.size, r.left))
	if h.size+more <= from {
		return h.size
	}
	r.left -= more
	h.size += more
	return h.size
}

func (r *room) cut(ino uint64, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.held[ino]; h != nil && size < h.size {
		r.left += h.size - size
		h.size = size
	}
}

func (r *room) closed(ino uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.held[ino]; h != nil {
		h.open--
		r.release(ino, h)
	}
}

// removed tells that a name is gone. There is one name to a file.
func (r *room) removed(ino uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files--
	if h := r.held[ino]; h != nil {
		h.gone = true
		r.release(ino, h)
	}
}

func (r *room) release(ino uint64, h *held) {
	if h.gone && h.open <= 0 {
		r.left += h.size
		delete(r.held, ino)
	}
}

// scratch is the /tmp of one instance: a directory of its own that is made when
// the module first looks at it.
type scratch struct {
	dir  string
	room *room

	mu   sync.Mutex // guards made
	made *os.Root
}

// tmpFS shows a scratch to a module.
type tmpFS struct {
	sys.UnimplementedFS
	scratch *scratch
	handles *handles
}

func (s *scratch) root() (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made != nil {
		return s.made, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.dir)
	s.made = root
	return root, err
}

// Close removes everything.
func (s *scratch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		return nil
	}
	_ = s.made.Close()
	s.made = nil
	return os.RemoveAll(s.dir)
}

// moveTo takes the scratch over for another instance; the old name may come up
// again.
func (s *scratch) moveTo(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made != nil {
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return err
		}
		if err := os.Rename(s.dir, dir); err != nil {
			return err
		}
	}
	s.dir = dir
	return nil
}

func (t *tmpFS) tree() (*tree, sys.Errno) {
	root, err := t.scratch.root()
	if err != nil {
		return nil, sys.EIO
	}
	return &tree{roots: []*os.Root{root}, handles: t.handles, room: t.scratch.room}, 0
}

func (t *tmpFS) OpenFile(path string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	tree, e := t.tree()
	if e != 0 {
		return nil, e
	}
	return tree.OpenFile(path, flag, perm)
}

func (t *tmpFS) Lstat(path string) (wasi.Stat_t, sys.Errno) {
	tree, e := t.tree()
	if e != 0 {
		return wasi.Stat_t{}, e
	}
	return tree.Lstat(path)
}

func (t *tmpFS) Stat(path string) (wasi.Stat_t, sys.Errno) {
	tree, e := t.tree()
	if e != 0 {
		return wasi.Stat_t{}, e
	}
	return tree.Stat(path)
}

func (t *tmpFS) Readlink(path string) (string, sys.Errno) {
	tree, e := t.tree()
	if e != 0 {
		return "", e
	}
	return tree.Readlink(path)
}

func (t *tmpFS) do(f func(*tree) sys.Errno) sys.Errno {
	tree, e := t.tree()
	if e != 0 {
		return e
	}
	return f(tree)
}

func (t *tmpFS) Mkdir(path string, perm fs.FileMode) sys.Errno {
	return t.do(func(tree *tree) sys.Errno { return tree.Mkdir(path, perm) })
}

func (t *tmpFS) Symlink(to, path string) sys.Errno {
	return t.do(func(tree *tree) sys.Errno { return tree.Symlink(to, path) })
}

func (t *tmpFS) Rename(from, to string) sys.Errno {
	return t.do(func(tree *tree) sys.Errno { return tree.Rename(from, to) })
}

func (t *tmpFS) Rmdir(path string) sys.Errno {
	return t.do(func(tree *tree) sys.Errno { return tree.Rmdir(path) })
}

func (t *tmpFS) Unlink(path string) sys.Errno {
	return t.do(func(tree *tree) sys.Errno { return tree.Unlink(path) })
}

func (t *tmpFS) Utimens(path string, atim, mtim int64) sys.Errno {
	return t.do(func(tree *tree) sys.Errno { return tree.Utimens(path, atim, mtim) })
}
