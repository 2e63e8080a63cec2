"""The batch: what a turn calls, in which order, and what becomes of exceptions.

Receives: callbacks (`_queue`, which other threads append to as well) and watchers whose events have happened
(`_fired`).  Gives: calls, one at a time; what they raise goes to one place, `handle_error`.

The order:

1. Watchers of a priority above 0, the highest first.
2. Callbacks, first in, first out, also those that are queued meanwhile; but once `sys.getswitchinterval()` (5 ms) has
   passed the rest waits for the next turn.  The clock is looked at after every 50 calls.
3. Watchers of priority 0 in the order of their events, then those of a priority below 0.  They have no limit of time:
   a turn queues each at most once.  So events do not wait behind callbacks that come faster than they run.
4. Callbacks that these have queued, for what is left of the time.

Rule 1: an entry leaves its line by `del line[0]`, in the same breath as it is looked at.  That is not a call, so no
signal handler can run, and no KeyboardInterrupt arise, between the taking of an entry and its use (test_signals.py).
An interrupt that comes once a callback has begun is that callback's.  One that comes as it is entered, at its first
instruction, is nobody's: it is reported, and the callback stands in its line again, for what it is told has happened.
Rule 2: each call runs in the context (contextvars) that it was queued or started in, or rather in a copy: what one
call sets, the next does not see.  Most programs have no context variables.  Then nothing is copied and nothing kept:
None stands for an empty context, and such calls are made as they are: the whole of `run` runs in a context of its own
that is empty.  Should one of them set a variable in that, the others get fresh ones, and the next `run` does.
Rule 3: nothing here switches greenlets.  A callback may, and the loop is then still in its batch.
Rule 4: `calls` is added to once for each round of calls, of 50 at the most, and not at each call (test_counts.py).
"""

from __future__ import annotations

import sys
from collections import deque
from contextvars import Context
from sys import getswitchinterval

from hub_api import HubDestroyed
from hub_loop._callback import Callback, struck_at_entry
from hub_loop._watcher import urgency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from hub_api import IErrorHandler
    from hub_loop._watcher import Watcher

_STRIDE = 50  # callbacks between two looks at the clock, and calls between two of the count


class Batch:
    """The lines of those to be called."""

    __slots__ = ("_blank", "_clock", "_fired", "_now", "_queue", "_ranked", "calls", "error_handler")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._now = clock()
        self._queue: deque[Callback] = deque()
        self._fired: deque[Watcher] = deque()
        self._blank = Context()
        """The context that `run` runs in: empty, until somebody sets a variable in it."""
        self._ranked = False
        """Whether one of the fired has a priority."""
        self.error_handler: IErrorHandler | None = None
        self.calls: int = 0

    def _run_batch(self) -> None:
        end = self._now + getswitchinterval()
        if self._ranked:
            self._run_urgent()
        if self._queue:
            self._run_callbacks(end)
        if self._fired:
            self._run_watchers()
            if self._queue and self._clock() < end:
                self._run_callbacks(end)

    def _run_callbacks(self, end: float) -> None:
        queue, blank = self._queue, self._blank
        taken = 0
        try:
            while queue:
                for taken in range(1, _STRIDE + 1):
                    fresh = Context() if blank else None  # a call, and so before the look
                    if not queue:
                        taken -= 1
                        return
                    entry = queue[0]
                    del queue[0]
                    func = entry.callback
                    if func is not None:
                        args = entry.args
                        context = entry._context
                        if context is None:
                            context = fresh
                        entry.callback = None
                        try:
                            if context is not None:
                                context.run(func, *(args or ()))
                            elif args:
                                func(*args)
                            else:
                                func()  # a call that CPython can inline: 20 ns of 300 (benchmarks/bench_callbacks.py)
                        except BaseException as error:
                            if struck_at_entry(func, error):
                                entry.callback = func
                                queue.appendleft(entry)
                            else:
                                entry.args = None
                            self._report(entry, error)
                        else:
                            entry.args = None
                self.calls += taken
                taken = 0
                if self._clock() >= end:
                    return
        finally:
            self.calls += taken

    def _run_urgent(self) -> None:
        """Sort those that have fired; call those of a priority above 0."""
        ranked = deque(sorted(self._fired, key=urgency))
        known = len(ranked)
        # Signal handlers may have appended meanwhile.  From here on there is no call, and so none can any more.
        late = [*self._fired][known:]
        ranked += late
        self._fired, self._ranked = ranked, late != []
        while self._fired and self._fired[0]._priority > 0:
            watcher = self._fired[0]
            del self._fired[0]
            self.calls += 1
            try:
                watcher._run()
            except BaseException as error:
                self._watcher_failed(watcher, error)

    def _run_watchers(self) -> None:
        fired = self._fired
        taken = 0
        try:
            while fired:
                for taken in range(1, _STRIDE + 1):
                    if not fired:
                        taken -= 1
                        return
                    watcher = fired[0]
                    del fired[0]
                    try:
                        watcher._run()
                    except BaseException as error:
                        self._watcher_failed(watcher, error)
                self.calls += taken
                taken = 0
        finally:
            self.calls += taken

    def _deliver(self, watcher: Watcher) -> None:
        """Call a watcher whose moment is now."""
        self.calls += 1
        try:
            watcher._run()
        except BaseException as error:
            self._watcher_failed(watcher, error)

    # -- errors -----------------------------------------------------------------------------------------------------

    def _watcher_failed(self, watcher: Watcher, error: BaseException) -> None:
        if watcher._pending:  # an interrupt that came before the callback had begun: its event is still to be told
            self._fired.appendleft(watcher)
        else:
            watcher._failed()
        self._report(watcher, error)

    def _report(self, entry: Callback | Watcher, error: BaseException) -> None:
        if isinstance(error, HubDestroyed):
            self._drop_queued()
            raise error
        self.handle_error(entry, type(error), error, error.__traceback__)

    def _drop_queued(self) -> None:
        """A hub is being destroyed: callbacks that are queued are not called any more.

        Events stay.  The loop may get another hub, and a watcher whose event was lost would be pending for ever.
        """
        for _ in range(len(self._queue)):  # not by iteration: another thread may append
            self._queue.popleft().stop()

    def handle_error(
        self, context: object, type: type[BaseException], value: BaseException, tb: TracebackType | None, /
    ) -> None:
        """Hand an exception to `error_handler`, or print it.  A handler that raises is printed, and the loop goes on.

        Without a handler KeyboardInterrupt and SystemExit are not printed: `run` raises them.
        """
        handler = self.error_handler
        if handler is None:
            if not issubclass(type, Exception):
                raise value
            _print_exception(type, value, tb)
            return
        report: Any = getattr(handler, "handle_error", handler)  # a function will do, too
        try:
            report(context, type, value, tb)
        except HubDestroyed:
            raise
        except Exception as error:
            _print_exception(error.__class__, error, error.__traceback__)


def _print_exception(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
    if sys.stderr is None:  # as under pythonw, or in a daemon: traceback would turn to stdout
        return
    # Imported here: it costs more than all of hub_loop, and most programs never print.
    import traceback

    try:
        traceback.print_exception(kind, value, tb)
    except Exception:
        pass  # stderr itself is broken: there is nobody left to tell, and the loop must go on
