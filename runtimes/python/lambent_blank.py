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
_USUAL_SIZE = 8 << 10

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


class _put_off:
    """Within it, what modules want to have done at each fork is only kept, for
    _register(): a fork of a zygote has no thread but one, and no lock is held in it, so
    that it would write to a quarter of a megabyte for nothing."""

    hooks = []

    def __enter__(self):
        self._real = os.register_at_fork
        os.register_at_fork = lambda **hooks: _put_off.hooks.append(hooks)

    def __exit__(self, *_):
        os.register_at_fork = self._real


def _register():
    """Has it done at the forks that the function makes."""
    for hooks in _put_off.hooks:
        os.register_at_fork(**hooks)


def load():
    """Loads what AWS's runtime has loaded before the function, what functions usually
    import, and what our own needs only later."""
    with watched(), _put_off():
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
    b"Lambda-Runtime-Invocation-Id: 00000000-0000-4000-8000-000000000000\r\n"
    b"Lambda-Runtime-Deadline-Ms: 1700000000000\r\n"
    b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:name\r\n"
    b"Lambda-Runtime-Trace-Id: Root=1-00000000-000000000000000000000000;Sampled=0\r\n\r\n{}"
)
_TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


# As the Python of a small function.
_SOURCE = b"""import datetime
import http.client
import json
import logging
import os
import re
import time


def handler(event, context):
    time.sleep(event.get("a", 0))
    return json.loads(json.dumps({"a": event.get("a", [1]), "b": os.environ.get("A")}))
"""


class _Nobody(lambent_runtime._Client):
    """A client of a Runtime API that is in this process."""

    def _roundtrip(self, head, body):
        self.peer.send(_TAKEN if head.startswith(b"POST") else _ANSWER)
        answer = super()._roundtrip(head, body)
        self.peer.recv(_USUAL_SIZE)
        return answer


class _Pretender:
    """Finds one module where there is none, once the real one has looked for it."""

    def __init__(self, real, folder):
        import importlib.machinery
        import importlib.util

        class Loader(importlib.machinery.SourceFileLoader):
            def path_stats(self, path):
                return super().path_stats(lambent_platform.__file__)

            def get_data(self, path):
                if not path.endswith(".py"):
                    raise OSError(path)  # there is no byte code
                super().get_data(lambent_platform.__file__)
                return _SOURCE

        self._real, self._folder, self._loader = real, folder, Loader
        self._spec = importlib.util.spec_from_file_location

    def find_spec(self, name, target=None):
        if self._real is not None:
            self._real.find_spec(name)
        if name != _REHEARSED:
            return None
        path = "%s/%s.py" % (self._folder, name)
        return self._spec(name, path, loader=self._loader(name, path))


_REHEARSED = "_lambent_rehearsal"

# What a blank does not have. The C library keeps what it was given in a tree, whose
# pages are the process's own once there was something at these places.
_USUAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID AWS_DEFAULT_REGION AWS_EXECUTION_ENV AWS_LAMBDA_FUNCTION_MEMORY_SIZE "
    "AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_INITIALIZATION_TYPE "
    "AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME AWS_LAMBDA_RUNTIME_API AWS_REGION "
    "AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN _AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_PORT _HANDLER"
).split()


def _rehearse(times, filler="*"):
    """Goes over what a start does, without doing anything: what comes after has then
    less to make and to write. Nothing of it is left."""
    import _socket

    import lambent_code

    task = lambent_platform.own_places({})[0]
    try:
        real = sys.path_hooks[-1](task)
    except (ImportError, IndexError):
        real = None  # there is no such folder here
    sys.path_importer_cache[task] = _Pretender(real, task)
    sys.path.insert(0, task)
    start = Start()
    fake = {name: filler * 40 for name in _USUAL_VARIABLES if name not in start.env}
    where = "%s/%s.py" % (task, _REHEARSED)
    code = lambent_code.pack(where, where + "c", compile(_SOURCE, where, "exec", dont_inherit=True))
    for _ in range(times):
        near, far = _socket.socketpair()
        text = lambent_runtime.dumps({"gone": [], "env": fake, "serves": True, "code": len(code)}).encode("ascii")
        near.send(len(text).to_bytes(4, "big") + text + code)
        message = _message(far.fileno())
        _must_start_over(start, message)
        _change(start, message)
        _begin_now()
        client = _Nobody("127.0.0.1:9001")
        client.peer = near
        ear = lambent_platform.Ear(far.fileno())
        ear.told = message
        ear.begin(_REHEARSED + ".handler")
        before = len(sys.modules)
        _cannot_import("_lambent_nothing")
        handler = lambent_runtime._load(_REHEARSED + ".handler")
        sys.modules.pop(_REHEARSED)
        handler = lambent_runtime._load(_REHEARSED + ".handler", code)
        sys.modules.pop(_REHEARSED)
        lambent_runtime.dumps(lambent_platform.brought(before - 4))
        ear.end(lambent_runtime.dumps)
        client.over(far.detach())
        near.recv(_USUAL_SIZE)
        headers, body = client.next()
        lambent_runtime._handle(client, handler, headers, body)
        _import_again("lambent_mobile")
        for name in fake:
            del os.environ[name]
        client._close()
        near.close()
    os.environ.pop("_X_AMZN_TRACE_ID", None)
    sys.path.pop(0)
    sys.path_importer_cache.pop(task)
    # Code and layers will be there: nothing may be remembered of how it looks now.
    for place in lambent_platform.own_places(os.environ):
        finder = real if place == task else sys.path_importer_cache.pop(place, None)
        if finder is not None:
            finder.invalidate_caches()
            sys.path_importer_cache[place] = finder


def _touch():
    """Writes to where the interpreter will put the next small object of each size."""
    for size in range(_SMALL, 0, -_SIZES):
        bytes(size)


# Bytes, of the objects that it has pools for, and between two kinds of them
# (Objects/obmalloc.c), both less what a bytes object has in front.
_SMALL, _SIZES = 512 - sys.getsizeof(b""), 16


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
        self.env = dict(os.environ)
        # By PEP 538 the interpreter sets LC_CTYPE for itself and its children where
        # the system lacks the locale that LANG names.
        self.coerced = self.env.get("LC_CTYPE")


def become(control, address):
    """Returns when this process has its function's environment: in a zygote, when it
    is a fork of one. The results are the driver's ear and a client of the Runtime API,
    which is probably at address."""
    start, hurry = Start(), False
    forks = _is_zygote(control)
    load()
    if forks:
        import lambent_zygote

        hurry = lambent_zygote.serve(control)
    client = _get_ready(hurry, address)
    ear = lambent_platform.Ear(control)
    ear.told = message = _wait(control)
    _specialise(control, start, message)
    _hidden.append(start)  # to free it would write to all of it
    if message["env"]["AWS_LAMBDA_RUNTIME_API"] != address:
        client = lambent_runtime._Client(message["env"]["AWS_LAMBDA_RUNTIME_API"])
    return ear, client


def _is_zygote(control):
    """A zygote's socket keeps the bounds of messages, a blank's does not."""
    import _socket

    sock = _socket.socket(fileno=control)
    try:
        return sock.type == _socket.SOCK_SEQPACKET
    finally:
        sock.detach()


_hidden = []


def _get_ready(hurry, address):
    """Does what needs no function. While nobody waits the process goes over the way
    ahead as well: in a fork, the pages that are written to on it become its own."""
    lambent_runtime.prepare()
    if not hurry:
        _rehearse(1, "+")
        _touch()
    client = lambent_runtime._Client(address) if ":" in address else None
    _register()
    _renew()
    # Out of sight, and not freed: that would write to all of them.
    for name in ("lambent_mobile", "lambent_zygote", "lambent_blank"):
        _hidden.append(sys.modules.pop(name, None))
    # Nothing of this is the function's garbage. What has been made since the collector
    # was stopped counts for it: it would look at all of it as soon as it goes on.
    gc.freeze()
    gc.enable()
    return client


def _wait(control):
    """Tells that the blank is up and waits for what the driver says of its function."""
    try:
        os.write(control, b"B")
        return _message(control)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        os._exit(1)


def _message(control):
    data = _read(control, _USUAL_SIZE)
    while len(data) < 4:
        data += _read(control, _USUAL_SIZE)
    size = int.from_bytes(data[:4], "big")
    if size > _LIMIT:
        os._exit(1)
    while len(data) < size + 4:
        data += _read(control, size + 4 - len(data))
    message = lambent_runtime.loads(data[4 : size + 4].decode("utf-8"))
    code = message.get("code")
    if code is not None:
        if code > _LIMIT:
            os._exit(1)
        while len(data) < size + 4 + code:
            data += _read(control, size + 4 + code - len(data))
        message["code"] = data[size + 4 :]
    for name in ("LAMBENT_CONTROL", "LAMBENT_BLANK"):
        message["env"].pop(name, None)
    return message


def _read(fd, most):
    data = os.read(fd, most)
    if not data:
        os._exit(0)  # nobody needs this blank
    return data


def _specialise(control, start, message):
    env = message["env"]
    if "gone" not in message:  # what there is is the whole environment
        message["gone"] = [n for n in start.env if n not in env and n != "LC_CTYPE"]
    if _must_start_over(start, message):
        _start_over(control, start, message)
    if _change(start, message):
        time.tzset()
    os.chdir(os.environ.get("LAMBDA_TASK_ROOT", "/var/task"))
    _begin_now()
    if env.get("AWS_LAMBDA_LOG_FORMAT"):
        lambent_platform.arrange_logging()


def _must_start_over(start, message):
    """Tells whether this process cannot serve the function."""
    env, gone, had = message["env"], message["gone"], start.env
    for name in env:
        if name.startswith(_AT_START) and had.get(name) != env[name]:
            return True
    for name in gone:
        if name.startswith(_AT_START):
            return True
    for name, value in reads().items():
        if env.get(name, None if name in gone else had.get(name)) != value:
            return True
    return not message.get("fits") and _shadowed(lambent_platform.own_places(env))


def _change(start, message):
    """Makes the environment the function's; tells whether the time zone is another."""
    env, had = message["env"], start.env
    put, now = os.putenv, os.environ._data
    for name in message["gone"]:
        del os.environ[name]
    for name in env:
        value = env[name]
        if had.get(name) != value:
            key, text = name.encode(), value.encode()
            put(key, text)
            now[key] = text
    return "TZ" in message["gone"] or "TZ" in env and env["TZ"] != had.get("TZ")


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


def _start_over(control, start, message):
    """Starts the interpreter anew, for a function that this process cannot serve."""
    env = {n: v for n, v in start.env.items() if n not in message["gone"]}
    env.update(message["env"])
    if env.get("LC_CTYPE") == start.coerced:
        env.pop("LC_CTYPE", None)
    env["LAMBENT_CONTROL"] = str(control)
    os.set_inheritable(control, True)
    os.execve(sys.executable, [sys.executable, "-S", sys.argv[0]], env)


def _renew():
    """Makes anew what modules have settled for one process. What draws from the kernel
    each time is fresh anyway (os.urandom, secrets, uuid4), and OpenSSL notices that its
    process is another one; what is drawn once is not."""
    loaded = sys.modules.get
    random = loaded("random")
    if random is not None:
        random.seed()
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
