//go:build !linux

package httpwire

import (
	"net"
	"syscall"
)

// Quick is c.
func Quick(c net.Conn) net.Conn { return c }

// Expect is c.
func Expect(c net.Conn) net.Conn { return c }

func plainConn(c net.Conn) net.Conn { return c }

func rawCall(_, fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // as it is documented
		return 0, errno
	}
	return n, 0
}
