package linux

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// kernelSlack is the slack of timers that processes have unless somebody says
// otherwise (prctl(2), PR_SET_TIMERSLACK).
const kernelSlack = 50 * time.Microsecond

// The user of a function, as AWS has it (user names of the recorded environments).
const (
	guestUser = "sbx_user1051"
	guestUID  = lambent.SandboxUID
	guestGID  = lambent.SandboxGID
)

// limits that a process has on itself; hard and soft alike. Here and on AWS a
// function may have 1,024 descriptors and processes ("Lambda quotas").
var rlimits = []struct {
	resource int
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

// spawnSpec is what a runtime process is made of. Numbers of descriptors are the
// server's.
type spawnSpec struct {
	command   []string
	absent    []string // programs that were looked for, if none of several is there
	env       []string
	directory string        // to be in; "" is the code's
	userns    int           // the user namespace to live in
	who       who           // to be in there
	null      int           // /dev/null
	output    int           // write end of the output pipe
	control   int           // the runtime's end of the control socket, or -1
	slack     time.Duration // how late its timers may be; 0 is kernelSlack
	cgroup    int           // v2 directory to be born in, or -1
	tasks     []int         // where to write that it belongs to its cgroup, if it is not born there
	filter    []unix.SockFilter
	lastCap   int
	existing  sysLimits
	// beside makes it a process of the pid namespace that the calling thread has
	// entered, next to the first one, which has mounted that namespace's proc.
	beside bool
	// anchor makes it the first process of a sandbox in which others run, with the
	// program that control is.
	anchor bool
	// apart makes it with memory of its own: what it executes may have to be fetched.
	apart bool
	// refused, if set, is why nothing is executed: the process that is made ends at
	// once, with this as its entry.
	refused *sandbox.Failure
}

// who is the user of a process: the function's own is [guestWho].
type who struct {
	uid, gid int
	groups   []int // beside gid, as the host knows them
	// capabilities are a set of bits (capability.h), which count in the sandbox's
	// user namespace only.
	capabilities uint64
}

// guestWho is the user that functions have.
var guestWho = who{uid: guestUID, gid: guestGID}

// spawned is a runtime process. Pid is the host's.
type spawned struct {
	pid   int
	pidfd int
	// executed is when it went on to the runtime's program.
	executed time.Time
	// entry is set when there is no such program, or it cannot be executed: the
	// function's fault, and the process has already exited.
	entry *sandbox.Failure
}

// spawn forks and executes the runtime from the calling thread, whose namespaces
// it inherits.
func spawn(s spawnSpec) (spawned, error) {
	p := &program{}
	if s.cgroup < 0 {
		s.join(p)
	}
	if s.refused != nil {
		return s.refuse(p)
	}
	if s.anchor {
		ignoreChildren(p)
	}
	s.lockDown(p)
	if s.beside {
		return s.execute(p, 0)
	}
	// The pid namespace is made by the fork itself, so the runtime, or the anchor, is
	// process 1 in it, and when it ends the kernel ends everything else in there.
	return s.execute(p, unix.CLONE_NEWPID)
}

// refuse makes a process that ends at once.
func (s *spawnSpec) refuse(p *program) (spawned, error) {
	p.do("exit", unix.SYS_EXIT_GROUP, 1)
	c := newChild(p)
	c.clone.flags = unix.CLONE_VM | unix.CLONE_VFORK
	pid, err := c.start()
	if err != nil {
		return spawned{}, fmt.Errorf("fork: %w", err)
	}
	return spawned{pid: pid, pidfd: int(c.pidfd), entry: s.refused}, nil
}

// spawnHelper is spawn for a program of the server's own: with its rights, in the
// calling thread's namespaces.
func spawnHelper(s spawnSpec) (spawned, error) {
	p := &program{}
	if s.cgroup < 0 {
		s.join(p)
	}
	p.do("setsid", unix.SYS_SETSID)
	p.do("chdir", unix.SYS_CHDIR, text("/"))
	s.descriptors(p)
	made, err := s.execute(p, 0)
	if err == nil && made.entry != nil {
		_, _ = syscall.Wait4(made.pid, nil, 0, nil)
		_ = unix.Close(made.pidfd)
		err = errors.New(made.entry.Message)
	}
	return made, err
}

// execute forks a child that runs p and then the command.
func (s *spawnSpec) execute(p *program, flags uint64) (spawned, error) {
	clock := make(blob, unsafe.Sizeof(unix.Timespec{}))
	var told *report
	if s.apart {
		var err error
		if told, err = newReport(); err != nil {
			return spawned{}, err
		}
		defer told.close()
		clock = told.clock()
	}
	p.do("read the clock", unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, clock)
	if s.anchor {
		p.do("execveat", unix.SYS_EXECVEAT, controlFD, text(""), texts(s.command), texts(s.env), unix.AT_EMPTY_PATH)
	} else {
		p.do("execve", unix.SYS_EXECVE, text(s.command[0]), texts(s.command), texts(s.env))
	}
	c := newChild(p)
	// CLONE_VM and CLONE_VFORK: no copy of the server's page tables.
	c.clone.flags = unix.CLONE_VM | unix.CLONE_VFORK | flags
	start := c.start
	if s.apart {
		c.clone.flags, c.report, start = flags, told, c.startApart
	}
	if s.cgroup >= 0 {
		c.clone.flags |= unix.CLONE_INTO_CGROUP
		c.clone.cgroup = uint64(s.cgroup)
	}
	pid, err := start()
	if err != nil {
		return spawned{}, fmt.Errorf("fork: %w", err)
	}
	made := spawned{pid: pid, pidfd: int(c.pidfd)}
	if c.errno == 0 {
		ts := (*unix.Timespec)(unsafe.Pointer(&clock[0]))
		made.executed = time.Unix(ts.Unix())
		return made, nil
	}
	failed := c.steps[c.at].name
	if failed == stepDirectory && entryFault(c.errno) {
		made.entry = &sandbox.Failure{Type: "Runtime.InvalidWorkingDir",
			Message: "chdir " + cmp.Or(s.directory, "/var/task") + ": " + c.errno.Error()}
		return made, nil
	}
	if failed == "execve" && entryFault(c.errno) {
		// The wording of Go's os/exec, which is what the AWS runtime manager shows.
		made.entry = &sandbox.Failure{Type: "Runtime.InvalidEntrypoint",
			Message: "fork/exec " + s.command[0] + ": " + c.errno.Error()}
		if len(s.absent) > 0 {
			made.entry.Message = fmt.Sprintf("Couldn't find valid bootstrap(s): %s", s.absent)
		}
		return made, nil
	}
	_, _ = syscall.Wait4(pid, nil, 0, nil)
	_ = unix.Close(made.pidfd)
	return spawned{}, fmt.Errorf("%s: %w", failed, c.errno)
}

// stepDirectory is the step that goes to the working directory.
const stepDirectory = "chdir to the working directory"

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

// join makes the process a member of its cgroup. It moves itself: that takes no
// lock that stops every fork on the host, and everything that it needs from here
// on counts as its own.
func (s *spawnSpec) join(p *program) {
	for _, fd := range s.tasks {
		p.do("join cgroup", unix.SYS_WRITE, descriptor(fd), text("0"), 1)
	}
}

// lockDown is what a process does to itself before it runs anything of the
// function's, in order. It starts as root of the host with every capability, in
// the namespaces of the instance, and ends as nobody with nothing; each step says
// why it stands where it stands.
func (s *spawnSpec) lockDown(p *program) {
	// A session of its own, without the server's terminal.
	p.do("setsid", unix.SYS_SETSID)

	if !s.beside {
		mountProc(p)
	}

	// /proc/self/cgroup then shows "/" and not the host's layout.
	p.try("unshare cgroup", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)

	// Limits are lowered only: raising one needs CAP_SYS_RESOURCE, which a
	// server in a container does not have.
	for _, l := range rlimits {
		s.limit(p, l.resource, l.value, l.value)
	}
	s.limit(p, unix.RLIMIT_STACK, stackLimit, ^uint64(0))

	// Woken by the server, a function does not interrupt it: the server gives out
	// other events first, and waits soon anyway (sched(7), SCHED_BATCH).
	p.try("batch", unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_BATCH, make(blob, unsafe.Sizeof(int32(0))))
	// Never the server's, which is inherited.
	p.try("timer slack", unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, int(cmp.Or(s.slack, kernelSlack).Nanoseconds()), 0, 0, 0)

	// No supplementary groups but the user's own. Real root may do this; the user
	// namespace of a function does not let it be done there.
	s.groups(p)
	// From here on no capability counts outside the sandbox: mount, network, pid
	// and ipc namespaces belong to the host's user namespace.
	p.do("setns user", unix.SYS_SETNS, descriptor(s.userns), unix.CLONE_NEWUSER)
	// Dropping the bounding set needs CAP_SETPCAP, so it precedes capset; the
	// ids need CAP_SETUID and CAP_SETGID, so they do too.
	for i := 0; i <= s.lastCap; i++ {
		if s.who.capabilities>>i&1 == 0 {
			p.try("drop capability "+strconv.Itoa(i), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, i, 0, 0, 0)
		}
	}
	p.do("setresgid", unix.SYS_SETRESGID, s.who.gid, s.who.gid, s.who.gid)
	p.do("setresuid", unix.SYS_SETRESUID, s.who.uid, s.who.uid, s.who.uid)
	// The host's id 0 is not mapped in the namespace, so leaving it did not clear them.
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	have := uint32(s.who.capabilities) // all that anybody gets are below 32
	p.do("capset", unix.SYS_CAPSET, plain(header), plain(&[2]unix.CapUserData{{Effective: have, Permitted: have}}))

	// As the function's user, so that an unreadable directory is noticed.
	p.do(stepDirectory, unix.SYS_CHDIR, text(cmp.Or(s.directory, "/var/task")))
	s.descriptors(p)

	// Without it a filter would need CAP_SYS_ADMIN, and setuid programs would work.
	p.do("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	// The filter comes last: it refuses most of the above.
	filter := words{len(s.filter), array(&s.filter[0], len(s.filter))} // struct sock_fprog, padded
	p.do("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, filter)
}

// mountProc shows the processes of the new pid namespace, which only a process
// inside it can do.
func mountProc(p *program) {
	p.do("mount proc", unix.SYS_MOUNT, text("proc"), text("/proc"), text("proc"), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	for _, path := range maskedProc {
		p.try("mask "+path, unix.SYS_MOUNT, text("/dev/null"), text(path), 0, unix.MS_BIND)
	}
	readOnly := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	for _, path := range readOnlyProc {
		p.try("bind "+path, unix.SYS_MOUNT, text(path), text(path), 0, unix.MS_BIND)
		p.try("protect "+path, unix.SYS_MOUNT_SETATTR, unix.AT_FDCWD, text(path), 0, plain(readOnly), int(unsafe.Sizeof(*readOnly)))
	}
}

// groups sets the supplementary groups.
func (s *spawnSpec) groups(p *program) {
	if len(s.who.groups) == 0 {
		p.do("setgroups", unix.SYS_SETGROUPS, 0, 0)
		return
	}
	list := make([]uint32, len(s.who.groups))
	for i, g := range s.who.groups {
		list[i] = uint32(g)
	}
	p.do("setgroups", unix.SYS_SETGROUPS, len(list), array(&list[0], len(list)))
}

// controlFD is the runtime's end of the control socket, in the runtime.
const controlFD = 3

// descriptors leaves the standard ones, the control socket, and nothing else.
func (s *spawnSpec) descriptors(p *program) {
	p.do("dup stdin", unix.SYS_DUP3, descriptor(s.null), 0, 0)
	p.do("dup stdout", unix.SYS_DUP3, descriptor(s.output), 1, 0)
	p.do("dup stderr", unix.SYS_DUP3, descriptor(s.output), 2, 0)
	first := controlFD
	if s.control >= 0 {
		flags := 0
		if s.anchor { // which is what it executes, and does not need any more then
			flags = unix.O_CLOEXEC
		}
		p.do("dup control", unix.SYS_DUP3, descriptor(s.control), controlFD, flags)
		first++
	}
	// Everything the server has open, whoever opened it and however.
	how := 0
	if s.apart {
		how = unix.CLOSE_RANGE_CLOEXEC // one of them tells when that is
	}
	p.do("close_range", unix.SYS_CLOSE_RANGE, first, int(^uint32(0)), how)
}

// limit adds a prlimit that stays within what the server itself may have.
func (s *spawnSpec) limit(p *program, resource int, soft, hard uint64) {
	have := s.existing[resource]
	want := &unix.Rlimit{Cur: min(soft, have), Max: min(hard, have)}
	p.do("prlimit "+strconv.Itoa(resource), unix.SYS_PRLIMIT64, 0, resource, plain(want), 0)
}

// sysLimits has the server's own hard limits by resource.
type sysLimits map[int]uint64

func readLimits() (sysLimits, error) {
	limits := sysLimits{}
	for r := range unix.RLIMIT_RTPRIO + 1 {
		var l unix.Rlimit
		if err := unix.Getrlimit(r, &l); err != nil {
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
