"""The hub: the greenlet that runs the loop, and the only place of the family that switches greenlets.

Receives: greenlets that park, greenlets made ready, new greenlets.  Gives: the thread to one of them at a time.

Theory of operation.  Two lanes: `_ready` holds parked greenlets that may go on, `_new` those that were never run and those to be
thrown into.  A greenlet that parks looks into the ready lane and switches straight to the first in it (a handoff: one
switch).  It switches to the hub instead when the lane is empty, when something new waits (law 3: first switches come from
the hub, so that C stacks do not nest), or when the turn's budget is spent (law 5).  The hub then lets the loop take a turn, starts
what is new, and hands over again.

Rule 1: a greenlet stands in `_ready` only while it is parked in `park`, and at most once; so it is alive, and fit to be switched to.
Rule 2: whoever hands over writes the receiver's name into `_running`; whoever wakes up under another name was resumed by a
stranger, and takes his own entry out of the lane.
Rule 3: an entry leaves a lane by `x = lane[0]; del lane[0]`, and the next call is the switch.  None of these is a point where
CPython runs signal handlers, so Ctrl-C loses nobody (test_signals.py).
"""

from __future__ import annotations

import errno
import threading
from _thread import get_ident
from collections import deque

from greenlet import getcurrent, greenlet

from hub_api import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
)
from hub_core import _errors, _local
from hub_core._ready import Budget
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool, IWatcher

_switch = greenlet.switch
_MARKS = frozenset([Waiter.switch, Waiter.switch_args, Waiter.throw])
"""Callbacks that only mark: a parking greenlet may run them on its own stack."""


class Hub(greenlet):
    """A greenlet that runs the event loop of its thread.

    `loop` is a loop, or whatever makes one (called as `loop(default=...)`); without it the loop that the thread's last hub left,
    else the default factory's.  `threadpool` and `resolver` are such objects, or are called with the hub when first needed.
    Call from: the thread it is to belong to; everything else about it from that thread only.
    Raises LookupError if there is no loop to be had, TypeError for `default` together with a loop that exists already.
    """

    __slots__ = (
        "_budget", "_left", "_new", "_ready", "_resolver", "_running", "_threadpool", "_threads", "loop", "thread_ident"
    )  # fmt: skip

    name = ""
    threadpool_size = 10
    NOT_ERROR = _errors.NOT_ERROR
    SYSTEM_ERROR = _errors.SYSTEM_ERROR
    exception_stream = _errors.ExceptionStream()
    format_context: Callable[[object], str] = staticmethod(repr)

    def __init__(
        self,
        loop: ILoopCore | ILoopFactory | None = None,
        default: bool | None = None,
        *,
        threadpool: IThreadPool | Callable[[IHub], IThreadPool] | None = None,
        resolver: IResolver | Callable[[IHub], IResolver] | None = None,
    ) -> None:
        super().__init__()
        self.thread_ident = get_ident()
        self.loop: ILoopCore = _make_loop(loop, default, self.main_hub)
        self._ready: deque[greenlet] = deque()
        self._new: deque[tuple[greenlet, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = deque()
        self._budget = Budget()
        self._left = 0
        self._running: greenlet = self
        self._threadpool: Any = threadpool
        self._resolver: Any = resolver

    # -- parking ----------------------------------------------------------------------------------------------------

    def park(self) -> None:
        """Let others run until somebody makes the current greenlet ready.

        Call from: any greenlet but the hub, which must have left its name where somebody finds it.  Switches: always, but if
        the greenlet itself is the next one ready.  Raises BlockingSwitchOutError in a callback.
        """
        current = getcurrent()
        switch_out = getattr(current, "switch_out", None)
        if switch_out is not None:
            switch_out()
        ready = self._ready
        if not ready:
            self.loop.run_mark(_MARKS)
        if ready and not self._new and (self._left or self._extend()):
            self._left -= 1
            chosen = ready[0]
            del ready[0]
            self._running = chosen
            if chosen is not current:
                chosen.switch()
        else:
            self._running = self
            _switch(self)
        if self._running is not current:
            self.forget_ready(current)
            self._running = current

    def yield_(self) -> None:
        """Let every other ready greenlet run before the current one goes on.

        Call from: any greenlet but the hub.  Switches: if another greenlet is ready.
        """
        current = getcurrent()
        try:
            self._ready.append(current)
            self.park()
        except BaseException:
            self.forget_ready(current)
            raise

    def switch(self, *args: Any, **kwargs: Any) -> Any:
        """Park the current greenlet until somebody switches to it, and return what they pass.

        The field's raw way to park: nothing records what is waited for.  Calls the current greenlet's `switch_out`, if it has one.
        Call from: any greenlet but the hub.  Switches: always.  Raises BlockingSwitchOutError in a callback.
        """
        if args or kwargs:
            raise TypeError("Hub.switch() takes no arguments: the hub expects nothing from those who park")
        self.check_thread("switch to it")
        switch_out = getattr(getcurrent(), "switch_out", None)
        if switch_out is not None:
            switch_out()
        self._running = self
        return _switch(self)

    def switch_out(self) -> NoReturn:
        """Called when the hub itself is about to park, which it never may."""
        raise BlockingSwitchOutError(
            f"Impossible to call blocking function in the event loop callback: {self!r} runs the loop and cannot wait for it; "
            "spawn a greenlet for what blocks"
        )

    def make_ready(self, greenlet: greenlet) -> None:
        """Let a parked greenlet run again, after those already ready.

        Call from: the hub's thread, callbacks included, once for each `park`.  Switches: never.
        Raises InvalidThreadUseError elsewhere: use `loop.run_callback_threadsafe`.
        """
        self.check_thread(f"make {greenlet!r} ready", "hub.loop.run_callback_threadsafe")
        self._rouse()
        self._ready.append(greenlet)

    def _rouse(self) -> None:
        """End the poll if we are a signal handler inside it: the loop cannot know of our lanes."""
        if self.loop.sleeping:
            self.loop.wakeup()

    def forget_ready(self, greenlet: greenlet) -> None:
        """Take a greenlet that was resumed by other means out of the ready lane, if it is there."""
        try:
            self._ready.remove(greenlet)
        except ValueError:
            pass  # it was not there

    def start_soon(self, greenlet: greenlet, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        """Run a greenlet that has not run yet, with these arguments, after those that are new already.  Switches: never."""
        self.check_thread(f"start {greenlet!r}", "hub.loop.run_callback_threadsafe")
        self._rouse()
        self._new.append((greenlet, greenlet.switch, args, kwargs or {}))

    def throw_soon(self, greenlet: greenlet, error: BaseException | type[BaseException]) -> None:
        """Raise `error` in a greenlet, in its turn; without effect if it is dead by then.  Switches: never."""
        self.check_thread(f"throw into {greenlet!r}", "hub.loop.run_callback_threadsafe")
        self._rouse()
        self._new.append((greenlet, greenlet.throw, (error,), {}))

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the loop; called when the hub is first switched to, not by users.

        When nothing is left that could wake anybody, LoopExit is raised in the parent (the main greenlet); the hub stays usable.
        """
        if getcurrent() is not self:
            raise AssertionError("Do not call Hub.run() directly: it is the body of the hub; use join(), or any call that parks")
        try:
            while True:
                self._serve()
                self._throw_to_parent(LoopExit("This operation would block forever", self, []))
        except HubDestroyed:
            return

    def _serve(self) -> None:
        """Turn and hand over, until nobody is ready and the loop has nothing left."""
        loop = self.loop
        loop.error_handler = self
        try:
            while True:
                try:
                    idle = not (self._ready or self._new)
                    alive = loop.run(nowait=not idle, once=idle)
                    if self._ready or self._new:
                        self._hand_over()
                    elif not alive:
                        return
                except HubDestroyed:
                    raise
                except BaseException as error:  # a KeyboardInterrupt between two steps
                    loop.handle_error(None, type(error), error, error.__traceback__)
        finally:
            loop.error_handler = None

    def _hand_over(self) -> None:
        """Start what is new, then hand over to the ready, until there are none or the budget is spent."""
        ready, new = self._ready, self._new
        self._left = self._budget.open(self.loop.now())
        while ready or new:
            for _ in range(len(new)):
                if not self._left and not self._extend():
                    return
                self._left -= 1
                self._start_next()
            if ready:
                if not self._left and not self._extend():
                    return
                self._left -= 1
                try:
                    chosen = ready[0]
                    del ready[0]
                    self._running = chosen
                    chosen.switch()
                except BaseException as error:
                    self._greenlet_failed(error)

    def _start_next(self) -> None:
        try:
            chosen, resume, args, kwargs = self._new[0]
            del self._new[0]
            if not chosen.dead:
                self._running = chosen
                if kwargs:
                    resume(*args, **kwargs)
                else:
                    resume(*args)
        except BaseException as error:
            self._greenlet_failed(error)

    def _extend(self) -> int:
        """The stride is used up: look at the clock.  Returns how many more handoffs there are."""
        loop = self.loop
        loop.update_now()
        self._left = left = self._budget.extend(loop.now())
        return left

    def _greenlet_failed(self, error: BaseException) -> None:
        """A greenlet died of `error`, and it came to us as its parent: it was the one that ran last."""
        if isinstance(error, HubDestroyed):
            raise error
        self.loop.handle_error(self._running, type(error), error, error.__traceback__)

    # -- waiting for watchers ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        """A new waiter of this hub."""
        return Waiter(self)

    def wait(self, watcher: IWatcher, /) -> None:
        """Start `watcher`, which must not be started, and park until it calls back; then stop it.

        Call from: any greenlet but the hub.  Switches: always.
        Raises ConcurrentObjectUseError if the watcher is started already, InvalidSwitchError if a stranger resumed the greenlet,
        OSError (EBADF) if the watcher's fd was closed meanwhile, or what `cancel_wait` was given.
        """
        self.check_thread("wait")
        if watcher.active or watcher.callback is not None:
            raise ConcurrentObjectUseError(
                f"{getcurrent()!r} cannot wait for {watcher!r}: it is started already; wait with a watcher of one's own"
            )
        waiter = Waiter(self)
        watcher.start(waiter.switch, waiter)
        try:
            result = waiter.get()
            if result is not waiter:
                raise InvalidSwitchError(
                    f"invalid switch into {getcurrent()!r}: got {result!r} (expected {waiter!r}; waiting on {self!r} with {watcher!r})"
                )
            if watcher.closed:
                raise OSError(errno.EBADF, f"the file was closed while {getcurrent()!r} waited for {watcher!r}")
        finally:
            watcher.stop()

    def cancel_wait(
        self, watcher: IWatcher | None, error: BaseException | type[BaseException], close_watcher: bool = False
    ) -> None:
        """Have the greenlet that waits for `watcher` raise `error`, from this turn's callbacks; close the watcher if asked.

        None, or a watcher that nobody waits for, is fine.  Call from: the hub's thread.  Switches: never.
        """
        if watcher is None:
            return
        self.check_thread("cancel a wait", "hub.loop.run_callback_threadsafe(hub.cancel_wait, watcher, error)")
        if watcher.callback is not None:
            self.loop.run_callback(_cancel, watcher, error, close_watcher)
        elif close_watcher:
            watcher.close()

    def cancel_waits_close_and_then(
        self,
        watchers: list[IWatcher | None],
        error: BaseException | type[BaseException],
        then: Callable[..., object],
        *args: Any,
    ) -> None:
        """Cancel the waits for all of `watchers`, close them, then call `then(*args)`: at once if nobody waits for any."""
        busy = []
        for watcher in watchers:
            if watcher is not None and watcher.callback is not None:
                busy.append(watcher)
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
        if getcurrent() is not self.parent:
            raise AssertionError(f"join() is only possible from the main greenlet {self.parent!r}, not from {getcurrent()!r}")
        if self.dead:
            return True
        waiter = Waiter(self)
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

    # -- errors -----------------------------------------------------------------------------------------------------

    def handle_error(
        self,
        context: object,
        type: type[BaseException],
        value: BaseException | str | None,
        tb: TracebackType | None,
        /,
    ) -> None:
        """Deal with an exception that nobody caught: see the table in `_errors`.  May be replaced by assignment on the hub."""
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
        """Raise the exception in the main greenlet, the hub's parent.  The current greenlet goes on later."""
        current = getcurrent()
        if current is self or current is self.parent or self.loop is None:
            self._throw_to_parent(type, value, tb)
            return
        self._ready.append(current)
        try:
            self._throw_to_parent(type, value, tb)
        finally:
            self.forget_ready(current)

    def _throw_to_parent(self, *throw_args: Any) -> None:
        parent = self.parent
        assert parent is not None, "a hub is never the first greenlet of its thread"
        self._running = parent
        parent.throw(*throw_args)

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
        """The DNS resolver that the socket functions will use: made when first read, assignable; deleting forgets it."""
        if self._resolver is None or callable(self._resolver):
            self._resolver = _make_part(self._resolver or _local.defaults.resolver, self, "resolver")
        return self._resolver

    @resolver.setter
    def resolver(self, resolver: Any) -> None:
        self._resolver = resolver

    @resolver.deleter
    def resolver(self) -> None:
        self._resolver = None

    # -- identity and end -------------------------------------------------------------------------------------------

    @property
    def main_hub(self) -> bool:
        """Whether this is the hub of the main thread."""
        return self.thread_ident == threading.main_thread().ident

    def check_thread(self, what: str, remedy: str = "") -> None:
        """Raise InvalidThreadUseError unless called from the hub's thread, ValueError if the hub is destroyed."""
        if get_ident() != self.thread_ident:
            advice = f"; use {remedy}" if remedy else ""
            raise InvalidThreadUseError(
                f"cannot {what} of {self!r} from thread {get_ident():#x}, whose own hub is {_local.get_hub_if_exists()!r}: "
                f"a hub belongs to one thread{advice}"
            )
        if self.loop is None:
            raise ValueError(f"cannot {what}: {self!r} is destroyed; get_hub() makes a new one")

    def destroy(self, destroy_loop: bool | None = None) -> None:
        """End the hub: its pool and resolver are closed, its greenlet finishes, its loop is destroyed or left to the next hub.

        `destroy_loop`: None destroys the loop unless it is the main thread's default one.  Idempotent.
        Call from: the hub's thread, in a greenlet that was not spawned on the hub; or any thread once that one has ended.
        Switches: to the hub and back.  Raises RuntimeError in a greenlet of this hub.
        """
        if self.loop is None:
            return
        here = get_ident() == self.thread_ident
        if here and self._runs_below(getcurrent()):
            raise RuntimeError(f"{getcurrent()!r} runs on {self!r} and cannot destroy it; do so from the main greenlet {self.parent!r}")
        loop = self.loop
        if destroy_loop is None:
            destroy_loop = not loop.default
        self._end(destroy_loop)
        if here:
            _local.forget(self, loop, destroy_loop)

    def _end(self, destroy_loop: bool) -> None:
        """What `destroy` does but for the thread's storage, which is gone already when a thread's end calls this."""
        try:
            self._close_part(self._resolver, "close")
            self._close_part(self._threadpool, "kill")
        finally:
            loop = self.loop
            if get_ident() == self.thread_ident and not self.dead:
                self._unwind(destroy_loop)
            self._resolver = self._threadpool = None
            self.loop = None  # type: ignore[assignment]  # a destroyed hub has no loop; its repr and checks say so
            self._ready.clear()
            self._new.clear()
            if destroy_loop:
                loop.destroy()

    def _close_part(self, part: Any, method: str) -> None:
        if part is None or callable(part):  # a factory that was never asked
            return
        try:
            getattr(part, method)()
        except Exception as error:
            self.loop.handle_error(part, type(error), error, error.__traceback__)

    def _unwind(self, destroy_loop: bool) -> None:
        """End the hub's own stack; a greenlet that stays suspended for ever would never be freed."""
        self.parent = getcurrent()  # whom a dying greenlet switches to
        try:
            self.throw(HubDestroyed(destroy_loop))
        except HubDestroyed:
            pass  # it had never run, so there was nobody in it to catch this

    def _runs_below(self, current: greenlet | None) -> bool:
        while current is not None:
            if current is self:
                return True
            current = current.parent
        return False

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
            "hub-core has no loop of its own: install greenlet-hub and import greenlet_hub, or pass one, as in Hub(loop=hub_loop.Loop())"
        )
    return factory(default=main if default is None else default)


def _make_part(factory: Callable[[Hub], Any] | None, hub: Hub, name: str) -> Any:
    if factory is None:
        raise LookupError(f"hub-core has no {name} of its own: install greenlet-hub and import greenlet_hub, or assign hub.{name}")
    return factory(hub)


def _cancel(watcher: IWatcher, error: BaseException | type[BaseException], close_watcher: bool) -> None:
    callback, active = watcher.callback, watcher.active
    if close_watcher:
        watcher.close()
    if active and callback is not None:
        callback.__self__.throw(error)  # type: ignore[attr-defined]  # the bound `switch` of the Waiter that wait() made


def _cancel_all(
    watchers: list[IWatcher], error: BaseException | type[BaseException], then: Callable[..., object], args: tuple[Any, ...]
) -> None:
    for watcher in watchers:
        _cancel(watcher, error, close_watcher=True)
    then(*args)
