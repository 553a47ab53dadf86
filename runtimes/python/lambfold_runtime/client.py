"""Client of the Runtime API (2018-06-01) on one kept-alive TCP connection.

Written on a bare `_socket`: `http.client` costs 18 ms more at start and doubles the time of a warm round trip
(`socket` alone, with its enums, costs 6 ms).
"""

import _socket
from time import sleep

_PREFIX = "/2018-06-01/runtime/"
_RECEIVE_SIZE = 65536
# The manager listens before it starts the runtime, so a refused connection means that it is going or gone.
_CONNECT_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
_MAX_CAUSE_BYTES = 65536


class ConnectionDropped(OSError):
    """The peer closed the connection before a whole answer had come."""


class RuntimeApiError(Exception):
    """The Runtime API answered with a status that this call does not expect."""

    def __init__(self, call, status, body):
        super().__init__("Runtime API %s failed with status %d: %s" % (call, status, body.decode("utf-8", "replace")))
        self.status = status


class RuntimeClient:
    """`next`, `response` and `error` for one environment. Not safe for use by several threads."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._peer = (host, int(port))
        self._host_header = "\r\nHost: " + address + "\r\n"
        self._next_request = ("GET " + _PREFIX + "invocation/next HTTP/1.1" + self._host_header + "\r\n").encode("latin-1")
        self._socket = None
        self._received = b""

    def connect(self):
        """Opens the connection ahead of the first call."""
        self._connect()

    def next(self):
        """Blocks, for hours if need be, until an invocation comes; returns its headers (lower case) and body."""
        drops = 0
        while True:
            try:
                status, headers, body = self._exchange(self._next_request)
            except ConnectionDropped:
                # Dropped while idle: nothing was delivered, so asking again loses nothing. The pause keeps an API
                # that closes every connection at once from making us spin.
                sleep(min(1.0, 0.05 * drops))
                drops += 1
                continue
            if status != 200:
                raise RuntimeApiError("next", status, body)
            return headers, body

    def post_response(self, request_id, body, content_type):
        """Answers the invocation; returns the API's status and body (the caller decides what a refusal means)."""
        return self._post("invocation/" + request_id + "/response", body, "Content-Type: " + content_type + "\r\n")

    def post_error(self, request_id, body, error_type, cause):
        """Answers the invocation with a function error."""
        return self._post("invocation/" + request_id + "/error", body, _error_headers(error_type, cause))

    def post_init_error(self, body, error_type):
        """Reports that the function could not be loaded; the process is expected to exit afterwards."""
        return self._post("init/error", body, _error_headers(error_type, ""))

    def restore_next(self):
        """Says that a snapshot may be taken; returns in an environment that goes on from there."""
        request = "GET %srestore/next HTTP/1.1%s\r\n" % (_PREFIX, self._host_header)
        status, _, body = self._exchange(request.encode("latin-1"))
        if status != 200:
            raise RuntimeApiError("restore/next", status, body)

    def post_restore_error(self, body, error_type):
        """Reports that what comes after a restoration failed; the process is expected to exit afterwards."""
        return self._post("restore/error", body, _error_headers(error_type, ""))

    def _post(self, path, body, headers):
        head = "POST %s%s HTTP/1.1%s%sContent-Length: %d\r\n\r\n" % (_PREFIX, path, self._host_header, headers, len(body))
        request = head.encode("latin-1") + body
        try:
            status, _, answer = self._exchange(request)
        except OSError:
            # The connection died under the handler or between the calls. A second answer that was not needed
            # is refused by its request id, so sending once more is safe.
            status, _, answer = self._exchange(request)
        return status, answer

    def _exchange(self, request):
        """Sends one request and reads its answer; leaves no half-used connection behind on failure."""
        try:
            if self._socket is None:
                self._connect()
            try:
                self._socket.sendall(request)
            except OSError:
                # An API that refuses a body early answers (413) and closes while we still send: read that answer.
                return self._read_answer()
            return self._read_answer()
        except OSError as error:
            self._close()
            if isinstance(error, (ConnectionResetError, BrokenPipeError)):
                raise ConnectionDropped(*error.args) from None
            raise

    def _connect(self):
        for delay in _CONNECT_DELAYS + (None,):
            connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            try:
                connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                connection.connect(self._peer)
                self._socket = connection
                self._received = b""
                return
            except OSError:
                connection.close()
                if delay is None:
                    raise
                sleep(delay)

    def _close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._received = b""

    def _read_answer(self):
        status = 100
        while status < 200:  # 1xx are interim answers
            status, headers = self._read_head()
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunked()
        elif "content-length" in headers:
            body = self._read_exactly(int(headers["content-length"]))
        elif status == 204:
            body = b""
        else:
            body = self._read_to_end()
        if headers.get("connection", "").lower() == "close":
            self._close()
        return status, headers, body

    def _read_head(self):
        head = self._read_until(b"\r\n\r\n").decode("utf-8", "surrogateescape")
        lines = head.split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        try:
            return int(lines[0].split(" ", 2)[1]), headers
        except (IndexError, ValueError):
            raise OSError("not an HTTP answer: %r" % lines[0]) from None

    def _read_chunked(self):
        chunks = []
        while True:
            size = int(self._read_until(b"\r\n").split(b";", 1)[0], 16)
            if size == 0:
                while self._read_until(b"\r\n"):
                    pass  # trailers carry nothing for us
                return b"".join(chunks)
            chunks.append(self._read_exactly(size))
            self._read_exactly(2)

    def _read_until(self, mark):
        """Returns what precedes `mark` and consumes both."""
        end = self._received.find(mark)
        while end < 0:
            self._receive()
            end = self._received.find(mark)
        found = self._received[:end]
        self._received = self._received[end + len(mark) :]
        return found

    def _read_exactly(self, size):
        missing = size - len(self._received)
        if missing > 0:
            pieces = [self._received]
            self._received = b""
            while missing > 0:
                piece = self._socket.recv(min(missing, 1 << 20))
                if not piece:
                    raise ConnectionDropped("connection closed inside an answer")
                pieces.append(piece)
                missing -= len(piece)
            return b"".join(pieces)
        body = self._received[:size]
        self._received = self._received[size:]
        return body

    def _read_to_end(self):
        try:
            while True:
                self._receive()
        except ConnectionDropped:
            body = self._received
            self._close()
            return body

    def _receive(self):
        piece = self._socket.recv(_RECEIVE_SIZE)
        if not piece:
            raise ConnectionDropped("connection closed by the Runtime API")
        self._received += piece


def _error_headers(error_type, cause):
    headers = "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: %s\r\n" % _header_text(error_type)
    if cause and len(cause) <= _MAX_CAUSE_BYTES:
        headers += "Lambda-Runtime-Function-XRay-Error-Cause: %s\r\n" % _header_text(cause)
    return headers


def _header_text(value):
    """A class may be named in any script and a message may hold anything: only printable ASCII may travel."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)
