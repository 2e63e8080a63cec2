"""What hangs on a hub and is made when somebody asks for it: its pool and resolver, its counters, watch and reports.

Receives: a hub, and from `_local` the factories for what it was not given.  Gives: the parts.
Rule: nothing here is imported or made before it is asked for; most programs ask for one or two.
"""

from __future__ import annotations

from hub_core import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from hub_api import ILoopCore, IWatcher
    from hub_core._counters import Counters
    from hub_core._report import Report
    from hub_core._watch import BlockReport, Watch


class Parts:
    """The parts of a hub, as attributes and methods of it."""

    __slots__ = ()

    loop: ILoopCore
    _resolver: Any
    _threadpool: Any

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
        try:
            self._close_part(self._resolver, "close")
        finally:
            try:
                self._close_part(self._threadpool, "kill")
            finally:
                self._resolver = self._threadpool = None

    def _close_part(self, part: Any, method: str) -> None:
        if part is None or callable(part):  # callable: a factory that was never asked
            return
        try:
            getattr(part, method)()
        except Exception as error:
            self.loop.handle_error(part, type(error), error, error.__traceback__)

    def _tell_parts_of_fork(self) -> None:
        for part in (self._resolver, self._threadpool):
            hook = None if part is None or callable(part) else getattr(part, "_on_fork", None)
            if hook is not None:
                try:
                    hook()
                except Exception as error:
                    self.loop.handle_error(part, type(error), error, error.__traceback__)

    # -- what tells about it ----------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        """What this hub has done so far: `hub.counters.snapshot()`.  Always on.

        Call from: any thread.  The object holds no hub.  Raises TypeError if the loop does not count
        (`hub_api.ICountingLoop`), ValueError if the hub is destroyed.
        """
        from hub_core._counters import Counters

        hub: Any = self
        return Counters(hub)

    def watch(
        self,
        threshold: float = 0.1,
        *,
        interval: float = 1.0,
        report: Callable[[BlockReport], object] | None = None,
    ) -> Watch:
        """Have a watchdog thread tell when this hub's thread runs on for `threshold` seconds without parking.

        Once for each distinct stack, and at most every `interval` seconds: to `exception_stream`, or to `report`, which
        is called in the watchdog's thread.  Ends by `stop` of what is returned, and with the hub.  A second call gives
        the same watch new settings.
        Call from: any thread.  Switches: never.  Raises ValueError for a threshold below 0.01 or a destroyed hub,
        TypeError if the loop does not count (`hub_api.ICountingLoop`), RuntimeError if there is no thread to be had.
        """
        from hub_core import _watch

        hub: Any = self
        return _watch.watch(hub, threshold, interval, report)

    def report(self) -> Report:
        """Return what each greenlet of this hub waits for, since when, who could wake it, and what is wrong.

        `print(hub.report())` is for people, `hub.report().as_json()` for programs.
        Call from: any thread, callback or signal handler.  From another thread each greenlet is shown as it was at one
        moment, but not all at the same one; one that runs meanwhile may be missing, or shown as it was before.
        Switches: never, unless a `repr` or an `owner` of the user's does.
        """
        hub: Any = self
        # `now` is as old as the last turn, and another thread cannot update it.
        now = 0.0 if hub.loop is None else getattr(hub.loop, "clock", hub.loop.now)()
        from hub_core._report_make import make  # brings dataclasses, inspect and dis, for the few who ask

        return make(hub, now)

    def report_on_signal(self, signum: int | str = "SIGUSR2", file: TextIO | None = None) -> IWatcher:
        """Have a report printed whenever the process receives a signal; `close` what is returned to undo that.

        In the Python signal handler itself, so also while a greenlet runs and runs; a wait in C that lets no signal
        handler run delays it.  `file`: by default the `exception_stream` of the hub, at that time.  After `destroy` the
        report is about the hub that the thread has then.
        Call from: the main thread.  Switches: never.
        Raises ValueError in other threads or for a signal that cannot be caught, NotImplementedError if the loop has no
        `interrupt`.
        """
        from hub_core._report_signal import report_on_signal

        hub: Any = self
        hub.check_thread("report on a signal")
        return report_on_signal(self.loop, signum, file, hub)


def _make_part(factory: Callable[[Any], Any] | None, hub: Parts, name: str) -> Any:
    if factory is None:
        raise LookupError(
            f"hub-core has no {name} of its own: install greenlet-hub and import greenlet_hub, or assign hub.{name}"
        )
    return factory(hub)
