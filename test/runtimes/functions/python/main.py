"""A function that does what its event says: {"do": "echo", ...}.

The other languages beside this folder have the same verbs, so that one table of
tests serves all of them.
"""
import os
import sys
import time

COUNT = 0
KEPT = []


class Custom(Exception):
    pass


def echo(event, context):
    return event.get("value")


def error(event, context):
    raise Custom(event.get("message", "went wrong"))


def exit_(event, context):
    sys.exit(event.get("code", 1))


def crash(event, context):
    os.abort()


def sleep(event, context):
    count(event, context)
    time.sleep(event.get("seconds", 3600))
    return "woke"


def spin(event, context):
    while True:
        pass


def oom(event, context):
    while True:
        KEPT.append(b"x" * (8 << 20))


def big(event, context):
    return "x" * event.get("bytes", 6 << 20)


def size(event, context):
    return len(event.get("value", ""))


def count(event, context):
    global COUNT
    COUNT += 1
    return {"count": COUNT, "pid": os.getpid()}


def context_(event, context):
    client = context.client_context
    return {
        "aws_request_id": context.aws_request_id,
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "remaining": context.get_remaining_time_in_millis(),
        "client_context": client
        and {"custom": client.custom, "env": client.env, "title": client.client and client.client.app_title},
        "identity": context.identity and context.identity.cognito_identity_id,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "w3c": context.w3c(),
    }


def env(event, context):
    return dict(os.environ)


def where(event, context):
    import pwd

    return {
        "cwd": os.getcwd(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "hostname": os.uname().nodename,
        "task": sorted(os.listdir(".")),
        "path": sys.path,
        "version": "%d.%d.%d" % sys.version_info[:3],
    }


def files(event, context):
    """Lists a folder, or reads, writes or removes a file."""
    path = event["path"]
    if "write" in event:
        with open(path, "w") as f:
            f.write(event["write"])
        return len(event["write"])
    if os.path.isdir(path):
        return sorted(os.listdir(path))
    with open(path, errors="replace") as f:
        return f.read(event.get("limit", 65536))


def fill_tmp(event, context):
    """Writes to /tmp until it is full, and tells how much went in."""
    wrote, block = 0, b"x" * (1 << 20)
    try:
        with open("/tmp/fill", "wb", buffering=0) as f:
            while wrote < event.get("limit", 1 << 40):
                wrote += f.write(block)
    except OSError as e:
        return {"wrote": wrote, "errno": e.errno}
    finally:
        try:
            os.unlink("/tmp/fill")
        except OSError:
            pass
    return {"wrote": wrote, "errno": 0}


def log(event, context):
    """Writes many bytes of log, in lines of 100."""
    line = "y" * 99 + "\n"
    left = event.get("bytes", 100 << 20)
    while left > 0:
        sys.stdout.write(line * 1000)
        left -= 100000
    return "logged"


def say(event, context):
    """Says one thing in every way there is."""
    import logging

    text = event.get("value", "hello")
    print("print " + text)
    print("stderr " + text, file=sys.stderr)
    logging.getLogger().warning("warning %s", text)
    logging.getLogger("named").error("error %s", text)
    logging.getLogger().setLevel("INFO")
    logging.info("info %s", text, extra={"colour": "green"})
    logging.debug("debug %s", text)
    return "said"


def say_object(event, context):
    import logging

    logging.getLogger().error({"said": event["value"]})
    return "said"


def fork(event, context):
    """Forks until it may not; the children sleep."""
    children, errno = 0, 0
    while children < event.get("limit", 100000):
        try:
            pid = os.fork()
        except OSError as e:
            errno = e.errno
            break
        if pid == 0:
            time.sleep(event.get("seconds", 3600))
            os._exit(0)
        children += 1
    return {"children": children, "errno": errno}


def open_files(event, context):
    opened, errno = [], 0
    try:
        while len(opened) < event.get("limit", 100000):
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as e:
        errno = e.errno
    for fd in opened:
        os.close(fd)
    return {"opened": len(opened), "errno": errno}


def leak_files(event, context):
    """Fails because it has no file left, and keeps all it has."""
    while True:
        KEPT.append(os.open("/dev/null", os.O_RDONLY))


def close_sockets(event, context):
    os.closerange(3, 1024)
    return "closed"


def unserialisable(event, context):
    return {1, 2}


def layer(event, context):
    """Uses a module that only a layer brings."""
    import importlib

    return importlib.import_module(event.get("module", "from_layer")).VALUE


def background(event, context):
    """Leaves a thread and a child behind."""
    import subprocess
    import threading

    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return subprocess.Popen(["sleep", "3600"]).pid


def run(event, context):
    """Runs a command and returns what it prints."""
    import subprocess

    return subprocess.run(event["command"], capture_output=True, text=True, check=True).stdout


def probe(event, context):
    import probes

    return probes.run(event)


VERBS = {
    "exit": exit_,
    "context": context_,
}


def handler(event, context):
    if not isinstance(event, dict) or "do" not in event:
        return event
    verb = event["do"]
    return VERBS.get(verb, globals().get(verb))(event, context)
