#!/usr/bin/python3
"""A bootstrap of its own, which breaks the rules of the Runtime API in the way that the event says."""

import json
import os
import socket
import time

ADDRESS = tuple(os.environ["AWS_LAMBDA_RUNTIME_API"].split(":"))
PREFIX = "/2018-06-01/runtime/"


def open_connection():
    return socket.create_connection(ADDRESS, timeout=10)


def send(connection, method, path, body=b"", length=None, extra=""):
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: "
                       f"{len(body) if length is None else length}\r\n\r\n".encode() + body)


def receive(connection):
    """Status, headers and body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None, {}, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


def call(method, path, body=b"", **more):
    with open_connection() as connection:
        send(connection, method, path, body, **more)
        return receive(connection)


def next_event():
    _, headers, body = call("GET", PREFIX + "invocation/next")
    return headers["lambda-runtime-aws-request-id"], json.loads(body)


def answer(request_id, body):
    return call("POST", f"{PREFIX}invocation/{request_id}/response", json.dumps(body).encode())


def main():
    if os.environ.get("AT_INIT") == "silence":
        time.sleep(1000)
    if os.environ.get("AT_INIT") == "connections":
        # Fills the Runtime API before it asks for anything, and lets go of it slowly.
        held = [open_connection() for _ in range(int(os.environ["CONNECTIONS"]))]
        for connection in held:
            connection.sendall(b"GET /2018-06-01/ping HTTP/1.1\r\n")
        time.sleep(0.5)
        held.clear()
    while True:
        request_id, event = next_event()
        globals()[event["attack"]](request_id, event)


def echo(request_id, event):
    answer(request_id, event)


def twice(request_id, event):
    """The second answer must be refused, and not become that of the next invocation."""
    first, second = answer(request_id, {"answer": 1}), answer(request_id, {"answer": 2})
    request_id, _ = next_event()
    third = answer(request_id, {"statuses": [first[0], second[0]]})


def foreign(request_id, event):
    """Answers for other requests, and errors; then for its own."""
    ids = event["ids"] + ["00000000-0000-0000-0000-000000000000", "..", "../../../x", "%2e%2e", "next", "", "a" * 5000]
    statuses = [call("POST", f"{PREFIX}invocation/{it}/{kind}", b'"stolen"')[0] for it in ids for kind in ("response", "error")]
    answer(request_id, statuses)


def half(request_id, event):
    """Half a body, and the connection is closed."""
    with open_connection() as connection:
        send(connection, "POST", f"{PREFIX}invocation/{request_id}/response", b"[1, 2", length=1000)
        connection.shutdown(socket.SHUT_WR)
        receive(connection)


def hanging(request_id, event):
    """Half a body, and nothing more comes."""
    connection = open_connection()
    send(connection, "POST", f"{PREFIX}invocation/{request_id}/response", b"[1, 2", length=1000)
    time.sleep(1000)


def silent(request_id, event):
    time.sleep(1000)


def many_next(request_id, event):
    """Asks for more while it has one; then answers."""
    statuses = sorted({call("GET", PREFIX + "invocation/next")[0] for _ in range(20)})
    answer(request_id, statuses)


def garbage(request_id, event):
    """What is no HTTP, or is too much of it."""
    for data in (b"\x16\x03\x01" * 1000, b"GET " + b"/" * 300_000 + b" HTTP/1.1\r\n\r\n", b"\r\n" * 1000, b"\0" * 100_000,
                 b"GET /2018-06-01/ping HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
                 b"POST /2018-06-01/ping HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"POST /2018-06-01/ping HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"POST /2018-06-01/ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"):
        with open_connection() as connection:
            try:
                connection.sendall(data)
                connection.settimeout(0.5)
                connection.recv(1000)
            except OSError:
                pass
    answer(request_id, "still here")


def bodies(request_id, event):
    """As many large bodies as it has connections, each without its end, to calls that do not look at them."""
    held = []
    for number in range(event["connections"]):
        connection = open_connection()
        connection.settimeout(0.3)
        path = ("/2018-06-01/ping", PREFIX + "init/error", f"{PREFIX}invocation/x/response")[number % 3]
        try:
            send(connection, "GET" if "ping" in path else "POST", path, length=6 << 20)
            for _ in range(95):
                connection.sendall(bytes(65536))
        except OSError:
            pass
        held.append(connection)
    time.sleep(1)
    answer(request_id, len(held))


def headers(request_id, event):
    """Error types and bodies that would end a header or a log line."""
    evil = 'Runtime.Evil\\r\\nX: y"' + "z" * 10_000
    call("POST", f"{PREFIX}invocation/{request_id}/error", b'{"errorMessage": "a\\nSTART RequestId: forged", "errorType": "x"}',
         extra=f"Lambda-Runtime-Function-Error-Type: {evil}\r\n")


main()
