"""Tries to reach what is not meant for it: ports, sockets, the platform's own services through the one way out."""

import errno
import http.client
import json
import os
import socket
import struct
import time

from probe import outcome

PATIENCE = 2


def handler(event, context):
    return globals()[event["probe"]](event)


def connect(event):
    return {
        "stream": {target: outcome(stream, target) for target in event["targets"]},
        "datagram": {target: outcome(datagram, target) for target in event["targets"]},
        "unix": {path: outcome(unix, path) for path in event["sockets"]},
    }


def split(target):
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port), socket.AF_INET6 if "[" in target else socket.AF_INET


def stream(target):
    host, port, family = split(target)
    with socket.socket(family) as tried:
        tried.settimeout(PATIENCE)
        tried.connect((host, port))
        return "connected"


def datagram(target):
    host, port, family = split(target)
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        tried.settimeout(PATIENCE)
        tried.connect((host, port))
        tried.send(b"x")
        tried.recv(100)
        return "answered"


def unix(path):
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(PATIENCE)
        tried.connect(path.replace("@", "\0"))
        return "connected"


def listening(event):
    """Every port of its own loopback that takes a connection."""
    found = []
    for port in range(1, 65536):
        with socket.socket() as tried:
            # A socket may be given the very port that it asks for, and so talk to itself.
            if tried.connect_ex(("127.0.0.1", port)) != errno.ECONNREFUSED and tried.getsockname()[1] != port:
                found.append(port)
    return {"ports": found, "endpoint": os.environ["AWS_ENDPOINT_URL"], "api": os.environ["AWS_LAMBDA_RUNTIME_API"]}


def configure(event):
    """Asks the kernel, over route netlink, for an address and for an interface."""
    def ask(kind, body):
        with socket.socket(16, socket.SOCK_RAW, 0) as netlink:
            netlink.bind((0, 0))
            netlink.send(struct.pack("=IHHII", 16 + len(body), kind, 0x0405 | 0x0200, 1, 0) + body)
            return errno.errorcode[-struct.unpack_from("=i", netlink.recv(4096), 16)[0]]
    # RTM_NEWADDR 10.9.8.7/24 on lo; RTM_NEWLINK.
    address = struct.pack("=BBBBI", 2, 24, 0, 0, 1) + struct.pack("=HH4s", 8, 2, bytes((10, 9, 8, 7)))
    return {"address": outcome(ask, 20, address), "link": outcome(ask, 16, struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0))}


def ask(event):
    """Requests to the endpoint: status and body."""
    answers = []
    for method, path, headers, body in event["requests"]:
        connection = http.client.HTTPConnection(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), timeout=5)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        answers.append([answer.status, answer.read(100_000).decode("latin-1"), dict(answer.getheaders())])
        connection.close()
    return answers


def bodies(event):
    """Sends large bodies to the endpoint, all but their end, and holds them."""
    held = []
    for _ in range(event["connections"]):
        tried = socket.create_connection(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://").split(":"), timeout=0.3)
        tried.sendall((f"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {event['bytes']}\r\n\r\n").encode())
        try:
            for _ in range(event["bytes"] // 65536 - 1):
                tried.sendall(bytes(65536))
        except OSError:
            pass  # It would not take more.
        held.append(tried)
    time.sleep(event["seconds"])
    return len(held)
