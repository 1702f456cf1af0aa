"""A Python interpreter that forks blanks, so that a function's process has nothing
left to start but the function.

It runs as root, without a network, on files that only the server's owner can write,
and never sees anything of a function. It has one thread. What it is told to do comes
from the sandbox's driver as JSON datagrams (README.md, "Zygotes").

A fork is a raw clone, because the child must be the driver's and the first process of
its own pid namespace; it then takes, one by one, the system calls that the driver
wrote down: the same that lock down a process which is started from nothing.
"""
import gc
import os
import sys
import time

import lambent_blank
import lambent_platform
import lambent_runtime

_DATAGRAM = 64 << 10
_MAX_FDS = 32
_TRIAL_SECONDS = 60
_MAX_MODULES = 200
_MAX_PROGRAMS = 4
_MAX_REFUSED = 20
_LARGEST_HOLE = 1000
_MAX_HOLES = 2000

_CLONE_CHILD_CLEARTID = 0x00200000
_CLONE_NEWPID = 0x20000000
_CLONE_PARENT = 0x00008000
_CLONE_CHILD_SETTID = 0x01000000
_CLONE_THREAD = 0x00010000
_SIGCHLD = 17
_PR_SET_DUMPABLE = 4
_PR_GET_TID_ADDRESS = 40

# System call numbers and the order of clone's last two arguments, by machine.
_CALLS = {
    "x86_64": {
        "clone": 56, "set_robust_list": 273, "get_robust_list": 274, "unshare": 272, "tls_last": True,
    },
    "aarch64": {
        "clone": 220, "set_robust_list": 99, "get_robust_list": 100, "unshare": 97, "tls_last": False,
    },
}

# Modules of the library that do little by themselves: whoever imports the package
# goes on to these.
_COMPANIONS = {
    "concurrent": ("concurrent.futures", "concurrent.futures.thread"),
    "urllib": ("urllib.parse", "urllib.request"),
    "xml": ("xml.etree.ElementTree",),
}

# Libraries start as many threads as there are processors, unless these say so. A
# function with more than one processor is not served from such a zygote.
_NO_THREADS = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
}

# Variables that differ from function to function. A module that reads one while it
# is imported cannot be imported ahead.
_PER_FUNCTION = ("_HANDLER", "_X_AMZN", "_AWS_", "AWS_", "TZ")


class Refused(Exception):
    pass


class _Native:
    """The C calls that a fork takes."""

    def __init__(self):
        import ctypes

        self.ctypes = ctypes
        self.libc = ctypes.PyDLL(None, use_errno=True)
        self.syscall = self.libc.syscall
        self.syscall.restype = ctypes.c_long
        self.errno = ctypes.get_errno
        api = ctypes.pythonapi
        self.before, self.parent, self.child = (
            api.PyOS_BeforeFork,
            api.PyOS_AfterFork_Parent,
            api.PyOS_AfterFork_Child,
        )
        for f in (self.before, self.parent, self.child):
            f.restype = None
        self._incref = api.Py_IncRef
        self._incref.argtypes, self._incref.restype = [ctypes.py_object], None
        self.malloc = self.libc.malloc
        self.malloc.restype = ctypes.c_void_p
        self.calls = _CALLS[os.uname().machine]
        self.long = ctypes.c_ulong
        self.tid = self._tid_address()
        self.robust = self._robust_list()

    def _tid_address(self):
        """Where the C library keeps its thread's id, or None: the kernel may lack it."""
        at = self.ctypes.c_ulong(0)
        ok = self.libc.prctl(_PR_GET_TID_ADDRESS, self.ctypes.byref(at), 0, 0, 0)
        return at.value if ok == 0 and at.value else None

    def _robust_list(self):
        at, size = self.ctypes.c_ulong(0), self.ctypes.c_ulong(0)
        number = self.calls["get_robust_list"]
        if self.syscall(number, 0, self.ctypes.byref(at), self.ctypes.byref(size)) != 0:
            return None
        return self.long(at.value), self.long(size.value)

    def has_threads(self):
        """unshare(2) refuses CLONE_THREAD to a process that has, and does nothing for
        one that has not. There may be no /proc here."""
        return self.syscall(self.calls["unshare"], self.long(_CLONE_THREAD)) != 0

    def keep(self, thing):
        """Never frees thing, not in the forks either, which would write to all of it."""
        self._incref(thing)

    def use_up(self):
        """Takes what the C library has free between what is in use: the forks would put
        what is theirs there, and have to copy a page for each."""
        for size in range(_LARGEST_HOLE, 24, -16):
            last = row = 0
            for _ in range(_MAX_HOLES):
                at = self.malloc(size) or 0
                row = row + 1 if 0 < at - last <= size + 32 else 0
                last = at
                if row == 4:  # one behind the other: this is new memory
                    break

    def clone(self, flags):
        """Like os.fork, with flags for clone(2)."""
        flags |= _SIGCHLD
        tid = 0
        if self.tid is not None:
            flags |= _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
            tid = self.tid
        last = (self.long(tid), self.long(0)) if self.calls["tls_last"] else (self.long(0), self.long(tid))
        args = (self.calls["clone"], self.long(flags), self.long(0), self.long(0)) + last
        syscall, before, parent, child = self.syscall, self.before, self.parent, self.child
        before()
        pid = syscall(*args)
        if pid == 0:
            child()
            if self.robust is not None:
                syscall(self.calls["set_robust_list"], *self.robust)
            return 0
        errno = self.errno()
        parent()
        if pid < 0:
            raise OSError(errno, os.strerror(errno))
        return pid


class _Program:
    """The driver's list of system calls, laid out in memory before the fork: after
    it nothing may be imported, and little should be allocated."""

    def __init__(self, native, request):
        self._native = native
        self._keep = []
        self._places = []  # of descriptors, which are others each time
        self._control = int(request.get("control", 0))
        self.hurry = bool(request.get("hurry"))
        self.calls = []
        for step in request["steps"]:
            args = [self._value(a) for a in step.get("args") or ()]
            args += [native.long(0)] * (6 - len(args))
            call = (native.long(int(step["nr"])),) + tuple(args)
            self.calls.append((str(step.get("name", "")), call, bool(step.get("try"))))

    def _value(self, arg):
        if isinstance(arg, dict) and "fd" in arg:
            value = self._native.long(0)
            self._places.append((value, int(arg["fd"])))
            return value
        return self._native.long(self._word(arg))

    def _word(self, arg):
        if isinstance(arg, int):
            return arg & 0xFFFFFFFFFFFFFFFF
        if "blob" in arg:
            return self._place(_base64(arg["blob"]))
        # A struct of 64-bit words, some of which are addresses of other blobs.
        words = [self._word(word) for word in arg["ptr"]]
        return self._place(b"".join(w.to_bytes(8, sys.byteorder) for w in words))

    def _place(self, data):
        buffer = self._native.ctypes.create_string_buffer(data, max(len(data), 1))
        self._keep.append(buffer)
        return self._native.ctypes.addressof(buffer)

    def fill(self, fds):
        """Puts the descriptors of one fork in; returns its control socket."""
        for value, index in self._places:
            value.value = fds[index]
        return fds[self._control]

    def run(self):
        """Returns None, or what failed."""
        syscall, errno = self._native.syscall, self._native.errno
        for name, call, optional in self.calls:
            if syscall(*call) < 0 and not optional:
                return "%s: %s" % (name, os.strerror(errno()))
        return None


def _base64(text):
    import binascii

    return binascii.a2b_base64(text)


class _Zygote:
    def __init__(self, control):
        known = set(sys.modules)
        self._native = _Native()
        import _socket
        import select

        self._socket, self._select = _socket, select
        # A module that comes to need these gets its own: the forks shall have none.
        for name in set(sys.modules) - known:
            del sys.modules[name]
        self._sock = _socket.socket(fileno=control)
        self._control = control
        # The driver's last requests for a fork, and what came of them: the next one is
        # the same as one of them but for the descriptors.
        self._programs = {}
        self._native.keep(self)

    def _receive(self):
        """One message and its descriptors; no bytes at the end."""
        s = self._socket
        data, ancillary, flags, _ = self._sock.recvmsg(
            _DATAGRAM, s.CMSG_SPACE(4 * _MAX_FDS), s.MSG_CMSG_CLOEXEC
        )
        fds = []
        for level, kind, body in ancillary:
            if level == s.SOL_SOCKET and kind == s.SCM_RIGHTS:
                fds += [
                    int.from_bytes(body[i : i + 4], sys.byteorder, signed=True)
                    for i in range(0, len(body) // 4 * 4, 4)
                ]
        if flags & (s.MSG_TRUNC | s.MSG_CTRUNC):
            data = b"{}"  # too long; there is no such request
        return data, fds

    def _answer(self, **fields):
        self._sock.send(lambent_runtime.dumps(fields).encode("ascii", "replace"))

    def serve(self):
        """Answers the driver until this process is a fork; tells whether a start waits
        for that."""
        self._settle()
        while True:
            fds = []
            try:
                data, fds = self._receive()
                if not data:
                    os._exit(0)
                program = self._do(data, fds)
                if program is not None:
                    return program.hurry
            except (Refused, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                self._answer(error="%s: %s" % (type(error).__name__, error))
            finally:
                for fd in fds:
                    try:
                        os.close(fd)
                    except OSError:
                        pass  # a fork has closed them

    def _do(self, data, fds):
        program = self._programs.get(data)
        if program is not None:
            return self._fork(program, fds)
        request = lambent_runtime.loads(data.decode("utf-8"))
        op = request.get("op")
        if op == "fork":
            program = _Program(self._native, request)
            if len(self._programs) == _MAX_PROGRAMS:
                self._programs.clear()
            self._programs[data] = program
            return self._fork(program, fds)
        if op == "node":
            self._node(fds)
        elif op == "preload":
            loaded, failed = self._preload(request["modules"])
            self._answer(loaded=loaded, failed=failed)
        else:
            raise Refused("there is no operation %r" % op)
        return None

    def _settle(self):
        """Puts what is loaded where the collector leaves it alone, so that the forks
        go on sharing its pages."""
        gc.collect()
        gc.disable()
        self._native.use_up()
        gc.freeze()

    def _fork(self, program, fds):
        control = program.fill(fds)
        _flush()
        pid = self._native.clone(_CLONE_PARENT | _CLONE_NEWPID)
        if pid != 0:
            self._answer(pid=pid)
            return None
        failed = program.run()
        if failed is not None:
            _fail(control, failed)
        # To lose root has made the process undumpable, which execve would have set
        # right: its files in /proc are its own again.
        self._native.libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        os.set_inheritable(self._control, False)
        self._sock.detach()
        del fds[:]
        return program

    def _node(self, fds):
        if len(fds) != 1:
            raise Refused("a node takes one descriptor")
        _flush()
        pid = self._native.clone(_CLONE_PARENT)
        if pid != 0:
            self._answer(pid=pid)
            return
        os.dup2(fds[0], self._control, inheritable=False)

    def _preload(self, names):
        """Imports modules, each only after a trial in a process of its own has shown
        that it does no more than being loaded."""
        failed, wanted = {}, []
        for name in names[:_MAX_MODULES]:
            for each in (name,) + _COMPANIONS.get(name, ()):
                if each not in sys.modules:
                    wanted.append(each)
        with _environment(_NO_THREADS):
            while wanted:
                refused = self._trial(wanted)
                if refused is None:
                    break
                failed[refused[0]] = refused[1]
                wanted = [w for w in wanted if w != refused[0]]
                if len(failed) > _MAX_REFUSED:
                    failed.update((w, "too many others were refused") for w in wanted)
                    wanted = []
            with lambent_blank.watched():
                for name in wanted:
                    __import__(name)
        self._settle()
        return [name for name in names if name in sys.modules], failed

    def _trial(self, names):
        """Imports names in a process of its own; returns the first that may not be
        imported here, and why, or None."""
        receive, send = os.pipe()
        _flush()
        pid = os.fork()
        if pid == 0:
            os.close(self._control)
            text = _Trial(self._native).run(names)
            os.write(send, text.encode("utf-8", "replace")[:4096])
            os._exit(0)
        os.close(send)
        data = self._collect(receive, pid)
        os.close(receive)
        name, _, why = data.decode("utf-8", "replace").partition(" ")
        if name == "ok":
            return None
        # Of one that crashes or hangs there is no more to tell than that.
        return (name, why) if name in names else (names[0], "the import does not end well")

    def _collect(self, fd, pid):
        deadline = time.monotonic() + _TRIAL_SECONDS
        data = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not self._select.select([fd], [], [], left)[0]:
                os.kill(pid, 9)
                break
            more = os.read(fd, 4096)
            if not more:
                break
            data += more
        os.waitpid(pid, 0)
        return data


class _environment:
    """Sets variables for a while."""

    def __init__(self, variables):
        self._variables = variables

    def __enter__(self):
        os.environ.update(self._variables)

    def __exit__(self, *_):
        for name in self._variables:
            os.environ.pop(name, None)
            lambent_blank.reads().pop(name, None)


class _Trial:
    """Looks at what importing a module does: it runs in a process that ends after."""

    # Modules whose state is made anew in every fork (lambent_blank._renew).
    _RESEEDED = ("multiprocessing.process", "random", "secrets", "numpy")

    def __init__(self, native):
        self._native = native
        self._complaint = None
        for name, says in (("urandom", "draws random numbers"), ("getpid", "asks for its process id")):
            setattr(os, name, self._spy(getattr(os, name), says))

    def _spy(self, call, says):
        def spy(*args):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith(self._RESEEDED):
                self._complaint = says
            return call(*args)

        return spy

    def run(self, names):
        for name in names:
            try:
                why = self._look(name)
            except BaseException as error:
                why = "%s: %s" % (type(error).__name__, error)
            if why is not None:
                return "%s %s" % (name, why)
        return "ok"

    def _look(self, name):
        import random

        known, files, drawn = set(sys.modules), _files(), random.getstate()
        lambent_blank.reads().clear()
        self._complaint = None
        with lambent_blank.watched():
            __import__(name)
        for new in set(sys.modules) - known:
            origin = getattr(getattr(sys.modules[new], "__spec__", None), "origin", None)
            # None is a folder, or a module that another one made by hand.
            if origin not in (None, "built-in", "frozen") and not lambent_platform.trusted(origin):
                return "loads %s" % origin
        for variable in lambent_blank.reads():
            if variable.startswith(_PER_FUNCTION):
                return "reads %s" % variable
        if random.getstate() != drawn:
            return "draws random numbers"
        if _files() != files:
            return "leaves a file open"
        if self._native.has_threads():
            return "starts a thread"
        return self._complaint


def _files():
    """The descriptors that are open."""
    found = []
    for fd in range(256):
        try:
            os.fstat(fd)
            found.append(fd)
        except OSError:
            continue
    return found


def _flush():
    """What is buffered would be written once more by the fork."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _fail(control, text):
    """Ends a fork that could not be locked down. Where the steps had come to close
    control, they had put it on descriptor 3."""
    data = text.encode("utf-8", "replace")[:1024]
    message = b"E" + len(data).to_bytes(4, "big") + data
    for fd in (control, lambent_platform.CONTROL):
        try:
            os.write(fd, message)
            break
        except OSError:
            continue
    os._exit(1)


def serve(control):
    """Returns in the forks only; tells whether a start waits for this one."""
    lambent_platform.add_packages()
    return _Zygote(control).serve()
