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

// pair is the two ends of a connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// TestExpect: what comes soon, later, or not until the deadline is read as ever.
func TestExpect(t *testing.T) {
	underway.Add(1)
	defer underway.Add(-1)
	nc, p := pair(t)
	c := Expect(Quick(nc))
	defer func() { _ = c.Close() }()
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

// TestSoon: what comes soon is found and is still there to be read, a silent peer is
// waited for no longer than was said, and who has read it meanwhile ends the look.
func TestSoon(t *testing.T) {
	underway.Add(1)
	defer underway.Add(-1)
	near, far := pair(t)
	over := false
	s := NewSoon(Quick(near), func() bool { return over })
	s.Look(time.Millisecond)
	if s.inTime {
		t.Error("found what nobody has sent")
	}
	s.answers = answers{expected: true}
	over = true
	s.Look(time.Hour)
	if !s.inTime {
		t.Error("goes on looking for what has been read")
	}
	over = false
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.Look(time.Hour)
	buf := make([]byte, 8)
	if n, err := near.Read(buf); !s.inTime || n != 1 || err != nil {
		t.Errorf("found %t, read %d, %v", s.inTime, n, err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	s.Look(time.Hour) // until the reader can tell that the peer has gone
	if _, err := near.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("the peer has gone: %v", err)
	}
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	s.Look(time.Hour) // of a closed connection there is nothing to look at
}
