package linux

import (
	"bytes"
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
	forking int          // forks under way: theirs are not strays
	until   time.Time    // how long to look, at least once more; zero is not at all
	dead    map[int]bool // strays, as it seemed in the last round
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

// sweep reaps the strays there are; within tells the groups of those that live. It
// reports whether there may be more: it is to be called again then.
func (s *strays) sweep(within string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until.IsZero() {
		return false
	}
	if s.forking > 0 {
		return true
	}
	if !s.reapLocked(within) && now.After(s.until) {
		s.until = time.Time{}
	}
	return !s.until.IsZero()
}

// reapLocked reaps the strays that have ended and tells whether there are others. It
// is called with mu held.
//
// The dead of cgroup v1 show no group any more. But an interpreter that forks, and all
// that comes of it, is in a session of its own, which no other child of the server
// is; and what has been dead for two rounds nobody waits for.
func (s *strays) reapLocked(within string) (more bool) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	own, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	dead := map[int]bool{}
	for _, t := range threads {
		children, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, f := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(f)
			if err != nil || s.known[pid] {
				continue
			}
			state, session := stateOf(pid)
			switch {
			case state != "Z":
				group, _ := os.ReadFile("/proc/" + f + "/cgroup")
				more = more || strings.Contains(string(group), within)
			case session == own:
			case s.dead[pid]:
				_, _ = syscall.Wait4(pid, nil, unix.WNOHANG, nil)
			default:
				dead[pid], more = true, true
			}
		}
	}
	s.dead = dead
	return more
}

// stateOf is the state and the session of a process (proc(5), /proc/pid/stat).
func stateOf(pid int) (state string, session int) {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	// The name comes before, in brackets, and may contain some.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 4 {
		return "", 0
	}
	session, _ = strconv.Atoi(f[3])
	return f[0], session
}
