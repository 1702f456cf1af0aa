package artifact

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// hideName makes an overlay not show a name of the layers below: a character
// device 0:0 stands for it (Documentation/filesystems/overlayfs, "whiteouts and
// opaque directories").
func hideName(dir *os.File, name string) error {
	return os.NewSyscallError("mknod", unix.Mknodat(int(dir.Fd()), name, unix.S_IFCHR, 0))
}

// hideBelow makes an overlay not show what the layers below have in a directory.
func hideBelow(dir *os.File) error {
	return os.NewSyscallError("setxattr", unix.Fsetxattr(int(dir.Fd()), "trusted.overlay.opaque", []byte("y"), 0))
}

// ownerOf is who a file belongs to.
func ownerOf(info fs.FileInfo) (uid, gid uint32) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid, s.Gid
	}
	return 0, 0
}
