package linux

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process whose files this server fetches cannot be made as others are, by a child
// that borrows the server's memory and a processor of Go's until it has executed its
// program: executing means reading, and the reading may need that very processor.
// Such a child is forked apart, with memory of its own. What it has to tell is in a
// page that both have.

// report is what a child that is apart tells of its end, and the page that it is on.
type report struct {
	at    int
	errno syscall.Errno
	page  []byte
}

// clockAt is where on the page the child notes the time.
const clockAt = 256

// newReport makes the page.
func newReport() (*report, error) {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	r := (*report)(unsafe.Pointer(&page[0]))
	r.page = page
	return r, nil
}

// clock is memory for a timespec that the child writes.
func (r *report) clock() blob { return r.page[clockAt : clockAt+int(unsafe.Sizeof(unix.Timespec{}))] }

func (r *report) close() { _ = unix.Munmap(r.page) }

// apartTimeout bounds the time in which a child that is apart executes its program:
// a few pieces of it may have to be fetched.
const apartTimeout = 3 * time.Minute

// startApart starts a child that has memory of its own, and waits until it has
// executed its program or ended. The program p closes all that it has open when it
// executes another, and only then.
func (c *child) startApart() (pid int, err error) {
	held, copied, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("pipe: %w", err)
	}
	defer func() { _ = held.Close() }()
	pid, err = c.start()
	_ = copied.Close() // the child has it
	if err != nil {
		return 0, err
	}
	if err := held.SetReadDeadline(time.Now().Add(apartTimeout)); err != nil {
		return pid, err
	}
	if _, err := held.Read(make([]byte, 1)); os.IsTimeout(err) {
		_ = unix.PidfdSendSignal(int(c.pidfd), unix.SIGKILL, nil, 0)
	}
	c.at, c.errno = c.report.at, c.report.errno
	return pid, nil
}
