"""What an attempt came to, in a word."""

import ctypes
import errno
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
#: Where a function may write, and where its own code is. (Both have AWS's names unless it has no root of its own.)
TMP = os.environ.get("TMPDIR", "/tmp")
TASK = os.environ["LAMBDA_TASK_ROOT"]


def outcome(call, *arguments):
    """The name of the error with which a call failed, or what it returned."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except Exception as error:
        return type(error).__name__


def read(path, bytes=64):
    with open(path, "rb") as file:
        return file.read(bytes).decode("latin-1")


def syscall(number, *arguments):
    value = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(it) if isinstance(it, int) else it for it in arguments])
    return "done" if value >= 0 else errno.errorcode[ctypes.get_errno()]


def in_child(act):
    """Runs it in a process of its own; that one's exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(act() or 0)
        except BaseException:
            os._exit(100)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
