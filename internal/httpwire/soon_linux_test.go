package httpwire

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestAnswersWorthLooking(t *testing.T) {
	var a answers
	if a.worth(1) {
		t.Error("nobody expects anything")
	}
	a.expected = true
	looks := 0
	for range 1000 {
		if a.worth(1) {
			looks++
			a.looked(false)
		}
	}
	if looks < 8 || looks > 15 { // 7 to get there, then one in 128
		t.Errorf("%d looks in 1000 at a slow peer", looks)
	}
	for !a.worth(1) {
	}
	a.looked(true)
	if !a.worth(1) {
		t.Error("a peer that has become quick is not looked at")
	}
	if a.worth(2) {
		t.Error("looks although another request is under way")
	}
}

// TestExpect: what comes soon, later, or not until the deadline is read as ever.
func TestExpect(t *testing.T) {
	underway.Add(1)
	defer underway.Add(-1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(peer)
			return
		}
		peer <- c
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := Expect(Quick(nc))
	defer func() { _ = c.Close() }()
	p, ok := <-peer
	if !ok {
		t.Fatal("nobody came")
	}
	buf := make([]byte, 8)
	for _, after := range []time.Duration{0, 0, 2 * time.Millisecond, 0, 0, 2 * time.Millisecond} {
		wrote := make(chan error, 1)
		go func() {
			time.Sleep(after)
			_, err := p.Write([]byte("x"))
			wrote <- err
		}()
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatalf("after %v: %d, %v", after, n, err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing came: %v", err)
	}
	if err := errors.Join(c.SetReadDeadline(time.Time{}), p.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("the peer has gone: %v", err)
	}
}
