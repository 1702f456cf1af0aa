"""A Python process that has no function yet: loads what every function has, waits,
and turns into a process like one that was started for its function.

Everything here runs before there is anything of a function in the process.
"""
import gc
import os
import sys
import time

import lambent_platform
import lambent_runtime

# The environment of a function holds at most 4 KB of its own (Lambda quotas).
_LIMIT = 256 << 10

# Variables with which a function needs an interpreter of its own: what reads them
# does so once, when it starts. The server knows that too (internal/runtimes) and
# offers no blank; this is for the day on which it does not.
_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "LOCPATH", "MALLOC_", "GLIBC_", "GCONV_", "OPENSSL_")


# What many functions import first of all, beyond the pinned modules: a function that
# has its own in place of one starts over.
_USUAL = ("copy", "dataclasses", "fcntl", "hashlib", "hmac", "platform", "signal", "subprocess", "uuid")


class _Watch(type(os.environ)):
    """os.environ that keeps what modules read of it while they are imported: they
    may have settled something by it."""

    read = {}

    def __getitem__(self, name):
        try:
            value = super().__getitem__(name)
        except KeyError:
            _Watch.read[name] = None
            raise
        _Watch.read[name] = value
        return value


class watched:
    """Within it, reads of os.environ are kept in reads()."""

    def __enter__(self):
        self._plain = type(os.environ)
        os.environ.__class__ = _Watch

    def __exit__(self, *_):
        os.environ.__class__ = self._plain


def reads():
    return _Watch.read


def load():
    """Loads what AWS's runtime has loaded before the function, what functions usually
    import, and what our own needs only later."""
    with watched():
        import urllib.request

        import decimal
        import http.client
        import importlib.metadata
        import json
        import logging
        import traceback

        import lambent_log

        for name in _USUAL:
            __import__(name)
        lambent_log.prepare(logging)
        lambent_platform.add_builtins()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    _rehearse(_REHEARSALS)


# How often to go over the way ahead: the interpreter adapts code to what it does
# after some runs of it, and writes to it until then.
_REHEARSALS = 12

# As the Runtime API answers.
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Lambda-Runtime-Aws-Request-Id: 00000000-0000-4000-8000-000000000000\r\n"
    b"Lambda-Runtime-Deadline-Ms: 1700000000000\r\n\r\n{}"
)


# As the Python of a small function.
_SOURCE = b"""import json
import os


def handler(event, context):
    return json.loads(json.dumps({"a": event.get("a", [1]), "b": os.environ.get("A")}))
"""


class _Nobody(lambent_runtime._Client):
    """A Runtime API that has one answer, and to which nothing is sent."""

    def _connect(self):
        self._sock = self._open()
        self._close()

    def _roundtrip(self, head, body):
        return self._read(_ANSWER)

    def post(self, path, body, headers=()):
        pass


def _rehearse(times):
    """Goes over what a start does, without doing anything: what comes after has then
    less to make and to write. Nothing of it is left."""
    import importlib.machinery

    class Loader(importlib.machinery.SourceFileLoader):
        def path_stats(self, path):
            raise OSError(path)  # no byte code is looked for, or left

        def get_data(self, path):
            return _SOURCE

    task = lambent_platform.own_places({})[0]
    try:
        sys.path_importer_cache[task] = sys.path_hooks[-1](task)
    except (ImportError, IndexError):
        pass  # there is no such folder here
    fake = {"LAMBENT_REHEARSAL_%d" % n: "*" * 40 for n in range(24)}
    for _ in range(times):
        env = dict(os.environ)
        env.update(fake)
        _sensitive(env)
        _shadowed(lambent_platform.own_places(env))
        _replace(lambent_runtime.loads(lambent_runtime.dumps(env)))
        for name in fake:
            env.pop(name)
        _replace(env)
        time.tzset()
        lambent_platform.Ear()
        client = _Nobody("127.0.0.1:9001")
        client._connect()
        module = {"__name__": "rehearsal"}
        _cannot_import("_lambent_nothing")
        exec(Loader(module["__name__"], task + "/rehearsal.py").get_code(module["__name__"]), module)
        lambent_runtime.dumps(lambent_platform.brought(len(sys.modules) - 4))
        headers, body = client.next()
        lambent_runtime._handle(client, module["handler"], headers, body)
        _import_again("lambent_mobile")
    # Code and layers will be there: nothing may be remembered of how it looks now.
    for place in lambent_platform.own_places(os.environ):
        finder = sys.path_importer_cache.pop(place, None)
        if finder is not None:
            finder.invalidate_caches()
            sys.path_importer_cache[place] = finder


def _cannot_import(name):
    import importlib

    try:
        importlib.import_module(name)
    except ImportError:
        pass  # it is looked for everywhere


def _import_again(name):
    import importlib

    sys.modules.pop(name, None)
    importlib.import_module(name)
    sys.modules.pop(name)


class Start:
    """What the process was started with."""

    def __init__(self):
        # By PEP 538 the interpreter sets LC_CTYPE for itself and its children where
        # the system lacks the locale that LANG names.
        self.coerced = os.environ.get("LC_CTYPE")
        self.sensitive = _sensitive(os.environ)


def _sensitive(env):
    return {name: env[name] for name in env if name.startswith(_AT_START)}


def become(control):
    """Returns when this process has its function's environment: in a zygote, when it
    is a fork of one."""
    start, hurry = Start(), False
    forks = _is_zygote(control)
    load()
    if forks:
        import lambent_zygote

        hurry = lambent_zygote.serve(control)
    _get_ready(hurry)
    _specialise(control, start, _wait(control))


def _is_zygote(control):
    """A zygote's socket keeps the bounds of messages, a blank's does not."""
    import _socket

    sock = _socket.socket(fileno=control)
    try:
        return sock.type == _socket.SOCK_SEQPACKET
    finally:
        sock.detach()


def _get_ready(hurry):
    """Does what needs no function. While nobody waits the process goes over the way
    ahead as well: in a fork, the pages that are written to on it become its own."""
    if not hurry:
        lambent_platform.arrange(os.environ)
        lambent_platform.arrange_logging()
        _rehearse(1)
    _renew()
    for name in ("lambent_mobile", "lambent_zygote", "lambent_blank"):
        sys.modules.pop(name, None)
    # Nothing of this is the function's garbage. What has been made since the collector
    # was stopped counts for it: it would look at all of it as soon as it goes on.
    gc.freeze()


def _wait(control):
    """Tells that the blank is up and waits for its function's environment."""
    try:
        os.write(control, b"B")
        size = int.from_bytes(_exactly(control, 4), "big")
        if size > _LIMIT:
            os._exit(1)
        env = lambent_runtime.loads(_exactly(control, size).decode("utf-8"))["env"]
    except (OSError, ValueError, KeyError, TypeError):
        os._exit(1)
    env.pop("LAMBENT_CONTROL", None)
    env.pop("LAMBENT_BLANK", None)
    return env


def _exactly(fd, size):
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            os._exit(0)  # nobody needs this blank
        data += more
    return data


def _specialise(control, start, env):
    if start.coerced is not None and "LC_CTYPE" not in env:
        env["LC_CTYPE"] = start.coerced
    if (
        _sensitive(env) != start.sensitive
        or any(env.get(n) != v for n, v in reads().items())
        or _shadowed(lambent_platform.own_places(env))
    ):
        _start_over(control, start, env)
    _replace(env)
    time.tzset()
    os.chdir(env.get("LAMBDA_TASK_ROOT", "/var/task"))
    _begin_now()
    gc.enable()


def _replace(env):
    """Makes env the environment."""
    have = dict(os.environ)
    for name in have:
        if name not in env:
            del os.environ[name]
    for name, value in env.items():
        if have.get(name) != value:
            os.environ[name] = value


def _shadowed(places):
    """Tells whether the function has a file or folder in place of a usual module."""
    for place in places:
        try:
            names = os.listdir(place)
        except OSError:
            continue  # it has none
        for name in names:
            if name in _USUAL or name.endswith(".py") and name[:-3] in _USUAL:
                return True
    return False


def _start_over(control, start, env):
    """Starts the interpreter anew, for a function that this process cannot serve."""
    if env.get("LC_CTYPE") == start.coerced:
        env.pop("LC_CTYPE", None)
    env["LAMBENT_CONTROL"] = str(control)
    os.set_inheritable(control, True)
    os.execve(sys.executable, [sys.executable, "-S", sys.argv[0]], env)


def _renew():
    """Makes anew what modules have settled for one process. What draws from the kernel
    each time is fresh anyway (os.urandom, secrets, uuid4), OpenSSL notices that its
    process is another one, and so does random, which every fork seeds; what is drawn
    once is not."""
    loaded = sys.modules.get
    numpy = loaded("numpy.random")
    if numpy is not None:
        numpy.seed()
    process, threading = loaded("multiprocessing.process"), loaded("threading")
    if process is not None:
        process.current_process().authkey = os.urandom(32)
    if threading is not None and hasattr(threading.main_thread(), "_set_native_id"):
        threading.main_thread()._set_native_id()


def _begin_now():
    """Sets the time that logging's relativeCreated counts from."""
    logging = sys.modules.get("logging")
    if logging is not None:
        begun = logging._startTime
        logging._startTime = time.time_ns() if isinstance(begun, int) else time.time()
