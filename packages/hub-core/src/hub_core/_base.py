"""Everything about a hub that does not switch greenlets: its checks, waits, errors, parts, and its identity.

Receives: a loop and perhaps a pool and a resolver, or factories for them.  Gives: the attributes and methods that
`Hub` inherits.
Rule: nothing here switches; `_hub` does, and nobody else.  What parks does so through a Waiter.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from greenlet import getcurrent, greenlet

from hub_api import ConcurrentObjectUseError, HubDestroyed, InvalidSwitchError, InvalidThreadUseError, LoopExit
from hub_core import _errors, _local
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool, IWatcher


class HubBase(greenlet):
    """What `Hub` is besides a scheduler."""

    __slots__ = ("_main", "_owner", "_resolver", "_threadpool", "loop", "thread_ident")

    name = ""
    threadpool_size = 10
    NOT_ERROR = _errors.NOT_ERROR
    SYSTEM_ERROR = _errors.SYSTEM_ERROR
    exception_stream: _errors.ExceptionStream = _errors.ExceptionStream()
    format_context: Callable[[object], str] = staticmethod(repr)

    def __init__(
        self,
        loop: ILoopCore | ILoopFactory | None,
        default: bool | None,
        threadpool: IThreadPool | Callable[[IHub], IThreadPool] | None,
        resolver: IResolver | Callable[[IHub], IResolver] | None,
    ) -> None:
        super().__init__()
        self.thread_ident: int = get_ident()
        from hub_core import _storage  # here, and not with this module: it brings threading

        self._owner = _storage.find_thread(self.thread_ident)
        self._main = _storage.is_main(self.thread_ident)
        self.loop: ILoopCore = _make_loop(loop, default, self.main_hub)
        self._threadpool: Any = threadpool
        self._resolver: Any = resolver

    # -- checks -----------------------------------------------------------------------------------------------------

    def check_thread(self, what: str, remedy: str = "") -> None:
        """Raise InvalidThreadUseError unless called from the hub's thread, ValueError if the hub is destroyed."""
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(what, remedy)

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        """Raise the error that tells why `what` cannot be done here."""
        if get_ident() == self.thread_ident:
            raise ValueError(f"cannot {what}: {self!r} is destroyed; get_hub() makes a new one")
        advice = f"; use {remedy}" if remedy else ""
        raise InvalidThreadUseError(
            f"cannot {what} of {self!r} from thread {get_ident():#x}, whose own hub is {_local.get_hub_if_exists()!r}: "
            f"a hub belongs to one thread{advice}"
        )

    # -- waiting for watchers ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        """A new waiter of this hub."""
        raise NotImplementedError

    def wait(self, watcher: IWatcher, /) -> None:
        """Start `watcher`, which must not be started, and park until it calls back; then stop it.

        Call from: any greenlet but the hub.  Switches: always.
        Raises ConcurrentObjectUseError if the watcher is started already, InvalidSwitchError if a stranger resumed
        the greenlet, OSError (EBADF) if the watcher's fd was closed meanwhile, or what `cancel_wait` was given.
        """
        self.check_thread("wait")
        if watcher.active or watcher.callback is not None:
            raise ConcurrentObjectUseError(
                f"{getcurrent()!r} cannot wait for {watcher!r}: it is started already; wait with a watcher of one's own"
            )
        waiter = self.waiter()
        waiter.reason = watcher
        watcher.start(waiter.switch, waiter)
        try:
            result = waiter.get()
            if result is not waiter:
                raise InvalidSwitchError(
                    f"invalid switch into {getcurrent()!r}: got {result!r} "
                    f"(expected {waiter!r}; waiting on {self!r} with {watcher!r})"
                )
            if watcher.closed:
                import errno

                raise OSError(errno.EBADF, f"the file was closed while {getcurrent()!r} waited for {watcher!r}")
        finally:
            watcher.stop()

    def cancel_wait(
        self, watcher: IWatcher | None, error: BaseException | type[BaseException], close_watcher: bool = False
    ) -> None:
        """Have the greenlet that waits for `watcher` raise `error`, from the next batch of callbacks.

        `close_watcher` closes the watcher as well.  None, or a watcher that nobody waits for, is fine.
        Call from: the hub's thread.  Switches: never.
        """
        if watcher is None:
            return
        self.check_thread("cancel a wait", "hub.loop.run_callback_threadsafe(hub.cancel_wait, watcher, error)")
        if watcher.callback is not None:
            self.loop.run_callback(_cancel, watcher, watcher.callback, error, close_watcher)
        elif close_watcher:
            watcher.close()

    def cancel_waits_close_and_then(
        self,
        watchers: list[IWatcher | None],
        error: BaseException | type[BaseException],
        then: Callable[..., object],
        *args: Any,
    ) -> None:
        """Cancel the waits for all of `watchers`, close them, then call `then(*args)`.

        At once if nobody waits for any.
        """
        self.check_thread("cancel waits", "hub.loop.run_callback_threadsafe(hub.cancel_waits_close_and_then, ...)")
        busy = []
        for watcher in watchers:
            if watcher is not None and watcher.callback is not None:
                busy.append((watcher, watcher.callback))
            elif watcher is not None:
                watcher.close()
        if busy:
            self.loop.run_callback(_cancel_all, busy, error, then, args)
        else:
            then(*args)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the loop has nothing left to do: True.  Or for `timeout` seconds: False.

        Call from: the hub's parent, the main greenlet, any number of times.  Switches: always, unless the hub is dead.
        """
        if get_ident() != self.thread_ident:
            self.refuse("join")
        if getcurrent() is not self.parent:
            raise AssertionError(
                f"join() is only possible from the main greenlet {self.parent!r}, not from {getcurrent()!r}"
            )
        if self.dead:
            return True
        waiter = self.waiter()
        timer = None if timeout is None else self.loop.timer(timeout, ref=False)
        try:
            if timer is not None:
                timer.start(waiter.switch, None)
            waiter.get()
        except LoopExit:
            return True
        finally:
            if timer is not None:
                timer.close()
        return False

    @property
    def owner_ended(self) -> bool:
        """Whether the thread that the hub belongs to has ended."""
        return get_ident() != self.thread_ident if self._owner is None else not self._owner.is_alive()

    # -- errors -----------------------------------------------------------------------------------------------------

    def handle_error(
        self,
        context: object,
        type: type[BaseException] | None,
        value: BaseException | str | None,
        tb: TracebackType | None,
        /,
    ) -> None:
        """Deal with an exception that nobody caught: see the table in `_errors`.

        May be replaced by assignment on the hub.
        `type`, `value` and `tb` all None stand for the exception that is being handled.
        """
        if type is None:
            type, value, tb = sys.exc_info()
            if type is None:
                return
        if isinstance(value, str):
            value = type(value)
        if issubclass(type, HubDestroyed):
            raise value or type()
        if not issubclass(type, self.NOT_ERROR):
            self.print_exception(context, type, value, tb)
        if context is None or issubclass(type, self.SYSTEM_ERROR):
            self.handle_system_error(type, value, tb)

    def handle_system_error(
        self, type: type[BaseException], value: BaseException | None, tb: TracebackType | None = None
    ) -> None:
        """Raise the exception in the main greenlet."""
        raise NotImplementedError

    def print_exception(
        self, context: object, type: type[BaseException], value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Write a report of the exception to `exception_stream`, unless that is None."""
        _errors.report(self.exception_stream, context, type, value, tb, self.format_context)

    # -- parts ------------------------------------------------------------------------------------------------------

    @property
    def threadpool(self) -> Any:
        """The thread pool of this hub: made when first read, assignable; deleting forgets it without closing."""
        if self._threadpool is None or callable(self._threadpool):
            self._threadpool = _make_part(self._threadpool or _local.defaults.threadpool, self, "threadpool")
        return self._threadpool

    @threadpool.setter
    def threadpool(self, threadpool: Any) -> None:
        self._threadpool = threadpool

    @threadpool.deleter
    def threadpool(self) -> None:
        self._threadpool = None

    @property
    def resolver(self) -> Any:
        """The DNS resolver that the socket functions will use.

        Made when first read, assignable; deleting forgets it.
        """
        if self._resolver is None or callable(self._resolver):
            self._resolver = _make_part(self._resolver or _local.defaults.resolver, self, "resolver")
        return self._resolver

    @resolver.setter
    def resolver(self, resolver: Any) -> None:
        self._resolver = resolver

    @resolver.deleter
    def resolver(self) -> None:
        self._resolver = None

    def _close_parts(self) -> None:
        for part, method in ((self._resolver, "close"), (self._threadpool, "kill")):
            if part is None or callable(part):  # callable: a factory that was never asked
                continue
            try:
                getattr(part, method)()
            except Exception as error:
                self.loop.handle_error(part, type(error), error, error.__traceback__)
        self._resolver = self._threadpool = None

    # -- end ---------------------------------------------------------------------------------------------------------

    def destroy(self, destroy_loop: bool | None = None) -> None:
        """End the hub.

        Its pool and resolver are closed, its greenlet finishes, its loop is destroyed or left to the next hub.
        `destroy_loop`: None destroys the loop unless it is the main thread's default one.  Idempotent.
        Call from: the hub's thread, in a greenlet that was not spawned on the hub; or any thread once that one has
        ended.
        Switches: to the hub and back.  Raises RuntimeError in a greenlet of this hub.
        """
        if self.loop is None:
            return
        here = get_ident() == self.thread_ident and not self.owner_ended
        if not here and not self.owner_ended:
            self.refuse(
                "destroy the loop",
                "hub.loop.run_callback_threadsafe, and destroy it in its own thread, or once that has ended",
            )
        if here and self._runs_below(getcurrent()):
            raise RuntimeError(
                f"{getcurrent()!r} runs on {self!r} and cannot destroy it; do so from the main greenlet {self.parent!r}"
            )
        loop = self.loop
        if destroy_loop is None:
            destroy_loop = not loop.default
        self._end(destroy_loop)
        if here:
            _local.forget(self, loop, destroy_loop)

    def _end(self, destroy_loop: bool) -> None:
        """What `destroy` does but for the thread's storage, which is gone already when a thread's end calls this."""
        self._close_parts()
        loop = self.loop
        self._unwind(destroy_loop)
        nothing: Any = None  # a destroyed hub has no loop; its repr and its checks say so
        self.loop = nothing
        if destroy_loop:
            loop.destroy()

    def _unwind(self, destroy_loop: bool) -> None:
        """Empty the lanes and, in the hub's own thread, end its greenlets."""
        raise NotImplementedError

    def _end_with_thread(self, destroy: bool) -> None:
        """This thread ends: see `_storage.Guard`."""
        if destroy:
            self._end(destroy_loop=True)
        else:
            self._unwind(destroy_loop=False)

    def _runs_below(self, current: greenlet | None) -> bool:
        while current is not None:
            if current is self:
                return True
            current = current.parent
        return False

    # -- identity ---------------------------------------------------------------------------------------------------

    @property
    def main_hub(self) -> bool:
        """Whether this is the hub of the main thread."""
        return self._main

    def __repr__(self) -> str:
        parts = [f"<{type(self).__name__} {self.name!r} at {id(self):#x}"]
        try:
            describe: Callable[[], str] = getattr(self.loop, "_format", self.loop.__repr__)
            parts.append("destroyed" if self.loop is None else describe())
        except Exception as error:
            parts.append(f"({error})")
        parts += [f"{name}={part!r}" for name in ("resolver", "threadpool") if (part := getattr(self, f"_{name}"))]
        return " ".join([*parts, f"thread_ident={self.thread_ident:#x}>"])


def _make_loop(loop: Any, default: bool | None, main: bool) -> ILoopCore:
    if loop is not None and hasattr(loop, "run") and not isinstance(loop, type):
        if default is not None:
            raise TypeError(f"unexpected argument default={default!r}: the loop {loop!r} exists already")
        made: ILoopCore = loop
        return made
    if loop is None:
        left = _local.get_loop()
        if left is not None:
            return left
    factory: ILoopFactory | None = loop or _local.defaults.loop
    if factory is None:
        raise LookupError(
            "hub-core has no loop of its own: install greenlet-hub and import greenlet_hub, "
            "or pass one, as in Hub(loop=hub_loop.Loop())"
        )
    return factory(default=main if default is None else default)


def _make_part(factory: Callable[[Any], Any] | None, hub: HubBase, name: str) -> Any:
    if factory is None:
        raise LookupError(
            f"hub-core has no {name} of its own: install greenlet-hub and import greenlet_hub, or assign hub.{name}"
        )
    return factory(hub)


def _cancel(
    watcher: IWatcher,
    waited: Callable[..., object],
    error: BaseException | type[BaseException],
    close_watcher: bool,
) -> None:
    """Throw into the wait that `waited`, the callback of its watcher, belongs to, unless that has ended meanwhile."""
    still = watcher.active and watcher.callback is waited
    if close_watcher:
        watcher.close()
    waiter = getattr(waited, "__self__", None)
    if still and isinstance(waiter, Waiter):  # else somebody else started the watcher, and nobody waits
        waiter.throw(error)


def _cancel_all(
    busy: list[tuple[IWatcher, Callable[..., object]]],
    error: BaseException | type[BaseException],
    then: Callable[..., object],
    args: tuple[Any, ...],
) -> None:
    for watcher, waited in busy:
        _cancel(watcher, waited, error, close_watcher=True)
    then(*args)
