package wasm

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
)

// What is made through a link counts as what is made by its name.
func TestFilesMadeThroughLinksCount(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tmp := &tree{roots: []*os.Root{root}, handles: newHandles(maxOpen, nil), room: newRoom(1 << 20)}
	defer tmp.close()
	if e := tmp.Symlink("file", "link"); e != 0 {
		t.Fatal(e)
	}
	for _, path := range []string{"link", "link", "file"} { // only the first one makes it
		f, e := tmp.OpenFile(path, sys.O_CREAT|sys.O_RDWR, 0o600)
		if e != 0 {
			t.Fatal(path, e)
		}
		if e := f.Close(); e != 0 {
			t.Fatal(path, e)
		}
		if tmp.room.files != 2 {
			t.Fatalf("%d files, want the link and what it leads to", tmp.room.files)
		}
	}
	tmp.room.files = maxFiles
	if e := tmp.Unlink("file"); e != 0 {
		t.Fatal(e)
	}
	tmp.room.files = maxFiles
	if _, e := tmp.OpenFile("link", sys.O_CREAT|sys.O_RDWR, 0o600); e != errFull {
		t.Errorf("one more file than there may be: %v", e)
	}
}

// What open directories have listed is bounded: it is in the server's memory.
func TestListingsAreBounded(t *testing.T) {
	dir := t.TempDir()
	const names = 100
	for i := range names {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	tmp := &tree{roots: []*os.Root{root}, handles: newHandles(maxOpen, nil), room: newRoom(1 << 20)}
	defer tmp.close()
	open := func() sys.File {
		f, e := tmp.OpenFile(".", 0, 0)
		if e != 0 {
			t.Fatal(e)
		}
		return f
	}
	tmp.handles.names.Store(maxNames - names) // of others
	one, two := open(), open()
	if list, e := one.Readdir(-1); e != 0 || len(list) != names {
		t.Fatalf("%d names, %v", len(list), e)
	}
	if _, e := two.Readdir(-1); e != errFull {
		t.Errorf("more names than there may be: %v", e)
	}
	if _, e := one.Seek(0, io.SeekStart); e != 0 {
		t.Fatal(e)
	}
	if list, e := two.Readdir(names / 2); e != 0 || len(list) != names/2 {
		t.Errorf("%d names, %v", len(list), e)
	}
	if _, e := one.Readdir(-1); e != errFull {
		t.Errorf("more names than there may be: %v", e)
	}
	for _, f := range []sys.File{one, two} {
		if e := f.Close(); e != 0 {
			t.Error(e)
		}
	}
	if n := tmp.handles.names.Load(); n != maxNames-names {
		t.Errorf("%d names are still counted", n-(maxNames-names))
	}
}

// A file that cannot become as long as was asked for takes no room from the others.
func TestRoomIsNotLostToWhatFails(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tmp := &tree{roots: []*os.Root{root}, handles: newHandles(maxOpen, nil), room: newRoom(100)}
	defer tmp.close()
	f, e := tmp.OpenFile("file", sys.O_CREAT|sys.O_RDWR, 0o600)
	if e != 0 {
		t.Fatal(e)
	}
	if e := f.Truncate(101); e != errFull {
		t.Error(e)
	}
	if n, e := f.Pwrite([]byte("abc"), 100); n != 0 || e != errFull {
		t.Error(n, e)
	}
	if left := tmp.room.left; left != 100 {
		t.Errorf("%d of 100 bytes are left", left)
	}
	if n, e := f.Pwrite([]byte("abc"), 98); n != 2 || e != 0 {
		t.Errorf("%d bytes written, %v: two fit", n, e)
	}
	if e := f.Truncate(10); e != 0 || tmp.room.left != 90 {
		t.Error(e, tmp.room.left)
	}
	if e := f.Close(); e != 0 {
		t.Error(e)
	}
}
