"""A process that was started before it is known for which function: it has loaded what every function needs, and waits.

Descriptor 3 is a socket: one byte out says that the process is ready; what comes in, up to the end of file, is the
environment of the function, as `NAME=value` texts that end in a NUL each.
"""

import gc
import os
import sys

from lambfold_runtime.client import RuntimeClient

_ASSIGNMENT_FD = 3
# Used by every first invocation, or sure to be imported by it; all are among `interpreter._LOADED_BEFORE_USER_CODE` or
# the runtime's own, so that no file of a function is shadowed that would not be otherwise.
_WARM_MODULES = ("importlib", "warnings", "lambfold_runtime.handler")


def wait(environ):
    """Returns when `environ` is that of a function, with a client that is connected to its Runtime API."""
    for name in _WARM_MODULES:
        __import__(name)
    # The first call makes the types of `ast`, a millisecond that the import of the function's file would take.
    compile("", "<waiting>", "exec")
    # What user code may look at: it is to see the command of a process that did not wait.
    del sys.argv[1:]
    if hasattr(sys, "orig_argv"):  # from Python 3.10 on
        del sys.orig_argv[-1:]
    address = environ["AWS_LAMBDA_RUNTIME_API"]
    client = RuntimeClient(address)
    client.connect()
    gc.collect()
    # What is here now lives as long as the process: no collection need look at it again.
    gc.freeze()
    os.write(_ASSIGNMENT_FD, b"r")
    assignment = _read_to_end()
    os.close(_ASSIGNMENT_FD)
    time_zone = environ.get("TZ")
    environ.clear()
    for variable in assignment.split(b"\0")[:-1]:
        name, _, value = variable.partition(b"=")
        environ[os.fsdecode(name)] = os.fsdecode(value)
    if environ.get("TZ") != time_zone:
        import time

        time.tzset()
    os.chdir(environ.get("LAMBDA_TASK_ROOT", "/var/task"))
    return client if environ["AWS_LAMBDA_RUNTIME_API"] == address else None


def _read_to_end():
    pieces = []
    while True:
        piece = os.read(_ASSIGNMENT_FD, 65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
