"""The watch: a thread that notices when a loop is blocked, and says by whom.

Receives: hubs to watch.  Gives: one report for each distinct stack that blocked one.

Theory of operation.  A hub is blocked while its thread runs and neither begins a turn or a call of the loop, nor gives
the thread to another greenlet.  All of these are counted anyway, so the watchdog looks at the counts, four times within
a threshold: where they have not moved for a whole threshold, it takes the stack of that thread, and looks once more.
The hub does nothing for it, and is asked nothing.

Rule 1: no false alarm.  Who sleeps in the poller blocks nobody, nor does a main greenlet for which nobody waits, nor
anybody in a forked child before it uses the loop: who waits there is its parent's.  Time counts only as far as the
watchdog was awake itself: if it comes late, the process was stopped, or the machine slept, or had no time for either
thread.  So a block is as many looks long as it is thresholds, never one late look.
Rule 2: the watchdog holds a hub only while it looks at it, and never holds a main greenlet of another thread: see
`_storage.Guard` for why that one must not be the last to let go.
Rule 3: one thread for all hubs of the process, while there is one to watch.  It keeps no process alive.
Rule 4: a forked child has no such thread.  There the hub of the thread that has forked is watched by a new one.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
from _thread import get_ident
from traceback import FrameSummary, StackSummary
from typing import NamedTuple
from weakref import ref

from greenlet import greenlet

from hub_core import _errors
from hub_core._counters import counting_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, TracebackType
    from typing import Any, Self

    from hub_api import ICountingLoop
    from hub_core._hub import Hub

LOOKS = 4
"""Looks within one threshold."""
SHORTEST = 0.01
"""Seconds: the shortest threshold.  Two threads that run hand over to each other every 5 ms (sys.getswitchinterval)."""
REMEMBERED = 1000
"""Distinct stacks that a watch knows to have told; then it forgets the oldest."""
PATIENCE = 1.0
"""Seconds to wait, at most, for the end of a report that is being written."""


class BlockReport(NamedTuple):
    """Who blocked a loop.  `str()` is the text that is printed."""

    hub: str
    """The hub, as its repr has it."""

    thread: str
    """The name of its thread."""

    greenlet: str
    """What ran: a greenlet, the main greenlet, or the hub with a callback."""

    seconds: float
    """How long that had lasted by then, at least."""

    stack: StackSummary
    """Where it was, most recent call last."""

    untold: int
    """How many times the loop was blocked since the last report without being told: known stacks, or too many."""

    def __str__(self) -> str:
        more = f"; blocked {self.untold} times more since the last report" if self.untold else ""
        return (
            f"{self.hub} of thread {self.thread!r} has been blocked for {self.seconds:.3f} s or more by "
            f"{self.greenlet}{more}.  Most recent call last:\n{''.join(self.stack.format())}"
        )


class Watch:
    """The watch over one hub: see `Hub.watch`.  As a context manager it is stopped at the end.

    Call from: any thread.
    """

    __slots__ = (
        "__weakref__",
        "_hub",
        "_mark",
        "_next",
        "_report",
        "_stuck",
        "_told",
        "_told_stacks",
        "_untold",
        "blocks",
        "interval",
        "reports",
        "threshold",
    )

    def __init__(self, hub: Hub) -> None:
        self._hub = ref(hub)
        self._mark: object = None
        self._stuck = 0.0
        self._told = False
        self._told_stacks: dict[object, None] = {}
        self._next = -math.inf
        self._untold = 0
        self.blocks: int = 0
        """How many times the loop was blocked, told or not."""
        self.reports: int = 0
        """How many of them were told."""
        self.threshold: float = 0.1
        self.interval: float = 1.0
        self._report: Callable[[BlockReport], object] | None = None

    def set(self, threshold: float, interval: float, report: Callable[[BlockReport], object] | None) -> None:
        """Take new settings; nothing is changed if one of them is refused."""
        for name, value, least in (("threshold", threshold, SHORTEST), ("interval", interval, 0.0)):
            if not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number of seconds, got {value!r}")
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be a number of seconds, {least:g} or more, got {value!r}")
        if report is not None and not callable(report):
            raise TypeError(f"report must be callable or None, got {report!r}")
        self.threshold, self.interval, self._report = threshold, interval, report
        # Who listens now has been told nothing yet.
        self._told_stacks, self._next, self._told = {}, -math.inf, False

    @property
    def active(self) -> bool:
        """Whether the hub is being watched."""
        return _dog.has(self)

    def stop(self, wait: bool = True) -> None:
        """End the watch.  Idempotent.

        Waits until the watchdog, if it has no other hub to watch, has ended: a second at the most, should a report take
        that long.  `wait=False` does not.
        """
        _dog.remove(self, wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        hub = self._hub()
        of = "a hub that is gone" if hub is None else repr(hub)
        state = "active" if self.active else "stopped"
        return f"<Watch {state} threshold={self.threshold:g} blocks={self.blocks} reports={self.reports} of {of}>"

    # -- the watchdog's side ----------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Begin anew: what was seen is of another process."""
        self._mark, self._stuck, self._told = None, 0.0, False

    def look(self, now: float, passed: float) -> bool:
        """Look at the hub, `passed` seconds after the last look; return False if it is gone."""
        hub = self._hub()
        loop: Any = None if hub is None else hub.loop
        if hub is None or loop is None or hub.dead:
            return False
        mark = _mark(hub, loop)
        if mark is None or mark != self._mark:
            self._mark, self._stuck, self._told = mark, 0.0, False
            return True
        before = self._stuck
        self._stuck += passed
        if self._stuck >= self.threshold:
            if before < self.threshold:
                self.blocks += 1
                self._untold += 1
            if not self._told and now >= self._next:
                return self._tell(hub, loop, now)
        return True

    def _tell(self, hub: Hub, loop: ICountingLoop, now: float) -> bool:
        places = _places(hub.thread_ident)
        if places is None:
            return False  # the thread has ended, and the hub was its holder's to destroy
        what = _describe(hub)
        if _mark(hub, loop) != self._mark:
            return True  # it went on while we looked, so the stack may be anybody's
        self._told = True
        stack = tuple(code for code, _ in places)  # without line numbers: a loop that spins is in one line or the other
        told = self._told_stacks  # another thread may call `set` meanwhile
        if stack in told:
            return True
        told[stack] = None
        if len(told) > REMEMBERED:
            del told[next(iter(told))]
        self._next = now + self.interval
        summary = StackSummary.from_list(
            [FrameSummary(code.co_filename, line or 0, code.co_name, lookup_line=False) for code, line in places]
        )
        report = BlockReport(repr(hub), _name(hub.thread_ident), what, self._stuck, summary, self._untold - 1)
        self._untold = 0
        self.reports += 1
        self._give(report, hub)
        return True

    def fail(self, error: Exception) -> None:
        """This hub cannot be watched any more: tell why."""
        hub = self._hub()
        if hub is not None:
            _errors.report(hub.exception_stream, self, type(error), error, error.__traceback__, hub.format_context)

    def _give(self, report: BlockReport, hub: Hub) -> None:
        stream = hub.exception_stream
        try:
            if self._report is not None:
                self._report(report)
            elif stream:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                stream.write(f"{report}{when} see hub.watch\n\n")
        except BaseException as error:  # of the user's function, or of a broken stream: the watch goes on
            _errors.report(stream, self, type(error), error, error.__traceback__, hub.format_context)


class Watchdog:
    """The thread, and whom it watches.

    `clock` and `wait` (which takes seconds) are its time; `start` runs a function in a thread and returns that.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        start: Callable[[Callable[[], None]], threading.Thread | None] | None = None,
    ) -> None:
        self._clock = clock
        self._poked = threading.Event()
        self._wait = self._wait_for_poke if wait is None else wait
        self._start = _start if start is None else start
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._watches: dict[int, Watch] = {}
        self._last = clock()

    def has(self, watch: Watch) -> bool:
        """Whether it watches."""
        return id(watch) in self._watches

    def add(self, watch: Watch) -> None:
        """Begin to watch.  Raises RuntimeError if the system gives no thread."""
        with self._lock:
            self._watches[id(watch)] = watch
            if self._thread is None:
                self._last = self._clock()
                try:
                    self._thread = self._start(self.run)
                except BaseException:
                    del self._watches[id(watch)]
                    raise
        self._poked.set()  # the new one may want to be looked at sooner

    def remove(self, watch: Watch, wait: bool = True) -> None:
        """Watch it no more; the thread ends with the last one."""
        with self._lock:
            self._watches.pop(id(watch), None)
            thread = None if self._watches else self._thread
        self._end(thread, wait)

    def close(self) -> None:
        """Watch nobody."""
        with self._lock:
            self._watches.clear()
            thread = self._thread
        self._end(thread, wait=True)

    def _end(self, thread: threading.Thread | None, wait: bool) -> None:
        if thread is not None and thread.ident != get_ident():
            self._poked.set()
            if wait:
                thread.join(PATIENCE)

    def watches(self) -> list[Watch]:
        """Whom it watches."""
        return list(self._watches.values())

    def period(self) -> float:
        """Seconds between two looks."""
        return min((watch.threshold for watch in self.watches()), default=math.inf) / LOOKS

    def run(self) -> None:
        """The thread: look again and again, while there is somebody to watch."""
        while True:
            with self._lock:
                if not self._watches:
                    self._thread = None
                    return
            self._wait(self.period())
            self.look()

    def look(self) -> None:
        """Look at all hubs once.  Time counts up to twice that between two looks: see rule 1."""
        now = self._clock()
        passed = min(now - self._last, 2 * self.period())
        self._last = now
        for watch in self.watches():
            try:
                alive = watch.look(now, passed)
            except Exception as error:  # of a stranger's loop, or of a hub's subclass: the others are still watched
                watch.fail(error)
                alive = False
            if not alive:
                with self._lock:
                    self._watches.pop(id(watch), None)

    def _wait_for_poke(self, seconds: float) -> None:
        if self._poked.wait(min(seconds, threading.TIMEOUT_MAX)):
            self._poked.clear()


_hooked = False
_said = False


def watch(hub: Hub, threshold: float, interval: float, report: Callable[[BlockReport], object] | None) -> Watch:
    """See `Hub.watch`."""
    counting_loop(hub, "watch it")
    made = hub._watch or Watch(hub)
    made.set(threshold, interval, report)
    _dog.add(made)
    hub._watch = made
    return made


def watch_by_default(hub: Hub, threshold: float) -> None:
    """Watch a new hub because the environment says so; if that is refused, destroy it and raise.

    It must not fail for want of a thread: that is said, once.

    From CPython 3.12 on there is none to be had once the interpreter has begun to end (docs of `threading`).
    """
    global _said
    try:
        watch(hub, threshold, interval=1.0, report=None)
    except RuntimeError as error:
        stream = hub.exception_stream
        if stream and not _said:
            _said = True
            stream.write(f"{hub!r} is not watched: {error}; nor are later ones, if that goes on (said once)\n")
    except BaseException:
        hub.destroy(destroy_loop=False)
        raise


def _start(run: Callable[[], None]) -> threading.Thread:
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_in_child)
        # A daemon that is still writing when the interpreter ends would hold the stream's lock for ever.
        atexit.register(lambda: _dog.close())
    thread = threading.Thread(target=run, name="hub-watch", daemon=True)
    thread.start()
    return thread


def _after_in_child() -> None:
    """The thread is in the parent, and so are all threads but the one that has forked."""
    global _dog
    left, _dog = _dog.watches(), Watchdog()
    for watch in left:
        hub = watch._hub()
        if hub is not None and hub.thread_ident == get_ident():
            watch.forget()
            try:
                _dog.add(watch)
            except RuntimeError:
                pass  # no thread to be had: a fork must not fail for that, and `watch.active` tells


def _mark(hub: Hub, loop: ICountingLoop) -> object:
    """What is equal to what it was only if nothing went on meanwhile; None if nobody can be blocked."""
    progress = loop.progress()
    if progress is None or (_main_runs(hub) and not _is_kept_waiting(hub, loop)):
        return None
    # How often a greenlet got the thread: see _ready, rule 2.
    return progress, hub._budget.granted - hub._lane.left - hub._held - hub._rest, hub._started, hub._resumed


def _main_runs(hub: Hub) -> bool:
    return hub._lane.running is hub.parent or not hub  # a greenlet that has not started is false


def _is_kept_waiting(hub: Hub, loop: ICountingLoop) -> bool:
    """Whether somebody waits for the main greenlet to park on this hub: not if it parks on another one meanwhile."""
    return hub._present[0] in (0, id(hub)) and bool(hub._ready or hub._new or loop.activecnt)


def _describe(hub: Hub) -> str:
    """Who runs now."""
    # Between these two lines there is no call, and so no other thread: if it is the main greenlet we let go of it here.
    running: greenlet | None = hub._lane.running
    if running is hub.parent:
        running = None
        return "the main greenlet"
    if running is None:
        return "the loop or a callback" if hub else "the main greenlet"
    try:
        name = getattr(running, "name", None)
        # What greenlet's own repr says of the state is from the view of this thread.
        plain = type(running).__repr__ is greenlet.__repr__
        text = f"<{type(running).__qualname__} at {id(running):#x}>" if plain else repr(running)
        return f"{name!r}, {text}" if name else text
    except Exception:  # a property or a repr of the user's, in a thread where it was not meant to run
        return object.__repr__(running)


def _places(ident: int) -> list[tuple[CodeType, int | None]] | None:
    """Where that thread is now, most recent call last; None if there is no such thread."""
    frame = sys._current_frames().get(ident)
    if frame is None:
        return None
    places = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    places.reverse()
    return places


def _name(ident: int) -> str:
    return next((thread.name for thread in threading.enumerate() if thread.ident == ident), f"{ident:#x}")


_dog = Watchdog()
