"""The runtime's loop: load the handler, then take, run and answer invocations for ever."""

import sys

from lambfold_runtime import interpreter
from lambfold_runtime.client import RuntimeApiError, RuntimeClient
from lambfold_runtime.context import LambdaContext
from lambfold_runtime.fault import CONTEXT_UNMARSHAL_ERROR, Fault
from lambfold_runtime.marshaller import Marshaller
from lambfold_runtime.settings import Settings

_TRACE_VARIABLE = "_X_AMZN_TRACE_ID"


class Invocation:
    """What `next` delivered."""

    def __init__(self, headers, body):
        get = headers.get
        self.request_id = get("lambda-runtime-aws-request-id", "")
        self.deadline_ms = int(get("lambda-runtime-deadline-ms") or 0)
        self.function_arn = get("lambda-runtime-invoked-function-arn")
        self.trace_id = get("lambda-runtime-trace-id")
        self.tenant_id = get("lambda-runtime-aws-tenant-id")
        self.client_context = get("lambda-runtime-client-context")
        self.cognito_identity = get("lambda-runtime-cognito-identity")
        self.content_type = get("content-type", "application/json")
        self.body = body


class _Current:
    """The invocation in progress, for the log; both None during init."""

    request_id = None
    tenant_id = None


class Runtime:
    """One function in one process."""

    def __init__(self, environ, runtime_directory, client):
        self._environ = environ
        self.settings = Settings(environ, runtime_directory)
        self._client = client or RuntimeClient(self.settings.api_address)
        self._marshaller = Marshaller(self.settings.ascii_json)
        self._current = _Current()
        self._sink = None

    def load_handler(self):
        """Returns the handler; reports what prevents that to the platform and leaves with status 1."""
        try:
            if self.settings.debug_port:
                from lambfold_runtime import debugger

                debugger.start(self.settings)
            from lambfold_runtime import handler

            return handler.load(self.settings.handler)
        except Exception as error:
            self._warn_of_init_error()
            report = self._report(error, "")
            self._client.post_init_error(self._encode(report.payload()), report.error_type)
            sys.exit(1)

    def _warn_of_init_error(self):
        """As a record of the root logger, whose level counts."""
        try:
            import logging

            from lambfold_runtime.report import INIT_ERROR_WARNING

            logging.warning(INIT_ERROR_WARNING)
        except Exception as error:  # handlers are the function's
            sys.stderr.write("The log does not take a warning: %s\n" % error)

    def run_snapshot_hooks(self):
        """Does what SnapStart asks for between init and the first invocation."""
        from lambfold_runtime import snapshot

        snapshot.run_hooks(self._client, lambda error: self._encode(self._report(error, "").payload()))

    def serve(self, handler):
        """Takes invocations one after another."""
        while True:
            invocation = Invocation(*self._client.next())
            self._current.request_id = invocation.request_id
            self._current.tenant_id = invocation.tenant_id
            self._set_trace_id(invocation.trace_id)
            try:
                status, answer = self._handle(handler, invocation)
            except OSError as error:
                # Only posting gets here. An API that has really gone shows itself in `next`.
                sys.stderr.write("Runtime API did not take the answer: %s\n" % error)
                continue
            if status >= 300:
                self._refused(status, answer)

    def _handle(self, handler, invocation):
        try:
            context = self._context(invocation)
            event = self._marshaller.event(invocation.body, invocation.content_type)
            body, content_type = self._marshaller.result(handler(event, context))
        except Exception as error:  # SystemExit and the like end the process, as they do on AWS
            report = self._report(error, invocation.request_id)
            cause = Marshaller(ascii_only=True).text(report.cause())
            return self._client.post_error(
                invocation.request_id, self._encode(report.payload()), report.error_type, cause
            )
        return self._client.post_response(invocation.request_id, body, content_type)

    def _context(self, invocation):
        context = LambdaContext(invocation, self._environ, self._write_log)
        if invocation.client_context:
            context.set_client_context(self._json_header(invocation.client_context, "Client Context"))
        if invocation.cognito_identity:
            context.set_identity(self._json_header(invocation.cognito_identity, "Cognito Identity"))
        return context

    def _json_header(self, text, name):
        try:
            value = self._marshaller.event(text.encode("utf-8", "surrogateescape"), "application/json")
        except Fault as fault:
            reason = fault.message.partition(": ")[2]
            raise Fault(CONTEXT_UNMARSHAL_ERROR, "Unable to parse %s JSON: %s" % (name, reason)) from None
        if not isinstance(value, dict):
            raise Fault(CONTEXT_UNMARSHAL_ERROR, "Unable to parse %s JSON: not an object" % name)
        return value

    def _set_trace_id(self, trace_id):
        if trace_id:
            self._environ[_TRACE_VARIABLE] = trace_id
        else:
            self._environ.pop(_TRACE_VARIABLE, None)

    def _refused(self, status, answer):
        """The platform did not take an answer. It has told the invoker (too large, too late, truncated …), so the
        environment stays of use, unless the platform itself is broken: documented as a reason to leave."""
        text = "Runtime API refused the answer: status %d %s\n" % (status, answer.decode("utf-8", "replace"))
        sys.stderr.write(text)
        if status >= 500:
            sys.exit(1)

    def _encode(self, document):
        return self._marshaller.text(document).encode("utf-8", "surrogatepass")

    def _report(self, error, request_id):
        """Describes `error` and writes it to the log."""
        from lambfold_runtime.report import ErrorReport

        report = ErrorReport(error, request_id, self.settings.runtime_directory)
        if self.settings.json_logs:
            from time import gmtime, strftime

            record = {"timestamp": strftime("%Y-%m-%dT%H:%M:%SZ", gmtime()), "level": "ERROR", **report.payload()}
            self._log_sink().write(self._marshaller.text(record) + "\n", 40, is_json=True)
        else:
            self._log_sink().write_error_lines(report.log_lines())
        return report

    def _log_sink(self):
        if self._sink is None:
            from lambfold_runtime.log_sink import LogSink

            self._sink = LogSink(self.settings.log_fd)
        return self._sink

    def _write_log(self, text):
        self._log_sink().write(text)

    def configure_logging(self, _logging):
        """Called when user code imports `logging`."""
        from lambfold_runtime import logs

        logs.install(self.settings, self._log_sink(), self._current)


def run(environ, runtime_directory, client=None):
    """Becomes the runtime of the function that `environ` describes. A `client` may be connected already."""
    runtime = Runtime(environ, runtime_directory, client)
    interpreter.prepare(runtime.settings)
    interpreter.StandardLibraryFirst(runtime.configure_logging).install()
    _write_through(sys.stdout, sys.stderr)
    handler = runtime.load_handler()
    try:
        if runtime.settings.snap_start:
            runtime.run_snapshot_hooks()
        runtime.serve(handler)
    except (OSError, RuntimeApiError) as error:
        # The platform has gone or is broken; a traceback in the function's log would help nobody.
        sys.stderr.write("Lambda runtime stops: %s\n" % error)
        sys.exit(1)


def _write_through(*streams):
    """Lines reach the log when they are printed, also without `-u`: a killed process loses none."""
    for stream in streams:
        if stream is not None:
            stream.reconfigure(line_buffering=True)
