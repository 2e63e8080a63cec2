"""The hub family in one import: greenlets that wait on an event loop, with every part chosen.

Receives: the parts' packages.  Gives: their public names, and hubs that find a loop, a thread pool and a resolver.
Rule: importing this starts nothing and opens nothing.  What only some programs need (`Loop`, `ThreadPool`, resolvers)
is imported when it is first named, and the loop when the first hub is made (tests/greenlet_hub/test_import.py).
"""

from __future__ import annotations

from greenlet import GreenletExit

from greenlet_hub import _defaults
from hub_api import (
    READ,
    WRITE,
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    ForkedError,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    JobCancelledError,
    LoopExit,
    PoolFullError,
    PoolKilledError,
    WorkerLostError,
)
from hub_core import (
    FdWaiter,
    Hub,
    Waiter,
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    get_loop,
    idle,
    kill,
    set_default_hub_class,
    set_defaults,
    set_hub,
    set_loop,
    sleep,
    spawn_raw,
    wait_on_watcher,
    wait_read,
    wait_readwrite,
    wait_write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greenlet_hub.__about__ import __version__
    from hub_core import (
        BlockReport,
        Counters,
        CountersSnapshot,
        DelayHistogram,
        FrameReport,
        GreenletReport,
        Hint,
        OrphanReport,
        Report,
        WaitReport,
        Watch,
        left_behind,
        reinit,
        report_on_signal,
        wait_reason,
    )
    from hub_loop import Loop
    from hub_resolver import AresResolver, BlockingResolver, DnspythonResolver, ThreadResolver
    from hub_threadpool import ThreadPool, ThreadPoolExecutor

__all__ = [
    "AresResolver",
    "BlockReport",
    "BlockingResolver",
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "Counters",
    "CountersSnapshot",
    "DelayHistogram",
    "DnspythonResolver",
    "FdWaiter",
    "ForkedError",
    "FrameReport",
    "GreenletExit",
    "GreenletReport",
    "Hint",
    "Hub",
    "HubDestroyed",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "JobCancelledError",
    "Loop",
    "LoopExit",
    "OrphanReport",
    "PoolFullError",
    "PoolKilledError",
    "READ",
    "Report",
    "ThreadPool",
    "ThreadPoolExecutor",
    "ThreadResolver",
    "WRITE",
    "WaitReport",
    "Waiter",
    "Watch",
    "WorkerLostError",
    "__version__",
    "get_hub",
    "get_hub_class",
    "get_hub_if_exists",
    "get_loop",
    "idle",
    "kill",
    "left_behind",
    "reinit",
    "report_on_signal",
    "set_default_hub_class",
    "set_defaults",
    "set_hub",
    "set_loop",
    "sleep",
    "spawn_raw",
    "wait_on_watcher",
    "wait_read",
    "wait_readwrite",
    "wait_reason",
    "wait_write",
]

_LATER = {
    "__version__": "greenlet_hub.__about__",
    "Loop": "hub_loop",
    **dict.fromkeys(["ThreadPool", "ThreadPoolExecutor"], "hub_threadpool"),
    **dict.fromkeys(["AresResolver", "BlockingResolver", "DnspythonResolver", "ThreadResolver"], "hub_resolver"),
    **dict.fromkeys(["FrameReport", "GreenletReport", "Hint", "OrphanReport", "Report", "WaitReport"], "hub_core"),
    **dict.fromkeys(["BlockReport", "Counters", "CountersSnapshot", "DelayHistogram", "Watch"], "hub_core"),
    **dict.fromkeys(["left_behind", "reinit", "report_on_signal", "wait_reason"], "hub_core"),
}


if not TYPE_CHECKING:  # a type checker that sees a module's __getattr__ takes every misspelt name for granted

    def __getattr__(name: str) -> object:
        """Import a part that was not needed until now."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = _defaults.find(f"{_LATER[name]}:{name}", f"greenlet_hub.{name}")
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_defaults.join()
