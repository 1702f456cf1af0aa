package linux

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// strays finds children of the server that nobody waits for: an interpreter that
// forked one died before it could say so. Such a child ends by itself, because
// nobody holds its control socket, and is then a zombie in a group of ours that no
// one here knows.
type strays struct {
	mu      sync.Mutex // guards the rest
	known   map[int]bool
	forking int       // forks under way: theirs are not strays
	until   time.Time // how long to look, at least once more; zero is not at all
}

// strayTime is how long after a fork that failed to look for its child.
const strayTime = 10 * time.Second

// add and drop keep account of the children that are waited for.
func (s *strays) add(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[pid] = true
}

func (s *strays) drop(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, pid)
}

// begin and end are around a fork; lost tells that nobody knows what came of it.
func (s *strays) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forking++
}

func (s *strays) end(lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forking--
	if lost {
		s.until = time.Now().Add(strayTime)
	}
}

// sweep reaps the strays there are; within tells their groups. It reports whether
// there may be more: it is to be called again then.
func (s *strays) sweep(within string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until.IsZero() {
		return false
	}
	if s.forking > 0 {
		return true
	}
	living := s.reapLocked(within)
	if !living && now.After(s.until) {
		s.until = time.Time{}
	}
	return !s.until.IsZero()
}

// reapLocked reaps the strays that have ended and tells whether there are others. It
// is called with mu held.
func (s *strays) reapLocked(within string) (living bool) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	for _, t := range threads {
		children, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, f := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(f)
			if err != nil || s.known[pid] {
				continue
			}
			// The dead keep their group.
			group, _ := os.ReadFile("/proc/" + f + "/cgroup")
			if !strings.Contains(string(group), within) {
				continue
			}
			if got, err := syscall.Wait4(pid, nil, unix.WNOHANG, nil); err == nil && got == 0 {
				living = true
			}
		}
	}
	return living
}
