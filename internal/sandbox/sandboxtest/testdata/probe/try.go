package main

import (
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"
)

// attempts are the ways out that a sandbox must refuse, by name. Each makes the
// plain system call and gives its outcome.
var attempts = map[string]func() error{
	"mount": func() error { return syscall.Mount("none", "/tmp", "tmpfs", 0, "") },
	"remount root": func() error {
		return syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	},
	"umount proc": func() error { return syscall.Unmount("/proc", syscall.MNT_DETACH) },
	"chroot":      func() error { return syscall.Chroot("/tmp") },
	"pivot_root":  func() error { return syscall.PivotRoot("/tmp", "/tmp") },
	"open_tree":   func() error { return raw(428, ^uintptr(99), cstr("/"), 1) },
	"fsopen":      func() error { return raw(430, cstr("tmpfs"), 0) },

	"unshare user":  func() error { return onThread(func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) }) },
	"unshare mount": func() error { return onThread(func() error { return syscall.Unshare(syscall.CLONE_NEWNS) }) },
	"clone user":    func() error { return raw(syscall.SYS_CLONE, syscall.CLONE_NEWUSER|uintptr(syscall.SIGCHLD), 0) },
	"clone3":        func() error { return raw(435, 0, 0) },
	"setns": func() error {
		f, err := os.Open("/proc/1/ns/net")
		if err != nil {
			return err
		}
		defer f.Close()
		return onThread(func() error { return raw(sysSetns, f.Fd(), 0) })
	},

	"ptrace":            func() error { return raw(syscall.SYS_PTRACE, 16, 1, 0) },
	"process_vm_readv":  func() error { return raw(sysProcessVMReadv, 1, 0, 0) },
	"pidfd_getfd":       func() error { return raw(438, 0, 0, 0) },
	"init_module":       func() error { return raw(syscall.SYS_INIT_MODULE, cstr("x"), 1, cstr("")) },
	"finit_module":      func() error { return raw(sysFinitModule, 0, cstr(""), 0) },
	"delete_module":     func() error { return raw(syscall.SYS_DELETE_MODULE, cstr("ext4"), 0) },
	"kexec":             func() error { return raw(sysKexecLoad, 0, 0, 0) },
	"bpf":               func() error { return raw(sysBPF, 0, 0, 0) },
	"perf_event_open":   func() error { return raw(sysPerfEventOpen, 0, 0, 0) },
	"userfaultfd":       func() error { return raw(sysUserfaultfd, 0) },
	"io_uring":          func() error { return raw(425, 1, 0) },
	"keyctl":            func() error { return raw(sysKeyctl, 0, ^uintptr(3), 1) },
	"add_key":           func() error { return raw(sysAddKey, cstr("user"), cstr("x"), cstr("y")) },
	"open_by_handle_at": func() error { return raw(sysOpenByHandleAt, 0, 0, 0) },
	"reboot":            func() error { return raw(syscall.SYS_REBOOT, 0xfee1dead, 672274793, 0) },
	"swapon":            func() error { return raw(syscall.SYS_SWAPON, cstr("/tmp/x"), 0) },
	"settimeofday":      func() error { return syscall.Settimeofday(&syscall.Timeval{Sec: 1}) },
	"sethostname":       func() error { return syscall.Sethostname([]byte("x")) },
	"acct":              func() error { return raw(syscall.SYS_ACCT, 0) },
	"syslog":            func() error { return raw(syscall.SYS_SYSLOG, 3, 0, 0) },
	"personality":       func() error { return raw(syscall.SYS_PERSONALITY, 0x0040000) },
	"tiocsti":           func() error { return raw(syscall.SYS_IOCTL, 0, syscall.TIOCSTI, cstr("x")) },

	"setuid": func() error { return raw(syscall.SYS_SETUID, 0) },
	"setgid": func() error { return raw(syscall.SYS_SETGID, 0) },
	"raise files": func() error {
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	},
	"raise processes": func() error { return syscall.Setrlimit(6, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}) },
	"nice":            func() error { return syscall.Setpriority(syscall.PRIO_PROCESS, 0, -10) },
	"mknod":           func() error { return syscall.Mknod("/tmp/sda", syscall.S_IFBLK|0o600, 8<<8) },
	"chown":           func() error { f, _ := os.Create("/tmp/own"); f.Close(); return os.Chown("/tmp/own", 0, 0) },

	"raw socket":    func() error { return socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP) },
	"packet socket": func() error { return socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0) },
	"vsock":         func() error { return socket(40, syscall.SOCK_STREAM, 0) },
	"alg socket":    func() error { return socket(38, 5, 0) },
	"netlink audit": func() error { return socket(syscall.AF_NETLINK, syscall.SOCK_RAW, 9) },
	"low port bind": func() error { return lowPort() },

	"write sysctl": func() error { return os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|/x"), 0) },
	"sysrq":        func() error { return writeReal("/proc/sysrq-trigger", "h") },
	"read kcore":   func() error { return readSome("/proc/kcore") },
	"read kmsg":    func() error { return readSome("/proc/kmsg") },
	"read mem":     func() error { return readSome("/dev/mem") },
	"write root":   func() error { return os.WriteFile("/x", nil, 0o644) },
	"write usr":    func() error { return os.WriteFile("/usr/bin/x", nil, 0o755) },
	"write etc":    func() error { return os.WriteFile("/etc/passwd", nil, 0o644) },
	"write code":   func() error { return os.WriteFile("/var/task/x", nil, 0o644) },
	"write layers": func() error { return os.WriteFile("/opt/x", nil, 0o644) },
	"write dev":    func() error { return os.WriteFile("/dev/x", nil, 0o644) },
}

// try makes one attempt, or gives the names of all.
func try(name string) any {
	if name == "" {
		var names []string
		for n := range attempts {
			names = append(names, n)
		}
		slices.Sort(names)
		return names
	}
	f := attempts[name]
	if f == nil {
		return "no such attempt"
	}
	return errno(f())
}

func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	r, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if e != 0 {
		return e
	}
	if nr == syscall.SYS_CLONE && r == 0 {
		os.Exit(0)
	}
	return nil
}

func cstr(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&kept[len(kept)-1][0]))
}

// onThread keeps a change that belongs to a thread away from the others.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func socket(domain, typ, proto int) error {
	fd, err := syscall.Socket(domain, typ, proto)
	if err == nil {
		syscall.Close(fd)
	}
	return err
}

func lowPort() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: 80})
}

func readSome(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 64))
	if n == 0 && err != nil {
		return syscall.EACCES // nothing to be had: /dev/null stands in its place
	}
	return err
}

// writeReal writes to a file, unless /dev/null stands in its place.
func writeReal(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const null = 1<<8 | 3 // null(4)
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil || st.Rdev == null {
		return syscall.EACCES
	}
	_, err = f.WriteString(text)
	return err
}
