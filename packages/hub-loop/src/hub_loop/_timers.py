"""Timers: a queue of deadlines, and the watcher that lives in it.

Receives: `start`/`stop` from users, `now` from the turn.  Gives: due watchers, oldest deadline first, equal ones in
the order of their starts.
Rule 1: a deadline is counted from the clock as read at `start`, so a timer is never early, however long the turn
before it.
Rule 2: most timers never fire, and most of those live for less than a turn.  So a timer that was started stays among
the young until the next poll; one that is stopped before has never been sorted.
Rule 3: `stop` is O(1).  A young timer is struck off; an entry of the heap becomes a corpse, and when half of the heap
is corpses it is rebuilt without them.
Rule 4: an entry is alive as long as it *is* its timer's entry; nothing else says so.
"""

from __future__ import annotations

from _thread import get_ident
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count

from hub_loop._callback import struck_at_entry
from hub_loop._watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVarTuple

    from hub_loop._loop import Loop

    Ts = TypeVarTuple("Ts")
    Entry = tuple[float, int, "Timer"]

_FEW = 512  # below so many corpses a rebuild is not worth it
_FEW_DUE = 32  # below so many due at once a sort is not worth it


class TimerQueue:
    """Deadlines of one loop: the `young` since the last poll, in order of their starts, and the others' `heap`."""

    __slots__ = ("corpses", "heap", "next_number", "young")

    def __init__(self) -> None:
        self.young: dict[Timer, None] = {}
        self.heap: list[Entry] = []
        self.corpses = 0
        self.next_number = count().__next__

    def __len__(self) -> int:
        return len(self.young) + len(self.heap) - self.corpses

    def timers(self) -> list[Timer]:
        """All that wait for their deadlines."""
        return [*self.young, *(entry[2] for entry in self.heap if entry[2]._entry is entry)]

    def admit(self) -> None:
        """Give the young their places in the heap.

        A signal handler may start and stop timers at any call made here, or end it by an exception.  So a timer stays
        in `young` until it has its entry, and one that has an entry is not given another.
        """
        young, heap = self.young, self.heap
        for timer in list(young):
            number = self.next_number()
            if timer._active and timer._entry is None:
                timer._entry = entry = (timer._deadline, number, timer)
                heappush(heap, entry)
            if timer._entry is not None or not timer._active:
                young.pop(timer, None)

    def bury(self, entry: Entry) -> None:
        """A timer of the heap was stopped: drop its entry if it is the last; now and then clear all others away."""
        heap = self.heap
        if heap and heap[-1] is entry:
            del heap[-1]
            return
        self.corpses += 1
        if self.corpses > _FEW and self.corpses * 2 > len(heap):
            # Of a copy: a signal handler in the middle may stop more timers, and come here itself.
            heap[:] = [entry for entry in heap.copy() if entry[2]._entry is entry]
            heapify(heap)
            self.corpses = 0

    def deadline(self) -> float | None:
        """The next deadline, or None."""
        if self.young:
            self.admit()
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry[2]._entry is entry:
                return entry[0]
            heappop(heap)
            self.corpses -= 1
        return None

    def fire_due(self, now: float) -> None:
        """Queue the callbacks of all timers whose deadline is not after `now`."""
        heap = self.heap
        taken = 0
        while heap and heap[0][0] <= now:
            taken += 1
            if taken > _FEW_DUE and taken * 8 > len(heap):
                self._fire_many(now)
                continue
            entry = heap[0]
            self._fire(entry)
            if heap and heap[0] is entry:  # else a signal handler has had the corpses cleared away
                heappop(heap)
                self.corpses -= 1

    def _fire_many(self, now: float) -> None:
        """The same, at less cost where a good part of all is due: sort, which leaves a heap, and cut off its head."""
        heap = self.heap
        heap.sort()
        ordered, fired = heap.copy(), 0
        for entry in ordered:
            if entry[0] > now:
                break
            self._fire(entry)
            fired += 1
        if heap[:fired] == ordered[:fired]:  # as above
            del heap[:fired]
            self.corpses -= fired

    def _fire(self, entry: Entry) -> None:
        timer = entry[2]
        if timer._entry is entry:
            # From here to the queue there is no point where an interrupt could arise, and then it is a corpse.
            timer._entry = None
            self.corpses += 1
            timer._pending = True
            if timer._priority:
                timer.loop._ranked = True
            timer.loop._fired.append(timer)


class Timer(Watcher):
    """Calls back after a delay, once or again and again: see `hub_api.ITimerWatcher`."""

    __slots__ = ("_after", "_deadline", "_entry", "_repeat")

    def __init__(
        self, loop: Loop, after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None
    ) -> None:
        try:
            if not repeat >= 0.0:
                raise ValueError(f"repeat must be 0 (once) or a positive number of seconds, got {repeat!r}")
        except TypeError:
            raise TypeError(f"repeat must be a number of seconds, got {repeat!r}") from None
        if after != after:
            raise ValueError("after must be a number of seconds, got nan")
        # Written out rather than inherited: timers are made and dropped by the million (benchmarks/bench_timers.py).
        self.loop = loop
        try:
            self._after = after + 0.0
        except TypeError:
            raise TypeError(f"after must be a number of seconds, got {after!r}") from None
        self._repeat = repeat
        self._ref = ref
        self._priority = 0
        self._active = self._pending = self._closed = False
        self._callback = self._args = self._context = self._entry = None
        if priority is not None:
            self.priority = priority

    if TYPE_CHECKING:
        _entry: Entry | None
        _deadline: float

    # start, stop and close are written out rather than inherited: most timers are made, started, stopped and closed
    # without ever firing (benchmarks/bench_timers.py "start + cancel": 1.7 us inherited, 0.9 us written out).

    def start(self, callback: Callable[[*Ts], object], /, *args: *Ts, update: bool | None = None) -> None:
        """Call `callback(*args)` in `after` seconds: see `hub_api.ITimerWatcher.start`."""
        loop = self.loop
        if self._active or self._closed or get_ident() != loop._thread or not callable(callback):
            if get_ident() == -loop._thread:  # the first use of the loop in a forked child
                loop.reinit()
                self.start(callback, *args, update=update)
            else:
                self._start(callback, args)  # the rare cases, and the errors, are those of every watcher
            return
        if update is not False:
            loop._now = loop._clock()
        self._context = copy_context() or None
        self._callback = callback
        self._args = args
        self._active = True
        if self._ref:
            loop._refs += 1
        self._deadline = loop._now + self._after
        loop._timers.young[self] = None
        if loop.sleeping:
            loop.wakeup()

    def stop(self) -> None:
        """Become idle: see `hub_api.IWatcher.stop`."""
        loop = self.loop
        if self._active:
            if get_ident() != loop._thread and loop._thread:
                loop._refuse(f"stop {self!r}", "loop.run_callback_threadsafe(watcher.stop)")
            self._active = False
            if self._ref:
                loop._refs -= 1
            if loop.sleeping:  # as in Loop.unref
                loop.wakeup()
        entry = self._entry
        if entry is None:
            loop._timers.young.pop(self, None)
        else:
            self._entry = None
            loop._timers.bury(entry)
        self._pending = False
        self._callback = self._args = self._context = None

    def close(self) -> None:
        """Stop for good.  Idempotent."""
        if self._active or self._pending:
            self.stop()
        self._closed = True

    def again(self, callback: Callable[[*Ts], object], /, *args: *Ts, update: bool | None = None) -> None:
        """(Re)start: a repeating timer fires `repeat` seconds from now: see `hub_api.ITimerWatcher.again`."""
        self._refuse_elsewhere()
        if callable(callback):  # else `start` refuses it, and the timer stays as it was
            self.stop()
        self.start(callback, *args, update=update)
        if self._repeat:
            self._deadline = self.loop._now + self._repeat  # it is young, and has no place in the heap yet

    def _refuse_elsewhere(self) -> None:
        if get_ident() != self.loop._thread:
            self.loop._refuse(f"restart {self!r}", "loop.run_callback_threadsafe(timer.again, callback)")

    def _run(self) -> None:
        if not self._pending:
            return
        context = self._context
        if context is None:
            if self.loop._blank:
                context = Context()
        elif self._repeat:
            context = context.copy()
        # No call until the callback: an interrupt in the middle would leave a timer that is active and never fires.
        self._pending = False
        callback, args, loop = self._callback, self._args, self.loop
        if self._repeat:
            # From deadline to deadline, so that it does not drift; those that were missed meanwhile count as one.
            deadline, now = self._deadline + self._repeat, loop._now
            self._deadline = now if deadline < now else deadline  # noqa: FURB136 - max() would be a call
            loop._timers.young[self] = None
            if callback is not None:
                try:
                    if context is None:
                        callback(*(args or ()))
                    else:
                        context.run(callback, *(args or ()))
                except BaseException as error:
                    self._pending = struck_at_entry(callback, error)
                    raise
            return
        self._active = False
        if self._ref:
            loop._refs -= 1
        try:
            if callback is not None:
                if context is None:
                    callback(*(args or ()))
                else:
                    context.run(callback, *(args or ()))
        except BaseException as error:
            if struck_at_entry(callback, error):  # all is as it was
                self._pending = self._active = True
                if self._ref:
                    loop._refs += 1
            raise
        finally:
            if not self._active:  # unless the callback has started it again
                self._callback = self._args = self._context = None

    @property
    def at(self) -> float | None:
        """The deadline on the loop's clock in seconds, or None while none is set."""
        return self._deadline if self._active and not self._pending else None

    def _details(self) -> str:
        text = f" after={self._after:g}"
        if self._repeat:
            text += f" repeat={self._repeat:g}"
        if self.at is not None:
            text += f" due in {self.at - self.loop._now:.3f}s"
        return text
