package linux

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

//go:noescape
func vforkSyscall(trap, a1, a2 uintptr) (r1, errno uintptr)

// cloneArgs is struct clone_args, clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// step is one system call of a child, with its arguments where they are in memory.
type step struct {
	name string
	nr   uintptr
	args [6]uintptr
	// optional steps may fail: what they add is not there on every host.
	optional bool
}

// child is a process to be: the program that it runs between fork and exec. A
// child made by vfork shares the server's memory and borrows its stack, so it may
// run no ordinary Go code: what it does is a loop of ten lines over prepared
// system calls.
type child struct {
	clone cloneArgs
	steps []step
	keep  []any // holds the memory that args point to

	// at and errno are written by the child: the step it is in, or failed in.
	at    int
	errno syscall.Errno
	pidfd int32
	// report is where a child that is apart writes them.
	report *report
}

// newChild makes a child that runs p. It is not inlined, so that the child is on
// the heap: the kernel gets its address, and a stack may move.
//
//go:noinline
func newChild(p *program) *child {
	c := &child{pidfd: -1, steps: make([]step, len(p.list))}
	for i, in := range p.list {
		s := step{name: in.name, nr: in.nr, optional: in.try}
		for n, a := range in.args {
			s.args[n] = c.word(a)
		}
		c.steps[i] = s
	}
	return c
}

// word is an argument as the kernel takes it; what it points to stays in place.
func (c *child) word(a any) uintptr {
	switch a := a.(type) {
	case int:
		return uintptr(a)
	case descriptor:
		return uintptr(a)
	case blob:
		c.keep = append(c.keep, a)
		return uintptr(unsafe.Pointer(&a[0]))
	case words:
		array := make([]uintptr, len(a))
		for i, w := range a {
			array[i] = c.word(w)
		}
		c.keep = append(c.keep, array)
		return uintptr(unsafe.Pointer(&array[0]))
	}
	panic(fmt.Sprintf("a system call has an argument of type %T", a))
}

// start forks the child and, for one that shares memory, waits until it has
// executed its program or given up. A pid is returned in both cases and must be
// waited for; c.errno tells them apart.
func (c *child) start() (pid int, err error) {
	c.clone.flags |= unix.CLONE_PIDFD
	c.clone.exitSignal = uint64(unix.SIGCHLD)
	c.clone.pidfd = uint64(uintptr(unsafe.Pointer(&c.pidfd)))
	r, errno := c.fork()
	afterFork()
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// fork returns in the parent only. Between vforkSyscall and the end of the
// child nothing may allocate, grow the stack, or write a pointer.
//
//go:noinline
//go:norace
//go:nocheckptr
func (c *child) fork() (pid uintptr, errno syscall.Errno) {
	var (
		r, e uintptr
		err  syscall.Errno
		s    *step
		i    int
	)
	beforeFork()
	r, e = vforkSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&c.clone)), unsafe.Sizeof(c.clone))
	if e != 0 || r != 0 {
		// In the parent, whose frame the child has used: only what vforkSyscall
		// has just written is good.
		return r, syscall.Errno(e)
	}
	afterForkInChild()
	for i = 0; i < len(c.steps); i++ {
		s = &c.steps[i]
		c.at = i
		if c.report != nil {
			c.report.at = i
		}
		_, _, err = syscall.RawSyscall6(s.nr, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		if err != 0 && !s.optional {
			c.errno = err
			if c.report != nil {
				c.report.errno = err
			}
			break
		}
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
}
