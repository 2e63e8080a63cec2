"""Interfaces and exceptions of the hub family.

Depend on this alone to type against a hub, a loop, a pool or a resolver.

No behaviour, no dependency, not even greenlet.  The Protocols are structural: an implementation need not import them,
and at run time the family does not: they come into memory when somebody asks for one, and with them `typing`.
"""

from hub_api._errors import (
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api.__about__ import __version__
    from hub_api._hub import IHub, ISwitchable, IWaiter
    from hub_api._loop import ICountingLoop, IErrorHandler, IForkListener, ILoop, ILoopCore, ILoopFactory
    from hub_api._resolver import IResolver
    from hub_api._threadpool import IJob, ILane, ILaneJob, ILanes, IThreadPool
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
    "ForkedError",
    "HubDestroyed",
    "IAsyncWatcher",
    "ICallback",
    "IChildWatcher",
    "ICountingLoop",
    "IErrorHandler",
    "IForkListener",
    "IHub",
    "IIoWatcher",
    "IJob",
    "ILane",
    "ILaneJob",
    "ILanes",
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
    "JobCancelledError",
    "LoopExit",
    "PoolFullError",
    "PoolKilledError",
    "WorkerLostError",
    "__version__",
]

_HOMES = {
    "__about__": ["__version__"],
    "_hub": ["IHub", "ISwitchable", "IWaiter"],
    "_loop": ["ICountingLoop", "IErrorHandler", "IForkListener", "ILoop", "ILoopCore", "ILoopFactory"],
    "_resolver": ["IResolver"],
    "_threadpool": ["IJob", "ILane", "ILaneJob", "ILanes", "IThreadPool"],
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
