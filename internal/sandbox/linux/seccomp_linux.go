package linux

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The filter is a deny-list: runtimes of every language use most of the system
// call table, so the list names what can widen the attack surface of the kernel
// or reach beyond the sandbox, whatever the capabilities say. It follows the
// classes that the default profiles of the known container engines refuse
// (seccomp(2); "Seccomp security profiles for Docker", Docker docs).
// Answers are EPERM, except where programs probe for a call and fall back only
// on ENOSYS. Calls in here never work in the sandbox; everything else goes
// through the kernel's own bitmap of always allowed calls, so that the filter
// costs them nothing.

// Offsets in struct seccomp_data.
const (
	seccompNR   = 0
	seccompArch = 4
	seccompArg0 = 16
	seccompArg1 = 24
	seccompArg2 = 32
)

// deniedEverywhere is refused with EPERM on every architecture; deniedHere has
// the rest.
var deniedEverywhere = []uint32{
	// Mounts: the sandbox's tree is final.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_TREE_ATTR,
	unix.SYS_LISTMOUNT, unix.SYS_STATMOUNT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	// Namespaces: a new user namespace gives capabilities inside it, the usual
	// first step of a kernel exploit.
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	// Other processes' memory and files.
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP, unix.SYS_PROCESS_MADVISE,
	// Files by handle: past every mount boundary.
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	// Kernel code, tracing and programs.
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_LOOKUP_DCOOKIE, unix.SYS_SYSLOG, unix.SYS_LSM_SET_SELF_ATTR,
	// Keyrings are shared by user id, not by sandbox.
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	// Large, young and often broken.
	unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK,
	unix.SYS_VMSPLICE, unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES,
	// The machine: clock, name, power, accounting.
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_REBOOT, unix.SYS_ACCT,
	unix.SYS_VHANGUP, unix.SYS_NFSSERVCTL,
}

// newNamespaces are the clone(2) flags that make a namespace. CLONE_NEWTIME is
// not among them: clone reads that bit as part of the exit signal.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Personalities that programs may ask for: Linux, BSD-like, 2.6 numbering, both,
// and the query.
var personalities = []uint32{0, 0x8, 0x20000, 0x20008, 0xffffffff}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}

// jump compares the accumulator with k and skips yes or no instructions.
func jump(how uint16, k uint32, yes, no int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, Jt: uint8(yes), Jf: uint8(no), K: k}
}

func refuse(e unix.Errno) unix.SockFilter { return ret(unix.SECCOMP_RET_ERRNO | uint32(e)) }

// when runs block, which must end with a verdict, for system call nr only.
func when(nr uint32, block ...unix.SockFilter) []unix.SockFilter {
	return append([]unix.SockFilter{jump(unix.BPF_JEQ, nr, 0, len(block))}, block...)
}

// oneOf gives verdict yes if the word at offset is among values, else no.
func oneOf(offset uint32, values []uint32, yes, no unix.SockFilter) []unix.SockFilter {
	prog := []unix.SockFilter{load(offset)}
	for i, v := range values {
		prog = append(prog, jump(unix.BPF_JEQ, v, len(values)-i, 0))
	}
	return append(prog, no, yes)
}

// seccompFilter assembles the filter for this architecture.
func seccompFilter() []unix.SockFilter {
	allow := ret(unix.SECCOMP_RET_ALLOW)
	prog := []unix.SockFilter{
		// A 32-bit system call has other numbers: nothing below would hold.
		load(seccompArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(seccompNR),
	}
	// The same goes for x32, which shares the architecture's name.
	prog = append(prog, refuseForeignABI...)
	// The flags of clone3 are behind a pointer, where a filter cannot look. C
	// libraries fall back to clone when it is not there.
	prog = append(prog, when(unix.SYS_CLONE3, refuse(unix.ENOSYS))...)
	prog = append(prog, when(unix.SYS_CLONE,
		load(seccompArg0), jump(unix.BPF_JSET, newNamespaces, 0, 1), refuse(unix.EPERM), allow)...)
	prog = append(prog, when(unix.SYS_PERSONALITY,
		oneOf(seccompArg0, personalities, allow, refuse(unix.EPERM))...)...)
	// Pushing input into a terminal: TIOCSTI and TIOCLINUX.
	prog = append(prog, when(unix.SYS_IOCTL,
		oneOf(seccompArg1, []uint32{unix.TIOCSTI, unix.TIOCLINUX}, refuse(unix.EPERM), allow)...)...)
	// Netlink's route protocol is how libraries list interfaces; the others talk
	// to kernel parts that a function has no business with.
	prog = append(prog, when(unix.SYS_SOCKET, append([]unix.SockFilter{
		load(seccompArg0), jump(unix.BPF_JEQ, unix.AF_NETLINK, 0, 4),
		load(seccompArg2), jump(unix.BPF_JEQ, unix.NETLINK_ROUTE, 1, 0), refuse(unix.EPERM), allow},
		oneOf(seccompArg0, []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6}, allow, refuse(unix.EAFNOSUPPORT))...)...)...)
	prog = append(prog, when(unix.SYS_SOCKETPAIR,
		oneOf(seccompArg0, []uint32{unix.AF_UNIX}, allow, refuse(unix.EAFNOSUPPORT))...)...)
	denied := slices.Concat(deniedEverywhere, deniedHere)
	slices.Sort(denied)
	return append(prog, among(denied, refuse(unix.EPERM), allow)...)
}

// among gives verdict yes if the system call is in the sorted list, else no. It
// searches by halves: when the filter is installed, the kernel runs it once for
// every number there is, and that is on the path of a cold start.
func among(sorted []uint32, yes, no unix.SockFilter) []unix.SockFilter {
	if len(sorted) <= 3 {
		var prog []unix.SockFilter
		for _, nr := range sorted {
			prog = append(prog, when(nr, yes)...)
		}
		return append(prog, no)
	}
	half := len(sorted) / 2
	low, high := among(sorted[:half], yes, no), among(sorted[half:], yes, no)
	return slices.Concat([]unix.SockFilter{jump(unix.BPF_JGE, sorted[half], len(low), 0)}, low, high)
}
