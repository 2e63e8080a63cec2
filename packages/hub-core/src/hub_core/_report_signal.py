"""Reports on a signal: what `kill -USR2 PID` prints.

Receives: a signal, by way of the loop, which alone talks to the system.  Gives: a report on a stream.
Rule 1: it is printed in the Python signal handler itself, so a greenlet that never parks is no obstacle.
Rule 2: whatever goes wrong with the stream is reported, and never raised into what the signal has interrupted.
"""

from __future__ import annotations

from weakref import ref

from hub_core._local import get_hub_if_exists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from hub_api import ILoopCore, IWatcher
    from hub_core._base import HubBase


def report_on_signal(
    loop: ILoopCore, signum: int | str = "SIGUSR2", file: TextIO | None = None, hub: HubBase | None = None
) -> IWatcher:
    """Print a report of the hub of this loop's thread whenever a signal comes: see `Hub.report_on_signal`.

    For who has a loop and no hub yet; `hub`, if given and not destroyed, is the one that is told of.
    Call from: the main thread.  Switches: never.
    """
    interrupt: Any = getattr(loop, "interrupt", None)
    if interrupt is None:
        raise NotImplementedError(
            f"{loop!r} has no `interrupt`, so nothing can be done in its signal handlers; call "
            "`print(hub.report())` in a handler of your own"
        )
    from hub_core import _report_make  # noqa: F401 - now, for the signal may come in the middle of an import

    watcher: IWatcher = interrupt(signum, ref=False)
    try:
        watcher.start(_print_report, loop, file, (lambda: None) if hub is None else ref(hub))
    except BaseException:
        watcher.close()
        raise
    return watcher


def came_with_the_loop(watcher: Any) -> bool:
    """Whether this watcher prints reports and no hub was asked for it: the loop was made with it."""
    return watcher.callback is _print_report and watcher.args[-1]() is None


def _print_report(loop: ILoopCore, file: TextIO | None, asked: Any) -> None:
    hub = asked()
    if hub is None or hub.loop is None:
        hub = get_hub_if_exists()
    if hub is None:
        return  # there is nobody to tell of, and no stream to say so on
    stream = file or hub.exception_stream
    if stream is None:
        return
    try:
        text = f"{hub.report()}\n\n"
        try:
            _write(stream, text)
        except RuntimeError:  # the signal came in the middle of a write to this very stream (docs of `io`, reentrancy)
            loop.run_callback_threadsafe(_write, stream, text)
    except Exception as error:
        hub.handle_error("the report on a signal", type(error), error, error.__traceback__)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
