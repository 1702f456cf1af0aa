package linux

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A waiter ends when the pipe has no writer, holds no descriptor meanwhile but that
// end of it, and shares the server's memory.
func TestWaiter(t *testing.T) {
	needRoot(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pipe[0]) }()
	w := newWaiter(unix.CLONE_NEWUSER)
	pid, err := w.start(pipe[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(int(w.pidfd)) }()
	open := func() (n int) {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Error(err)
		}
		return len(all)
	}
	for end := time.Now().Add(10 * time.Second); open() != 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := open(); n != 1 {
		t.Errorf("the waiter has %d descriptors, want 1", n)
	}
	_ = unix.Close(pipe[1])
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil || !status.Exited() {
		t.Errorf("wait: %v, %v", err, status)
	}
}

// Many at the same time, while the memory that they share is written to.
func TestUserNamespacesAtOnce(t *testing.T) {
	needRoot(t)
	stop := make(chan struct{})
	var busy, wg sync.WaitGroup
	busy.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_ = strings.Repeat("x", 1+n%10_000)
			}
		}
	})
	for i := range 16 {
		wg.Go(func() {
			for n := range 8 {
				f, err := newUserNamespace(guestMap(2_000_000 + 8*i + n))
				if err != nil {
					t.Error(err)
					return
				}
				_ = f.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	busy.Wait()
}

func BenchmarkUserNamespace(b *testing.B) {
	needRoot(b)
	ballast := make([]byte, 64<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	for i := 0; b.Loop(); i++ {
		f, err := newUserNamespace(guestMap(2_000_000 + i%1000))
		if err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
		ballast[i*4096%len(ballast)]++
	}
}
