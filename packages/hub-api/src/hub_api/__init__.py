"""Interfaces and exceptions of the hub family.

Depend on this alone to type against a hub, a loop, a pool or a resolver.

No behaviour, no dependency, not even greenlet.  The Protocols are structural: an implementation need not import them,
and at run time the family does not: they come into memory when somebody asks for one, and with them `typing`.
"""

from hub_api._errors import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api.__about__ import __version__
    from hub_api._hub import IHub, ISwitchable, IWaiter
    from hub_api._loop import IErrorHandler, ILoop, ILoopCore, ILoopFactory
    from hub_api._resolver import IResolver
    from hub_api._threadpool import IJob, IThreadPool
    from hub_api._watchers import (
        IAsyncWatcher,
        ICallback,
        IChildWatcher,
        IIoWatcher,
        IRegistration,
        ISignalWatcher,
        IStatWatcher,
        ITimerWatcher,
        IWatcher,
    )

NONE = 0
READ = 1
WRITE = 2

__all__ = [
    "NONE",
    "READ",
    "WRITE",
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "HubDestroyed",
    "IAsyncWatcher",
    "ICallback",
    "IChildWatcher",
    "IErrorHandler",
    "IHub",
    "IIoWatcher",
    "IJob",
    "ILoop",
    "ILoopCore",
    "ILoopFactory",
    "IRegistration",
    "IResolver",
    "ISignalWatcher",
    "IStatWatcher",
    "ISwitchable",
    "IThreadPool",
    "ITimerWatcher",
    "IWaiter",
    "IWatcher",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "LoopExit",
    "__version__",
]

_HOMES = {
    "__about__": ["__version__"],
    "_hub": ["IHub", "ISwitchable", "IWaiter"],
    "_loop": ["IErrorHandler", "ILoop", "ILoopCore", "ILoopFactory"],
    "_resolver": ["IResolver"],
    "_threadpool": ["IJob", "IThreadPool"],
    "_watchers": [
        "IAsyncWatcher",
        "ICallback",
        "IChildWatcher",
        "IIoWatcher",
        "IRegistration",
        "ISignalWatcher",
        "IStatWatcher",
        "ITimerWatcher",
        "IWatcher",
    ],
}


if not TYPE_CHECKING:  # a type checker that sees a module's __getattr__ takes every misspelt name for granted

    def __getattr__(name: str) -> object:
        """Fetch a Protocol from its module when it is first asked for (PEP 562)."""
        for home, names in _HOMES.items():
            if name in names:
                module = __import__(f"{__name__}.{home}", fromlist=[name])
                value = globals()[name] = getattr(module, name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
