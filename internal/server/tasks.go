package server

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A host has room for so many tasks, processes and threads alike, and a Go program that
// gets no thread when it needs one is ended by its runtime. So a part of them is kept for
// the server: the functions' group has the rest, and before that is used up nothing is
// started any more.

// tasks are the places where it is written how many there are and may be.
type tasks struct {
	proc   string   // a proc(5)
	groups []string // that the server is in, with the pids controller or without
	user   string   // the server's, if it is one with a limit
}

func hostTasks() tasks {
	return tasks{proc: "/proc", groups: ownGroups("pids"), user: limitedUser("/proc")}
}

// taskRoom is how many tasks there are and may be where the fewest are left.
type taskRoom struct{ have, most int }

// spare is how many are kept for the server and the host.
func (r taskRoom) spare() int { return min(max(r.most/8, 256), r.most/4) }

// left is how many functions can still have; negative when that is too many already.
func (r taskRoom) left() int { return r.most - r.spare() - r.have }

// room reads the host's limits (proc_sys_kernel(5): threads-max, pid_max), those of the
// groups (kernel documentation, pids.rst) and the user's. It is not ok where none can be told.
func (t tasks) room() (tightest taskRoom, ok bool) {
	look := func(have, most int) {
		r := taskRoom{have: have, most: most}
		if most > 0 && (!ok || r.left() < tightest.left()) {
			tightest, ok = r, true
		}
	}
	have := t.existing()
	look(have, fileNumber(t.proc, "sys/kernel/threads-max"))
	look(have, fileNumber(t.proc, "sys/kernel/pid_max"))
	for _, dir := range t.groups {
		look(fileNumber(dir, "pids.current"), fileNumber(dir, "pids.max"))
	}
	look(t.ofUser(have))
	return tightest, ok
}

// existing is how many tasks the host has (proc_loadavg(5), the fourth field).
func (t tasks) existing() int {
	b, err := os.ReadFile(filepath.Join(t.proc, "loadavg"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 4 {
		return 0
	}
	_, all, _ := strings.Cut(f[3], "/")
	n, _ := strconv.Atoi(all)
	return n
}

// fileNumber reads a file with one number; 0 is anything else, such as "max".
func fileNumber(dir, name string) int {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// bound is how many tasks all functions together may have; 0 is no bound.
func (t tasks) bound() int {
	r, ok := t.room()
	if !ok {
		return 0
	}
	return max(1, r.most-r.spare())
}
