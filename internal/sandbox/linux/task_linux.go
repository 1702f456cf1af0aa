package linux

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// beside begins to make the volume that an application's changes to its code go to,
// which takes about as long as the rest of a small program's start. The one that it
// returns waits for it, however often it is called; it is nil where nothing is changed.
func (b *builder) beside() (wait func() (*volume, error)) {
	if b.spec.Version.App == nil || b.spec.Code == "" {
		return func() (*volume, error) { return nil, nil }
	}
	type made struct {
		volume *volume
		err    error
	}
	done := make(chan made, 1)
	go func() {
		v, err := b.driver.mountTmp(b.spec.Version.EphemeralMB)
		done <- made{v, err}
	}()
	return sync.OnceValues(func() (*volume, error) {
		m := <-done
		return m.volume, m.err
	})
}

// ownCode lets an application write beside its code, as one in an image may: programs
// of all sorts keep their database, caches and uploads there. The code's mount shows
// its files as the application's, and what it changes goes to a volume that ends with
// the instance. Where the host cannot do that, the code stays as it is, to be read.
func (b *builder) ownCode(v *volume, err error) *volume {
	if err == nil && v == nil {
		return nil
	}
	if err == nil {
		err = b.driver.slots.openTask(b.shell.slot)
	}
	if err == nil {
		// The code is the first of the mounts, and not attached yet.
		err = os.NewSyscallError("mount_setattr", unix.MountSetattr(b.mounts[0].fd, "", unix.AT_EMPTY_PATH,
			&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(b.shell.slot.task.Fd())}))
	}
	if err != nil {
		b.readOnly(err)
		return nil
	}
	return v
}

// readOnly says why an application cannot write beside its code.
func (b *builder) readOnly(err error) {
	b.driver.opts.Log.Warn("an application cannot write beside its code", "fn", b.spec.Version.Function, "err", err)
}

// layBeside mounts, in the calling thread's tree, what the application writes over its
// code. The volume is below /opt for as long as that takes.
func (b *builder) layBeside(v *volume) error {
	if v == nil {
		return nil
	}
	const at, upper, work = "/opt", "/opt/upper", "/opt/work"
	if err := attach(v.fd, at); err != nil {
		return err
	}
	owner := int(b.driver.slots.base) + b.shell.slot.n
	err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755), os.Chown(upper, owner, owner))
	if err == nil {
		err = unix.Mount("code", "/var/task", "overlay", unix.MS_NOSUID|unix.MS_NODEV, "lowerdir=/var/task,upperdir="+upper+",workdir="+work)
	}
	if err != nil { // before Linux 5.19: what is mapped cannot be below
		b.readOnly(err)
	}
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount what is beside the code: %w", err)
	}
	return nil
}
