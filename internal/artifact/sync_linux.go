package artifact

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem waits until all that was written to the file system of a directory is
// on its disk (syncfs(2)).
func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))), f.Close())
}
