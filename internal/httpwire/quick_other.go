//go:build !linux

package httpwire

import (
	"net"
	"syscall"
	"time"
)

// Quick is c.
func Quick(c net.Conn) net.Conn { return c }

// Expect is c.
func Expect(c net.Conn) net.Conn { return c }

// AckAtOnce does nothing.
func AckAtOnce(net.Conn) {}

// Soon never looks.
type Soon struct{}

// NewSoon is for c.
func NewSoon(net.Conn, func() bool) *Soon { return &Soon{} }

// Look returns at once.
func (*Soon) Look(time.Duration) {}

// unread cannot look here.
func unread(syscall.Conn) bool { return false }

func plainConn(c net.Conn) net.Conn { return c }

func rawCall(_, fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // as it is documented
		return 0, errno
	}
	return n, 0
}
