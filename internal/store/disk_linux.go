package store

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncer has the disk keep what was written to a file. Go's scheduler finds out late
// that a system call takes long, and on a small host the server has one processor:
// nothing else would run while it waits for the disk. So the kernel is asked to tell
// when it is done (io_submit(2) with IOCB_CMD_FDSYNC, Linux 4.18), and the goroutine
// waits for that as for a socket.
type syncer struct {
	file  *os.File
	event *os.File // an eventfd; nil where the kernel has none of this
	queue uint64   // of the kernel, with one place
}

// The parts of linux/aio_abi.h that are used.
const (
	iocbFdsync = 3 // IOCB_CMD_FDSYNC
	iocbResfd  = 1 // IOCB_FLAG_RESFD
)

type iocb struct {
	_      [16]byte // data, key, rw_flags
	opcode uint16
	_      int16 // reqprio
	fd     uint32
	_      [32]byte // buf, nbytes, offset, reserved2
	flags  uint32
	event  uint32 // resfd
}

type ioEvent struct {
	_         [16]byte // data, obj
	result, _ int64
}

func newSyncer(file *os.File) *syncer {
	s := &syncer{file: file}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.queue)), 0); errno != 0 {
		return s
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		s.destroy()
		return s
	}
	s.event = os.NewFile(uintptr(fd), "sync")
	if !s.submit() || s.wait() != nil { // an older kernel, or a file system without it
		s.destroy()
		_ = s.event.Close() // it was not used
		s.event = nil
	}
	return s
}

// sync returns when all that was written is on the disk, but for the times that tell
// when that was (fdatasync(2)).
func (s *syncer) sync() error {
	if s.event != nil && s.submit() {
		return s.wait()
	}
	return s.control(func(fd uintptr) error {
		for {
			if err := unix.Fdatasync(int(fd)); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
}

// submit asks the kernel; it is false when that takes no requests.
func (s *syncer) submit() bool {
	return s.control(func(fd uintptr) error {
		return controlFile(s.event, func(event uintptr) error {
			c := &iocb{opcode: iocbFdsync, fd: uint32(fd), flags: iocbResfd, event: uint32(event)}
			if n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, uintptr(s.queue), 1, uintptr(unsafe.Pointer(&c))); n != 1 {
				return errno
			}
			return nil
		})
	}) == nil
}

// wait is for the end of what was submitted.
func (s *syncer) wait() error {
	var count [8]byte
	if _, err := s.event.Read(count[:]); err != nil {
		return err
	}
	if n := binary.NativeEndian.Uint64(count[:]); n != 1 {
		return errors.New("the kernel has ended more than was asked for")
	}
	var e ioEvent
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, uintptr(s.queue), 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0)
	switch {
	case n != 1:
		return errno
	case e.result < 0:
		return syscall.Errno(-e.result)
	}
	return nil
}

func (s *syncer) control(do func(fd uintptr) error) error { return controlFile(s.file, do) }

func controlFile(f *os.File, do func(fd uintptr) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = do(fd) })
	return errors.Join(err, inner)
}

func (s *syncer) destroy() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, uintptr(s.queue), 0, 0) // waits for what runs
}

func (s *syncer) close() error {
	var err error
	if s.event != nil {
		s.destroy()
		err = s.event.Close()
	}
	return errors.Join(err, s.file.Close())
}
