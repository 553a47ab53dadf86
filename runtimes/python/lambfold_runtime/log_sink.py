"""Where log records go: standard output, or framed to the descriptor that the platform names."""

import os
import sys
from time import time_ns

_FRAME_BASE = {False: 0xA55A0003, True: 0xA55A0002}  # keyed by: JSON?
# Level bits of a frame by tens of Python's levels: unset, DEBUG, INFO, WARNING, ERROR, CRITICAL.
_FRAME_LEVELS = (0x00, 0x08, 0x0C, 0x10, 0x14, 0x18)
ERROR_LEVEL = 40


class LogSink:
    """Writes whole records, so that lines of several threads do not mix."""

    def __init__(self, log_fd):
        self._framed = log_fd is not None
        self._fd = int(log_fd) if self._framed else 1

    def write(self, text, level=0, is_json=False):
        """Writes one record as it is. `level` is Python's; it matters to framed output only."""
        message = text.encode("utf-8", "backslashreplace")
        if self._framed:
            kind = _FRAME_BASE[is_json] | _FRAME_LEVELS[min(50, max(0, level)) // 10]
            microseconds = time_ns() // 1000
            message = kind.to_bytes(4, "big") + len(message).to_bytes(4, "big") + microseconds.to_bytes(8, "big") + message
        _flush_standard_output()
        _write_all(self._fd, message)

    def write_error_lines(self, lines):
        """Writes one record of several lines: outside frames, `\\r` keeps them together."""
        text = "\n".join(lines) if self._framed else "\r".join(lines) + "\n"
        self.write(text, ERROR_LEVEL)


def _flush_standard_output():
    try:
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):
        pass  # replaced or closed by user code: nothing of it can be pending


def _write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]
