"""Drives a real bootstrap as a child process against a stub of the Runtime API. Standard library only."""

import json
import os
import queue
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUNTIMES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = os.environ.get("TEST_PYTHON", sys.executable)
NODE = os.environ.get("TEST_NODE") or shutil.which("node")
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
FUNCTION_ARN = "arn:aws:lambda:eu-central-1:123456789012:function:probe:live"
_PATIENCE_SECONDS = 20
# Whether functions are assigned to processes that wait, instead of started.
WAIT = os.environ.get("TEST_WAIT") == "1"
# Variables that a process which waits cannot take over.
AT_START = {"PYTHONPATH", "PYTHONIOENCODING", "NODE_OPTIONS"}


class Answer:
    """One POST that the runtime made."""

    def __init__(self, path, headers, body, trailers):
        self.kind = path.rpartition("/2018-06-01/runtime/")[2].replace("invocation/", "")
        self.headers = headers
        self.body = body
        self.trailers = trailers

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error_type(self):
        return self.headers["Lambda-Runtime-Function-Error-Type"]


class StubApi:
    """Hands out what the test queues and records what the runtime posts."""

    def __init__(self):
        self.invocations = queue.Queue()
        self.answers = queue.Queue()
        self.statuses = queue.Queue()  # of the next POSTs; 202 when empty
        self.refuse_over = 1 << 40  # a POST of more bytes gets 413 before its body is read, and a closed connection
        self.connections = 0
        self.next_calls = 0
        api = self

        class Handler(_Handler):
            stub = api

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self._server.server_port
        # A short poll interval: `shutdown` waits for it, at the end of every test.
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A killed runtime resets its connection: nothing to report."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self):
        super().setup()
        self.stub.connections += 1

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.stub.next_calls += 1
        act = self.stub.invocations.get()
        if act is None:  # the connection dies while the runtime waits
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            act(self)

    def do_POST(self):
        if int(self.headers.get("Content-Length", 0)) > self.stub.refuse_over:
            self.close_connection = True
            self.reply(413, {"Connection": "close"}, b"{}")
            return
        body, trailers = self._read_body()
        status = 202 if self.stub.statuses.empty() else self.stub.statuses.get()
        self.stub.answers.put(Answer(self.path, self.headers, body, trailers))
        self.reply(status, {}, b'{"status":"OK"}\n')

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"])), {}
        body = b""
        while True:
            size = int(self.rfile.readline(), 16)
            if size == 0:
                break
            body += self.rfile.read(size)
            self.rfile.readline()
        trailers = {}
        for line in iter(self.rfile.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            trailers[name] = value.strip()
        return body, trailers


class Function:
    """A function: files in a task root of its own, run by the bootstrap of `runtime` ("python" or "nodejs")."""

    def __init__(self, runtime, files, handler="index.handler", env=None, command=None, wait=WAIT):
        self._directory = tempfile.TemporaryDirectory()
        self.root = os.path.realpath(self._directory.name)
        for name, text in files.items():
            path = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(text))
        self.api = StubApi()
        environment = self._environment(handler, env or {})
        if wait and command is None and not AT_START.intersection(environment):
            self._process = self._start_waiting([*start_command(runtime), "wait"], environment)
        else:
            self._process = self._start(command or start_command(runtime), environment)
        self._output = b""
        self._output_is_open = True
        self._output_lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self, command, environment, **options):
        return subprocess.Popen(
            command,
            env=environment,
            cwd=options.pop("cwd", self.root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )

    def _start_waiting(self, command, environment):
        """Starts it in advance, and gives it the function once it is ready."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            waiting_environment = {"AWS_LAMBDA_RUNTIME_API": self.api.address}
            process = self._start(
                ["/bin/sh", "-c", 'exec 3<&%d; exec "$@"' % theirs.fileno(), "sh", *command],
                waiting_environment,
                cwd="/",
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            assert ours.recv(10) == b"r", process.stdout.read()
            ours.sendall(b"".join(b"%s=%s\0" % (os.fsencode(k), os.fsencode(v)) for k, v in environment.items()))
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self.api.invocations.put(None)  # frees a thread of the stub that waits in `next`
        self.api.close()
        self._directory.cleanup()

    def _environment(self, handler, extra):
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": self.root,
            "AWS_LAMBDA_FUNCTION_NAME": "probe",
            "AWS_LAMBDA_FUNCTION_VERSION": "7",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/probe",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/02/[7]0123456789abcdef0123456789abcdef",
            **extra,
        }

    def _read(self):
        while self._output_is_open:
            select.select([self._process.stdout], [], [])
            self._take_output()

    def _take_output(self):
        """Takes all that has been written: whatever precedes an answer is there when the answer is."""
        with self._output_lock:
            while self._output_is_open and select.select([self._process.stdout], [], [], 0)[0]:
                piece = os.read(self._process.stdout.fileno(), 65536)
                self._output += piece
                self._output_is_open = piece != b""

    def send(self, event, headers=None, request_id=REQUEST_ID, chunks=None, timeout_ms=3000, hang_up=False):
        """Queues one invocation. `event` is an object or the payload's bytes; `chunks` sends it chunked;
        `hang_up` closes the connection after it."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        fields = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + timeout_ms),
            "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
            "Content-Type": "application/json",
            **(headers or {}),
        }

        def deliver(connection):
            if chunks is None:
                connection.reply(200, fields, body)
            else:
                _reply_chunked(connection, fields, body, chunks)
            connection.close_connection = hang_up

        self.api.invocations.put(deliver)

    def answer(self):
        """The next thing that the runtime posts."""
        try:
            return self.api.answers.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError("no answer from the runtime; output: %r" % self._output) from None

    def invoke(self, event, **options):
        """One invocation and its answer."""
        self.send(event, **options)
        return self.answer()

    def exit_status(self):
        """Waits until the process ends by itself."""
        status = self._process.wait(_PATIENCE_SECONDS)
        self._reader.join()
        return status

    def raw_output(self):
        """The bytes that the function has written so far."""
        self._take_output()
        return self._output

    def output(self):
        """What the function has written so far."""
        return self.raw_output().decode()

    def terminate(self):
        """Sends SIGTERM."""
        self._process.terminate()

    def wait_for_next(self, calls):
        """Waits until the runtime has called `next` that often."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.api.next_calls < calls:
            if time.monotonic() > deadline:
                raise AssertionError("only %d calls of next; output: %r" % (self.api.next_calls, self._output))
            time.sleep(0.002)


def start_command(runtime):
    """The start command that README.md documents."""
    if runtime == "python":
        return [PYTHON, "-S", "-u", os.path.join(RUNTIMES, "python", "bootstrap.py")]
    # For a function of 128 MB, which is what the environment says.
    limits = ["--max-semi-space-size=6", "--max-old-space-size=116"]
    options = ["--expose-gc", "--max-http-header-size", "81920", *limits]
    return [NODE, *options, os.path.join(RUNTIMES, "nodejs", "bootstrap.cjs")]


def _reply_chunked(connection, fields, body, sizes):
    connection.send_response(200)
    for name, value in fields.items():
        connection.send_header(name, value)
    connection.send_header("Transfer-Encoding", "chunked")
    connection.end_headers()
    position = 0
    for size in [*sizes, len(body)]:
        piece = body[position : position + size]
        position += len(piece)
        if piece:
            connection.wfile.write(b"%x;note=1\r\n%s\r\n" % (len(piece), piece))
            connection.wfile.flush()
            time.sleep(0.005)  # lets the pieces arrive apart
    connection.wfile.write(b"0\r\nX-Trailer: 1\r\n\r\n")
    connection.wfile.flush()
