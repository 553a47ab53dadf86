"""What the platform tells the runtime through environment variables, read once."""

_EXECUTION_ENV_PREFIX = "AWS_Lambda_"


class Settings:
    """The runtime's own view of its environment; user code keeps reading `os.environ`."""

    def __init__(self, environ, runtime_directory):
        self.api_address = environ["AWS_LAMBDA_RUNTIME_API"]
        self.handler = environ.get("_HANDLER", "")
        self.task_root = environ.get("LAMBDA_TASK_ROOT", "/var/task")
        self.runtime_directory = runtime_directory
        # Only there where sandboxes have no root of their own, in which layers are at /opt.
        self.layers_directory = environ.pop("_LAMBFOLD_LAYERS_DIR", "/opt")
        self.declared_python = _declared_python(environ.get("AWS_EXECUTION_ENV"))
        self.snap_start = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        self.json_logs = (environ.get("AWS_LAMBDA_LOG_FORMAT") or "").upper() == "JSON"
        self.log_level = _python_level(environ.get("AWS_LAMBDA_LOG_LEVEL"))
        # Taken away so that children of the function do not write frames to an fd they do not have.
        self.log_fd = environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
        self.debug_port = int(environ.get("LAMBFOLD_DEBUG_PORT") or 0)  # 0: no debugger
        self.debug_wait = environ.get("LAMBFOLD_DEBUG_WAIT") == "1"
        self.ascii_json = not _is_python_312_or_later(self.declared_python)


def _python_level(level):
    """AWS's level name as `logging` knows it; empty when unset."""
    level = (level or "").upper()
    return "DEBUG" if level == "TRACE" else level


def _declared_python(execution_env):
    """`python3.12` as the function declares it; None outside a managed runtime."""
    declared = (execution_env or "")[len(_EXECUTION_ENV_PREFIX) :]
    return declared if declared.startswith("python3.") and declared[8:].isdigit() else None


def _is_python_312_or_later(declared):
    """AWS sends non-ASCII characters unescaped from Python 3.12 on."""
    return declared is not None and int(declared[8:]) >= 12
