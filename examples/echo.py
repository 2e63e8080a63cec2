"""An echo server on kernel calls only: `python examples/echo.py [PORT]`, then `nc 127.0.0.1 PORT`."""

import resource
import signal
import socket
import sys

from greenlet_hub import FdWaiter, sleep, spawn_raw

CHUNK = 65536


def echo(client: socket.socket) -> None:
    ready = FdWaiter(client.fileno())
    try:
        while True:
            ready.wait_read()
            try:
                data = client.recv(CHUNK)
            except BlockingIOError:
                ready.clear_read()  # nothing there after all: the next wait parks
                continue
            if not data:
                return  # the client has said all it has to say
            while data:
                try:
                    data = data[client.send(data) :]
                except BlockingIOError:
                    ready.clear_write()  # the client does not read: wait for it, and read no more meanwhile
                    ready.wait_write()
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
        try:
            ready.wait_read()
            client, _ = listener.accept()
            client.setblocking(False)
            spawn_raw(echo, client)
        except BlockingIOError:
            ready.clear_read()
        except OSError:
            sleep(0.01)  # out of file descriptors: the connection waits in the backlog until another one ends
