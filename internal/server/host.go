package server

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/pool"
)

// userTick is the unit of processor times in /proc/stat: USER_HZ is 100 wherever Go
// runs on Linux.
const userTick = 10 * time.Millisecond

// processors tells how busy the host's processors are, and how often the server's own
// group has used up its share. Pressure stall information would say less: there what
// an instance's own quota holds back counts as waiting for a processor.
func processors() pool.Processors {
	own := ownStats()
	return func() (pool.Load, bool) {
		stat, err := os.ReadFile("/proc/stat")
		if err != nil {
			return pool.Load{}, false
		}
		l, ok := readStat(stat)
		for _, path := range own {
			if b, err := os.ReadFile(path); err == nil {
				l.Periods += statOf(b, "nr_periods")
				l.Throttled += statOf(b, "nr_throttled")
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

// ownStats finds the cpu.stat of the group that the server is in and of those above it:
// any of them may have a quota, and without one its periods are not counted.
func ownStats() (paths []string) {
	for _, dir := range ownGroups("cpu") {
		if path := filepath.Join(dir, "cpu.stat"); statHasPeriods(path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// ownGroups are the directories of the groups that the server is in as far as a
// controller goes, innermost first (cgroups(7)). In a container that sees only its own
// groups that is their root.
func ownGroups(controller string) (dirs []string) {
	member, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(member) {
		f := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(f) != 3 || f[1] != "" && !slices.Contains(strings.Split(f[1], ","), controller) {
			continue
		}
		root := filepath.Join("/sys/fs/cgroup", f[1])
		for dir := filepath.Join(root, filepath.Clean("/"+f[2])); len(dir) > len(root); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
		dirs = append(dirs, root)
	}
	return dirs
}

func statHasPeriods(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Contains(b, []byte("nr_periods"))
}
