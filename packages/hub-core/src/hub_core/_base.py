"""Everything about a hub that does not switch greenlets: its checks, waits, parts, its end, and its identity.

Receives: a loop and perhaps a pool and a resolver, or factories for them.  Gives: the attributes and methods that
`Hub` inherits.
Rule: nothing here switches; `_hub` does, and nobody else.  What parks does so through a Waiter.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from greenlet import getcurrent, greenlet

from hub_api import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
)
from hub_core import _errors, _local, _parts
from hub_core._waiter import Waiter, check_raisable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn, Self

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool, IWatcher
    from hub_core._watch import Watch


GRACE = 1.0
"""Seconds that greenlets have for their `finally` blocks when their hub is destroyed, unless `destroy` is told."""


class HubBase(_errors.Policy, _parts.Parts, greenlet):
    """What `Hub` is besides a scheduler."""

    __slots__ = (
        "_block",
        "_joined",
        "_main",
        "_outlived",
        "_owner",
        "_present",
        "_resolver",
        "_site",
        "_threadpool",
        "_watch",
        "loop",
        "thread_ident",
    )

    name = ""
    threadpool_size = 10

    def __init__(
        self,
        loop: ILoopCore | ILoopFactory | None,
        default: bool | None,
        threadpool: IThreadPool | Callable[[IHub], IThreadPool] | None,
        resolver: IResolver | Callable[[IHub], IResolver] | None,
    ) -> None:
        super().__init__()
        self.thread_ident: int = get_ident()
        self._watch: Watch | None = None
        from hub_core import _storage  # here, and not with this module: it brings threading

        self._owner = _storage.find_thread(self.thread_ident)
        self._main = _storage.is_main(self.thread_ident)
        self._present = _storage.local.present
        self.loop: ILoopCore = _make_loop(loop, default, self.main_hub)
        self._block: Any = None
        self._outlived = False
        self._site = _storage.creation_site(self)
        self._threadpool: Any = threadpool
        self._resolver: Any = resolver
        self._joined = False  # whether the parent waits in `join`, for the end of everything

    # -- checks -----------------------------------------------------------------------------------------------------

    def check_thread(self, what: str, remedy: str = "") -> None:
        """Raise InvalidThreadUseError unless called from the hub's thread, ValueError if the hub is destroyed."""
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(what, remedy)

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        """Raise the error that tells why `what` cannot be done here."""
        if get_ident() == self.thread_ident:
            raise ValueError(f"cannot {what}: {self!r} is destroyed; get_hub() makes a new one")
        from hub_core import _storage

        raise InvalidThreadUseError(
            f"cannot {what} of {self!r}, which belongs to {_storage.describe_thread(self.thread_ident)}, from "
            f"{_storage.describe_thread(get_ident())}, whose own hub is {_local.get_hub_if_exists()!r}: "
            f"a hub belongs to one thread; use {remedy or 'hub.loop.run_callback_threadsafe'}"
        )

    # -- waiting for watchers ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        """A new waiter of this hub."""
        hub: Any = self
        return Waiter(hub)

    def switch_out(self) -> NoReturn:
        """Called when the hub itself is about to park, which it never may."""
        raise BlockingSwitchOutError(
            f"Impossible to call blocking function in the event loop callback: {self!r} runs the loop "
            "and cannot wait for it; spawn a greenlet for what blocks"
        )

    def of_this_thread(self) -> HubBase | None:
        """The hub of the calling thread, this one or another, or None if it has none.  Call from: any thread."""
        return _local.get_hub_if_exists()

    def wait(self, watcher: IWatcher, /) -> None:
        """Start `watcher`, which must not be started, and park until it calls back; then stop it.

        Call from: any greenlet but the hub.  Switches: always.
        Raises ConcurrentObjectUseError if the watcher is started already, InvalidSwitchError if a stranger resumed
        the greenlet, OSError (EBADF) if the watcher's fd was closed meanwhile, or what `cancel_wait` was given.
        """
        self.check_thread("wait", "hub.loop.run_callback_threadsafe(spawn_raw, hub.wait, watcher)")
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
        Call from: the hub's thread.  Switches: never.  Raises TypeError for an `error` that cannot be raised.
        """
        if watcher is None:
            return
        self.check_thread("cancel a wait", "hub.loop.run_callback_threadsafe(hub.cancel_wait, watcher, error)")
        check_raisable(error, "what a wait is cancelled with")
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
        check_raisable(error, "what a wait is cancelled with")
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
            self.refuse(
                "join", "hub.loop.run_callback_threadsafe for what is to happen there, and the join of the thread"
            )
        if getcurrent() is not self.parent:
            raise AssertionError(
                f"join() is only possible from the main greenlet {self.parent!r}, not from {getcurrent()!r}"
            )
        if self.dead:
            return True
        waiter = self.waiter()
        timer = None if timeout is None else self.loop.timer(timeout, ref=False)
        self._joined = True
        try:
            if timer is not None:
                timer.start(waiter.switch, None)
            waiter.get()
        except LoopExit:
            return True
        finally:
            self._joined = False
            if timer is not None:
                timer.close()
        return False

    @property
    def owner_ended(self) -> bool:
        """Whether the thread that the hub belongs to has ended."""
        if self._main and get_ident() == self.thread_ident:
            return False  # at the interpreter's exit `threading` says otherwise of the very thread that runs it
        if self._owner is None:  # `threading` does not know it: what can be seen is whether its number runs Python
            return self.thread_ident not in sys._current_frames()
        return not self._owner.is_alive()

    def _loop_exit(self) -> LoopExit:
        """What is raised when nothing is left; for the program's end, which `join` waits for, nobody reads a report."""
        error = LoopExit("This operation would block forever", self, [])
        if not self._joined:
            try:
                error.report = report = self.report()
                error.args[2].extend(report.handles)
            except Exception as failed:  # its reader must learn of the hang at any rate
                error.add_note(f"the report failed: {failed!r}")
        return error

    # -- end ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Make this the hub of its thread, until the end of the block; then destroy it, with its loop.

        The thread's former hub is its hub again afterwards; until then its greenlets wait.  So wait in the block for
        what belongs to this hub: a Waiter, FdWaiter or watcher of the former one runs the former one, in the block.
        Call from: the hub's thread, in a greenlet that was not spawned on a hub.
        Raises RuntimeError elsewhere, and in a block of this hub; ValueError after `destroy`.
        """
        self.check_thread("enter it")
        above: greenlet | None = getcurrent()
        while above is not None:
            if isinstance(above, HubBase):
                raise RuntimeError(
                    f"{getcurrent()!r} runs on {above!r} and cannot enter {self!r}, for it parks on the hub "
                    "that runs it; enter a hub from the main greenlet, or in a thread of its own"
                )
            above = above.parent
        if self._block is not None:
            raise RuntimeError(f"{self!r} is entered already; a hub has one block, at the end of which it is destroyed")
        self._block = _local.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Destroy the hub and its loop, also if the block ends in an exception."""
        block, self._block = self._block, None
        try:
            self.destroy(destroy_loop=True)
        except BaseException:
            self._block = block if self.loop is not None else None  # refused: it is still this thread's hub
            raise
        finally:
            if self.loop is None:
                _local.leave(block)

    def __del__(self) -> None:
        """Warn of a hub that its holder has dropped and not destroyed.

        One that has run holds itself: it is dropped at the end of its thread, and the main thread's never.
        """
        if getattr(self, "loop", None) is None or sys.is_finalizing() or (self.owner_ended and not self._outlived):
            return  # the last of these: in a forked child, the hub of a thread that is not there
        import warnings

        warnings.warn(
            f"{self!r}, made at {self._site}, was dropped and never destroyed: write `with Hub(...) as hub:`, "
            "or call its destroy()",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    def destroy(self, destroy_loop: bool | None = None, *, timeout: float | None = GRACE) -> None:
        """End the hub.

        GreenletExit is raised in its greenlets, so that their `finally` blocks run; its pool and resolver are closed,
        its own greenlet finishes, its loop is destroyed or left to the next hub.  Idempotent.  See
        docs/explain/shutdown.md.
        `destroy_loop`: None destroys the loop unless it is the main thread's default one.
        `timeout`: for how many seconds greenlets that park again on their way out are waited for, None for ever.  Those
        that are left then are let go, and named in a RuntimeWarning.  0 does not even begin: parked greenlets are let
        go as they stand, and nothing is said.
        Call from: the hub's thread, in a greenlet that was not spawned on the hub; or any thread once that one has
        ended, which is as with a `timeout` of 0.
        Switches: to the hub and back.  Raises RuntimeError in a greenlet of this hub; when all is done, what its
        greenlets could not keep to themselves, like SystemExit; KeyboardInterrupt, which cuts the waiting short.
        """
        if self.loop is None:
            return
        if timeout is not None and not timeout >= 0:
            raise ValueError(
                f"timeout must be a number of seconds, 0 or more, or None to wait for ever, got {timeout!r}"
            )
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
        hub: Any = self
        loop, left = self.loop, list[str]()
        if destroy_loop is None:
            destroy_loop = not loop.default
        try:
            if here and timeout != 0 and not self.dead:
                from hub_core import _ending  # here, and not with this module: it is needed once in a hub's life

                _ending.end_greenlets(hub, timeout, left)
        finally:
            try:
                self._end(destroy_loop)
            finally:
                if here:
                    _local.forget(self, loop, destroy_loop)
                if left:
                    from hub_core import _ending

                    _ending.warn(self, left)

    def _end(self, destroy_loop: bool) -> None:
        """What `destroy` does but for the thread's storage, which is gone already when a thread's end calls this.

        Each step is taken, also if an interrupt ends the one before.
        """
        loop = self.loop
        try:
            self._end_watch(wait=True)
        finally:
            try:
                self._close_parts()
            finally:
                try:
                    self._unwind(destroy_loop)
                finally:
                    nothing: Any = None  # a destroyed hub has no loop; its repr and its checks say so
                    self.loop = nothing
                    if destroy_loop:
                        loop.destroy()
                    elif get_ident() == self.thread_ident and not self.owner_ended:
                        from hub_core import _fork

                        _fork.let_go(self, loop)

    def _unwind(self, destroy_loop: bool) -> None:
        """Empty the lanes and, in the hub's own thread, end its greenlets."""
        raise NotImplementedError

    def _end_watch(self, wait: bool) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop(wait)

    def _end_with_thread(self, destroy: bool) -> None:
        """This thread ends: see `_storage.Guard`."""
        self._end_watch(wait=False)  # Thread.join would make `threading` believe that this thread has just begun
        try:
            self._end_parked()
        finally:
            if self.loop is None:
                pass  # a `finally` block has destroyed it
            elif destroy:
                self._end(destroy_loop=True)
            else:
                self._outlived = True
                self._unwind(destroy_loop=False)

    def _end_parked(self) -> None:
        """The hub's thread ends: have parked greenlets end without waiting for any."""
        raise NotImplementedError

    def _runs_below(self, current: greenlet | None) -> bool:
        while current is not None:
            if current is self:
                return True
            current = current.parent
        return False

    def reinit(self) -> None:
        """Make the hub usable in a forked child now, rather than at its first use: see docs/explain/fork.md.

        Without effect in the parent, and a second time.
        Call from: the hub's thread.  Switches: never.
        Raises OSError if the system has no file descriptors left for the child; it may be called again then.
        TypeError if the loop is one that knows nothing of forks.
        """
        self.check_thread("reinit it")
        loop: Any = self.loop
        if not hasattr(loop, "reinit"):
            raise TypeError(
                f"cannot reinit {self!r}: its loop has no reinit() and cannot live on in a forked child; "
                "make a new hub there, with a new loop"
            )
        loop.reinit()
        if not hasattr(loop, "fork_listener"):  # this loop does not tell us whether there was a fork; the parts look
            self._tell_parts_of_fork()

    # -- identity ---------------------------------------------------------------------------------------------------

    @property
    def current(self) -> bool:
        """Whether the hub itself runs now and not a greenlet: so this is a callback, which cannot park."""
        return getcurrent() is self

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
        from hub_core import _fork

        other = _fork.hub_on(loop)
        if other is not None:
            raise ValueError(
                f"cannot make a hub on {loop!r}: {other!r} runs it; destroy that one first (it may leave its loop), "
                "or give this one a loop of its own"
            )
        made: ILoopCore = loop
        return _local.take_loop(made)
    if loop is None:
        left = _local.get_loop()
        if left is not None:
            return _local.take_loop(left)
    factory: ILoopFactory | None = loop or _local.defaults.loop
    if factory is None:
        raise LookupError(
            "hub-core has no loop of its own: install greenlet-hub and import greenlet_hub, "
            "or pass one, as in Hub(loop=hub_loop.Loop())"
        )
    return factory(default=main if default is None else default)


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
