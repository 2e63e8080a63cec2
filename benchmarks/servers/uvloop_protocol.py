"""uvloop: the protocol server of asyncio on its loop."""

from __future__ import annotations

import asyncio

import uvloop

from servers.asyncio_protocol import main

if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
