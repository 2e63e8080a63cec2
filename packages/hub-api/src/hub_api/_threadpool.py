"""What a thread pool promises a hub and its users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class IJob(Protocol[T_co]):
    """One call that was handed to a pool."""

    def ready(self) -> bool:
        """Whether it has ended."""
        ...

    def get(self) -> T_co:
        """Its value, or raise its exception.

        Call from: a greenlet of the pool's hub.  Switches: if it has not ended.
        """
        ...


class IThreadPool(Protocol):
    """Runs blocking calls in other threads while the calling greenlet is parked.

    Call from: greenlets of the hub that the pool belongs to; elsewhere InvalidThreadUseError.
    """

    @property
    def maxsize(self) -> int:
        """How many threads there may be."""
        ...

    @property
    def size(self) -> int:
        """How many threads there are."""
        ...

    def spawn(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> IJob[T]:
        """Start `func(*args, **kwargs)` in a thread.  Switches: if the pool has no room, until it has."""
        ...

    def apply(
        self, func: Callable[..., T], args: tuple[Any, ...] | None = None, kwds: dict[str, Any] | None = None
    ) -> T:
        """Call `func(*args, **kwds)` in a thread and return or raise what it did.

        Switches: unless it is in a job of the same pool, or the call ends before the greenlet comes to park.
        """
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every call has ended: True.  Or for `timeout` seconds: False.  Switches: if there are any."""
        ...

    def kill(self) -> None:
        """Take no more calls and let the threads end.  Switches: never."""
        ...


class ILaneJob(IJob[T_co], Protocol[T_co]):
    """One call that was handed to a lane.  Call from: the thread of the pool's hub."""

    @property
    def value(self) -> T_co | None:
        """Its value; None if it has none, or none yet."""
        ...

    @property
    def exception(self) -> BaseException | None:
        """What it ended with instead of a value; None if it has one, or has not ended."""
        ...

    def rawlink(self, callback: Callable[[Any], object], /) -> None:
        """Have `callback(job)` called once, in the hub's thread, when the job has ended.  Switches: never."""
        ...

    def take(self) -> bool:
        """End it, and call who is linked, if its call has been made already; returns whether it was ended by this.

        Call from: the greenlet that has just submitted it.  Switches: never.
        """
        ...

    def cancel(self) -> bool:
        """End it if it has not started; returns whether it was ended by this.  Switches: never."""
        ...


class ILane(Protocol):
    """A named share of a pool, with places and threads of its own: what waits elsewhere in the pool delays nobody here.

    Call from: as `IThreadPool`.
    """

    @property
    def maxsize(self) -> int:
        """How many threads there may be."""
        ...

    def spawn(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> IJob[T]:
        """Start `func(*args, **kwargs)` in a thread.  Switches: if the lane has no room, until it has."""
        ...

    def apply(
        self, func: Callable[..., T], args: tuple[Any, ...] | None = None, kwds: dict[str, Any] | None = None
    ) -> T:
        """Call `func(*args, **kwds)` in a thread and return or raise what it did.

        Switches: unless it is in a job of the same pool, or the call ends before the greenlet comes to park.
        """
        ...

    def submit(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ILaneJob[T]:
        """The same as `spawn`, but where that would wait the job waits alone.  Switches: never."""
        ...


class ILanes(Protocol):
    """What a pool with lanes promises besides; one without them need not have it."""

    def lane(self, name: str, maxsize: int | None = None) -> ILane:
        """The lane of that name, made when first asked for; `maxsize` sets how many threads it may have."""
        ...
