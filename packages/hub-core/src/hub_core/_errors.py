"""The error policy: who is told of an exception that nobody caught.

Receives: exceptions from callbacks and from greenlets that died of one.  Gives: a printed traceback, or the decision
that the main greenlet must see it.

| exception | printed | raised in the main greenlet |
|---|---|---|
| GreenletExit | no | no |
| SystemExit | no | yes |
| KeyboardInterrupt, SystemError | yes | yes |
| any other, from a callback, watcher or greenlet | yes | no |
| any other, from the loop itself (context None) | yes | yes |

The context, "who failed", is the callback or watcher as the loop names it, and the greenlet that died as the hub does:
see `Hub._greenlet_failed`.  What surfaces in the main greenlet does so at the call that it is parked in; all others go
on, but the greenlet that died.

Rule 1: printing never raises; a broken stream must not take the loop with it.
Rule 2: HubDestroyed is nobody's error: it passes through everything here.
Rule 3: it works at the interpreter's end, when `sys.stderr` may be None or gone and modules refuse to be imported.
"""

from __future__ import annotations

import sys
import time

from greenlet import GreenletExit

from hub_api import HubDestroyed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from types import CodeType, TracebackType
    from typing import Any, TextIO

    from greenlet import greenlet

    from hub_api import ILoopCore

NOT_ERROR: tuple[type[BaseException], ...] = (GreenletExit, SystemExit)
SYSTEM_ERROR: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, SystemError)


class ExceptionStream:
    """The attribute `Hub.exception_stream`: the present `sys.stderr`, unless something else, or None, was assigned."""

    def __get__(self, hub: Any, owner: type | None = None) -> TextIO | None:
        return getattr(sys, "stderr", None)  # a program may have deleted it


class Policy:
    """What a hub does with exceptions that nobody caught."""

    __slots__ = ()

    loop: ILoopCore
    NOT_ERROR = NOT_ERROR
    SYSTEM_ERROR = SYSTEM_ERROR
    exception_stream: ExceptionStream = ExceptionStream()
    format_context: Callable[[object], str] = staticmethod(repr)

    def handle_error(
        self,
        context: object,
        type: type[BaseException] | None,
        value: BaseException | str | None,
        tb: TracebackType | None,
        /,
    ) -> None:
        """Deal with an exception that nobody caught: see the table in docs/reference/hub-core.md.

        May be replaced by assignment on the hub.
        `type`, `value` and `tb` all None stand for the exception that is being handled; a text for the `value` stands
        for `type(text)`.
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

    def _loop_failed(self, error: BaseException) -> None:
        try:
            self.loop.handle_error(None, type(error), error, error.__traceback__)
        except HubDestroyed:
            raise
        except BaseException as worse:  # an application's handler that calls sys.exit(), say: it must not end the hub
            self.handle_system_error(type(worse), worse, worse.__traceback__)

    def print_exception(
        self, context: object, type: type[BaseException], value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Write a report of the exception to `exception_stream`, unless that is None."""
        report(self.exception_stream, context, type, value, tb, self.format_context)


def who_died(hub: Any, error: BaseException, serving: Container[CodeType]) -> greenlet:
    """The greenlet that ran last, or the one above it that is the hub's child; the hub itself if it was neither.

    `serving`: the code from which the hub switches to greenlets.
    """
    died: greenlet | None = hub._lane.running
    own: greenlet = hub
    while died is not None and died.parent is not hub:  # it ended before, and its parent went on under its name
        died = died.parent
    if died is None or not died.dead:  # a stranger has switched to one that has left its name nowhere
        return own
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code in serving:
        trace = trace.tb_next
    # The first frame of a greenlet has none behind it; a signal handler's has the hub's.  A function in C has no frame.
    struck = isinstance(error, KeyboardInterrupt) if trace is None else trace.tb_frame.f_back is not None
    return own if struck else died


def report(
    stream: TextIO | None,
    context: object,
    kind: type[BaseException],
    value: BaseException | None,
    tb: TracebackType | None,
    format_context: Any = repr,
) -> None:
    """Write a traceback, the time (RFC 3339, UTC), and what it was that failed."""
    try:
        if not stream:
            return
        lines = [f"{kind.__name__}\n"] if value is None else _format(kind, value, tb)
        lines.append(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        if context is None:
            lines.append("\n")
        else:
            lines.append(f" {_describe(context, format_context)} failed with {kind.__name__}\n\n")
        stream.write("".join(lines))
    except Exception:
        pass  # the stream is broken, or the exception cannot be told: nobody is left to tell, and the loop must go on


def _format(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> list[str]:
    try:
        # Imported here: it costs several milliseconds, and most programs never print a traceback.
        import traceback
    except ImportError:  # the interpreter is being torn down
        return [f"{kind.__name__}: {value}\n"]
    return traceback.format_exception(kind, value, tb)


def _describe(context: object, format_context: Any) -> str:
    if isinstance(context, str):
        return context
    try:
        return str(format_context(context))
    except Exception as error:
        return "".join([*_format(type(error), error, error.__traceback__), object.__repr__(context)])
