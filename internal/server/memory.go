package server

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/pool"
)

// Functions have the memory of the host, or less where the group that they all are in has
// a limit: a service's MemoryMax=, or a container's. At that limit the kernel ends
// somebody in the group, so nothing is started that would come near it.

// memory are the places where it is written how much memory there is.
type memory struct {
	host   func(name string) (config.Size, bool) // proc_meminfo(5)
	groups []memoryGroup                         // above all functions
}

// memoryGroup is a control group with the memory controller, and the files of its limit
// and of what is used (kernel documentation, cgroup-v2.rst and cgroup-v1/memory.rst).
type memoryGroup struct{ dir, max, used string }

// cgroupMount is where control groups are mounted (systemd's file-hierarchy(7)).
const cgroupMount = "/sys/fs/cgroup"

// hostMemory is this host's, for functions whose groups are below dirs.
func hostMemory(dirs []string) memory {
	return memory{host: config.MemInfo, groups: memoryGroups(cgroupMount, dirs)}
}

// memoryGroups are those of dirs and above them, up to the mount, that have a limit or
// could be given one.
func memoryGroups(mount string, dirs []string) (groups []memoryGroup) {
	for _, dir := range dirs {
		for ; strings.HasPrefix(dir, mount); dir = filepath.Dir(dir) {
			for max, used := range map[string]string{"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"} {
				g := memoryGroup{dir: dir, max: filepath.Join(dir, max), used: filepath.Join(dir, used)}
				if _, err := os.Stat(g.max); err == nil {
					groups = append(groups, g)
				}
			}
		}
	}
	return groups
}

// limit is what the group may have, in bytes; not ok is no limit.
func (g memoryGroup) limit() (n int64, ok bool) {
	n = figure(g.max)
	return n, n > 0 && n < unlimited
}

// unlimited is what v1 says, roughly, of a group without a limit.
const unlimited = 1 << 60

// left is what the group could still have, in bytes: files' pages the kernel takes back.
func (g memoryGroup) left(limit int64) int64 {
	left := limit - figure(g.used)
	b, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return left
	}
	for _, prefix := range []string{"total_", ""} { // v1 has another name for what groups below have, too
		if n := statOf(b, prefix+"active_file") + statOf(b, prefix+"inactive_file"); n > 0 {
			return left + n
		}
	}
	return left
}

// figure is the number in a file; 0 is anything else, such as "max".
func figure(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

// most is how much memory all functions may have, in MB: what is configured, and no more
// than four fifths of their group's limit.
func (m memory) most(configured config.Size) int {
	least := int64(configured)
	for _, g := range m.groups {
		if limit, ok := g.limit(); ok {
			least = min(least, limit/10*8)
		}
	}
	return int(least >> 20)
}

// room is what new instances can have: what the kernel says is available without
// swapping, or what their group has left, less what is to be kept spare.
func (m memory) room(spare config.Size) (mb int, text string) {
	mb = math.MaxInt32
	if available, ok := m.host("MemAvailable"); ok {
		mb = int(available>>20) - int(spare>>20)
		text = fmt.Sprintf("the host has %d MB of memory left, of which %d are to stay free", available>>20, spare>>20)
	}
	for _, g := range m.groups {
		limit, ok := g.limit()
		if !ok {
			continue
		}
		left := g.left(limit)
		if n := int(left>>20) - int(spare>>20); n < mb {
			mb = n
			text = fmt.Sprintf("the group %s has %d MB of memory left of %d, of which %d are to stay free",
				cmp.Or(strings.TrimPrefix(g.dir, cgroupMount), "/"), left>>20, limit>>20, spare>>20)
		}
	}
	return mb, text
}

// headroom tells what the host can give to new instances: memory, and tasks. Where that
// cannot be told, there is no such limit.
func headroom(spare config.Size, m memory, t tasks) pool.Headroom {
	return func() pool.Host {
		h := pool.Host{Tasks: math.MaxInt32}
		h.MB, h.MBText = m.room(spare)
		if r, ok := t.room(); ok {
			h.Tasks = r.left()
			h.TasksText = fmt.Sprintf("there are %d processes and threads of the %d that there can be, and %d are to stay free", r.have, r.most, r.spare())
		}
		return h
	}
}
