"""Attempts to get out of the sandbox, in the function's own process.

Each one that works is reported, and of the others why not. Nothing here does
harm where it works: a test runs it outside as well.
"""
import concurrent.futures
import ctypes
import errno
import os
import resource
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x00020000, 0x04000000, 0x40000000
MS_BIND = 4096
PTRACE_SEIZE = 0x4206

# System calls that libc has no function for, by machine.
NUMBERS = {
    "x86_64": {"init_module": 175, "bpf": 321, "perf_event_open": 298, "keyctl": 250, "kexec_load": 246},
    "aarch64": {"init_module": 105, "bpf": 280, "perf_event_open": 241, "keyctl": 219, "kexec_load": 104},
}[os.uname().machine]

# What says no. Any other error of a call with wrong arguments shows that it got
# past the permission.
REFUSALS = {
    errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS, errno.EAFNOSUPPORT, errno.ENOENT, errno.ESRCH,
    errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL,
}


def call(name, *args):
    result = getattr(libc, name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def past(name, *args):
    """Makes a call with arguments that are wrong on purpose."""
    try:
        return call("syscall", NUMBERS[name], *args)
    except OSError as e:
        if e.errno in REFUSALS:
            raise
        return errno.errorcode[e.errno]


def read(path):
    if os.path.isdir(path):
        return len(os.listdir(path))
    with open(path, "rb") as f:
        return f.read(64)


def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))
    return "opened"


def create(folder):
    name = os.path.join(folder, "lambent-probe-%d" % os.getpid())
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    os.unlink(name)
    return "made"


def in_child(action):
    """Runs an action that changes the process in a child of its own."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.environ.get("PROBE_ISOLATE"):  # where they work, they must not disturb each other
                call("unshare", CLONE_NEWNS | CLONE_NEWUTS)
            text = "0 " + str(action())
        except OSError as e:
            text = "%d %s" % (e.errno or -1, e)
        except BaseException as e:
            text = "-1 " + repr(e)
        os.write(w, text.encode()[:4000])
        os._exit(0)
    os.close(w)
    number, _, text = os.read(r, 4096).decode().partition(" ")
    os.close(r)
    os.waitpid(pid, 0)
    if number == "-1":
        raise RuntimeError(text)
    if number != "0":
        raise OSError(int(number), text)
    return text


def status(name, safe):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(name + ":"):
                if line.split()[1] == safe:
                    raise OSError(errno.EPERM, line)
                return line
    raise RuntimeError("no line " + name)


def raise_limit():
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        soft, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (soft, hard))
        if hard == resource.RLIM_INFINITY:
            continue
        try:
            resource.setrlimit(kind, (soft, hard + 1))
        except ValueError:  # what Python makes of EPERM here
            raise OSError(errno.EPERM, "setrlimit")
    return "raised"


def become_root():
    try:
        os.setuid(0)
    except OSError as e:
        if e.errno == errno.EINVAL:  # there is no such user here
            raise OSError(errno.EPERM, "setuid")
        raise
    return "root"


def connect(address):
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=1.5).close()
    return "connected"


def connect_unix(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path.replace("@", "\0"))
    return "connected"


def a_socket(*args):
    socket.socket(*args).close()
    return "made"


PROBES = {
    "read /etc/shadow": lambda: read("/etc/shadow"),
    "read /root": lambda: read("/root"),
    "read kernel memory": lambda: opened("/proc/kcore"),
    "write /proc/sys": lambda: opened("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "write /proc/sysrq-trigger": lambda: opened("/proc/sysrq-trigger", os.O_WRONLY),
    "write /etc/passwd": lambda: opened("/etc/passwd", os.O_WRONLY),
    "write into /usr/bin": lambda: create("/usr/bin"),
    "write into /": lambda: create("/"),
    "have capabilities": lambda: status("CapBnd", "0000000000000000"),
    "gain privileges": lambda: status("NoNewPrivs", "1"),
    "run without a filter": lambda: status("Seccomp", "2"),
    "raise limits": raise_limit,
    "raise priority": lambda: in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)),
    "ptrace the parent": lambda: in_child(lambda: call("ptrace", PTRACE_SEIZE, os.getppid(), None, None)),
    "mount": lambda: in_child(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)),
    "bind-mount": lambda: in_child(lambda: call("mount", b"/tmp", b"/home", None, MS_BIND, None)),
    "unmount /proc": lambda: in_child(lambda: call("umount2", b"/proc", 2)),
    "unshare a mount namespace": lambda: in_child(lambda: call("unshare", CLONE_NEWNS)),
    "unshare a network namespace": lambda: in_child(lambda: call("unshare", CLONE_NEWNET)),
    "enter another's namespaces": lambda: in_child(
        lambda: call("setns", os.open("/proc/%d/ns/net" % os.getppid(), os.O_RDONLY), 0)
    ),
    "chroot": lambda: in_child(lambda: os.chroot("/tmp")),
    "become root": lambda: in_child(become_root),
    "load a module": lambda: past("init_module", b"x", 1, b""),
    "load a kernel": lambda: past("kexec_load", 0, 0, 0, -1),
    "use bpf": lambda: past("bpf", 0, 0, 0),
    "open a perf event": lambda: past("perf_event_open", 0, 0, -1, -1, 0),
    "use a keyring": lambda: past("keyctl", 0, -3, 1),
    "set the host's name": lambda: in_child(lambda: socket.sethostname("taken")),
    "open a raw socket": lambda: a_socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "open a packet socket": lambda: a_socket(socket.AF_PACKET, socket.SOCK_RAW),
}


def probes_of(event):
    all_of_them = dict(PROBES)
    for path in event.get("read") or []:
        all_of_them["read " + path] = lambda path=path: read(path)
    for folder in event.get("write") or []:
        all_of_them["write into " + folder] = lambda folder=folder: create(folder)
    for pid in event.get("process") or []:
        all_of_them["signal %d" % pid] = lambda pid=pid: os.kill(pid, 0)
    for target in event.get("dial") or []:
        network, _, address = target.partition(" ")
        if network == "unix":
            all_of_them["dial " + target] = lambda address=address: connect_unix(address)
        elif network == "tcp" and "%" not in address:
            all_of_them["dial " + target] = lambda address=address: connect(address)
    if event.get("seek"):
        all_of_them["find another's /tmp"] = lambda: read("/tmp/" + event["seek"])
    return all_of_them


def attempt(probe):
    try:
        return "worked", repr(probe())[:200]
    except socket.timeout:
        return "refused", "timeout"
    except OSError as e:
        return "refused" if e.errno in REFUSALS else "broken", errno.errorcode.get(e.errno, str(e))
    except Exception as e:
        return "broken", repr(e)


def run(event):
    outcome = {"worked": {}, "refused": {}, "broken": {}}
    probes = probes_of(event)
    # Those that change the process go first, while there are no threads.
    dials = [name for name in probes if name.startswith("dial ")]
    for name in probes:
        if name not in dials:
            kind, text = attempt(probes[name])
            outcome[kind][name] = text
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for name, (kind, text) in zip(dials, pool.map(lambda name: attempt(probes[name]), dials)):
            outcome[kind][name] = text
    return outcome


if __name__ == "__main__":
    import json

    print(json.dumps(run(json.loads(sys.argv[1]))))
