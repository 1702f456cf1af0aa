package linux

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What sock_diag(7) asks and answers, inet_diag_req_v2 and inet_diag_msg: their sizes, and
// where in them is what is used here.
const (
	sockDiagByFamily  = 20
	diagRequestSize   = unix.NLMSG_HDRLEN + 56
	diagRequestFamily = unix.NLMSG_HDRLEN
	diagRequestTCP    = unix.NLMSG_HDRLEN + 1
	diagRequestStates = unix.NLMSG_HDRLEN + 4
	diagAnswerPort    = 4
	diagAnswerAddress = 8
	diagAnswerSize    = 72
	listenState       = 10
)

// listenersIn are the addresses in a network that somebody listens on with TCP. The kernel
// is asked for those sockets alone: for a table in /proc it looks at all connections of the
// host, which takes milliseconds.
func listenersIn(network *os.File) ([]netip.AddrPort, error) {
	fd, err := socketIn(network, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var all []netip.AddrPort
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		got, err := listenersOf(fd, family)
		if err != nil {
			return nil, err
		}
		if all = append(all, got...); len(all) >= maxListeners {
			break
		}
	}
	return all, nil
}

// listenersOf asks for the listeners of a family. The socket is of no more use when
// there are maxListeners.
func listenersOf(fd int, family byte) ([]netip.AddrPort, error) {
	q := make([]byte, diagRequestSize)
	binary.NativeEndian.PutUint32(q, diagRequestSize)
	binary.NativeEndian.PutUint16(q[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	q[diagRequestFamily], q[diagRequestTCP] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(q[diagRequestStates:], 1<<listenState)
	if err := unix.Sendto(fd, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var all []netip.AddrPort
	buf := make([]byte, 32<<10) // more than the kernel puts into one answer
	for len(all) < maxListeners {
		n, _, err := unix.Recvfrom(fd, buf, 0) // never waits: what is next is made when the last is taken
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		got, last, err := parseDiag(buf[:n])
		all = append(all, got...)
		if err != nil || last {
			return all, err
		}
	}
	return all, nil
}

// parseDiag reads what the kernel answers; last tells that there is no more.
func parseDiag(b []byte) (all []netip.AddrPort, last bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, false, os.NewSyscallError("parse netlink", err)
	}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.NLMSG_DONE:
			return all, true, nil
		case m.Header.Type != sockDiagByFamily || len(m.Data) < diagAnswerSize: // an error: it has no such diagnosis
			return all, false, os.NewSyscallError("sock_diag", unix.EOPNOTSUPP)
		}
		size := 4
		if m.Data[0] == unix.AF_INET6 {
			size = 16
		}
		address, _ := netip.AddrFromSlice(m.Data[diagAnswerAddress:][:size])
		all = append(all, netip.AddrPortFrom(address, binary.BigEndian.Uint16(m.Data[diagAnswerPort:])))
	}
	return all, false, nil
}
