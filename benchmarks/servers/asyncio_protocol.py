"""asyncio, and uvloop: callbacks of a protocol object per connection."""

from __future__ import annotations

import asyncio
from typing import cast

from servers.hello import BACKLOG, answer, listen


class Hello(asyncio.Protocol):
    """Answers one client until it leaves."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.WriteTransport, transport).write
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        reply, self._rest = answer(self._rest + data)
        if reply:
            self._write(reply)


async def main() -> None:
    """Accept for ever."""
    server = await asyncio.get_running_loop().create_server(Hello, sock=listen(), backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
