"""eventlet: a green thread per connection, on its green sockets."""

from __future__ import annotations

from typing import Any

from eventlet import spawn_n
from eventlet.greenio import GreenSocket

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
    listener = GreenSocket(listen())
    while True:
        connection, _ = listener.accept()
        spawn_n(serve, connection)


if __name__ == "__main__":
    main()
