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

// How long a connection is silent before its client is asked whether it is there, how long
// between two questions, and how many stay unanswered: as Go has it for each connection.
const (
	aliveIdle  = 15 * time.Second
	aliveEvery = 15 * time.Second
	aliveTimes = 9
)

// bePatient bounds how long a client may leave what was sent to it unread, or
// unacknowledged; then its connection ends, and whoever writes to it is told. One that is
// silent is asked now and then. The connections of a listener inherit all that: see
// tcp(7) and SO_KEEPALIVE in socket(7).
func bePatient(l *net.TCPListener, limit time.Duration) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		for _, o := range []struct{ level, name, value int }{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(aliveIdle.Seconds())},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(aliveEvery.Seconds())},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, aliveTimes},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds())},
		} {
			err := unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
			// Multipath sockets, which an earlier server may have made, do not know all.
			if !errors.Is(err, unix.ENOPROTOOPT) && !errors.Is(err, unix.EOPNOTSUPP) {
				set = errors.Join(set, err)
			}
		}
	})
	return errors.Join(err, set)
}
