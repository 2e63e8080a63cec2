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

Rule: printing never raises; a broken stream must not take the loop with it.
"""

from __future__ import annotations

import sys
import time

from greenlet import GreenletExit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, TextIO

NOT_ERROR: tuple[type[BaseException], ...] = (GreenletExit, SystemExit)
SYSTEM_ERROR: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, SystemError)


class ExceptionStream:
    """The attribute `Hub.exception_stream`: the present `sys.stderr`, unless something else, or None, was assigned."""

    def __get__(self, hub: Any, owner: type | None = None) -> TextIO | None:
        return sys.stderr


def report(
    stream: TextIO | None,
    context: object,
    kind: type[BaseException],
    value: BaseException | None,
    tb: TracebackType | None,
    format_context: Any = repr,
) -> None:
    """Write a traceback, the time (RFC 3339, UTC), and what it was that failed."""
    if not stream:
        return
    # Imported here: it costs several milliseconds, and most programs never print a traceback.
    import traceback

    try:
        lines = [f"{kind.__name__}\n"] if value is None else traceback.format_exception(kind, value, tb)
        lines.append(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        if context is None:
            lines.append("\n")
        else:
            lines.append(f" {_describe(context, format_context)} failed with {kind.__name__}\n\n")
        stream.write("".join(lines))
    except Exception:
        pass  # the stream is broken, or the exception cannot be told: nobody is left to tell, and the loop must go on


def _describe(context: object, format_context: Any) -> str:
    if isinstance(context, str):
        return context
    try:
        return str(format_context(context))
    except Exception:
        import traceback

        return f"{traceback.format_exc()}{object.__repr__(context)}"
