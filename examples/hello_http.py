"""A keep-alive HTTP server on kernel calls only: `hello_http.py [PORT]`, then `wrk http://127.0.0.1:PORT/`."""

import errno
import resource
import signal
import socket
import sys

from greenlet_hub import FdWaiter, sleep, spawn_raw

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"
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


def serve(client: socket.socket) -> None:
    ready, unread, last = own(client), b"", False
    try:
        while not last and len(unread) < CHUNK:
            ready.wait_read()
            try:
                chunk = client.recv(CHUNK)
            except BlockingIOError:
                ready.clear_read()
                continue
            except OSError as error:
                rest(error)
                continue
            if len(chunk) < CHUNK:
                ready.clear_read()  # there is no more for now: the next wait parks, without a recv in vain
            *requests, unread = (unread + chunk).split(b"\r\n\r\n")  # several may come at once, or a part of one
            replies = HELLO * len(requests)
            while replies:
                try:
                    replies = replies[client.send(replies) :]
                except BlockingIOError:
                    ready.clear_write()
                    ready.wait_write()
                except OSError as error:
                    rest(error)
            last = not chunk or any(b"\r\nconnection: close" in request.lower() for request in requests)
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
    print("http://{}:{}/".format(*listener.getsockname()), flush=True)
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
            spawn_raw(serve, client)
