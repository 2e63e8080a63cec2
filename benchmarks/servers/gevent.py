"""gevent: a greenlet per connection, on `gevent.socket`."""

from __future__ import annotations

from typing import Any

from gevent import spawn_raw
from gevent.socket import socket

from servers.hello import READ_SIZE, answer, listen


def serve(connection: Any) -> None:
    """Answer one client until it leaves."""
    recv, sendall = connection.recv, connection.sendall
    rest = b""
    try:
        while received := recv(READ_SIZE):
            reply, rest = answer(rest + received)
            if reply:
                sendall(reply)
    except ConnectionError:
        pass
    finally:
        connection.close()


def main() -> None:
    """Accept for ever."""
    listener = socket(fileno=listen().detach())
    while True:
        connection, _ = listener.accept()
        spawn_raw(serve, connection)


if __name__ == "__main__":
    main()
