"""asyncio, and uvloop: a task per connection, on streams."""

from __future__ import annotations

import asyncio

from servers.hello import BACKLOG, READ_SIZE, answer, listen


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client until it leaves."""
    rest = b""
    try:
        while received := await reader.read(READ_SIZE):
            reply, rest = answer(rest + received)
            if reply:
                writer.write(reply)
                await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main() -> None:
    """Accept for ever."""
    server = await asyncio.start_server(serve, sock=listen(), backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
