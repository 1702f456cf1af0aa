package httpwire

import (
	"net"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// soon is how long a peer's answer is looked for before its reader goes to sleep.
// It is about what an application takes that has next to nothing to do, when its
// processor has to be woken for it.
const soon = 80 * time.Microsecond

// answers decides whether it pays to look for what comes. While a lone request waits
// for its answer the processor has nothing else to do, and if it sleeps meanwhile,
// it is the waking that the answer waits for. The zero value never looks.
type answers struct {
	expected bool
	missed   uint8 // how often there was none, less how often there was one since
	skip     uint8 // how many answers are not looked for
}

// mostMissed bounds how many answers of a peer that takes longer are not looked for:
// one in 128 is. A peer that is quick only now and then counts as one that is not.
const mostMissed = 7

// worth tells whether to look for the next one, with so many requests under way.
func (a *answers) worth(requests int32) bool {
	switch {
	case !a.expected || requests != 1:
		return false
	case a.skip > 0:
		a.skip--
		return false
	}
	return true
}

// looked notes whether it has come soon.
func (a *answers) looked(found bool) {
	if found {
		a.missed -= min(a.missed, 1)
		return
	}
	a.missed = min(a.missed+1, mostMissed)
	a.skip = 1<<a.missed - 1
}

// Expect has reads of c, if Quick made it, look a moment for what may come at once,
// as long as there is no more than one request under way, and another processor for
// who answers. It is for connections whose reader has just asked for something.
func Expect(c net.Conn) net.Conn {
	if q, ok := c.(*quick); ok {
		q.answers.expected = runtime.NumCPU() > 1
	}
	return c
}

// Soon looks for what may come at once on a connection whose reader sleeps: who has
// just asked the peer for something has nothing else to do, and its reader then finds
// it without having been woken.
type Soon struct {
	raw     syscall.RawConn
	answers answers
	over    func() bool
	limit   time.Duration
	inTime  bool
	// look is kept, so that a call allocates nothing.
	look  func(fd uintptr)
	first [1]byte
}

// NewSoon is for c. over tells that somebody has read already what Look is looking
// for; nil is nobody else.
func NewSoon(c net.Conn, over func() bool) *Soon {
	s := &Soon{over: over}
	sc, ok := c.(syscall.Conn)
	if !ok || runtime.NumCPU() == 1 {
		return s
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return s
	}
	s.raw, s.answers.expected = raw, true
	s.look = func(fd uintptr) {
		_, s.inTime = lookFor(s.limit, func() bool { return s.over != nil && s.over() || s.peek(fd) })
	}
	return s
}

// Look returns when something has come, or after limit. It does so at once if there is
// more than one request under way, or if looking has not been worth it of late. It is
// for one goroutine at a time.
func (s *Soon) Look(limit time.Duration) {
	if !s.answers.worth(underway.Load()) {
		return
	}
	s.limit, s.inTime = limit, false
	_ = s.raw.Control(s.look) // who reads finds out that it is closed
	s.answers.looked(s.inTime)
}

// peek tells whether a read would return at once.
func (s *Soon) peek(fd uintptr) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&s.first)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return errno != syscall.EAGAIN && errno != syscall.EINTR
}

// lookFor calls try over and over until it is true, or limit has passed; inTime tells
// that it did not take longer. Who is to answer may have been given the same processor,
// and gets it in between. Others that want it, too, have it for longer than limit.
func lookFor(limit time.Duration, try func() bool) (came, inTime bool) {
	for began := time.Now(); ; {
		_, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) // it cannot fail
		came = try()
		if late := time.Since(began) > limit; came || late {
			return came, came && !late
		}
	}
}

// unread tells that something has come on c that nobody has read.
func unread(c syscall.Conn) (there bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var b [1]byte
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		there = err == nil && n > 0
	})
	return err == nil && there
}
