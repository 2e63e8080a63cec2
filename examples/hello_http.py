"""A keep-alive HTTP server on kernel calls only: `hello_http.py [PORT]`, then `wrk http://127.0.0.1:PORT/`."""

import errno
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from greenlet_hub import FdWaiter, sleep, spawn_raw

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"
CHUNK = 65536
GONE = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE}
Step = Callable[[], object]
Result = TypeVar("Result")


def insist(call: Callable[..., Result], *args: object, wait: Step = sleep, clear: Step = sleep) -> Result:
    """Wait, then call, until it succeeds: every error passes, `EMFILE` and `ENOMEM` too, unless the socket is gone."""
    while True:
        try:
            wait()  # by default only until the others have run
            return call(*args)
        except BlockingIOError:
            clear()  # it was not ready after all: the next wait parks
        except OSError as error:
            if error.errno in GONE:
                raise
            sleep(0.01)


def serve(client: socket.socket) -> None:
    unread, last = b"", False
    with suppress(ConnectionError), client, closing(insist(FdWaiter, client.fileno())) as ready:  # closed: ready first
        while not last and len(unread) < CHUNK:
            chunk = insist(client.recv, CHUNK, wait=ready.wait_read, clear=ready.clear_read)
            if len(chunk) < CHUNK:
                ready.clear_read()  # there is no more for now: the next wait parks, without a recv in vain
            *requests, unread = (unread + chunk).split(b"\r\n\r\n")  # several may come at once, or a part of one
            replies = HELLO * len(requests)
            while replies:
                replies = replies[insist(client.send, replies, wait=ready.wait_write, clear=ready.clear_write) :]
            last = not chunk or any(b"\r\nconnection: close" in request.lower() for request in requests)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C just ends it
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    socket.setdefaulttimeout(0)  # neither the listener nor what it accepts blocks
    listener = socket.create_server(("127.0.0.1", int([*sys.argv, "0"][1])), backlog=4096)
    print("http://{}:{}/".format(*listener.getsockname()), flush=True)
    ready = FdWaiter(listener.fileno())
    while True:
        client, _ = insist(listener.accept, wait=ready.wait_read, clear=ready.clear_read)
        spawn_raw(serve, client)
