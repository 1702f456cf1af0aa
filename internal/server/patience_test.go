package server

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

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
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
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
