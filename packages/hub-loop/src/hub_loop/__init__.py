"""The event loop.

A poller, timers, watchers, callbacks, and wake-ups from other threads.  It has never heard of greenlets.
"""

from hub_api import READ, WRITE
from hub_loop.__about__ import __version__
from hub_loop._loop import Loop
from hub_loop.pollers import supported

__all__ = ["READ", "WRITE", "Loop", "__version__", "supported"]
