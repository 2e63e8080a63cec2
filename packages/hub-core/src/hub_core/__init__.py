"""Greenlets on an event loop.

The Hub, the Waiter, and the calls that park.  Never calls the operating system itself.
"""

from hub_api import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
)
from hub_core._fds import FdWaiter
from hub_core._greenlets import kill, spawn_raw
from hub_core._hub import Hub, sleep
from hub_core._local import (
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    get_loop,
    set_default_hub_class,
    set_defaults,
    set_hub,
    set_loop,
)
from hub_core._waiter import Waiter
from hub_core._waits import idle, wait_on_watcher, wait_read, wait_readwrite, wait_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_core.__about__ import __version__
    from hub_core._counters import Counters, CountersSnapshot, DelayHistogram
    from hub_core._fork import left_behind, reinit
    from hub_core._report import (
        FrameReport,
        GreenletReport,
        Hint,
        OrphanReport,
        Report,
        WaitReport,
        wait_reason,
    )
    from hub_core._report_signal import report_on_signal
    from hub_core._watch import BlockReport, Watch

__all__ = [
    "BlockReport",
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "Counters",
    "CountersSnapshot",
    "DelayHistogram",
    "FdWaiter",
    "FrameReport",
    "GreenletReport",
    "Hint",
    "Hub",
    "HubDestroyed",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "LoopExit",
    "OrphanReport",
    "Report",
    "WaitReport",
    "Waiter",
    "Watch",
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
    "BlockReport": "_watch",
    "Counters": "_counters",
    "CountersSnapshot": "_counters",
    "DelayHistogram": "_counters",
    "FrameReport": "_report",
    "GreenletReport": "_report",
    "Hint": "_report",
    "OrphanReport": "_report",
    "Report": "_report",
    "WaitReport": "_report",
    "Watch": "_watch",
    "__version__": "__about__",
    "left_behind": "_fork",
    "reinit": "_fork",
    "report_on_signal": "_report_signal",
    "wait_reason": "_report",
}


if not TYPE_CHECKING:  # a type checker that sees a module's __getattr__ takes every misspelt name for granted

    def __getattr__(name: str) -> object:
        """Import what few programs need when somebody asks for it (PEP 562)."""
        home = _LATER.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
