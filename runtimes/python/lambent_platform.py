"""What the process is to the platform that it runs on: where its modules come from,
and what the sandbox's driver is told of it.
"""
import os
import sys
import time

# The socket to the sandbox's driver, if there is one (README.md, "The control
# protocol").
CONTROL = 3

# The interpreter's own library, and the packages that the server's owner has
# installed beside it: nothing in there comes from a function.
_LIBRARY = os.path.dirname(os.__file__)
_PACKAGES = "/var/packages"
_HERE = os.path.dirname(os.path.abspath(__file__))

# Modules of the library that AWS's runtime has loaded before it looks at the
# function, so that no file of the function or a layer can take their place: what
# importing http.client, json, logging, traceback, decimal and importlib.metadata
# brings in. A function sees the same here, whether they are loaded already, as
# in a blank, or not. The server reads this list too.
_PINNED = frozenset(
    """
    abc array ast base64 binascii bisect bz2 calendar codecs collections configparser
    contextlib copyreg csv datetime decimal dis email encodings enum fnmatch functools
    genericpath glob grp heapq http importlib inspect io ipaddress json keyword
    linecache locale logging lzma math ntpath numbers opcode operator os pathlib
    posixpath quopri random re reprlib select selectors shutil socket sre_compile
    sre_constants sre_parse ssl stat string struct tempfile textwrap threading token
    tokenize traceback types typing urllib uu warnings weakref zipfile zipimport zlib
    """.split()
)

_OPT = "/opt/python"

# Bytes of the list of modules that a process tells about.
_TOLD = 16384


class Finder:
    """Finds the pinned modules in the interpreter's own library, and our own beside
    this one, whatever else has their names; sets logging up right after its first
    import."""

    def __init__(self, library, own):
        self._library = library
        self._own = own
        # What importlib.machinery.PathFinder is, without importing that.
        self._find = sys.modules["_frozen_importlib_external"].PathFinder.find_spec

    def find_spec(self, name, path=None, target=None):
        if name not in _PINNED:
            return self._find(name, self._own) if name.startswith("lambent_") else None
        spec = self._find(name, self._library)
        if name == "logging" and spec is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                _set_up_logging(module)

            spec.loader.exec_module = exec_module
        return spec


def _set_up_logging(module):
    import lambent_log

    lambent_log.set_up(module)


def add_builtins():
    """The interpreter runs without the site module, so that the host's packages are
    not visible; exit and quit are what code still expects of it."""
    import builtins

    if not hasattr(builtins, "exit"):
        import site

        site.setquit()
        site.setcopyright()


def own_places(env):
    """Where a function's own modules and its layers' are, the first one first."""
    layer = "%s/lib/python%d.%d/site-packages" % ((_OPT,) + sys.version_info[:2])
    return [env.get("LAMBDA_TASK_ROOT", "/var/task"), layer, _OPT]


_arranged = None


def arrange(env):
    """Puts the function's folders and layers first on the path, as AWS does, unless
    that is done."""
    global _arranged
    first = own_places(env)
    if first == _arranged:
        return
    rest = [p for p in sys.path if p not in first and p != _HERE and p != _PACKAGES]
    sys.path[:] = first + [_HERE] + rest
    add_packages()
    if _arranged is None:
        sys.meta_path.insert(0, Finder([_LIBRARY, _LIBRARY + "/lib-dynload"], [_HERE]))
    _arranged = first


def arrange_logging():
    """Sets logging up, unless it is yet to be imported."""
    if "logging" in sys.modules:
        _set_up_logging(sys.modules["logging"])


def add_packages():
    """Puts the server owner's packages where AWS has its own: behind everything."""
    if os.path.isdir(_PACKAGES):
        sys.path.append(_PACKAGES)


def brought(before):
    """Which trusted modules came in after the first ones, which the function's next
    process can have from the start."""
    names, size = [], 2
    # The newest are last. To look at the others would only make pages of theirs this
    # process's own, in a fork.
    new = max(0, len(sys.modules) - before)
    for name in [n for n, _ in zip(reversed(sys.modules), range(new))]:
        if name in _PINNED or "." in name or name.startswith("_"):
            continue
        module = sys.modules[name]
        try:
            origin = module.__dict__["__spec__"].origin
        except (AttributeError, KeyError, TypeError):
            continue  # not a module, or one that was made by hand
        if trusted(origin):
            size += len(name) + 4
            if size > _TOLD or not name.isidentifier() or not name.isascii():
                break
            names.append(name)
    return names


def trusted(origin):
    """Tells whether a module's file is the interpreter's own or the server owner's."""
    if not isinstance(origin, str):
        return False
    if origin.startswith(_LIBRARY + "/"):
        return "-packages/" not in origin  # the host's site-packages, dist-packages
    return origin.startswith(_PACKAGES + "/")


def after_restore():
    """A version with SnapStart has hooks that run before its first event. Who has
    registered one has imported the module."""
    run = getattr(sys.modules.get("snapshot_restore_py"), "_run_hooks", None)
    if run is not None:  # a function may have a module of that name
        run()


def identity(fd):
    """What tells an open file from others."""
    stat = os.fstat(fd)
    return stat.st_dev, stat.st_ino


class Ear:
    """The driver's ear, until the function's code is loaded."""

    def __init__(self, fd=CONTROL):
        os.set_inheritable(fd, False)
        self._fd, self._socket = fd, identity(fd)
        self.told = {}  # by the driver, of a blank's function

    def begin(self, handler):
        """Tells that the function's own code comes next; returns the handler's module
        if it is compiled already."""
        code = self.told.get("code") or b""
        if self.told.get("asks"):
            import lambent_code

            code = lambent_code.compiled(handler)
            self._tell(b"C" + len(code).to_bytes(4, "big") + code)
        self._before = len(sys.modules)
        self._tell(b"T" + time.monotonic_ns().to_bytes(8, "big"))
        return code

    def end(self, dumps):
        """Tells what that brought in, and hangs up; or tells that the Runtime API is at
        the other end from now on."""
        try:
            if identity(self._fd) != self._socket:
                return False  # the function has closed it and opened something else
        except OSError:
            return False
        if not self.told.get("brief"):
            names = dumps(brought(self._before)).encode("ascii")
            self._tell(b"M" + len(names).to_bytes(4, "big") + names)
        if self.told.get("serves"):
            return True
        os.close(self._fd)
        return False

    def _tell(self, message):
        try:
            os.write(self._fd, message)
        except OSError:
            pass  # the driver has given up on us, and will say so in its own way


def control():
    """The driver's ear, or None, and a client of the Runtime API, or None. A blank
    returns from here with the environment of its function, and prepared."""
    listens = os.environ.pop("LAMBENT_CONTROL", "") == str(CONTROL)
    address = os.environ.pop("LAMBENT_BLANK", "")
    # Only a process that has no function yet is without the address.
    waits = "AWS_LAMBDA_RUNTIME_API" not in os.environ
    if not listens and not waits:
        return None, None
    try:
        ear = Ear()
    except OSError:
        return None, None  # somebody else's variable
    if not waits:
        return ear, None
    import lambent_blank

    return lambent_blank.become(CONTROL, address)
