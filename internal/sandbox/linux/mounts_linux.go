package linux

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// attachment is a mount that waits for its place.
type attachment struct {
	fd int
	at string
}

// collectMounts makes the mounts of code, layers and cache, unless it has. They are
// made where the host's paths are, attached to nothing, and need no path later.
func (b *builder) collectMounts() error {
	if b.mounts != nil {
		return nil
	}
	add := func(at string, fd int, err error) error {
		if err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
		b.mounts = append(b.mounts, attachment{fd: fd, at: at})
		return nil
	}
	var fd int
	var err error
	if b.spec.Code != "" { // an image has it in its root
		fd, err = detached(b.spec.Code, 0)
		if err := add("/var/task", fd, err); err != nil {
			return err
		}
	}
	if b.spec.Cache != "" {
		fd, err = detached(b.spec.Cache, 0)
		if err := add(sandbox.CacheDir, fd, err); err != nil {
			return err
		}
	}
	switch len(b.spec.Layers) {
	case 0:
		return nil
	case 1:
		fd, err = detached(b.spec.Layers[0], 0)
	default:
		fd, err = overlay(b.spec.Layers)
	}
	return add("/opt", fd, err)
}

// mountTmp makes an instance's /tmp, of the kind that this host can do.
func (d *Driver) mountTmp(mb int) (*volume, error) {
	if d.scratch == nil {
		return tmpfs(mb)
	}
	return d.scratch.mount(mb)
}

func (b *builder) closeMounts() {
	for _, m := range b.mounts {
		_ = unix.Close(m.fd)
	}
	b.mounts = nil
}

// enterRoot gives the calling thread a copy of the prepared tree.
func enterRoot(base *os.File) error {
	if err := unix.Setns(int(base.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns mnt", err)
	}
	return os.NewSyscallError("unshare mnt", unix.Unshare(unix.CLONE_NEWNS))
}

// home is where the server's threads are: its mount namespace, its root and its
// working directory.
var home = sync.OnceValues(func() ([3]int, error) {
	var at [3]int
	for n, path := range []string{"/proc/thread-self/ns/mnt", "/", "."} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return at, &os.PathError{Op: "open", Path: path, Err: err}
		}
		at[n] = fd
	}
	return at, nil
})

// inTree runs f, which does not wait, on a thread that is in that mount namespace
// meanwhile: a thread that is there already would have to be woken, which takes more
// processor time than the whole way there and back. Only a thread with a root and a
// working directory of its own can go there; that one of the server's has them does
// not matter to the others.
func inTree(tree *os.File, f func() error) error {
	back, err := home()
	if err != nil {
		return err
	}
	there := int(tree.Fd())
	runtime.LockOSThread() // no thread is made of this one, either
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare fs", err)
	}
	if err := unix.Setns(there, unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns mnt", err)
	}
	failed := f()
	if err := goHome(back); err != nil {
		panic("a thread cannot leave an instance's mounts: " + err.Error())
	}
	return failed
}

// goHome undoes what setns(2) has changed: the namespace, and with it the root and the
// working directory.
func goHome(to [3]int) error {
	err := unix.Setns(to[0], unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Fchdir(to[1])
	}
	if err == nil {
		err = unix.Chroot(".")
	}
	if err == nil {
		err = unix.Fchdir(to[2])
	}
	return err
}

// fitMounts puts the function's own mounts into the calling thread's tree.
func (b *builder) fitMounts() error {
	mounts := b.mounts
	if tmp := b.shell.tmp; tmp.fd >= 0 { // else it is there
		if b.shell.laid {
			if err := unix.Unmount("/tmp", unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount an empty /tmp: %w", err)
			}
		}
		mounts = append(mounts, attachment{fd: tmp.fd, at: "/tmp"})
	}
	for _, m := range mounts {
		if err := attach(m.fd, m.at); err != nil {
			return err
		}
	}
	return nil
}

// mountShm mounts /dev/shm in the calling thread's tree. What is put there counts
// against the memory of who does, unlike what is in /tmp.
func mountShm() error {
	err := unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m")
	return os.NewSyscallError("mount /dev/shm", err)
}

// enterOwn is enterRoot, with what every instance has of its own.
func enterOwn(base *os.File) error {
	if err := enterRoot(base); err != nil {
		return err
	}
	return mountShm()
}
