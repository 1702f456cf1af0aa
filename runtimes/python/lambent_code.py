"""The module of a handler, compiled by one process for those that start with the same
code after it.

What compiles runs nothing of the function's, and so does what is compiled until it is
loaded: the driver takes it only before the function's own code has its turn.
"""
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import warnings

_LARGEST = 128 << 10


def compiled(handler):
    """The handler's module for load(), or nothing: where that is not a file of source
    code alone, or says something when it is compiled."""
    name = handler.rpartition(".")[0]
    if not name.isidentifier() or name in sys.modules or name in sys.builtin_module_names:
        return b""
    try:
        spec = importlib.util.find_spec(name)
        if type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return b""
        if spec.submodule_search_locations is not None or os.path.exists(spec.cached):
            return b""
        source = spec.loader.get_data(spec.origin)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            code = spec.loader.source_to_code(source, spec.origin)
    except Exception:
        return b""  # importing it will say what is wrong
    data = pack(spec.origin, spec.cached, code)
    return data if not said and len(data) <= _LARGEST else b""


def pack(path, cached, code):
    return b"%s\0%s\0%s" % (path.encode("utf-8"), cached.encode("utf-8"), marshal.dumps(code))


def load(name, data):
    """Imports a module as if its byte code lay beside it."""
    path, cached, code = data.split(b"\0", 2)
    path, code = path.decode("utf-8"), marshal.loads(code)
    loader = importlib.machinery.SourceFileLoader(name, path)
    loader.get_code = lambda _: code
    spec = importlib.machinery.ModuleSpec(name, loader, origin=path)
    spec.has_location, spec.cached = True, cached.decode("utf-8")
    try:
        return _load(spec)
    finally:
        del loader.get_code


# What importing does once the module is found: with its lock, and with nothing left of
# one that fails.
_load = sys.modules["_frozen_importlib"]._load
