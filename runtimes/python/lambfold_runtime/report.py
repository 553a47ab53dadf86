"""Error documents: what the invoker gets, what X-Ray gets, what the log shows. Imported when something failed."""

import os
import traceback

from lambfold_runtime.fault import Fault

_NO_BREAK_SPACE = "\u00a0"


# What AWS's runtime says before an error of init.
INIT_ERROR_WARNING = (
    "LAMBDA_WARNING: Unhandled exception. The most likely cause is an issue in the function code. However, in rare cases, a Lambda"
    " runtime update can cause unexpected function behavior. For functions using managed runtimes, runtime updates can be triggered"
    " by a function change, or can be applied automatically. To determine if the runtime has been updated, check the runtime version"
    " in the INIT_START log entry. If this error correlates with a change in the runtime version, you may be able to mitigate this"
    " error by temporarily rolling back to the previous runtime version. For more information, see"
    " https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html\r"
)


class ErrorReport:
    """One error in its three forms."""

    def __init__(self, error, request_id, runtime_directory):
        if isinstance(error, Fault):
            self.error_type, self.message, self.trace = error.error_type, error.message, error.trace or []
            self._frames, self._cause_type = [], "LambdaValidationError"
        else:
            self.error_type = self._cause_type = type(error).__name__
            self.message = _message(error)
            self._frames = _user_frames(error, runtime_directory)
            self.trace = traceback.format_list(self._frames)
        self._request_id = request_id

    def payload(self):
        """The body of the error answer."""
        return {
            "errorMessage": self.message,
            "errorType": self.error_type,
            "requestId": self._request_id,
            "stackTrace": self.trace,
        }

    def cause(self):
        """The X-Ray cause."""
        stack = [{"label": name, "path": path, "line": line} for path, line, name, _ in self._frames]
        return {
            "working_directory": os.getcwd(),
            "exceptions": [{"message": self.message, "type": self._cause_type, "stack": stack}],
            "paths": list({path for path, _, _, _ in self._frames}),
        }

    def log_lines(self):
        """The text record: one line for the error, then the trace, indented so that log viewers keep it."""
        title = "[ERROR]"
        if self.error_type:
            title += " " + self.error_type
        if self.message:
            title += (": " if self.error_type else " ") + self.message
        lines = [title, "Traceback (most recent call last):"]
        for entry in self.trace:
            lines.extend(_indent_visibly(line) for line in entry.splitlines() or [""])
        return lines


def _message(error):
    try:
        return str(error)
    except Exception:
        return "<unprintable %s object>" % type(error).__name__


def _user_frames(error, runtime_directory):
    """(path, line, function, source line) from the first frame outside the runtime."""
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
    own = runtime_directory + os.sep
    for index, frame in enumerate(frames):
        if not frame[0].startswith(own):
            return frames[index:]
    return frames


def _indent_visibly(line):
    text = line.lstrip(" ")
    return _NO_BREAK_SPACE * (len(line) - len(text)) + text
