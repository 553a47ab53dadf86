"""Has secrets, and keeps them: in its variables, in /tmp, in memory, in a named socket, in its code: SECRET-of-the-victim."""

import socket

from probe import TMP

kept = []


def handler(event, context):
    kept.append(event["secret"] * 100)
    with open(f"{TMP}/victim", "w") as file:
        file.write(event["secret"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0victim")
    listener.listen()
    kept.append(listener)
