"""An echo server on kernel calls only: `python examples/echo.py [PORT]`, then `nc 127.0.0.1 PORT`."""

import errno
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from greenlet_hub import FdWaiter, sleep, spawn_raw

CHUNK = 65536
GONE = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE}

Step = Callable[[], object]
Result = TypeVar("Result")


def insist(call: Callable[..., Result], *args: object, wait: Step = sleep, clear: Step = sleep) -> Result:
    """Wait, then call, until it succeeds: every error passes, unless it says that the socket is gone.

    Out of file descriptors, say, a connection stays in the backlog until another one ends.
    """
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


def echo(client: socket.socket) -> None:
    # What is entered last is closed first: once the socket is closed, its number may be another connection's.
    with suppress(ConnectionError), client, closing(insist(FdWaiter, client.fileno())) as ready:
        while data := insist(client.recv, CHUNK, wait=ready.wait_read, clear=ready.clear_read):
            while data:  # a client that does not read is not read from either
                data = data[insist(client.send, data, wait=ready.wait_write, clear=ready.clear_write) :]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C just ends it
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    socket.setdefaulttimeout(0)  # neither the listener nor what it accepts blocks
    listener = socket.create_server(("127.0.0.1", int([*sys.argv, "0"][1])), backlog=4096)
    print("{}:{}".format(*listener.getsockname()), flush=True)
    ready = FdWaiter(listener.fileno())
    while True:
        client, _ = insist(listener.accept, wait=ready.wait_read, clear=ready.clear_read)
        spawn_raw(echo, client)
