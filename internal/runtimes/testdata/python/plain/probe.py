"""Looks at the process that it runs in: what a fork must not share, and what must
work in one."""
import os
import random
import sys
import time

AT_IMPORT = {"environ": dict(os.environ), "modules": sorted(sys.modules), "path": list(sys.path)}


def fresh(event):
    import logging
    import multiprocessing
    import ssl
    import tempfile
    import threading
    import uuid

    started = logging._startTime
    return {
        "random": random.random(),
        "seeded": random.Random().random(),
        "uuid4": str(uuid.uuid4()),
        "urandom": os.urandom(16).hex(),
        "ssl": ssl.RAND_bytes(16).hex(),
        "authkey": bytes(multiprocessing.current_process().authkey).hex(),
        "tempname": next(tempfile._get_candidate_names()),
        "pid": os.getpid(),
        "native_id": threading.main_thread().native_id == threading.get_native_id(),
        "main_thread": threading.current_thread() is threading.main_thread() and threading.active_count() == 1,
        "age": time.time() - (started / 1e9 if isinstance(started, int) else started),
        "now": time.time(),
    }


def env(event):
    import posix
    import subprocess

    child = subprocess.run(["/usr/bin/env", "-0"], stdout=subprocess.PIPE, check=True).stdout
    return {
        "os": dict(os.environ),
        "at_import": AT_IMPORT["environ"],
        "posix": {os.fsdecode(n): os.fsdecode(v) for n, v in posix.environ.items()},
        "child": dict(line.split("=", 1) for line in child.decode().split("\0") if line),
    }


def state(event):
    """What must be the same whether the process is a blank or not."""
    import gc
    import locale
    import signal

    handlers = {
        str(int(s)): str(signal.getsignal(s)) for s in signal.Signals if int(s) not in (9, 19)
    }
    return {
        "cwd": os.getcwd(),
        "path": AT_IMPORT["path"],
        "argv": sys.argv,
        "executable": sys.executable,
        "flags": list(sys.flags),
        "stdout": [type(sys.stdout).__name__, sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering,
                   sys.stdout.seekable(), sys.stdout.name, sys.stdout.fileno()],
        "stdin": sys.stdin.read(),
        "fs_encoding": [sys.getfilesystemencoding(), locale.getpreferredencoding(False)],
        "signals": handlers,
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "tz": [time.tzname, time.timezone, time.strftime("%Z", time.localtime(0))],
        "recursion": sys.getrecursionlimit(),
        "meta_path": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
        "main": sys.modules["__main__"].__file__,
        "cmdline": open("/proc/self/cmdline").read().split("\0"),
        "comm": open("/proc/self/comm").read(),
        "umask": os.umask(0o022),
        "stack": [f.f_code.co_name for f in _frames()],
        "ours": [m for m in AT_IMPORT["modules"] if m.startswith(("lambent_blank", "lambent_zygote"))],
        "fds": _fds(),
    }


def _frames():
    f = sys._getframe(1)
    while f:
        yield f
        f = f.f_back


def _fds():
    """What each descriptor is, but for the one that lists them."""
    found = {}
    for fd in range(10):  # the test itself may have been given more
        try:
            found[fd] = os.readlink("/proc/self/fd/%d" % fd).split(":")[0]
        except OSError:
            continue
    return found


def works(event):
    """Uses what a fork could have broken."""
    import asyncio
    import concurrent.futures
    import ctypes
    import multiprocessing
    import signal
    import sqlite3
    import ssl
    import subprocess
    import threading

    out = {}
    lock, seen = threading.Lock(), []

    def work(n):
        with lock:
            seen.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    out["threads"] = sorted(seen)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        out["pool"] = list(pool.map(abs, range(-3, 0)))

    async def both():
        process = await asyncio.create_subprocess_exec("/bin/echo", "hi", stdout=subprocess.PIPE)
        text, _ = await process.communicate()
        return [await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0.01, 2)), text.decode().strip()]

    out["asyncio"] = asyncio.run(both())
    out["subprocess"] = subprocess.run(["/bin/echo", "hi"], stdout=subprocess.PIPE).stdout.decode().strip()
    caught = []
    before = signal.signal(signal.SIGALRM, lambda n, f: caught.append(n))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    deadline = time.monotonic() + 5
    while not caught and time.monotonic() < deadline:
        time.sleep(0.001)
    signal.signal(signal.SIGALRM, before)
    out["signal"] = caught
    receive, send = multiprocessing.get_context("fork").Pipe(False)
    child = multiprocessing.get_context("fork").Process(target=send.send, args=({"from": "child"},))
    child.start()
    out["multiprocessing"] = [receive.recv(), child.join(), child.exitcode]
    drawn = random.getstate()
    pid = os.fork()
    if pid == 0:  # which the modules' hooks have seen
        os._exit(7 if random.getstate() != drawn else 8)
    out["fork"] = os.waitpid(pid, 0)[1] >> 8
    base = sqlite3.connect(":memory:")
    out["sqlite3"] = base.execute("select 6*7").fetchone()[0]
    out["ssl"] = ssl.create_default_context().check_hostname
    out["ctypes"] = ctypes.CDLL(None).abs(-5)
    return out


def run(event):
    import subprocess

    return subprocess.run(event["command"], stdout=subprocess.PIPE, check=True).stdout.decode()


def handler(event, context):
    return globals()[event["do"]](event)
