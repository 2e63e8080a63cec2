"""Native threads for a hub: a blocking function runs in a worker while the greenlet that asked is parked."""

from __future__ import annotations

from hub_threadpool.__about__ import __version__
from hub_threadpool._exit import set_exit_deadline
from hub_threadpool._job import Job
from hub_threadpool._lanes import Lane
from hub_threadpool._ledger import LaneCounters
from hub_threadpool._mapping import MapJob
from hub_threadpool._pool import ThreadPool
from hub_threadpool._results import Results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_threadpool._executor import ThreadPoolExecutor
    from hub_threadpool._future import DoneAndNotDone, Future, as_completed, wait

__all__ = [
    "DoneAndNotDone",
    "Future",
    "Job",
    "Lane",
    "LaneCounters",
    "MapJob",
    "Results",
    "ThreadPool",
    "ThreadPoolExecutor",
    "__version__",
    "as_completed",
    "set_exit_deadline",
    "wait",
]


if not TYPE_CHECKING:  # a type checker that sees a module's __getattr__ takes every misspelt name for granted

    def __getattr__(name: str) -> object:
        """Import the executor when somebody asks for it: it brings `concurrent.futures` (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = "_executor" if name == "ThreadPoolExecutor" else "_future"
        value = globals()[name] = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
