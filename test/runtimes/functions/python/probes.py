"""Attempts to get out of the sandbox. Each one that works is reported."""
import ctypes
import glob
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID = 0x10000000, 0x00020000, 0x20000000
MS_BIND, MS_REMOUNT = 4096, 32


def call(name, *args):
    """A libc function that must not return 0 or more."""
    result = getattr(libc, name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(path):
    with open(path, "rb") as f:
        return f.read(64).decode("latin-1")


def write(path):
    with open(path, "ab") as f:
        f.write(b"x")
    return "wrote"


def in_child(action):
    """Runs an action that changes the process in a child of its own."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = "ok:" + str(action())
        except BaseException as e:
            text = "no:" + repr(e)
        os.write(w, text.encode()[:4000])
        os._exit(0)
    os.close(w)
    text = os.read(r, 4096).decode()
    os.close(r)
    os.waitpid(pid, 0)
    if not text.startswith("ok:"):
        raise OSError(text)
    return text


def other_processes():
    """Processes that are not children of this sandbox's first one."""
    names = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            names.append(read("/proc/%s/cmdline" % pid).replace("\0", " "))
        except OSError:
            pass
    strange = [n for n in names if "lambent serve" in n or "systemd" in n or "sshd" in n]
    if not strange:
        raise OSError("only own processes")
    return strange


def capabilities():
    for line in read_all("/proc/self/status").splitlines():
        if line.startswith(("CapEff", "CapPrm", "CapBnd")) and int(line.split()[1], 16):
            return line
    raise OSError("none")


def privileges():
    for line in read_all("/proc/self/status").splitlines():
        if line.startswith("NoNewPrivs"):
            if line.split()[1] == "1":
                raise OSError("no new privileges")
            return line
    return "not shown"


def seccomp():
    for line in read_all("/proc/self/status").splitlines():
        if line.startswith("Seccomp:"):
            if line.split()[1] == "2":
                raise OSError("filtered")
            return line
    return "not shown"


def read_all(path):
    with open(path) as f:
        return f.read()


def raise_limit():
    import resource

    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (hard + 1, hard + 1))
    return "raised"


def ptrace_parent():
    return call("ptrace", 16, os.getppid() or 1, None, None)  # PTRACE_ATTACH


def devices():
    known = "null zero full random urandom tty stdin stdout stderr fd shm ptmx pts mqueue core console"
    strange = [n for n in os.listdir("/dev") if n not in known.split()]
    if not strange:
        raise OSError("standard ones only")
    return strange


def make_device():
    os.mknod("/tmp/sda", 0o60600, os.makedev(8, 0))
    return "made a block device"


def setuid_programs():
    os.setuid(0)
    return "root"


def metadata():
    s = socket.create_connection(("169.254.169.254", 80), timeout=1)
    s.close()
    return "connected"


def connect(target):
    host, _, port = target.rpartition(":")
    s = socket.create_connection((host, int(port)), timeout=1)
    s.close()
    return "connected"


def connect_unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return "connected"


def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    return "raw socket"


def packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    return "packet socket"


def host_root():
    return os.listdir("/proc/1/root/root")


def cgroup_write():
    for path in glob.glob("/sys/fs/cgroup/**/memory.limit_in_bytes", recursive=True):
        with open(path, "w") as f:
            f.write("-1")
        return path
    for path in glob.glob("/sys/fs/cgroup/**/memory.max", recursive=True):
        with open(path, "w") as f:
            f.write("max")
        return path
    raise OSError("no cgroup in sight")


def syscall(number, *args):
    return call("syscall", number, *args)


PROBES = {
    "read /etc/shadow": lambda: read("/etc/shadow"),
    "read /root": lambda: os.listdir("/root"),
    "read /home": lambda: os.listdir("/home")[0],
    "read the host's root through /proc/1": host_root,
    "read kernel memory": lambda: read("/proc/kcore"),
    "read /proc/kallsyms addresses": lambda: int(read("/proc/kallsyms").split()[0], 16) or 1 / 0,
    "write /proc/sys": lambda: write("/proc/sys/kernel/core_pattern"),
    "write /proc/sysrq-trigger": lambda: write("/proc/sysrq-trigger"),
    "write /sys": lambda: write("/sys/kernel/uevent_helper"),
    "write the code": lambda: write("/var/task/main.py"),
    "write beside the code": lambda: write("/var/task/new"),
    "write the runtime": lambda: write("/var/runtime/bootstrap.py"),
    "write /opt": lambda: write("/opt/new"),
    "write /usr": lambda: write("/usr/bin/new"),
    "write /etc": lambda: write("/etc/passwd"),
    "write /": lambda: write("/new"),
    "see other processes": other_processes,
    "have capabilities": capabilities,
    "gain privileges": privileges,
    "run without a filter": seccomp,
    "raise limits": raise_limit,
    "ptrace the parent": lambda: in_child(ptrace_parent),
    "mount": lambda: in_child(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)),
    "bind-mount": lambda: in_child(lambda: call("mount", b"/tmp", b"/mnt", None, MS_BIND, None)),
    "remount /": lambda: in_child(lambda: call("mount", b"none", b"/", None, MS_REMOUNT, None)),
    "unmount /proc": lambda: in_child(lambda: call("umount2", b"/proc", 2)),
    "unshare a user namespace": lambda: in_child(lambda: call("unshare", CLONE_NEWUSER)),
    "unshare a mount namespace": lambda: in_child(lambda: call("unshare", CLONE_NEWNS)),
    "enter process 1's namespaces": lambda: in_child(
        lambda: call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0) or "entered"
    ),
    "chroot": lambda: in_child(lambda: os.chroot("/tmp")),
    "become root": lambda: in_child(setuid_programs),
    "make a device": make_device,
    "find devices": devices,
    "load a module": lambda: in_child(lambda: syscall(313, 0, b"", 0)),
    "use bpf": lambda: in_child(lambda: syscall(321, 0, 0, 0)),
    "open a perf event": lambda: in_child(lambda: syscall(298, 0, 0, -1, -1, 0)),
    "use a keyring": lambda: in_child(lambda: syscall(250, 0, -3, 1)),
    "reboot": lambda: in_child(lambda: syscall(169, 0, 0, 0, 0)),
    "swap on": lambda: in_child(lambda: call("swapon", b"/tmp/x", 0)),
    "set the clock": lambda: in_child(lambda: syscall(227, 0, b"\0" * 16)),
    "set the host name": lambda: in_child(lambda: socket.sethostname("owned")),
    "reach the metadata service": metadata,
    "open a raw socket": raw_socket,
    "open a packet socket": packet_socket,
    "change its cgroup": cgroup_write,
}


def run(event):
    """Runs every probe, and the ones that the event adds.

    {"read": [paths], "connect": ["host:port"], "unix": [paths]} are tried too.
    Returns {"tried": n, "succeeded": {name: what}}.
    """
    probes = dict(PROBES)
    for path in event.get("read", []):
        probes["read " + path] = lambda path=path: os.listdir(path) if os.path.isdir(path) else read(path)
    for target in event.get("connect", []):
        probes["connect to " + target] = lambda target=target: connect(target)
    for path in event.get("unix", []):
        probes["connect to " + path] = lambda path=path: connect_unix(path)
    succeeded = {}
    for name, probe in probes.items():
        try:
            succeeded[name] = repr(probe())[:200]
        except Exception:
            pass
    return {"tried": len(probes), "succeeded": succeeded}
