"""Hooks of SnapStart functions, as AWS's runtime offers them: `register_before_snapshot`, `register_after_restore`.

Each takes a callable with its arguments and returns the callable, so that it can stand as a decorator.
"""

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Has `func` called when init is over."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Has `func` called before the first invocation of an environment."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """What is registered, in that order, as (callable, arguments, keyword arguments)."""
    return _before_snapshot


def get_after_restore():
    """What is registered, in that order, as (callable, arguments, keyword arguments)."""
    return _after_restore
