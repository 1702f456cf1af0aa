package linux

import (
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

// step is one system call of a child, prepared by the parent.
type step struct {
	name string
	nr   uintptr
	args [6]uintptr
	// optional steps may fail: what they add is not there on every host.
	optional bool
}

// child is a process to be: the list of system calls that it makes between fork
// and exec. A child made by vfork shares the server's memory and borrows its
// stack, so it may run no ordinary Go code. Keeping what it does as data makes
// the part under that restriction a loop of ten lines, and the list itself
// plain Go that can be read in order and tested.
type child struct {
	clone cloneArgs
	steps []step
	keep  []any // holds the memory that args point to

	// at and errno are written by the child: the step it is in, or failed in.
	at    int
	errno syscall.Errno
	pidfd int32
}

// newChild makes a child. It is not inlined, so that the child is on the heap:
// the kernel gets its address, and a stack may move.
//
//go:noinline
func newChild() *child { return &child{pidfd: -1} }

// do appends a step that must succeed.
func (c *child) do(name string, nr uintptr, args ...uintptr) {
	s := step{name: name, nr: nr}
	copy(s.args[:], args)
	c.steps = append(c.steps, s)
}

// try appends a step that may fail.
func (c *child) try(name string, nr uintptr, args ...uintptr) {
	c.do(name, nr, args...)
	c.steps[len(c.steps)-1].optional = true
}

// str places a C string where the child finds it.
func (c *child) str(s string) uintptr {
	b := make([]byte, len(s)+1)
	copy(b, s)
	c.keep = append(c.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// strs places a NULL-terminated array of C strings.
func (c *child) strs(list []string) uintptr {
	array := make([]uintptr, len(list)+1)
	for i, s := range list {
		array[i] = c.str(s)
	}
	c.keep = append(c.keep, array)
	return uintptr(unsafe.Pointer(&array[0]))
}

// place keeps p alive and gives its address; p points to plain data.
func place[T any](c *child, p *T) uintptr {
	c.keep = append(c.keep, p)
	return uintptr(unsafe.Pointer(p))
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
		_, _, err = syscall.RawSyscall6(s.nr, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		if err != 0 && !s.optional {
			c.errno = err
			break
		}
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
}
