"""The hub: the greenlet that runs the loop, and the only place of the family that switches greenlets.

Receives: greenlets that park, greenlets made ready, new greenlets.  Gives: the thread to one of them at a time.

Theory of operation.  Two lanes: `_ready` holds parked greenlets that may go on, `_new` those that were never run and
those to be thrown into.  A greenlet that parks looks into the ready lane and switches straight to the first in it (a
handoff: one switch).  It switches to the hub instead when the lane is empty, when something new waits (law 3: first
switches come from the hub, so that C stacks do not nest), or when the turn's budget is spent (law 5).  The hub then
lets the loop take a turn, starts what is new, and hands over again.

Rule 1: a greenlet stands in `_ready` only while it is parked in `park` or `sleep`, and at most once; so it is alive,
and fit to be switched to.
Rule 2: whoever hands over writes the receiver's name into `_running`; whoever wakes up under another name was resumed
by a stranger, and takes his own entry out of the lane.  Who runs under his own name runs in the hub's thread.
Rule 3: an entry leaves a lane by `x = lane[0]; del lane[0]`, and the next call is the switch.  None of these is a
point where CPython runs signal handlers, so Ctrl-C loses nobody here (test_signals.py).
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from sys import getrefcount

import greenlet as greenlets
from greenlet import getcurrent, greenlet

from hub_api import BlockingSwitchOutError, HubDestroyed, LoopExit
from hub_core._base import HubBase
from hub_core._local import this_hub
from hub_core._raw import RawGreenlet, make_raw
from hub_core._ready import Budget
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool
    from hub_core._carriers import NewEntry

_switch = greenlet.switch
_MARKS = frozenset([Waiter.switch, Waiter.switch_args, Waiter.throw])
"""Callbacks that only mark: a parking greenlet may run them on its own stack."""


class Hub(HubBase):
    """A greenlet that runs the event loop of its thread.

    `loop` is a loop, or whatever makes one (called as `loop(default=...)`); without it the loop that the thread's
    last hub left, else the default factory's.  `threadpool` and `resolver` are such objects, or are called with the
    hub when first needed.
    Call from: the thread it is to belong to; everything else about it from that thread only.
    Raises LookupError if there is no loop to be had, TypeError for `default` together with a loop that exists already.
    """

    __slots__ = (
        "_budget",
        "_carrier",
        "_carriers",
        "_carrying",
        "_held",
        "_left",
        "_load",
        "_may_carry",
        "_new",
        "_ready",
        "_round",
        "_running",
    )

    def __init__(
        self,
        loop: ILoopCore | ILoopFactory | None = None,
        default: bool | None = None,
        *,
        threadpool: IThreadPool | Callable[[IHub], IThreadPool] | None = None,
        resolver: IResolver | Callable[[IHub], IResolver] | None = None,
    ) -> None:
        super().__init__(loop, default, threadpool, resolver)
        from hub_core import _carriers, _storage  # here, and not with this module: they bring weakref and threading

        self._carriers = _carriers
        self._ready: deque[greenlet] = deque()
        self._new: deque[NewEntry] = deque()
        self._budget = Budget()
        self._left = self._held = 0
        self._round = 0  # how many of the new still belong to this round
        self._running: greenlet | None = None
        self._carrier: RawGreenlet | None = None
        self._carrying: RawGreenlet | None = None
        self._load: Any = None
        self._may_carry = True
        _storage.local.watch(self)

    # -- parking ----------------------------------------------------------------------------------------------------

    def park(self, current: greenlet | None = None, reason: object = None) -> None:
        """Let others run until somebody makes the current greenlet ready.

        `current` is the current greenlet, if the caller has it at hand; `reason` is what it waits for (law 6): it stays
        in this frame, where `wait_reason` finds it.
        Call from: any greenlet but the hub, which must have left its name where somebody finds it.  Switches: always,
        but if the greenlet itself is the next one ready.  Raises BlockingSwitchOutError in a callback.
        """
        if current is None:
            current = getcurrent()
        switch_out = current.switch_out if type(current) is RawGreenlet else getattr(current, "switch_out", None)
        if switch_out is not None:
            switch_out()
        ready = self._ready
        if ready or (self.loop.run_mark(_MARKS) and ready):
            left = self._left or self._extend()
            if left:
                self._left = left - 1
                chosen = ready[0]
                del ready[0]
                if chosen is not current:
                    self._running = chosen
                    chosen.switch()
                    if self._running is not current:
                        self._resumed_by_stranger(current)
                return
        self._running = None
        _switch(self)
        if self._running is not current:
            self._resumed_by_stranger(current)

    def _resumed_by_stranger(self, current: greenlet) -> None:
        self.forget_ready(current)
        self._running = current

    def forget_ready(self, greenlet: greenlet) -> None:
        """Take a greenlet that was resumed by other means out of the ready lane, if it is there.  Switches: never."""
        try:
            self._ready.remove(greenlet)
        except ValueError:
            pass  # it was not there

    def switch(self, *args: Any, **kwargs: Any) -> Any:
        """Park the current greenlet until somebody switches to it, and return what they pass.

        The field's raw way to park: nothing records what is waited for.  Calls the current greenlet's `switch_out`,
        if it has one.
        Call from: any greenlet but the hub.  Switches: always.  Raises BlockingSwitchOutError in a callback.
        """
        if args or kwargs:
            raise TypeError("Hub.switch() takes no arguments: the hub expects nothing from those who park")
        self.check_thread("switch to it")
        switch_out = getattr(getcurrent(), "switch_out", None)
        if switch_out is not None:
            switch_out()
        self._running = None
        return _switch(self)

    def switch_out(self) -> NoReturn:
        """Called when the hub itself is about to park, which it never may."""
        raise BlockingSwitchOutError(
            f"Impossible to call blocking function in the event loop callback: {self!r} runs the loop "
            "and cannot wait for it; spawn a greenlet for what blocks"
        )

    def waiter(self) -> Waiter:
        """A new waiter of this hub."""
        return Waiter(self)

    # -- making ready -----------------------------------------------------------------------------------------------

    def make_ready(self, greenlet: greenlet) -> None:
        """Let a parked greenlet run again, after those already ready.

        Call from: the hub's thread, callbacks included, once for each `park`.  Switches: never.
        Raises InvalidThreadUseError elsewhere: use `loop.run_callback_threadsafe`.
        """
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(f"make {greenlet!r} ready", "hub.loop.run_callback_threadsafe")
        if self.loop.sleeping:  # we are a signal handler inside the poll, and the loop cannot know of our lanes
            self.loop.wakeup()
        self._ready.append(greenlet)

    def start_soon(
        self,
        greenlet: greenlet,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Start a greenlet that has not run yet, after those that are new already.

        `function` is its `run`.  Call from: the hub's thread, callbacks included.  Switches: never.
        """
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(f"start {greenlet!r}", "hub.loop.run_callback_threadsafe")
        self._add_new((greenlet, function, args, kwargs or {}))

    def throw_soon(self, greenlet: greenlet, error: BaseException | type[BaseException]) -> None:
        """Raise `error` in a greenlet, in its turn; without effect if it is dead by then.  Switches: never."""
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(f"throw into {greenlet!r}", "hub.loop.run_callback_threadsafe")
        self._add_new((greenlet, None, (error,), {}))

    def _add_new(self, entry: NewEntry) -> None:
        if self.loop.sleeping:
            self.loop.wakeup()
        self._new.append(entry)
        if self._left:
            self._hold()

    def _hold(self) -> None:
        """Something is new: the next greenlet that parks shall switch to us; see `_extend`."""
        self._held += self._left
        self._left = 0

    # -- the budget -------------------------------------------------------------------------------------------------
    # In the hot path it is one number, `_left`: the handoffs until something else must be done.  That is a look at the
    # clock, or, when something new came, a switch to the hub; what was left then is kept in `_held`.

    def _extend(self) -> int:
        """A parking greenlet found nothing left.

        Return the handoffs that it and its followers have, or 0 for the hub.
        """
        return 0 if self._new else self._look_at_clock()

    def _spend(self, new: int) -> bool:
        """The hub takes one handoff from the budget, while so many new ones wait; False if there is none."""
        left = self._left + self._held or self._look_at_clock()
        self._left = self._held = 0
        if not left:
            return False
        if new:
            self._held = left - 1
        else:
            self._left = left - 1
        return True

    def _look_at_clock(self) -> int:
        self.loop.update_now()
        return self._budget.extend(self.loop.now())

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the loop; called when the hub is first switched to, not by users.

        When nothing is left that could wake anybody, LoopExit is raised in the parent (the main greenlet); the hub
        stays usable.
        """
        if getcurrent() is not self:
            raise AssertionError(
                "Do not call Hub.run() directly: it is the body of the hub; use join(), or any call that parks"
            )
        try:
            while True:
                try:
                    while True:
                        self._serve()
                        self._throw_to_parent(LoopExit("This operation would block forever", self, []))
                except HubDestroyed:
                    raise
                except BaseException as error:
                    self._loop_failed(error)
        except HubDestroyed:
            return
        except BaseException as error:  # the jump back of a loop is a point where an interrupt may arise, too
            self._loop_failed(error)
            self.run()

    def _serve(self) -> None:
        """Turn and hand over, until nobody is ready and the loop has nothing left."""
        loop = self.loop
        loop.error_handler = self
        loop.busy = self._busy
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
                    self._loop_failed(error)
        finally:
            loop.error_handler = loop.busy = None

    def _busy(self) -> bool:
        """Whether a greenlet can run; the loop asks before it sleeps, for one may have become ready in this turn."""
        return bool(self._ready or self._new)

    def _loop_failed(self, error: BaseException) -> None:
        try:
            self.loop.handle_error(None, type(error), error, error.__traceback__)
        except HubDestroyed:
            raise
        except BaseException as worse:  # an application's handler that calls sys.exit(), say: it must not end the hub
            self.handle_system_error(type(worse), worse, worse.__traceback__)

    def _hand_over(self) -> None:
        """Start what is new, then hand over to the ready, until there are none or the budget is spent."""
        ready, new = self._ready, self._new
        self._may_carry = greenlets.gettrace() is None  # who traces switches shall see those of each greenlet
        self._left = self._budget.open(self.loop.now())
        self._held = 0
        while ready or new:
            self._round = len(new)
            while self._round:
                if not self._spend(len(new) - 1):
                    return
                self._round -= 1
                try:
                    self._start_next()
                except BaseException as error:
                    self._greenlet_failed(error)
            if ready:
                if not self._spend(len(new)):
                    return
                try:
                    chosen = ready[0]
                    del ready[0]
                    self._running = chosen
                    chosen.switch()
                except BaseException as error:
                    self._greenlet_failed(error)

    def _start_next(self) -> None:
        new = self._new
        entry = new[0]
        if self._may_carry and self._carriers.can_be_carried(entry, self):
            self._carry()
            return
        chosen, function, args, kwargs = entry
        del new[0]
        self._running = chosen
        if function is not None:
            chosen.switch(*args, **kwargs)
        elif not chosen.dead:
            chosen.throw(*args)

    def _greenlet_failed(self, error: BaseException) -> None:
        """A greenlet died of `error`, and it came to us as its parent: it was the one that ran last."""
        if isinstance(error, HubDestroyed):
            raise error
        context = self if self._running is None else self._running  # a dead greenlet is false
        self.loop.handle_error(context, type(error), error, error.__traceback__)

    # -- carriers: see _carriers ------------------------------------------------------------------------------------

    def _carry(self) -> None:
        """Have a carrier run the next new function, whose own greenlet nobody holds."""
        carrier = self._carrier
        if carrier is None:
            carrier = make_raw(self._carrier_loop, self)
        self._carrier = None
        self._carrying = self._running = carrier
        try:
            self._load = self._new[0][1:]
            del self._new[0]
            carrier.switch()
        finally:
            self._carrying = None

    def _carrier_loop(self) -> None:
        """The body of a carrier."""
        me = getcurrent()
        while True:
            function, args, kwargs = self._load
            self._load = None
            holders = getrefcount(me)
            try:
                function(*args, **kwargs)
            finally:
                function = args = kwargs = None  # a traceback keeps this frame
            if self._carrying is not me or getrefcount(me) != holders or not self._carriers.untouched(me, self):
                return
            if me.gr_context is not None:
                me.gr_context = None
            if not self._load_next():
                self._carrier = me
                _switch(self)

    def _load_next(self) -> bool:
        """Whether the next function of this round can be carried too; then it is loaded, and no switch is needed."""
        new = self._new
        if not self._round or not self._carriers.can_be_carried(new[0], self):
            return False
        # `_spend`, written out for the usual case: more are new, and all that is left is held.
        if self._held > 1 and not self._left and len(new) > 1:
            self._held -= 1
        elif not self._spend(len(new) - 1):
            return False
        self._round -= 1
        self._load = new[0][1:]
        del new[0]
        return True

    # -- throwing ---------------------------------------------------------------------------------------------

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

    def _unwind(self, destroy_loop: bool) -> None:
        """End the hub's own stack and the idle carrier's; one that stays suspended holds itself and is never freed."""
        self._ready.clear()
        self._new.clear()
        self._running = None
        if self.dead or get_ident() != self.thread_ident:
            return
        try:
            carrier, self._carrier = self._carrier, None
            if carrier is not None:
                carrier.parent = getcurrent()  # whom a dying greenlet switches to
                carrier.throw()
            self.parent = getcurrent()
            self.throw(HubDestroyed(destroy_loop))
        except HubDestroyed:
            pass  # it had never run, so there was nobody in it to catch this
        except greenlets.error:
            pass  # it belongs to a thread that has ended, whose number is now ours


def sleep(seconds: float = 0, ref: bool = True) -> None:
    """Let others run for at least `seconds`; 0 or less lets each that is ready run once.

    `ref=False` does not keep the loop running for this sleep alone.
    Call from: any greenlet but the hub.  Switches: always, but if 0 is given and nobody else is ready.
    Raises BlockingSwitchOutError in a callback.
    """
    current = getcurrent()
    if type(current) is RawGreenlet and current.hub.loop is not None:
        # Its own slots are nearer than the thread's storage: 130 ns of 950 (benchmarks/bench_yield.py).
        hub = current.hub
        switch_out = current.switch_out
    else:
        hub = this_hub()
        switch_out = getattr(current, "switch_out", None)
    if not seconds <= 0:  # a nan comes here, and is refused by the loop
        timer = hub.loop.timer(seconds, ref=ref)
        try:
            hub.wait(timer)
        finally:
            timer.close()
        return
    # `Hub.park` with the current greenlet ready, written out: 130 ns of 700 (benchmarks/bench_yield.py).
    if switch_out is not None:
        switch_out()
    ready = hub._ready
    try:
        ready.append(current)
        left = hub._left or hub._extend()
        if left:
            hub._left = left - 1
            chosen = ready[0]
            del ready[0]
            if chosen is current:
                return
            hub._running = chosen
            chosen.switch()
        else:
            hub._round = len(hub._new)  # what is new by now was there before us, so it goes first
            hub._running = None
            _switch(hub)
    except BaseException:
        hub.forget_ready(current)
        raise
    if hub._running is not current:
        hub._resumed_by_stranger(current)
