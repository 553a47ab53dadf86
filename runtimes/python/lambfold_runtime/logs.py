"""AWS's handler on the root logger, in its text or JSON format. Imported when `logging` is."""

import logging
import time

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
_TEXT_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
# Attributes every record has: the others came from `extra` and belong into the JSON.
_STANDARD_ATTRIBUTES = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs"
    " relativeCreated thread threadName processName process taskName aws_request_id tenant_id".split()
)


def install(settings, sink, current):
    """Puts the handler on the root logger. `current` is the invocation in progress (request id, tenant id)."""
    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler(sink, settings.json_logs)
    handler.setFormatter(JsonFormatter() if settings.json_logs else logging.Formatter(_TEXT_FORMAT, _TIME_FORMAT))
    handler.addFilter(LambdaLoggerFilter(current))
    root = logging.getLogger()
    root.addHandler(handler)
    if settings.log_level in logging._nameToLevel:
        root.setLevel(settings.log_level)


class LambdaLoggerHandler(logging.Handler):
    """Sends records to the function's log."""

    def __init__(self, log_sink, is_json):
        super().__init__()
        self.log_sink = log_sink
        self._is_json = is_json

    def emit(self, record):
        """Formats and writes. As on AWS, an error here reaches the function: a call whose arguments do not fit its text fails."""
        self.log_sink.write(self.format(record), record.levelno, self._is_json)


class LambdaLoggerFilter(logging.Filter):
    """Lets everything pass and notes to which invocation it belongs."""

    def __init__(self, current):
        super().__init__()
        self._current = current

    def filter(self, record):
        """Adds the fields that the formats use."""
        record.aws_request_id = self._current.request_id or ""
        record.tenant_id = self._current.tenant_id
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a record; absent values are left out, attributes from `extra` are added."""

    def __init__(self):
        super().__init__(datefmt=_TIME_FORMAT + "Z")

    def format(self, record):
        """The record as a line of JSON."""
        import json

        fields = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
            **_exception_fields(record),
            "requestId": record.aws_request_id,
            "location": "%s:%s:%s" % (record.pathname, record.funcName, record.lineno) if record.exc_info else None,
        }
        if record.tenant_id is not None:
            fields["tenantId"] = record.tenant_id
        for name, value in record.__dict__.items():
            if name not in _STANDARD_ATTRIBUTES and name not in fields:
                fields[name] = value
        present = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(present, ensure_ascii=False, default=str) + "\n"


def _exception_fields(record):
    if not record.exc_info or record.exc_info[0] is None:
        return {}
    import traceback

    kind, error, trace = record.exc_info
    return {"stackTrace": traceback.format_tb(trace), "errorType": kind.__name__, "errorMessage": str(error)}
