package server

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected are both ends of a connection to l.
func connected(t *testing.T, l net.Listener) (client, served net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if served, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = served.Close() })
	return client, served
}

// TestClientThatReadsNothing writes to a client that never reads, without a
// deadline, and to one that reads slowly.
func TestClientThatReadsNothing(t *testing.T) {
	l, err := (&Server{}).inherit(t.Context(), socketGateway, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const limit = 500 * time.Millisecond
	if err := bePatient(l.(*net.TCPListener), limit); err != nil {
		t.Fatal(err)
	}
	client, served := connected(t, l)
	ended := make(chan error, 1)
	begin := time.Now()
	go func() {
		part := make([]byte, 32<<10)
		for {
			if _, err := served.Write(part); err != nil {
				ended <- err
				return
			}
		}
	}()
	// As long as the client reads now and then, it is waited for.
	slow := make([]byte, 4<<20)
	for range 6 {
		time.Sleep(limit / 2)
		if _, err := client.Read(slow); err != nil {
			t.Fatalf("after %s: %v", time.Since(begin), err)
		}
	}
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ETIMEDOUT) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the write ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a client that reads nothing is waited for without end")
	}
}

// TestClientsAreAskedFor: a connection inherits that its client is asked whether it is
// still there, where the server has opened the socket and where it has taken it over.
func TestClientsAreAskedFor(t *testing.T) {
	first, err := (&Server{}).inherit(t.Context(), socketAPI, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	file, err := first.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	next := &Server{hooks: Hooks{Sockets: Sockets{Listening: map[string]*os.File{socketAPI: file}}}}
	second, err := next.inherit(t.Context(), socketAPI, first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for name, l := range map[string]net.Listener{"opened": first, "taken over": second} {
		if err := bePatient(l.(*net.TCPListener), patience); err != nil {
			t.Fatal(err)
		}
		_, served := connected(t, l)
		raw, err := served.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for _, o := range []struct{ level, name, want int }{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			} {
				if got, err := unix.GetsockoptInt(int(fd), o.level, o.name); err != nil || got != o.want {
					t.Errorf("%s: option %d of level %d is %d, want %d: %v", name, o.name, o.level, got, o.want, err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
