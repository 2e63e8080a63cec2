"""Ours: a greenlet per connection, on kernel calls only."""

from __future__ import annotations

from socket import socket

from greenlet_hub import FdWaiter, spawn_raw
from servers.hello import READ_SIZE, answer, listen


def send_all(connection: socket, ready: FdWaiter, reply: bytes) -> None:
    """`sendall` for a greenlet."""
    while reply:
        try:
            reply = reply[connection.send(reply) :]
        except BlockingIOError:
            ready.clear_write()
            ready.wait_write()


def serve(connection: socket) -> None:
    """Answer one client until it leaves."""
    connection.setblocking(False)
    ready = FdWaiter(connection.fileno())
    wait_read, clear_read, recv = ready.wait_read, ready.clear_read, connection.recv
    rest = b""
    try:
        while True:
            wait_read()
            try:
                received = recv(READ_SIZE)
            except BlockingIOError:
                clear_read()
                continue
            if not received:
                return
            if len(received) < READ_SIZE:
                clear_read()
            reply, rest = answer(rest + received)
            if reply:
                send_all(connection, ready, reply)
    except ConnectionError:
        pass
    finally:
        ready.close()
        connection.close()


def main() -> None:
    """Accept for ever."""
    listener = listen()
    ready = FdWaiter(listener.fileno())
    while True:
        ready.wait_read()
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            ready.clear_read()
        else:
            spawn_raw(serve, connection)


if __name__ == "__main__":
    main()
