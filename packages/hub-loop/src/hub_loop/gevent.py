"""The loop as gevent wants it: `GEVENT_LOOP=hub_loop.gevent.Loop` runs gevent programs on this family's loop.

Receives: gevent's calls.  Gives: `hub_loop.Loop`, and beside it the few names and shapes that only gevent asks of a
loop: its module is copied name by name into `gevent.core`, and the exception that ends a hub is gevent's own.

Rule 1: gevent is never imported from here: gevent imports this module while it is itself half imported.
Rule 2: whatever a loop calls of the system is bound once this module has been imported.  Later gevent's monkey patching
removes `select.epoll` and puts its own in the place of `select.poll`, `os.fork`, `os.waitpid`, `signal.signal` and
others, which wait for this very loop.  So what the rest of hub_loop imports when it is needed is imported here at once.
Rule 3: nothing that a program on another framework could want is here; that belongs on `hub_loop.Loop`.
"""

from __future__ import annotations

from hub_api import READ, WRITE
from hub_loop import _children, _io, _signals, _stat, pollers
from hub_loop._loop import Loop as _Loop
from hub_loop._watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from hub_loop._callback import Callback

__all__ = ["READ", "WRITE", "Loop", "loop", "supported_backends"]

_bound = (_children, _signals, _stat.find_inotify(), *map(pollers.load, pollers.supported()))  # rule 2

_NUMBERS = {"select": 1, "poll": 2, "epoll": 4, "kqueue": 8}  # libev's, which are flags (man 3 ev, FUNCTIONS)


def supported_backends() -> list[str]:
    """The names that GEVENT_BACKEND may have, best first."""
    return pollers.supported()


class Loop(_Loop):
    """A loop for gevent's hubs: see `hub_loop.Loop`.

    `flags` names pollers, as GEVENT_BACKEND does, or is a sum of libev's numbers for them.
    """

    def __init__(self, flags: str | int | Iterable[str] | None = None, default: bool | None = None) -> None:
        if isinstance(flags, int):
            flags = [name for name in pollers.supported() if _NUMBERS[name] & flags]
        super().__init__(flags, default)
        self._any_children: dict[AnyChild, None] = {}

    def io(self, fd: int, events: int, ref: bool = True, priority: int | None = None) -> _io.Io:
        """A watcher for readiness of `fd`.  With an empty mask, which gevent's `poll` may ask for, it never fires."""
        return _Silent(self, fd, READ, ref, priority) if events == 0 else super().io(fd, events, ref, priority)

    def child(self, pid: int, trace: bool = False, ref: bool = True) -> _children.Child:
        """A watcher for the end of a child process; 0 stands for any that this loop watches: see `AnyChild`."""
        if pid == 0:
            return AnyChild(self, ref)
        if self._thread == 0:
            self._refuse("make a child watcher")
        return _Child(self, pid, trace, ref)

    def _run_from_elsewhere(self, func: Callable[..., object], args: tuple[object, ...]) -> Callback:
        # `Greenlet.kill`, say, in another thread.  On gevent's own loops that runs whenever the loop next wakes.
        if self._thread > 0:
            return self.run_callback_threadsafe(func, *args)
        return super()._run_from_elsewhere(func, args)

    def handle_error(
        self, context: object, type: type[BaseException], value: BaseException, tb: TracebackType | None, /
    ) -> None:
        """Hand an exception to the hub; but the one that ends the hub leaves `run`, and drops the callbacks.

        It is known by its name: the class cannot be imported here, and gevent says that it is never subclassed.
        """
        if type.__name__ == "HubDestroyed":
            self._drop_queued()
            raise value
        super().handle_error(context, type, value, tb)

    def destroy(self) -> None:
        """Stop everything: see `hub_loop.Loop.destroy`.  A destroyed loop is nobody's default."""
        super().destroy()
        self.default = False

    def _started(self) -> list[Watcher]:
        return [*super()._started(), *self._any_children]

    @property
    def ptr(self) -> int:
        """A number that tells this loop from others; 0 once it is destroyed."""
        return id(self) if self._thread else 0

    @property
    def backend_int(self) -> int:
        """Libev's number of the poller."""
        return _NUMBERS[self.backend]


class AnyChild(_children.Child):
    """Calls back when any of the children ends that the loop watches at that moment: gevent's `os.waitpid(-1, 0)`.

    gevent's libev reaps every child of the process for that.  Ours reaps nobody whom nobody watches; but gevent's own
    `fork`, patched in or not, watches each child that it makes.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        loop: Loop

    def __init__(self, loop: Loop, ref: bool = True) -> None:
        Watcher.__init__(self, loop, ref)
        self._sentinel, self._trace = None, False
        self.pid = self.rpid = self.rstatus = 0

    def _arm(self) -> None:
        self.loop._any_children[self] = None

    def _disarm(self) -> None:
        self.loop._any_children.pop(self, None)


class _Child(_children.Child):
    """A child watcher that tells those for any child."""

    __slots__ = ()

    if TYPE_CHECKING:
        loop: Loop

    def _happened(self, status: int) -> None:
        super()._happened(status)
        for watcher in tuple(self.loop._any_children):
            watcher.rpid, watcher.rstatus = self.pid, status
            watcher._fire()


class _Silent(_io.Io):
    """Watches for nothing; but while active it keeps `run` from returning, as any watcher does."""

    __slots__ = ()

    def _arm(self) -> None:
        self.events = 0


setattr(Loop, "async", Loop.async_)  # its name before that became a keyword; gevent's loops still have it
loop = Loop
