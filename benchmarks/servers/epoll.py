"""The limit for pure Python: bare epoll, a callback per connection, edge-triggered, and nothing else.  Linux only."""

from __future__ import annotations

import select
from collections.abc import Callable
from socket import socket

from servers.hello import READ_SIZE, answer, listen

EDGE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


def serve(connection: socket, forget: Callable[[int], object]) -> Callable[[], None]:
    """What is to be called whenever the connection has become readable.  An answer that does not fit is cut off."""
    connection.setblocking(False)
    recv, send, fd = connection.recv, connection.send, connection.fileno()
    rest = b""

    def readable() -> None:
        nonlocal rest
        try:
            received = recv(READ_SIZE)
            if received:
                reply, rest = answer(rest + received)
                if reply:
                    send(reply)
                return
        except ConnectionError:
            pass
        forget(fd)
        connection.close()

    return readable


def main() -> None:
    """Accept and serve for ever."""
    listener, epoll = listen(), select.epoll()
    callbacks: dict[int, Callable[[], None]] = {}

    def acceptable() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            fd = connection.fileno()
            callbacks[fd] = serve(connection, callbacks.pop)
            epoll.register(fd, EDGE)

    callbacks[listener.fileno()] = acceptable
    epoll.register(listener.fileno(), EDGE)
    poll = epoll.poll
    while True:
        for fd, _ in poll(-1, len(callbacks)):
            callbacks[fd]()


if __name__ == "__main__":
    main()
