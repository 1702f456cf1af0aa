package linux

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// output reads what the function writes and hands it on line by line. Two
// goroutines read: the instance's own, whenever there is something, and the one
// that has an answer in hand and wants what was written before it.
type output struct {
	pipe *os.File
	raw  syscall.RawConn

	// mu lets one of them at a time read and pass lines on, which promises the
	// reader of [sandbox.Output] just that; it guards what follows.
	mu    sync.Mutex
	lines sandbox.Lines
	buf   []byte
}

// newOutput makes the pipe; the second result is its other end.
func newOutput(to sandbox.Output) (*output, *os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe", err)
	}
	write := os.NewFile(uintptr(p[1]), "output")
	if err := unix.SetNonblock(p[0], true); err != nil {
		_, _ = unix.Close(p[0]), write.Close()
		return nil, nil, os.NewSyscallError("set nonblocking", err)
	}
	o := &output{pipe: os.NewFile(uintptr(p[0]), "output"), lines: sandbox.Lines{To: to}, buf: make([]byte, 32<<10)}
	raw, err := o.pipe.SyscallConn()
	if err != nil {
		_, _ = o.pipe.Close(), write.Close()
		return nil, nil, err
	}
	o.raw = raw
	return o, write, nil
}

// run passes output on until the last writer is gone or the pipe is closed.
func (o *output) run() {
	// The runtime calls back once at first and then on every edge of readability,
	// so the callback may only go back to waiting when the pipe is empty.
	_ = o.raw.Read(func(fd uintptr) bool {
		for {
			switch o.read(int(fd)) {
			case pipeEmpty:
				return false
			case pipeEnded:
				return true
			}
		}
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines.Flush(time.Now())
}

// drain passes on all that has been written so far, a started line included:
// the invocation that wrote it is over. One read's worth is enough, since that
// is more than a pipe holds, and a function that never stops writing cannot
// hold its own answer up.
func (o *output) drain() {
	_ = o.raw.Control(func(fd uintptr) { o.read(int(fd)) })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines.Flush(time.Now())
}

// direct passes on to another receiver what is written from now on. What was
// written before goes to the one there was.
func (o *output) direct(to sandbox.Output) {
	o.drain()
	o.redirect(to)
}

// redirect passes on to another receiver what has not been read yet.
func (o *output) redirect(to sandbox.Output) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines.To = to
}

// runUntil is run for writers that have ended once over is closed: what the pipe holds
// then is still passed on. A process outside the sandbox that came by a copy of the pipe
// (a fork that nobody heard of again) does not hold anything up.
func (o *output) runUntil(over <-chan struct{}) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		o.run()
	}()
	select {
	case <-read:
		return
	case <-over:
	}
	select {
	case <-read:
	case <-time.After(lastWords):
		_ = o.pipe.Close()
		<-read
	}
}

// pipeState is why a read stopped.
type pipeState int

const (
	pipeMore  pipeState = iota // enough for one turn
	pipeEmpty                  // nothing to read now
	pipeEnded                  // nothing to read any more
)

// turn is how much is read before somebody else may, in bytes: more than the 64
// KiB that a pipe holds (pipe(7)).
const turn = 128 << 10

// readNow reads what is there, which is over in a moment: Go's scheduler is not
// prepared for more. p is not empty.
func readNow(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (o *output) read(fd int) pipeState {
	o.mu.Lock()
	defer o.mu.Unlock()
	for left := turn; left > 0; {
		n, err := readNow(fd, o.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return pipeEmpty
		case err != nil || n == 0:
			return pipeEnded
		}
		left -= n
		o.lines.Take(time.Now(), o.buf[:n])
	}
	return pipeMore
}
