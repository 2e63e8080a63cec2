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
        """Call `func(*args, **kwds)` in a thread and return or raise what it did.  Switches: always."""
        ...

    def join(self) -> None:
        """Wait until every call has ended.  Switches: if there are any."""
        ...

    def kill(self) -> None:
        """Take no more calls and let the threads end.  Switches: never."""
        ...
