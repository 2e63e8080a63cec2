"""What a hub and a waiter promise, for those who take one as an argument."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NoReturn, Protocol

from hub_api._loop import ILoopCore
from hub_api._resolver import IResolver
from hub_api._threadpool import IThreadPool
from hub_api._watchers import IWatcher


class ISwitchable(Protocol):
    """A greenlet, as far as one can say so without importing greenlet."""

    @property
    def dead(self) -> bool:
        """Whether it has finished."""
        ...

    def switch(self, *args: Any, **kwargs: Any) -> Any:
        """Run it until it switches elsewhere."""
        ...

    def throw(self, *args: Any) -> Any:
        """Run it from an exception that is raised where it stopped."""
        ...


class IWaiter(Protocol):
    """One wait of one greenlet, and its outcome."""

    reason: object
    """What the wait is for, if that is more than the waiter itself: reports of who waits name it."""

    @property
    def greenlet(self) -> ISwitchable | None:
        """The greenlet that waits in `get`, or None."""
        ...

    def switch(self, value: Any, /) -> None:
        """Make `value` the outcome.

        Call from: the hub's thread.  Switches: never.  Raises InvalidThreadUseError elsewhere.
        """
        ...

    def throw(self, *throw_args: Any) -> None:
        """Make an exception the outcome; arguments as those of `greenlet.throw`.  Otherwise as `switch`."""
        ...

    def get(self) -> Any:
        """Return or raise the outcome.  Call from: any greenlet but the hub.  Switches: if there is no outcome yet."""
        ...

    def clear(self) -> None:
        """Forget the stored outcome, so that the waiter can be used again."""
        ...

    def ready(self) -> bool:
        """Whether an outcome is stored."""
        ...

    def successful(self) -> bool:
        """Whether a value is stored."""
        ...


class IHub(Protocol):
    """A greenlet that runs an event loop, and where the other greenlets of its thread park."""

    name: str
    """A name for people; part of the repr."""

    threadpool_size: int
    """The size of the thread pool that `threadpool` makes."""

    resolver: IResolver
    """The DNS resolver that the socket functions will use: made when first read, assignable."""

    threadpool: IThreadPool
    """The threads for operations that block: made when first read, assignable."""

    @property
    def loop(self) -> ILoopCore:
        """The event loop of this hub, and thus of this thread."""
        ...

    @property
    def thread_ident(self) -> int:
        """The thread that the hub belongs to, as `threading.get_ident` numbers it."""
        ...

    @property
    def current(self) -> bool:
        """Whether the hub itself runs now and not a greenlet: so this is a callback, which cannot park."""
        ...

    @property
    def main_hub(self) -> bool:
        """Whether this is the hub of the main thread."""
        ...

    def waiter(self) -> IWaiter:
        """A new waiter of this hub, for packages that do not import hub-core."""
        ...

    def of_this_thread(self) -> IHub | None:
        """The hub of the calling thread, this one or another, or None if it has none.  Call from: any thread."""
        ...

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        """Raise InvalidThreadUseError: `what` cannot be done in this thread, `remedy` says what to do instead.

        It names the hub and its thread, and the calling thread and its own hub.  For the checks of what belongs to a
        hub.  Call from: any thread but the hub's; in that, it raises ValueError, for the hub is destroyed.
        """
        ...

    def wait(self, watcher: IWatcher, /) -> None:
        """Start `watcher` and park until it calls back.  Switches: always."""
        ...

    def cancel_wait(
        self, watcher: IWatcher | None, error: BaseException | type[BaseException], close_watcher: bool = False
    ) -> None:
        """Have the greenlet that waits for `watcher` raise `error`.  Switches: never."""
        ...

    def handle_error(
        self, context: object, type: type[BaseException], value: BaseException, tb: TracebackType | None, /
    ) -> None:
        """Deal with an exception that nobody caught."""
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the loop has nothing left to do (True), or for `timeout` seconds (False)."""
        ...

    def destroy(self, destroy_loop: bool | None = None) -> None:
        """End the hub and give back what it holds."""
        ...
