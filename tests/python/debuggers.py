"""Debuggers in miniature, as editors speak to them: DAP to debugpy, Chrome's protocol over a websocket to Node.js, JDWP's
handshake to Java."""

import base64
import json
import os
import socket
import struct
import time
import urllib.request

PATIENCE = 20


def connect(port, patience=PATIENCE):
    """Connects as soon as somebody listens."""
    until = time.monotonic() + patience
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class _Session:
    """Requests, and what comes in between."""

    def __init__(self):
        self.number, self.events = 0, []

    def close(self):
        self.reader.close()
        self.socket.close()

    def request(self, method, **arguments):
        """The answer to a request."""
        number = self.send(method, **arguments)
        return self.take(lambda message: self.answers(message) == number)

    def event(self, name):
        """The next event of that name, also if it has come already."""
        return self.take(lambda message: self.named(message) == name)

    def take(self, wanted):
        for index, message in enumerate(self.events):
            if wanted(message):
                return self.events.pop(index)
        while True:
            message = self.receive()
            if wanted(message):
                return message
            self.events.append(message)


class DebugAdapter(_Session):
    """A client of the Debug Adapter Protocol, attached but not yet through with its breakpoints."""

    def __init__(self, port):
        super().__init__()
        self.socket = connect(port)
        self.reader = self.socket.makefile("rb")
        self.request("initialize", adapterID="test", pathFormat="path", linesStartAt1=True)
        # Its answer comes when everything is configured.
        self.send("attach", justMyCode=False, pathMappings=[])
        self.event("initialized")

    def send(self, command, **arguments):
        self.number += 1
        body = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": arguments}).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self.number

    def receive(self):
        length = 0
        while True:
            line = self.reader.readline().strip()
            if not line:
                break
            length = int(line.rpartition(b":")[2])
        if not length:
            raise EOFError("the debugger has gone")
        message = json.loads(self.reader.read(length))
        assert message.get("success", True), message
        return message

    def answers(self, message):
        return message.get("request_seq")

    def named(self, message):
        return message.get("event")

    def breakpoint(self, path, line):
        body = self.request("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])["body"]
        assert [it["verified"] for it in body["breakpoints"]] == [True], body

    def go(self):
        """Breakpoints are set: what waits for the debugger goes on."""
        self.request("configurationDone")

    def paused(self):
        """Waits for a breakpoint; returns the thread and the innermost frame."""
        thread = self.event("stopped")["body"]["threadId"]
        return thread, self.request("stackTrace", threadId=thread)["body"]["stackFrames"][0]

    def evaluate(self, frame, expression):
        return self.request("evaluate", expression=expression, frameId=frame["id"], context="repl")["body"]["result"]

    def resume(self, thread):
        self.request("continue", threadId=thread)


class Inspector(_Session):
    """A client of Node.js's inspector."""

    def __init__(self, port):
        super().__init__()
        connect(port).close()
        listed = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE))
        path = listed[0]["webSocketDebuggerUrl"].partition(f":{port}")[2]
        self.socket = connect(port)
        self.reader = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        assert b" 101 " in self.reader.readline()
        while self.reader.readline().strip():
            pass
        self.request("Runtime.enable")
        self.request("Debugger.enable")

    def send(self, method, **params):
        self.number += 1
        body = json.dumps({"id": self.number, "method": method, "params": params}).encode()
        mask = os.urandom(4)
        # One text frame, masked as those of clients are.
        length = bytes([0x80 | len(body)]) if len(body) < 126 else struct.pack(">BH", 0x80 | 126, len(body))
        self.socket.sendall(b"\x81" + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)))
        return self.number

    def receive(self):
        whole = b""
        while True:
            head = self.reader.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                raise EOFError("the debugger has gone")
            length = head[1]
            if length >= 126:
                form = ">H" if length == 126 else ">Q"
                [length] = struct.unpack(form, self.reader.read(struct.calcsize(form)))
            whole += self.reader.read(length)
            if head[0] & 0x80:
                message = json.loads(whole)
                assert "error" not in message, message
                return message

    def answers(self, message):
        return message.get("id")

    def named(self, message):
        return message.get("method")

    def breakpoint(self, file, line):
        """Counted from one, in whatever file of that name will be loaded."""
        self.request("Debugger.setBreakpointByUrl", urlRegex=f".*/{file}$", lineNumber=line - 1)

    def go(self):
        self.request("Runtime.runIfWaitingForDebugger")

    def paused(self):
        """Waits for a breakpoint; returns the innermost frame."""
        return self.event("Debugger.paused")["params"]["callFrames"][0]

    def evaluate(self, expression, frame=None):
        if frame is None:
            answer = self.request("Runtime.evaluate", expression=expression, returnByValue=True)
        else:
            answer = self.request("Debugger.evaluateOnCallFrame", callFrameId=frame["callFrameId"], expression=expression,
                                  returnByValue=True)
        return answer["result"]["result"].get("value")

    def resume(self):
        self.request("Debugger.resume")


class JavaDebugger:
    """As much of JDWP as lets a virtual machine go on that is suspended."""

    def __init__(self, port):
        self.socket = connect(port)
        self.socket.sendall(b"JDWP-Handshake")
        self.reader = self.socket.makefile("rb")
        assert self.reader.read(14) == b"JDWP-Handshake"
        self.number = 0

    def command(self, command_set, command):
        """The answer's data; what comes in between is dropped."""
        self.number += 1
        self.socket.sendall(struct.pack(">IIBBB", 11, self.number, 0, command_set, command))
        while True:
            length, number, flags, error = struct.unpack(">IIBH", self.reader.read(11))
            data = self.reader.read(length - 11)
            if flags & 0x80 and number == self.number:
                assert error == 0, error
                return data

    def version(self):
        """The machine's own description."""
        data = self.command(1, 1)
        [length] = struct.unpack(">I", data[:4])
        return data[4:4 + length].decode()

    def resume(self):
        self.command(1, 9)

    def close(self):
        self.reader.close()
        self.socket.close()
