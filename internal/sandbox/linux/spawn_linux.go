package linux

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// The user of a function, as AWS has it (user names of the recorded environments).
const (
	guestUser = "sbx_user1051"
	guestUID  = 993
	guestGID  = 990
)

// limits that a process has on itself; hard and soft alike. Here and on AWS a
// function may have 1,024 descriptors and processes ("Lambda quotas").
var rlimits = []struct {
	resource uintptr
	value    uint64
}{
	{unix.RLIMIT_NOFILE, 1024},
	{unix.RLIMIT_NPROC, 1024},
	{unix.RLIMIT_CORE, 0},
	{unix.RLIMIT_MEMLOCK, 64 << 10},
	{unix.RLIMIT_MSGQUEUE, 0},
	{unix.RLIMIT_NICE, 0},
	{unix.RLIMIT_RTPRIO, 0},
	{unix.RLIMIT_SIGPENDING, 1024},
}

const stackLimit = 8 << 20

// Files of /proc that concern the machine, not the sandbox. File modes refuse
// most of them already; a mount does so whatever the modes become.
var (
	maskedProc   = []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger", "/proc/kmsg", "/proc/kallsyms", "/proc/key-users"}
	readOnlyProc = []string{"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"}
)

// spawnSpec is what a runtime process is made of.
type spawnSpec struct {
	command  []string
	absent   []string // programs that were looked for, if none of several is there
	env      []string
	userns   int // descriptor of the user namespace to live in
	null     int // /dev/null
	output   int // write end of the output pipe
	cgroup   int // v2 directory to be born in, or -1
	filter   []unix.SockFilter
	lastCap  int
	existing sysLimits
}

// spawned is a runtime process. Pid is the host's.
type spawned struct {
	pid   int
	pidfd int
	// entry is set when there is no such program, or it cannot be executed: the
	// function's fault, and the process has already exited.
	entry *sandbox.Failure
}

// spawn forks and executes the runtime from the calling thread, whose namespaces
// it inherits.
func spawn(s spawnSpec) (spawned, error) {
	c := newChild()
	// CLONE_VM and CLONE_VFORK: no copy of the server's page tables. The pid
	// namespace is made by the fork itself, so the runtime is process 1 in it, and
	// when it ends the kernel ends everything else in there.
	c.clone.flags = unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_NEWPID
	if s.cgroup >= 0 {
		c.clone.flags |= unix.CLONE_INTO_CGROUP
		c.clone.cgroup = uint64(s.cgroup)
	}
	s.program(c)
	pid, err := c.start()
	if err != nil {
		return spawned{}, fmt.Errorf("fork: %w", err)
	}
	p := spawned{pid: pid, pidfd: int(c.pidfd)}
	if c.errno == 0 {
		return p, nil
	}
	failed := c.steps[c.at].name
	if failed == "execve" && entryFault(c.errno) {
		// The wording of Go's os/exec, which is what the AWS runtime manager shows.
		p.entry = &sandbox.Failure{Type: "Runtime.InvalidEntrypoint",
			Message: "fork/exec " + s.command[0] + ": " + c.errno.Error()}
		if len(s.absent) > 0 {
			p.entry.Message = fmt.Sprintf("Couldn't find valid bootstrap(s): %s", s.absent)
		}
		return p, nil
	}
	_, _ = syscall.Wait4(pid, nil, 0, nil)
	_ = unix.Close(p.pidfd)
	return spawned{}, fmt.Errorf("%s: %w", failed, c.errno)
}

// entryFault tells whether execve failed because of the file it was given.
func entryFault(e syscall.Errno) bool {
	return errors.Is(e, unix.ENOENT) || errors.Is(e, unix.EACCES) || errors.Is(e, unix.ENOEXEC) ||
		errors.Is(e, unix.ENOTDIR) || errors.Is(e, unix.ELOOP) || errors.Is(e, unix.EISDIR) ||
		errors.Is(e, unix.ELIBBAD)
}

// busyWait bounds the time for which a program that is open for writing is tried
// again.
const busyWait = 200 * time.Millisecond

// spawnPatiently is spawn that waits while the program is busy (ETXTBSY). Code is
// never written where it runs; but a child that the server forks in the moment
// in which it writes a program holds a copy of that descriptor until it gets to
// close it.
func spawnPatiently(s spawnSpec) (p spawned, err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		p, err = spawn(s)
		if !errors.Is(err, unix.ETXTBSY) || wait > busyWait {
			return p, err
		}
		time.Sleep(wait)
	}
}

// program is all that the child does, in order. It starts as root of the host
// with every capability, in the namespaces of the thread that forked it, and
// ends as nobody with nothing; each step says why it stands where it stands.
func (s *spawnSpec) program(c *child) {
	// A session of its own, without the server's terminal.
	c.do("setsid", unix.SYS_SETSID)

	// Only a process inside a pid namespace can mount that namespace's proc.
	proc := c.str("proc")
	c.do("mount proc", unix.SYS_MOUNT, proc, c.str("/proc"), proc, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	null := c.str("/dev/null")
	for _, p := range maskedProc {
		c.try("mask "+p, unix.SYS_MOUNT, null, c.str(p), 0, unix.MS_BIND)
	}
	readOnly := place(c, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC})
	for _, p := range readOnlyProc {
		path := c.str(p)
		c.try("bind "+p, unix.SYS_MOUNT, path, path, 0, unix.MS_BIND)
		c.try("protect "+p, unix.SYS_MOUNT_SETATTR, uintptr(atFDCWD), path, 0, readOnly, unsafe.Sizeof(unix.MountAttr{}))
	}

	// /proc/self/cgroup then shows "/" and not the host's layout.
	c.try("unshare cgroup", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)

	// Limits are lowered only: raising one needs CAP_SYS_RESOURCE, which a
	// server in a container does not have.
	for _, l := range rlimits {
		s.limit(c, l.resource, l.value, l.value)
	}
	s.limit(c, unix.RLIMIT_STACK, stackLimit, ^uint64(0))

	// No supplementary groups. Real root may do this; the user namespace below
	// does not let it be done there.
	c.do("setgroups", unix.SYS_SETGROUPS, 0, 0)
	// From here on no capability counts outside the sandbox: mount, network, pid
	// and ipc namespaces belong to the host's user namespace.
	c.do("setns user", unix.SYS_SETNS, uintptr(s.userns), unix.CLONE_NEWUSER)
	// Dropping the bounding set needs CAP_SETPCAP, so it precedes capset; the
	// ids need CAP_SETUID and CAP_SETGID, so they do too.
	for i := 0; i <= s.lastCap; i++ {
		c.try("drop capability "+strconv.Itoa(i), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(i), 0, 0, 0)
	}
	c.do("setresgid", unix.SYS_SETRESGID, guestGID, guestGID, guestGID)
	c.do("setresuid", unix.SYS_SETRESUID, guestUID, guestUID, guestUID)
	// Id 0 is not mapped in the namespace, so leaving it did not clear them.
	header := place(c, &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3})
	c.do("capset", unix.SYS_CAPSET, header, place(c, &[2]unix.CapUserData{}))

	// As the function's user, so that an unreadable directory is noticed.
	c.do("chdir /var/task", unix.SYS_CHDIR, c.str("/var/task"))
	c.do("dup stdin", unix.SYS_DUP3, uintptr(s.null), 0, 0)
	c.do("dup stdout", unix.SYS_DUP3, uintptr(s.output), 1, 0)
	c.do("dup stderr", unix.SYS_DUP3, uintptr(s.output), 2, 0)
	// Everything the server has open, whoever opened it and however.
	c.do("close_range", unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), 0)

	// Without it a filter would need CAP_SYS_ADMIN, and setuid programs would work.
	c.do("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	// The filter comes last: it refuses most of the above.
	prog := place(c, &unix.SockFprog{Len: uint16(len(s.filter)), Filter: &s.filter[0]})
	c.do("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, prog)
	c.do("execve", unix.SYS_EXECVE, c.str(s.command[0]), c.strs(s.command), c.strs(s.env))
}

// atFDCWD is AT_FDCWD as a system call argument.
var atFDCWD = unix.AT_FDCWD

// limit adds a prlimit that stays within what the server itself may have.
func (s *spawnSpec) limit(c *child, resource uintptr, soft, hard uint64) {
	have := s.existing[resource]
	want := &unix.Rlimit{Cur: min(soft, have), Max: min(hard, have)}
	c.do("prlimit "+strconv.Itoa(int(resource)), unix.SYS_PRLIMIT64, 0, resource, place(c, want), 0)
}

// sysLimits has the server's own hard limits by resource.
type sysLimits map[uintptr]uint64

func readLimits() (sysLimits, error) {
	limits := sysLimits{}
	for r := range uintptr(unix.RLIMIT_RTPRIO + 1) {
		var l unix.Rlimit
		if err := unix.Getrlimit(int(r), &l); err != nil {
			return nil, fmt.Errorf("read limit %d: %w", r, err)
		}
		limits[r] = l.Max
	}
	return limits, nil
}

// readLastCap is the highest capability that the kernel knows.
func readLastCap() int {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 40 // CAP_CHECKPOINT_RESTORE; higher ones answer EINVAL
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 40
	}
	return n
}
