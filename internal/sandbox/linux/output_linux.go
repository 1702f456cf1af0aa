package linux

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// maxLine is the longest line that is passed on whole, in bytes: AWS's limit for
// a log event ("CloudWatch Logs quotas").
const maxLine = 256 << 10

// output reads what the function writes and hands it on line by line. Two
// goroutines read: the instance's own, whenever there is something, and the one
// that has an answer in hand and wants what was written before it.
type output struct {
	pipe *os.File
	raw  syscall.RawConn

	// mu lets one of them at a time read and call to, which promises the reader of
	// [sandbox.Output] just that; it guards what follows.
	mu   sync.Mutex
	to   sandbox.Output
	buf  []byte
	line []byte // of a line, what has come so far
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
	o := &output{pipe: os.NewFile(uintptr(p[0]), "output"), to: to, buf: make([]byte, 32<<10)}
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
	o.flush()
}

// drain passes on all that has been written so far, a started line included:
// the invocation that wrote it is over. One read's worth is enough, since that
// is more than a pipe holds, and a function that never stops writing cannot
// hold its own answer up.
func (o *output) drain() {
	_ = o.raw.Control(func(fd uintptr) { o.read(int(fd)) })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
}

// direct passes on to another receiver what is written from now on. What was
// written before goes to the one there was.
func (o *output) direct(to sandbox.Output) {
	o.drain()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = to
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

func (o *output) read(fd int) pipeState {
	o.mu.Lock()
	defer o.mu.Unlock()
	for left := turn; left > 0; {
		n, err := unix.Read(fd, o.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return pipeEmpty
		case err != nil || n == 0:
			return pipeEnded
		}
		left -= n
		o.take(time.Now(), o.buf[:n])
	}
	return pipeMore
}

// take splits p into lines. It is called with mu held.
func (o *output) take(at time.Time, p []byte) {
	for len(p) > 0 {
		part, rest, whole := bytes.Cut(p, []byte{'\n'})
		p = rest
		for len(o.line)+len(part) > maxLine {
			n := maxLine - len(o.line)
			o.line = append(o.line, part[:n]...)
			part = part[n:]
			o.emit(at)
		}
		switch {
		case whole && len(o.line) == 0:
			o.to.WriteLine(at, part)
		case whole:
			o.line = append(o.line, part...)
			o.emit(at)
		default:
			o.line = append(o.line, part...)
		}
	}
}

func (o *output) emit(at time.Time) {
	o.to.WriteLine(at, o.line)
	o.line = o.line[:0]
}

func (o *output) flush() {
	if len(o.line) > 0 {
		o.emit(time.Now())
	}
}
