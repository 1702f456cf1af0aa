package linux

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waiter is a child that does nothing but wait until its copy of a pipe has no writer
// left. It shares the server's memory, so that making it copies no page tables and
// leaves no page to be copied when it is written to next; other than a child made by
// vfork it lets the server go on meanwhile. So it may not touch the stack, which the
// server goes on with: it is written in assembly and has registers only.
type waiter struct {
	clone cloneArgs
	pidfd int32
}

// newWaiter is not inlined, so that the waiter is on the heap: the kernel gets its
// address, and a stack may move.
//
//go:noinline
func newWaiter(flags uint64) *waiter {
	w := &waiter{pidfd: -1}
	w.clone.flags = flags | unix.CLONE_VM | unix.CLONE_PIDFD
	w.clone.exitSignal = uint64(unix.SIGCHLD)
	w.clone.pidfd = uint64(uintptr(unsafe.Pointer(&w.pidfd)))
	return w
}

// start begins to wait at that end of a pipe. The pid must be waited for. All signals
// are blocked in the child, whose handlers are the server's.
//
//go:noinline
//go:norace
//go:nocheckptr
func (w *waiter) start(pipe int) (pid int, err error) {
	beforeFork()
	r, errno := waiterSyscall(uintptr(unsafe.Pointer(&w.clone)), unsafe.Sizeof(w.clone), uintptr(pipe))
	afterFork()
	if errno != 0 {
		return 0, syscall.Errno(errno)
	}
	return int(r), nil
}

// waiterSyscall is clone3(2). The child closes every descriptor but pipe, reads from
// that, and exits.
//
//go:noescape
func waiterSyscall(args, size, pipe uintptr) (r1, errno uintptr)
