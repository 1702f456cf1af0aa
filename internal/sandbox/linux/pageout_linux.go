package linux

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var _ sandbox.Pager = (*Instance)(nil)

// reclaimer is a group that can be asked to give memory back.
type reclaimer interface {
	// reclaim pushes out what it can; having pushed out less than all is no error.
	reclaim() error
}

// PageOut pushes the memory of a frozen instance to swap, where the host has any,
// and drops what can be read again. What the instance shares with an interpreter
// that it was forked from is not its own and stays.
func (i *Instance) PageOut() (freed int64, err error) {
	g, ok := i.group.(reclaimer)
	if !ok {
		return 0, lambent.Errorf(lambent.CodeUnsupported, "page out sandbox %s: there are no control groups", i.id)
	}
	before := i.Usage().MemoryBytes
	if err := g.reclaim(); err != nil {
		return 0, lambent.Errorf(lambent.CodeInternal, "page out sandbox %s: %w", i.id, err)
	}
	return max(0, before-i.Usage().MemoryBytes), nil
}

// reclaim writes memory.reclaim (cgroup-v2.rst; Linux 5.19 and up). EAGAIN says
// that it was less than asked for. The function itself may not swap, hence the
// exception for the while.
func (g *v2Group) reclaim() error {
	used := readNumber(g.file("memory.current"))
	if used == 0 {
		return nil
	}
	_ = writeFile(g.file("memory.swap.max"), "max")
	err := writeFile(g.file("memory.reclaim"), strconv.FormatInt(used, 10))
	_ = writeFile(g.file("memory.swap.max"), "0")
	switch {
	case err == nil, errors.Is(err, unix.EAGAIN):
		return nil
	case errors.Is(err, unix.ENOENT):
		return pageOutAll(members(g.dir))
	}
	return err
}

// reclaim writes memory.force_empty (cgroup-v1/memory.rst), which leaves what
// cannot be reclaimed where it is.
func (g *v1Group) reclaim() error {
	if !g.swap { // then limitMemory has forbidden it by this
		_ = writeFile(g.file("memory", "swappiness"), "100")
		defer func() { _ = writeFile(g.file("memory", "swappiness"), "0") }()
	}
	err := writeFile(g.file("memory", "force_empty"), "0")
	if err == nil || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return pageOutAll(members(g.byController["memory"]))
}

// pageOutAll pushes out the memory of processes, mapping by mapping.
func pageOutAll(pids []int) error {
	var errs []error
	for _, pid := range pids {
		if err := pageOut(pid); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// iovMax is the most ranges that process_madvise(2) takes.
const iovMax = 1024

func pageOut(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		return err
	}
	ranges := mappings(string(b))
	for len(ranges) > 0 {
		n := min(len(ranges), iovMax)
		// A range that cannot be pushed out ends the call; the others have their turn
		// one by one then.
		if madvise(fd, ranges[:n]) != nil {
			for i := range ranges[:n] {
				_ = madvise(fd, ranges[i:i+1])
			}
		}
		ranges = ranges[n:]
	}
	return nil
}

// span is struct iovec with addresses of another process.
type span struct{ start, length uintptr }

// mappings reads the lines of /proc/pid/maps that stand for memory.
func mappings(maps string) []span {
	var list []span
	for line := range strings.Lines(maps) {
		addresses, rest, _ := strings.Cut(line, " ")
		if strings.HasSuffix(strings.TrimSpace(rest), "]") && !strings.Contains(rest, "[heap]") && !strings.Contains(rest, "[stack]") {
			continue // the kernel's own: [vdso], [vvar] ...
		}
		from, to, _ := strings.Cut(addresses, "-")
		start, err := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err == nil && err2 == nil && end > start {
			list = append(list, span{uintptr(start), uintptr(end - start)})
		}
	}
	return list
}

func madvise(pidfd int, ranges []span) error {
	_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&ranges[0])), uintptr(len(ranges)),
		unix.MADV_PAGEOUT, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
