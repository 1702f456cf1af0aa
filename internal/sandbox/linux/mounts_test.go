package linux

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// whereabouts is the mount namespace, the root and the working directory of the
// calling thread.
func whereabouts(t *testing.T) (ns, dir string, root uint64) {
	t.Helper()
	ns, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		t.Fatal(err)
	}
	return ns, string(buf[:n-1]), st.Ino // without the zero byte
}

func TestAThreadComesBackFromATree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var tree *os.File
	var err error
	onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err == nil {
			tree, err = os.Open("/proc/thread-self/ns/mnt")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, dir, root := whereabouts(t)
	wrong := errors.New("of the work there")
	for range 3 {
		got := inTree(tree, func() error {
			if there, at, _ := whereabouts(t); there == ns || at != "/" {
				t.Errorf("works in %s at %s, as before", there, at)
			}
			return wrong
		})
		if !errors.Is(got, wrong) {
			t.Fatalf("got %v", got)
		}
		if back, at, top := whereabouts(t); back != ns || at != dir || top != root {
			t.Fatalf("comes back to %s at %s, was in %s at %s", back, at, ns, dir)
		}
	}
}
