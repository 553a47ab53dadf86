"""What the platform tells the runtime through environment variables, read once."""

_EXECUTION_ENV_PREFIX = "AWS_Lambda_python3."


class Settings:
    """The runtime's own view of its environment; user code keeps reading `os.environ`."""

    def __init__(self, environ, runtime_directory):
        self.api_address = environ["AWS_LAMBDA_RUNTIME_API"]
        self.handler = environ.get("_HANDLER", "")
        self.task_root = environ.get("LAMBDA_TASK_ROOT", "/var/task")
        self.runtime_directory = runtime_directory
        self.json_logs = (environ.get("AWS_LAMBDA_LOG_FORMAT") or "").upper() == "JSON"
        self.log_level = _python_level(environ.get("AWS_LAMBDA_LOG_LEVEL"))
        # Taken away so that children of the function do not write frames to an fd they do not have.
        self.log_fd = environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
        self.ascii_json = not _is_python_312_or_later(environ.get("AWS_EXECUTION_ENV"))


def _python_level(level):
    """AWS's level name as `logging` knows it; empty when unset."""
    level = (level or "").upper()
    return "DEBUG" if level == "TRACE" else level


def _is_python_312_or_later(execution_env):
    """AWS sends non-ASCII characters unescaped from Python 3.12 on, judged by the function's declared runtime."""
    if not execution_env or not execution_env.startswith(_EXECUTION_ENV_PREFIX):
        return False
    minor = execution_env[len(_EXECUTION_ENV_PREFIX) :]
    return minor.isdigit() and int(minor) >= 12
