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
	// ids is another one, for an instance that has an image: every id that an image
	// may name is in it. It is made when it is needed first.
	ids *os.File
	// task has the owner of unpacked code as the function's user, for an application
	// that may write beside it. It is made when it is needed first, too.
	task *os.File
}

// slots hands out slots, lowest first, so that few are ever made.
type slots struct {
	base uint32 // host id of slot 0
	ids  uint32 // the first of imageIDs host ids of slot 0 for images
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
	f, err := newUserNamespace(guestMap(int(s.base) + sl.n))
	if err != nil {
		return fmt.Errorf("make user namespace: %w", err)
	}
	sl.userns = f
	return nil
}

// imageIDs is how many users and groups an image can have: files and processes of
// higher ids are refused.
const imageIDs = 1 << 16

// firstImageID is where the slots' ranges for images begin: below the ids of
// functions if there is room, which is far from what others hand out, too.
func firstImageID(base uint32, slots int) uint32 {
	need := uint64(slots) * imageIDs
	if first := uint64(base) / imageIDs * imageIDs; first >= need+1<<20 {
		return uint32(first - need)
	}
	return (base/imageIDs + 2) * imageIDs
}

// openIDs makes the slot's user namespace for images unless it has one.
func (s *slots) openIDs(sl *slot) error {
	if sl.ids != nil {
		return nil
	}
	f, err := newUserNamespace(idMap{hostID: s.hostID(sl, 0), count: imageIDs, groups: true})
	if err != nil {
		return fmt.Errorf("make user namespace: %w", err)
	}
	sl.ids = f
	return nil
}

// openTask makes the slot's user namespace for code unless it has one.
func (s *slots) openTask(sl *slot) error {
	if sl.task != nil {
		return nil
	}
	f, err := newUserNamespace(idMap{uid: os.Getuid(), gid: os.Getgid(), hostID: int(s.base) + sl.n, count: 1})
	if err != nil {
		return fmt.Errorf("make user namespace: %w", err)
	}
	sl.task = f
	return nil
}

// hostID is what a user or group of the slot's image is on the host.
func (s *slots) hostID(sl *slot, id int) int { return int(s.ids) + sl.n*imageIDs + id }

func (s *slots) give(sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, sl)
}

func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.free {
		for _, ns := range []*os.File{sl.userns, sl.ids, sl.task} {
			if ns != nil {
				_ = ns.Close()
			}
		}
	}
	s.free = nil
}

// idMap says which users and groups there are in a namespace: count of each, from
// these on, and which of the host's they stand for.
type idMap struct {
	uid, gid, hostID, count int
	// groups may be left and entered by processes that have the capability.
	groups bool
}

// guestMap has the function's user and group only.
func guestMap(hostID int) idMap {
	return idMap{uid: guestUID, gid: guestGID, hostID: hostID, count: 1}
}

// newUserNamespace makes a user namespace. A short-lived child makes it: a process
// with several threads cannot enter one of its own.
func newUserNamespace(ids idMap) (*os.File, error) {
	var wait [2]int
	if err := unix.Pipe2(wait[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	defer func() { _ = unix.Close(wait[0]) }()

	// The child may not hold a writer of another such pipe, or two made at once would
	// wait for each other: it keeps the one descriptor that it reads from.
	w := newWaiter(unix.CLONE_NEWUSER)
	pid, err := w.start(wait[0])
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
		_ = unix.Close(int(w.pidfd))
	}()

	dir := "/proc/" + strconv.Itoa(pid)
	setgroups := "deny"
	if ids.groups {
		setgroups = "allow"
	}
	// setgroups first: gid_map seals it (user_namespaces(7)).
	for _, w := range [...]struct{ file, line string }{
		{"/setgroups", setgroups},
		{"/uid_map", fmt.Sprintf("%d %d %d", ids.uid, ids.hostID, ids.count)},
		{"/gid_map", fmt.Sprintf("%d %d %d", ids.gid, ids.hostID, ids.count)},
	} {
		if err := os.WriteFile(dir+w.file, []byte(w.line), 0); err != nil {
			return nil, err
		}
	}
	return os.Open(dir + "/ns/user")
}
