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
    from hub_core._report import wait_reason

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "FdWaiter",
    "Hub",
    "HubDestroyed",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "LoopExit",
    "Waiter",
    "__version__",
    "get_hub",
    "get_hub_class",
    "get_hub_if_exists",
    "get_loop",
    "idle",
    "kill",
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


if not TYPE_CHECKING:  # a type checker that sees a module's __getattr__ takes every misspelt name for granted

    def __getattr__(name: str) -> object:
        """Import what few programs need when somebody asks for it (PEP 562)."""
        home = {"__version__": "__about__", "wait_reason": "_report"}.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
        return value
