package server

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// patience is for clients on slow and broken networks; who reads nothing for so long
// is gone. What takes longer has limits of its own: parts of large answers, and
// streams.
const patience = 2 * time.Minute

// bePatient bounds how long a client may leave what was sent to it unread, or
// unacknowledged; then its connection ends, and whoever writes to it is told. The
// connections of a listener inherit it: see TCP_USER_TIMEOUT in tcp(7).
func bePatient(l *net.TCPListener, limit time.Duration) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
	if errors.Is(set, unix.ENOPROTOOPT) { // a multipath socket that an earlier server has made
		set = nil
	}
	return errors.Join(err, set)
}
