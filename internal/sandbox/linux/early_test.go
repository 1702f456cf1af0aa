package linux

import (
	"net"
	"testing"
	"time"
)

// TestAcceptEarly: a connection that waits is given first, and the listener goes on;
// nobody's is closed with it.
func TestAcceptEarly(t *testing.T) {
	open := func(connect bool) (net.Listener, net.Conn) {
		t.Helper()
		plain, err := listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var c net.Conn
		if connect {
			if c, err = net.Dial("tcp", plain.Addr().String()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
		}
		l, err := acceptEarly(plain)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l, c
	}

	plain, _ := open(false)
	if _, ok := plain.(*early); ok {
		t.Error("nobody has connected, and it has a connection")
	}

	l, first := open(true)
	second, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Close() })
	for n, want := range []net.Conn{first, second} {
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = got.Close() })
		if got.RemoteAddr().String() != want.LocalAddr().String() {
			t.Errorf("connection %d is from %v, not from %v", n, got.RemoteAddr(), want.LocalAddr())
		}
	}

	l, alone := open(true)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_ = alone.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := alone.Read(make([]byte, 1)); n > 0 || err == nil || isTimeout(err) {
		t.Errorf("the connection that nobody took is still open: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("what is closed still accepts")
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // of a net.Conn
	return ok && e.Timeout()
}
