package linux

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// slot is a place for one instance at a time: a number, from which its network
// address and user id follow, and a user namespace, which costs a fork to make
// and is therefore kept for the slot's next instance.
type slot struct {
	n      int
	userns *os.File
}

// slots hands out slots, lowest first, so that few are ever made.
type slots struct {
	base uint32 // host id of slot 0
	max  int

	mu   sync.Mutex // guards the rest
	free []*slot
	made int
}

var errNoSlot = errors.New("every instance slot of this server is in use")

func (s *slots) take() (*slot, error) {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		sl := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return sl, nil
	}
	if s.made == s.max {
		s.mu.Unlock()
		return nil, errNoSlot
	}
	n := s.made
	s.made++
	s.mu.Unlock()
	return &slot{n: n}, nil
}

// open makes the slot's user namespace unless it has one.
func (s *slots) open(sl *slot) error {
	if sl.userns != nil {
		return nil
	}
	f, err := newUserNamespace(int(s.base) + sl.n)
	if err != nil {
		return fmt.Errorf("make user namespace: %w", err)
	}
	sl.userns = f
	return nil
}

func (s *slots) give(sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, sl)
}

func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.free {
		if sl.userns != nil {
			_ = sl.userns.Close()
		}
	}
	s.free = nil
}

// newUserNamespace makes a namespace in which only the function's user and
// group exist, both standing for hostID on the host. A short-lived child makes
// it: a process with several threads cannot enter one of its own.
func newUserNamespace(hostID int) (*os.File, error) {
	var wait [2]int
	if err := unix.Pipe2(wait[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	defer func() { _ = unix.Close(wait[0]) }()

	// An ordinary fork with memory of its own, because the parent goes on while
	// the child waits. It waits until its copy of the pipe has no writer left.
	p := &program{}
	// Nor may it hold a writer of another such pipe, or two children made at once
	// would wait for each other: it keeps the one descriptor that it reads from.
	p.do("close_range", unix.SYS_CLOSE_RANGE, wait[0]+1, int(^uint32(0)))
	p.do("close_range", unix.SYS_CLOSE_RANGE, 0, wait[0]-1)
	p.do("read", unix.SYS_READ, wait[0], make(blob, 8), 1)
	c := newChild(p)
	c.clone.flags = unix.CLONE_NEWUSER
	pid, err := c.start()
	if err != nil {
		_ = unix.Close(wait[1])
		return nil, fmt.Errorf("fork: %w", err)
	}
	defer func() {
		_ = unix.Close(wait[1])
		for {
			if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_ = unix.Close(int(c.pidfd))
	}()

	dir := "/proc/" + strconv.Itoa(pid)
	// setgroups first: gid_map seals it (user_namespaces(7)).
	for _, w := range [...]struct{ file, line string }{
		{"/setgroups", "deny"},
		{"/uid_map", fmt.Sprintf("%d %d 1", guestUID, hostID)},
		{"/gid_map", fmt.Sprintf("%d %d 1", guestGID, hostID)},
	} {
		if err := os.WriteFile(dir+w.file, []byte(w.line), 0); err != nil {
			return nil, err
		}
	}
	return os.Open(dir + "/ns/user")
}
