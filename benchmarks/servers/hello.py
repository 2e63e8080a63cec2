"""What all servers share: the listening socket, the answer, and the parsing, which is minimal and the same for all.

A request ends with an empty line, has no body, and gets RESPONSE; the connection stays open until the client closes it.
REQUEST is what clients of ours ask; wrk asks the like.
"""

from __future__ import annotations

import os
import socket

READ_SIZE = 4096
BACKLOG = 4096
END = b"\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nhello, world!\n"


def answer(received: bytes) -> tuple[bytes, bytes]:
    """The answers to all whole requests in `received`, and what is left of it."""
    whole = received.count(END)
    if not whole:
        return b"", received
    return RESPONSE * whole, received[received.rfind(END) + len(END) :]


def listen() -> socket.socket:
    """A listening socket on a free port of the loopback, non-blocking; tells the port to whoever started us."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    os.write(1, b"%d\n" % listener.getsockname()[1])
    return listener
