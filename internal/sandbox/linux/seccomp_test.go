package linux

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFilter: the program is well formed and decides as the lists say. The
// kernel's part of it is proved by the escape tests.
func TestFilter(t *testing.T) {
	prog := seccompFilter()
	if len(prog) > 4096 { // BPF_MAXINSNS
		t.Fatalf("%d instructions", len(prog))
	}
	const allow, eperm = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	for nr := range uint32(500) {
		want := uint32(allow)
		switch {
		case slices.Contains(deniedEverywhere, nr) || slices.Contains(deniedHere, nr):
			want = eperm
		case nr == unix.SYS_CLONE3:
			want = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		case nr == unix.SYS_SOCKET || nr == unix.SYS_SOCKETPAIR:
			want = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT) // of family 0
		}
		if got := decide(t, prog, call{nr: nr, arch: auditArch}); got != want {
			t.Errorf("call %d: %#x, want %#x", nr, got, want)
		}
	}
	for _, c := range []struct {
		call call
		want uint32
	}{
		{call{nr: 1, arch: 0x40000003}, unix.SECCOMP_RET_KILL_PROCESS}, // i386
		{call{nr: unix.SYS_CLONE, arch: auditArch, args: [3]uint32{unix.CLONE_VM | unix.CLONE_THREAD}}, allow},
		{call{nr: unix.SYS_CLONE, arch: auditArch, args: [3]uint32{unix.CLONE_NEWUSER | 17}}, eperm},
		{call{nr: unix.SYS_SOCKET, arch: auditArch, args: [3]uint32{unix.AF_INET6}}, allow},
		{call{nr: unix.SYS_SOCKET, arch: auditArch, args: [3]uint32{unix.AF_NETLINK, 3, unix.NETLINK_ROUTE}}, allow},
		{call{nr: unix.SYS_SOCKET, arch: auditArch, args: [3]uint32{unix.AF_NETLINK, 3, unix.NETLINK_NETFILTER}}, eperm},
		{call{nr: unix.SYS_PERSONALITY, arch: auditArch, args: [3]uint32{0xffffffff}}, allow},
		{call{nr: unix.SYS_PERSONALITY, arch: auditArch, args: [3]uint32{0x40000}}, eperm},
		{call{nr: unix.SYS_IOCTL, arch: auditArch, args: [3]uint32{0, unix.TIOCSTI}}, eperm},
		{call{nr: unix.SYS_IOCTL, arch: auditArch, args: [3]uint32{0, unix.TCGETS}}, allow},
	} {
		if got := decide(t, prog, c.call); got != c.want {
			t.Errorf("%+v: %#x, want %#x", c.call, got, c.want)
		}
	}
}

// call is struct seccomp_data, as far as the filter looks.
type call struct {
	nr, arch uint32
	args     [3]uint32
}

// decide runs the program as the kernel would, for the instructions it uses.
func decide(t *testing.T, prog []unix.SockFilter, c call) uint32 {
	t.Helper()
	words := map[uint32]uint32{seccompNR: c.nr, seccompArch: c.arch, seccompArg0: c.args[0], seccompArg1: c.args[1], seccompArg2: c.args[2]}
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = words[in.K]
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = a&in.K != 0
		default:
			t.Fatalf("instruction %d: %+v", pc, in)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the program has no end")
	return 0
}
