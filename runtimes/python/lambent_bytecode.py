"""The byte code of all files of a function, made once, after it was published: code is
mounted read-only, so that none comes to lie beside it by itself.

It is one file: what marshal makes of each module, an index of them by path, and the
length of the index in eight bytes. Making it runs nothing of the function's.
"""
import marshal
import os
import sys
import time
import warnings

WHERE = "/var/cache/lambent/bytecode"

_PLACES = ("/var/task", "/opt")
# Folders that nothing is imported from when a function runs.
_LEFT_OUT = ("tests", "test", "__pycache__", "node_modules", "bin", "include")
# What takes longer or gets larger is of use as far as it goes.
_SECONDS = 60
_LARGEST = 256 << 20

_Loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
_get_code = _Loader.get_code


def make(target, places=_PLACES):
    """Compiles what there is into the file target."""
    index, at, deadline = {}, 0, time.monotonic() + _SECONDS
    with open(target, "wb") as out:
        for path in _sources(places):
            if time.monotonic() > deadline or at > _LARGEST:
                break
            code = _compile(path)
            if code is not None:
                index[path] = (at, len(code))
                at += out.write(code)
        size = out.write(marshal.dumps(index))
        out.write(size.to_bytes(8, "big"))


def _sources(places):
    for place in places:
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(f for f in folders if f not in _LEFT_OUT)
            for name in sorted(files):
                if name.endswith(".py"):
                    yield os.path.join(folder, name)


def _compile(path):
    """A module that cannot be compiled, or of which there is something to say, is left
    to whoever imports it."""
    try:
        loader = _Loader("module", path)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            code = loader.source_to_code(loader.get_data(path), path)
        return None if said else marshal.dumps(code)
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def serve(where=WHERE):
    """Has importing take modules from the file."""
    try:
        with open(where, "rb") as f:
            f.seek(-8, os.SEEK_END)
            size = int.from_bytes(f.read(8), "big")
            f.seek(-8 - size, os.SEEK_END)
            index = marshal.loads(f.read(size))
    except (OSError, ValueError, EOFError, TypeError):
        return  # it is an advantage, not a condition

    def get_code(self, fullname):
        # A loader of the function's own may compile otherwise.
        at = index.get(self.path) if type(self) is _Loader else None
        if at is not None:
            try:
                # Opened for each: functions close files that they do not know.
                with open(where, "rb", buffering=0) as f:
                    f.seek(at[0])
                    return marshal.loads(f.read(at[1]))
            except (OSError, ValueError, EOFError, TypeError):
                pass
        return _get_code(self, fullname)

    _Loader.get_code = get_code
