package linux

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxListeners bounds how many listeners are asked for: who runs in a network decides
// how many it has.
const maxListeners = 1000

// listeners are the TCP ports that somebody listens on in the network of a process,
// each with its address. Of a process that has ended there are none. It is for hosts
// whose kernel listenersIn cannot ask.
func listeners(pid int) []netip.AddrPort {
	var all []netip.AddrPort
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/net/" + table)
		if err != nil {
			continue
		}
		all = append(all, parseListeners(f)...)
		_ = f.Close()
	}
	return all
}

// parseListeners reads a table of sockets (proc(5), /proc/net/tcp): local address
// and state are the second and fourth of a line's fields. Those that listen come first,
// and it reads no further: of connections there may be a hundred thousand.
func parseListeners(table io.Reader) []netip.AddrPort {
	const listening = "0A"
	var all []netip.AddrPort
	lines := bufio.NewScanner(table)
	lines.Scan() // the names of the columns
	for range maxListeners {
		if !lines.Scan() {
			break
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listening {
			break
		}
		if at, err := parseSocketAddress(fields[1]); err == nil {
			all = append(all, at)
		}
	}
	return all
}

// parseSocketAddress reads "0100007F:1F90": words of the address in the host's
// order, then the port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	address, number, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(number, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// catches tells whether a process has a handler for a signal (proc_pid_status(5),
// SigCgt). The first process of a pid namespace is not ended by one that it has
// none for.
func catches(pid int, signal unix.Signal) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b), "\nSigCgt:")
	if !ok {
		return false
	}
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && mask&(1<<(uint(signal)-1)) != 0
}
