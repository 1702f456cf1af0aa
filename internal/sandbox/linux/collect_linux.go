package linux

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var _ sandbox.Collector = (*Instance)(nil)

// Collect copies a regular file out of /tmp of an instance that has ended. The
// function made the file system's content: the name is resolved beneath its root
// without following a link, and nothing but a regular file is opened.
func (i *Instance) Collect(name, dst string, limit int64) error {
	if !i.ended() {
		return lambent.Errorf(lambent.CodeConflict, "collect %s: the instance has not ended", name)
	}
	select { // writes until it is gone
	case <-i.over:
	case <-time.After(killTimeout):
	}
	src, err := i.openTmp(name)
	if err != nil {
		return lambent.Errorf(collectCode(err), "collect %s: %w", name, err)
	}
	defer func() { _ = src.Close() }()
	if err := copyRegular(src, dst, limit); err != nil {
		return lambent.Errorf(collectCode(err), "collect %s: %w", name, err)
	}
	return nil
}

var (
	errNoTmp      = errors.New("/tmp is gone")
	errNotRegular = errors.New("it is not a regular file")
	errTooBig     = errors.New("it is larger than allowed")
)

func collectCode(err error) lambent.Code {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, errNotRegular), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOTDIR):
		return lambent.CodeNotFound
	case errors.Is(err, errTooBig):
		return lambent.CodeTooLarge
	case errors.Is(err, errNoTmp):
		return lambent.CodeUnsupported
	}
	return lambent.CodeInternal
}

// openTmp opens a file in /tmp, which is mounted once more for that.
func (i *Instance) openTmp(name string) (*os.File, error) {
	i.mu.Lock()
	if i.tmp == nil || i.tmp.loop < 0 {
		i.mu.Unlock()
		return nil, errNoTmp
	}
	device := i.tmp.device
	// A copy keeps the content, whatever becomes of the volume meanwhile.
	loop, err := unix.FcntlInt(uintptr(i.tmp.loop), unix.F_DUPFD_CLOEXEC, 0)
	i.mu.Unlock()
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	defer func() { _ = unix.Close(loop) }()
	root, err := mountLoop(device)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(root) }() // an open file keeps its mount
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// copyRegular copies src to the new file dst, or leaves no dst.
func copyRegular(src *os.File, dst string, limit int64) (err error) {
	info, err := src.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errNotRegular
	case info.Size() > limit:
		return errTooBig
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			_ = os.Remove(dst) // half a file
		}
	}()
	_, err = io.CopyN(out, src, info.Size())
	return err
}
