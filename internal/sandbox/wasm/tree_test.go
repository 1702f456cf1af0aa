package wasm

import (
	"os"
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
