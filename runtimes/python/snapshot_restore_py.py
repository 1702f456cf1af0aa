"""Runtime hooks around the snapshot that AWS Lambda SnapStart takes: the names of
the module that AWS supplies ("Lambda SnapStart runtime hooks for Python").

No snapshot is taken here, so both kinds run at the end of the initialisation.
"""

_before = []
_after = []


def register_before_snapshot(func, *args, **kwargs):
    """Have func called before the snapshot; the last registered is the first called."""
    _before.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Have func called after the restore, in the order of registration."""
    _after.append((func, args, kwargs))
    return func


def get_before_snapshot():
    return _before


def get_after_restore():
    return _after


def _run_hooks():
    for func, args, kwargs in _before[::-1] + _after:
        func(*args, **kwargs)
