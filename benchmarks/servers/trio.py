"""trio: a task per connection, on its socket streams."""

from __future__ import annotations

from typing import Any

import trio

from servers.hello import READ_SIZE, answer, listen


async def serve(stream: Any) -> None:
    """Answer one client until it leaves."""
    receive, send_all = stream.receive_some, stream.send_all
    rest = b""
    try:
        while received := await receive(READ_SIZE):
            reply, rest = answer(rest + received)
            if reply:
                await send_all(reply)
    except trio.BrokenResourceError:
        pass


async def main() -> None:
    """Accept for ever."""
    await trio.serve_listeners(serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listen()))])


if __name__ == "__main__":
    trio.run(main)
