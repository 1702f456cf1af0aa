package linux

import (
	"os"
	"strconv"
	"strings"

	"lambent.dev/lambent/internal/config"
)

// slotMemory is what the kernel and the server hold for one sandbox without a
// process, in bytes: two ends of a link and a network namespace, a loop device
// with a file system, a thread, groups. Measured on Linux 6.18 as the difference
// that a hundred of them make: 0.3 MB of slabs and stacks, 0.1 MB in the server and
// the first blocks of the file system in the page cache.
const slotMemory = 512 << 10

// blankMemory is what a blank adds to what is held anyway. Of a fork those are its
// own pages: the others are the zygote's, and count there.
func blankMemory(pid int, forked bool) int64 {
	m := readMemory(pid)
	if forked {
		return slotMemory + m.private
	}
	return slotMemory + m.proportional
}

// memory is how much RAM a process holds, in bytes (proc(5), /proc/pid/smaps_rollup).
type memory struct {
	proportional int64 // with its part of the pages that it shares
	private      int64 // pages that nobody else has
}

// readMemory is zero for a process that is gone.
func readMemory(pid int) (m memory) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "Pss:":
			m.proportional = kb << 10
		case "Private_Clean:", "Private_Dirty:":
			m.private += kb << 10
		}
	}
	return m
}

// plenty is how many times the budget the host must have left for a burst of forks
// to be remembered with as much again: what is at rest stays within the budget.
const plenty = 8

// lookAtHost settles whether there is memory beyond the budget.
func (r *reserve) lookAtHost() {
	available, ok := config.MemInfo("MemAvailable")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.extra = 0; ok && int64(available) > plenty*r.budget {
		r.extra = r.budget
	}
}
