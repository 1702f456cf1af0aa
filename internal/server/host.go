package server

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/pool"
)

// headroom tells how many MB the host can give to new instances and keep spare:
// what the kernel says is available without swapping (proc_meminfo(5)). Where
// that cannot be told, there is no such limit.
func headroom(spare config.Size) func() int {
	return func() int {
		available, ok := config.MemInfo("MemAvailable")
		if !ok {
			return math.MaxInt32
		}
		return int(available>>20) - int(spare>>20)
	}
}

// userTick is the unit of processor times in /proc/stat: USER_HZ is 100 wherever Go
// runs on Linux.
const userTick = 10 * time.Millisecond

// processors tells how busy the host's processors are, and how often the server's own
// group has used up its share. Pressure stall information would say less: there what
// an instance's own quota holds back counts as waiting for a processor.
func processors() pool.Processors {
	own := ownStat()
	return func() (pool.Load, bool) {
		stat, err := os.ReadFile("/proc/stat")
		if err != nil {
			return pool.Load{}, false
		}
		l, ok := readStat(stat)
		if own != "" {
			if b, err := os.ReadFile(own); err == nil {
				l.Periods, l.Throttled = statOf(b, "nr_periods"), statOf(b, "nr_throttled")
			}
		}
		return l, ok
	}
}

// readStat reads proc_stat(5). This process, which runs while it reads, is not
// counted in what is running.
func readStat(b []byte) (l pool.Load, ok bool) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		switch {
		case len(f) > 8 && f[0] == "cpu":
			// user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in the first two
			for i, text := range f[1:9] {
				n, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return l, false
				}
				l.Total += time.Duration(n) * userTick
				if i != 3 && i != 4 { // neither idle nor iowait
					l.Busy += time.Duration(n) * userTick
				}
			}
		case len(f) > 0 && strings.HasPrefix(f[0], "cpu"):
			l.Processors++
		case len(f) == 2 && f[0] == "procs_running":
			n, err := strconv.Atoi(f[1])
			l.Running = max(0, n-1)
			return l, err == nil && l.Processors > 0 && l.Total > 0
		}
	}
	return l, false
}

// statOf is a figure of a group's cpu.stat; 0 if it is not there.
func statOf(b []byte, name string) int64 {
	for line := range bytes.Lines(b) {
		if key, value, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok && key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// ownStat finds the cpu.stat of the group that the server is in (cgroups(7)); "" where
// there is none. In a container that sees only its own groups that is their root.
func ownStat() string {
	member, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(member) {
		f := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(f) != 3 {
			continue
		}
		controllers := strings.Split(f[1], ",")
		if f[1] != "" && !slices.Contains(controllers, "cpu") {
			continue
		}
		for _, dir := range []string{filepath.Join(f[1], f[2]), f[1]} {
			if path := filepath.Join("/sys/fs/cgroup", dir, "cpu.stat"); statHasPeriods(path) {
				return path
			}
		}
	}
	return ""
}

func statHasPeriods(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Contains(b, []byte("nr_periods"))
}
