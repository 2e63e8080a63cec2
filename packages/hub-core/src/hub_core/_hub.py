"""The hub: the greenlet that runs the loop, and the only place of the family that switches greenlets.

Receives: greenlets that park, greenlets made ready, new greenlets.  Gives: the thread to one of them at a time.

Theory of operation.  Two lanes: `_ready` holds parked greenlets that may go on, `_new` those that were never run and
those to be thrown into.  A greenlet that parks looks into the ready lane and switches straight to the first in it (a
handoff: one switch).  It switches to the hub instead when the lane is empty, when something new waits (law 3: first
switches come from the hub, so that C stacks do not nest), or when the turn's budget is spent (law 5).  The hub then
lets the loop take a turn, starts what is new, and hands over again.

Rule 1: a greenlet stands in `_ready` only while it is parked, once by `park` or `sleep` and, if an interrupt came in
the middle of that, once by `handle_system_error`; so it is alive, and fit to be switched to.
Rule 2: whoever hands over writes the receiver's name into the lane; whoever wakes up under another name was resumed
by a stranger, and takes his own entry out of the lane.  Whoever wakes up, be it by an exception, runs under his own
name from then on, unless the hub is destroyed; so he runs in the hub's thread, and it is he who is blamed for what he
dies of (test_blame.py).  By the lane of a greenlet that a fork has left behind nobody runs any more: see `_fork`.
Rule 3: an entry leaves a lane by `x = lane[0]; del lane[0]`, and the next call is the switch.  None of these is a
point where CPython runs signal handlers, so Ctrl-C loses nobody here (test_signals.py).
"""

from __future__ import annotations

from _thread import get_ident
from sys import getrefcount

import greenlet as greenlets
from greenlet import getcurrent, greenlet

from hub_api import HubDestroyed
from hub_core import _errors
from hub_core._greenlets import RawGreenlet, make_raw
from hub_core._local import defaults, get_hub_if_exists, this_hub
from hub_core._ready import Lanes
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool
    from hub_core._ready import Lane

_switch = greenlet.switch
_MARKS = frozenset([Waiter.switch, Waiter.switch_args, Waiter.throw])
"""Callbacks that only mark: a parking greenlet may run them on its own stack."""


class Hub(Lanes):
    """A greenlet that runs the event loop of its thread.

    `loop` is a loop, or whatever makes one (called as `loop(default=...)`); without it the loop that the thread's
    last hub left, else the default factory's.  `threadpool` and `resolver` are such objects, or are called with the
    hub when first needed.
    Call from: the thread it is to belong to; everything else about it from that thread only.
    Raises LookupError if there is no loop to be had, TypeError for `default` together with a loop that exists already,
    ValueError for a loop that a living hub runs.
    """

    __slots__ = ("_carrying", "_fork", "_may_carry")

    def __init__(
        self,
        loop: ILoopCore | ILoopFactory | None = None,
        default: bool | None = None,
        *,
        threadpool: IThreadPool | Callable[[IHub], IThreadPool] | None = None,
        resolver: IResolver | Callable[[IHub], IResolver] | None = None,
    ) -> None:
        threshold = None if defaults.watch is None else defaults.watch()  # first: what it raises leaves nothing behind
        super().__init__(loop, default, threadpool, resolver)
        from hub_core import _fork, _storage  # here, and not with this module: they bring weakref and threading

        self._fork = _fork
        self._carrying: Any = None  # a carrier
        _storage.local.watch(self)
        _fork.listen(self)
        if threshold is not None:
            from hub_core._watch import watch_by_default

            watch_by_default(self, threshold)

    # -- parking ----------------------------------------------------------------------------------------------------

    def park(self, current: greenlet | None = None, reason: object = None) -> None:
        """Let others run until somebody makes the current greenlet ready.

        `current` is the current greenlet, if the caller has it at hand; `reason` is what it waits for (law 6): it stays
        in this frame, where `wait_reason` finds it.
        Call from: any greenlet but the hub, which must have left its name where somebody finds it.  Switches: always,
        but if the greenlet itself is the next one ready.  Raises BlockingSwitchOutError in a callback.
        """
        if current is None:  # who has it at hand has asked for the thread already
            self.check_thread("park on it", "a Waiter of this thread's hub, or hub.loop.run_callback_threadsafe")
            current = getcurrent()
        switch_out = current.switch_out if type(current) is RawGreenlet else getattr(current, "switch_out", None)
        if switch_out is not None:
            switch_out()
        since = self._since  # noqa: F841 - read by reports, in this frame
        lane = self._lane
        ready = lane.ready
        try:
            if ready or (self.loop.run_mark(_MARKS) and ready):
                left = lane.left
                if left or (left := self._extend(lane)):
                    lane.left = left - 1
                    chosen = ready[0]
                    del ready[0]
                    if chosen is not current:
                        lane.running = chosen
                        chosen.switch()
                        if lane.running is not current:
                            self._resumed_oddly(current, lane, reason)
                    return
            self._lane.running = None
            _switch(self)
        except BaseException:  # thrown into, perhaps by a stranger or by the end of a greenlet below this one
            self._resumed_oddly(current, lane, reason, thrown=True)
            raise
        if lane.running is not current:
            self._resumed_oddly(current, lane, reason)

    def _yield(self, current: greenlet, lane: Lane) -> None:
        """The rest of `sleep(0)` of who stands in `lane`.  If it raises, its caller follows with `_yield_failed`."""
        if lane is not self._lane or self.loop is None:
            self._yield_elsewhere(current, lane)
            return
        left = lane.left or self._extend(lane)
        if left:
            lane.left = left - 1
            chosen = lane.ready[0]
            del lane.ready[0]
            if chosen is current:
                return
            lane.running = chosen
            chosen.switch()
        else:
            # What is new by now was there before us, so it goes first.
            self._round_ends = self._started + len(self._new)
            self._lane.running = None
            _switch(self)
        if lane.running is not current:
            self._resumed_oddly(current, lane, None)

    def _yield_elsewhere(self, current: greenlet, lane: Lane) -> None:
        """The lane that the greenlet stands in is the parent's, or a destroyed hub's."""
        if current in lane.ready:
            lane.ready.remove(current)
        hub = this_hub() if self.loop is None else self
        if isinstance(current, RawGreenlet) and hub is self:
            current.spawn_lane = self._lane
        hub.forget_ready(current)  # a signal handler may have forked meanwhile
        hub._yield_afresh(current)

    def _yield_afresh(self, current: greenlet) -> None:
        """`sleep(0)` of who stands in no lane yet."""
        lane = self._lane
        try:
            lane.ready.append(current)
            self._yield(current, lane)
        except BaseException:
            self._yield_failed(current, lane)
            raise

    def _yield_failed(self, current: greenlet, lane: Lane) -> None:
        """Thrown into: see `park`."""
        self._resumed_oddly(current, lane, None, thrown=True)
        self.forget_ready(current)

    def _resumed_oddly(self, current: greenlet, lane: Lane, reason: object, thrown: bool = False) -> None:
        """Not handed over to as usual: by a stranger, or in a forked child."""
        if lane is not self._lane and self._fork.is_left_behind(self, current, lane):
            if isinstance(reason, Waiter):
                reason._abandon()
            self._stay_behind(current, thrown)
        if not thrown and self._lane.running is not current:
            self.forget_ready(current)
        self._lane.running = current if self.loop is not None else None

    def _stay_behind(self, current: greenlet, thrown: bool) -> None:
        """The current greenlet is the parent's: it never goes on in this process, and nothing of it is unwound.

        Only the main greenlet gets what is thrown: LoopExit, SystemExit and the like, by which a process ends.
        """
        if thrown:
            if current.parent is None:
                return
            current.parent = self  # and no other hub's, as `kill` has it for those of a destroyed one
        while True:  # for ever: `current` holds itself, by locals of the frames that it parks in
            hub = self if self.loop is not None else get_hub_if_exists() or self
            hub._lane.running = None
            try:
                _switch(hub)
            except BaseException:
                if current.parent is None:
                    raise

    def switch(self, *args: Any, **kwargs: Any) -> Any:
        """Park the current greenlet until somebody switches to it, and return what they pass.

        The field's raw way to park: nothing records what is waited for.  Calls the current greenlet's `switch_out`,
        if it has one.
        Call from: any greenlet but the hub.  Switches: always.  Raises BlockingSwitchOutError in a callback.
        """
        if args or kwargs:
            raise TypeError("Hub.switch() takes no arguments: the hub expects nothing from those who park")
        self.check_thread("switch to it", "hub.loop.run_callback_threadsafe")
        current = getcurrent()
        switch_out = getattr(current, "switch_out", None)
        if switch_out is not None:
            switch_out()
        lane = self._lane
        lane.running = None
        try:
            value = _switch(self)
        except BaseException:
            self._resumed_oddly(current, lane, None, thrown=True)
            raise
        if lane is not self._lane:
            self._resumed_oddly(current, lane, None)
        self._lane.running = current if self.loop is not None else None
        return value

    # -- running ----------------------------------------------------------------------------------------------------

    def _begin(self) -> Callable[[], None]:
        """What greenlet asks for, in the greenlet that waits, and calls as the hub is first switched to: runs the loop.

        When nothing is left that could wake anybody, LoopExit is raised in the parent; the hub stays usable.
        Raises AssertionError if anybody else calls it.
        """
        from functools import partial  # here, and not with this module: it brings collections

        body = self._live()
        next(body)
        return partial(next, body, None)

    run: Any = property(_begin)

    def _live(self) -> Iterator[None]:
        """A generator, for it starts within its `try`: a function that an interrupt strikes as it starts has ended."""
        try:
            try:
                yield
                if getcurrent() is not self:
                    raise AssertionError(
                        "Do not call Hub.run() directly: it is the hub's body; use join() or what parks"
                    )
            except KeyboardInterrupt as error:
                if getcurrent() is not self:
                    raise
                self._loop_failed(error)
            while True:
                try:
                    while True:
                        self._serve()
                        self._throw_to_parent(self._loop_exit())
                except HubDestroyed:
                    raise
                except BaseException as error:
                    self._loop_failed(error)
        except (HubDestroyed, GeneratorExit):  # the latter if it is thrown into and had never run
            return
        except BaseException as error:  # the jump back of a loop is a point where an interrupt may arise, too
            if getcurrent() is not self:
                raise
            self._loop_failed(error)
        self.run()  # not in there: whatever is raised in callbacks from now on would come "during the handling" of that

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

    def _hand_over(self) -> None:
        """Start what is new, then hand over to the ready, until there are none or the budget is spent."""
        ready, new = self._ready, self._new
        self._may_carry = greenlets.gettrace() is None  # who traces switches shall see those of each greenlet
        self._open_budget()
        while ready or new:
            self._round_ends = self._started + len(new)
            while self._started < self._round_ends:
                if not self._spend(len(new) - 1, starting=True):
                    return
                self._started += 1
                try:
                    self._start_next()
                except BaseException as error:
                    self._greenlet_failed(error)
            if ready:
                if not self._spend(len(new)) or not ready:  # a signal handler may have forked meanwhile
                    return
                self._resumed += 1
                try:
                    chosen = ready[0]
                    del ready[0]
                    self._lane.running = chosen
                    chosen.switch()
                except BaseException as error:
                    self._greenlet_failed(error)

    def _start_next(self) -> None:
        new = self._new
        if not new:  # as in `_hand_over`, and below
            return
        entry = new[0]
        if self._may_carry and self._carriers.can_be_carried(entry, self):
            self._carry()
            return
        if not new:
            return
        chosen, function, args, kwargs, context = entry
        del new[0]
        self._lane.running = chosen
        if function is not None:
            if context is not None and chosen.gr_context is None:
                chosen.gr_context = context
            chosen.switch(*args, **kwargs)
        elif not chosen.dead:
            chosen.throw(*args)

    def _greenlet_failed(self, error: BaseException) -> None:
        """A greenlet died of `error`, and it came to us as its parent."""
        if isinstance(error, HubDestroyed):
            raise error
        self.loop.handle_error(_errors.who_died(self, error, _SERVING), type(error), error, error.__traceback__)

    # -- carriers: see _carriers ------------------------------------------------------------------------------------

    def _carry(self) -> None:
        """Have a carrier run the next new function, whose own greenlet nobody holds."""
        carrier = self._carrier or make_raw(self._carrier_loop, self)
        self._carrier = None
        self._carrying = self._lane.running = carrier
        try:
            if self._new:  # else a signal handler has forked, and what was new is the parent's
                self._load = self._new[0]
                del self._new[0]
                carrier.switch()
        finally:
            self._carrying = None

    def _carrier_loop(self) -> None:
        """The body of a carrier."""
        me: Any = getcurrent()
        while True:
            spawned, function, args, kwargs, context = self._load
            self._load = None
            me.spawn_code = spawned.spawn_code
            me.spawn_lasti = spawned.spawn_lasti
            spawned = None
            if context is not None:
                me.gr_context = context
                context = None
            holders = getrefcount(me)
            try:
                function(*args, **kwargs)
            finally:
                function = args = kwargs = None  # a traceback keeps this frame
            if me is not self._carrying or getrefcount(me) != holders or not self._carriers.untouched(me, self):
                return
            if me.gr_context is not None:
                me.gr_context = None
            if not self._load_next():
                self._carrier = me
                _switch(self)

    # -- throwing ---------------------------------------------------------------------------------------------

    def handle_system_error(
        self, type: type[BaseException], value: BaseException | None, tb: TracebackType | None = None
    ) -> None:
        """Raise the exception in the main greenlet, the hub's parent.  The current greenlet goes on later."""
        if get_ident() != self.thread_ident:
            self.refuse(f"raise {type.__name__} in the main greenlet")
        current = getcurrent()
        if current is self or current is self.parent or self.loop is None:
            self._throw_to_parent(type, value, tb)
            return
        lane = self._lane
        lane.ready.append(current)
        try:
            self._throw_to_parent(type, value, tb)
        except BaseException:
            self._yield_failed(current, lane)
            raise
        if lane.running is not current:
            self._resumed_oddly(current, lane, None)

    def _throw_to_parent(self, *throw_args: Any) -> None:
        parent = self.parent
        assert parent is not None, "a hub is never the first greenlet of its thread"
        self._lane.running = parent
        parent.throw(*throw_args)

    def _end_parked(self) -> None:
        from hub_core import _ending, _parked

        parked = _parked.parked_greenlets(self)
        if parked:
            self._unwind(destroy_loop=False)  # first: who parks again switches to a hub that has ended, so back to us
        for each in parked:
            try:
                if not each.dead:  # else one before it has woken it
                    each.parent, self._lane.running = getcurrent(), each
                    each.throw()
            except BaseException as error:
                _ending.tell(self, each, error)
            self._lane.running = None

    def _unwind(self, destroy_loop: bool) -> None:
        """End the hub's own stack and the idle carrier's; one that stays suspended holds itself and is never freed."""
        self._ready.clear()
        self._new.clear()
        self._lane.running = None
        self._lane.left = 0  # so that a greenlet that was let go and yields asks for more, and learns of this
        if self.dead or get_ident() != self.thread_ident:
            return
        try:
            carrier, self._carrier = self._carrier, None
            if carrier is not None:
                carrier.parent = getcurrent()  # whom a dying greenlet switches to
                carrier.throw()
            self.parent = getcurrent()
            self.throw(HubDestroyed(destroy_loop))
        except (HubDestroyed, greenlets.error, ValueError):
            pass  # it had never run, so nobody caught the first; by the others, its thread's number is now ours


_SERVING = {Hub._hand_over.__code__, Hub._start_next.__code__, Hub._carry.__code__}


def sleep(seconds: float = 0, ref: bool = True) -> None:
    """Let others run for at least `seconds`; 0 or less lets each that is ready run once.

    `ref=False` does not keep the loop running for this sleep alone.
    Call from: any greenlet but the hub.  Switches: always, but if 0 is given and nobody else is ready.
    Raises BlockingSwitchOutError in a callback.
    """
    current: Any = getcurrent()
    if not seconds <= 0:  # a nan comes here, and is refused by the loop
        hub = current.hub if isinstance(current, RawGreenlet) and current.hub.loop is not None else this_hub()
        timer = hub.loop.timer(seconds, ref=ref)
        try:
            hub.wait(timer)
        finally:
            timer.close()
        return
    try:
        lane = current.spawn_lane  # nearer than the thread's storage, by 130 ns of 950 (benchmarks/bench_yield.py)
    except AttributeError:
        hub = this_hub()
        switch_out = getattr(current, "switch_out", None)
        if switch_out is not None:
            switch_out()
        hub._yield_afresh(current)
        return
    if current.switch_out is not None:
        current.switch_out()
    # `Hub._yield`, written out for the usual case: 130 ns of 700 (benchmarks/bench_yield.py).
    ready = lane.ready
    try:
        ready.append(current)
        left = lane.left
        if not left:
            current.hub._yield(current, lane)
            return
        lane.left = left - 1
        chosen = ready[0]
        del ready[0]
        if chosen is current:
            return
        lane.running = chosen
        chosen.switch()
    except BaseException:
        current.hub._yield_failed(current, lane)
        raise
    if lane.running is not current:
        current.hub._resumed_oddly(current, lane, None)


PARKS = (Hub.park.__code__, Hub.switch.__code__, Hub._yield.__code__, sleep.__code__, Hub.handle_system_error.__code__)
"""The code in which greenlets are parked; there `lane` is the one that they parked with (see `_fork`)."""
