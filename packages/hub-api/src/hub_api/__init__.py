"""Interfaces and exceptions of the hub family: depend on this alone to type against a hub, a loop, a pool or a resolver.

No behaviour, no dependency, not even greenlet.  The Protocols are structural: an implementation need not import them.
"""

from hub_api.__about__ import __version__
from hub_api._errors import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
)
from hub_api._hub import IHub, ISwitchable, IWaiter
from hub_api._loop import IErrorHandler, ILoop, ILoopCore, ILoopFactory
from hub_api._resolver import IResolver
from hub_api._threadpool import IJob, IThreadPool
from hub_api._watchers import (
    NONE,
    READ,
    WRITE,
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
