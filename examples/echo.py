"""An echo server on kernel calls only: `python examples/echo.py [PORT]`, then `nc 127.0.0.1 PORT`."""

import errno
import resource
import signal
import socket
import sys

from greenlet_hub import FdWaiter, sleep, spawn_raw

CHUNK = 65536

SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
WRONG = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}


def rest(error: OSError) -> None:
    """Give a system that is short of memory, say, a moment; any other error is raised again."""
    if error.errno not in SHORT:
        raise error
    sleep(0.01)


def own(client: socket.socket) -> FdWaiter:
    while True:
        try:
            return FdWaiter(client.fileno())
        except OSError as error:
            rest(error)


def echo(client: socket.socket) -> None:
    ready = own(client)
    try:
        while True:
            ready.wait_read()
            try:
                data = client.recv(CHUNK)
            except BlockingIOError:
                ready.clear_read()  # nothing there after all: the next wait parks
                continue
            except OSError as error:
                rest(error)
                continue
            if not data:
                return  # the client has said all it has to say
            while data:
                try:
                    data = data[client.send(data) :]
                except BlockingIOError:
                    ready.clear_write()  # the client does not read: wait for it, and read no more meanwhile
                    ready.wait_write()
                except OSError as error:
                    rest(error)
    except OSError:
        pass  # the connection broke
    finally:
        ready.close()  # before the socket: its number may be another connection's in a moment
        client.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C just ends it
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = socket.create_server(("127.0.0.1", int([*sys.argv, "0"][1])), backlog=4096)
    listener.setblocking(False)
    print("{}:{}".format(*listener.getsockname()), flush=True)
    ready = FdWaiter(listener.fileno())
    while True:
        ready.wait_read()
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            ready.clear_read()
        except OSError as error:
            if error.errno in WRONG:
                raise
            sleep(0.01)  # out of file descriptors: the connection waits in the backlog until another one ends
        else:
            client.setblocking(False)
            spawn_raw(echo, client)
