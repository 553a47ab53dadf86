"""Takes all that it can get: processes, memory, space, descriptors, log."""

import ctypes
import os
import socket
import threading
import time

from probe import TMP, libc, outcome

MIB = 1 << 20


def handler(event, context):
    return globals()[event["probe"]](event)


def processes(event):
    """Children that never end, until the kernel gives no more."""
    made, refusal = [], None
    while refusal is None and len(made) < 5000:
        try:
            pid = os.fork()
        except OSError as error:
            refusal = error.strerror
        else:
            if pid == 0:
                while True:
                    time.sleep(100)
            made.append(pid)
    time.sleep(event.get("seconds", 0))
    for pid in made:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return {"made": len(made), "refusal": refusal}


def fork_bomb(event):
    """Every child makes children, for ever: ends by the function's timeout only."""
    while True:
        try:
            os.fork()
        except OSError:
            pass


def threads(event):
    made, stop = 0, threading.Event()
    try:
        while made < 5000:
            threading.Thread(target=stop.wait, daemon=True).start()
            made += 1
        time.sleep(event.get("seconds", 0))
    except RuntimeError as error:
        return {"made": made, "refusal": str(error)}
    finally:
        stop.set()


def descriptors(event):
    held = []
    try:
        while len(held) < 100_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return {"made": len(held), "refusal": error.strerror}
    finally:
        for fd in held:
            os.close(fd)


def memory(event):
    """Of the kind that is asked for, until it is killed. What it says at the end is that it was not."""
    got = globals()[f"by_{event['kind']}"](event["mib"])
    time.sleep(2)  # Some limits are looked after every tenth of a second.
    return f"got {got} MiB"


def by_heap(mib):
    held = [bytearray(os.urandom(4096) * 256) for _ in range(mib)]
    return len(held)


def by_processes(mib):
    """Each of its children has less than the limit."""
    for _ in range(8):
        if os.fork() == 0:
            held = by_heap(mib // 8)
            time.sleep(100)
    time.sleep(6)
    return mib


def by_memfd(mib):
    """A file in memory that is not mapped anywhere, so that it is no process's."""
    fd = os.memfd_create("x")
    for _ in range(mib):
        os.write(fd, bytes(MIB))
    return os.fstat(fd).st_size >> 20


def by_segment(mib):
    """Shared memory of System V: touched, and let go of."""
    got = 0
    libc.shmat.restype = ctypes.c_void_p
    for _ in range(mib // 32):
        number = libc.shmget(0, 32 * MIB, 0o1600)
        address = libc.shmat(number, None, 0)
        if number < 0 or address in (None, ctypes.c_void_p(-1).value):
            break
        ctypes.memset(address, 1, 32 * MIB)
        libc.shmdt(ctypes.c_void_p(address))
        got += 32
    return got


def by_sockets(mib):
    """In the kernel's buffers."""
    got, held = 0, []
    for _ in range(400):
        pair = socket.socketpair()
        held.append(pair)
        for it in pair:
            it.setblocking(False)
            it.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100 * MIB)
            try:
                while got < mib * MIB:
                    got += it.send(bytes(65536))
            except OSError:
                pass
    return got >> 20


def space(event):
    """Fills /tmp by bytes, then by files."""
    written = 0
    try:
        with open(f"{TMP}/large", "wb", buffering=0) as file:
            while written < event["mib"] * MIB:
                written += file.write(bytes(MIB))
        by_bytes = "no end"
    except OSError as error:
        by_bytes = error.strerror
    os.unlink(f"{TMP}/large")
    made = 0
    try:
        while made < event.get("files", 200_000):
            os.close(os.open(f"{TMP}/{made}", os.O_CREAT | os.O_WRONLY))
            made += 1
        by_files = "no end"
    except OSError as error:
        by_files = error.strerror
    for number in range(made):
        os.unlink(f"{TMP}/{number}")
    return {"mib": written >> 20, "by_bytes": by_bytes, "files": made, "by_files": by_files}


def log(event):
    """Prints as fast as it can: lines, one line without an end, and what is no text."""
    until = time.monotonic() + event["seconds"]
    piece = {"lines": b"line\n" * 12_000, "endless": b"x" * 60_000, "binary": bytes(range(1, 256)) * 250}[event["kind"]]
    written = 0
    while time.monotonic() < until:
        written += os.write(1, piece)
    os.write(1, b"\nthe last line\n")
    return written >> 20


def burn(event):
    """All the processors, for a while."""
    until = time.monotonic() + event["seconds"]
    for _ in range(8):
        if os.fork() == 0:
            while time.monotonic() < until:
                pass
            os._exit(0)
    while outcome(os.wait) != "ECHILD":
        pass
