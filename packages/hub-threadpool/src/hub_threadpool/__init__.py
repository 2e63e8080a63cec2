"""Native threads for a hub: a blocking function runs in a worker while the greenlet that asked is parked."""

from __future__ import annotations

from hub_threadpool.__about__ import __version__
from hub_threadpool._job import Job
from hub_threadpool._pool import ThreadPool

__all__ = ["Job", "ThreadPool", "__version__"]
