"""The function's debugger, where its variables ask for one: debugpy, which is the function's to bring. Imported only then."""

import os
import sys

from lambfold_runtime import interpreter
from lambfold_runtime.fault import DEBUGGER, Fault

# Without it debugpy warns, in the function's log, of breakpoints in the standard library that may be missed.
_NO_WARNING = "PYDEVD_DISABLE_FILE_VALIDATION"


def start(settings):
    """Has debugpy listen, and with `debug_wait` returns only when a debugger has attached and set its breakpoints."""
    quiet = _NO_WARNING not in os.environ
    if quiet:
        os.environ[_NO_WARNING] = "1"
    try:
        _listen(settings)
    finally:
        if quiet:
            del os.environ[_NO_WARNING]


def _listen(settings):
    debugpy = _import_debugpy()
    try:
        debugpy.listen(("127.0.0.1", settings.debug_port))
    except (OSError, RuntimeError) as error:
        message = "LAMBFOLD_DEBUG_PORT: debugpy cannot listen at port %d: %s" % (settings.debug_port, error)
        raise Fault(DEBUGGER, message) from None
    if settings.debug_wait:
        debugpy.wait_for_client()


def _import_debugpy():
    """The function's own or its layers', or else that of the interpreter, whose other packages the function does not get."""
    lent = [directory for directory in interpreter.directories_with("debugpy") if directory not in sys.path]
    sys.path.extend(lent)
    try:
        import debugpy

        return debugpy
    except ImportError as error:
        message = (
            "LAMBFOLD_DEBUG_PORT needs debugpy, which cannot be imported: %s. Add it to the function's package "
            "(pip install --target <its directory> debugpy) or to a layer." % error
        )
        raise Fault(DEBUGGER, message) from None
    finally:
        for directory in lent:
            sys.path.remove(directory)
