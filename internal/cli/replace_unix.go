//go:build unix

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// osReplace is the operating system's part of a replacement: the signal SIGUSR2
// asks for it, and the program is looked up at the path by which this one was
// called, where another one may be by then.
func osReplace() *Replace {
	return &Replace{
		Asked: func() (<-chan os.Signal, func()) {
			wishes := make(chan os.Signal, 1)
			signal.Notify(wishes, syscall.SIGUSR2)
			return wishes, func() { signal.Stop(wishes) }
		},
		Check: func(ctx context.Context, args []string) error {
			path, err := program()
			if err != nil {
				return err
			}
			out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s %v: %w: %s", path, args, err, bytes.TrimSpace(out))
			}
			return nil
		},
		Exec: func(environ []string, open []*os.File) error {
			path, err := program()
			if err != nil {
				return err
			}
			return become(path, environ, open)
		},
		Again: func(environ []string, open []*os.File) error { return become("/proc/self/exe", environ, open) },
		Ask:   func(pid int) error { return syscall.Kill(pid, syscall.SIGUSR2) },
	}
}

// become runs another program in this one's place.
func become(path string, environ []string, open []*os.File) error {
	for _, f := range open { // those of os are closed on exec
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_SETFD, 0); errno != 0 {
			return fmt.Errorf("keep socket %s open: %w", f.Name(), errno)
		}
	}
	return syscall.Exec(path, os.Args, environ)
}

// program is the path of what takes over.
func program() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", err
	}
	return filepath.Abs(path)
}
