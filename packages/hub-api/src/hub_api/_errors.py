"""The exceptions of the family: one class per cause, named as people who know the field expect.

Receives: nothing.  Gives: classes to raise and to catch.
Rule 1: no behaviour beyond what an exception carries.  Rule 2: nobody else in the family defines an exception that
crosses a package's border.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LoopExit(Exception):
    """The loop has nothing left to wait for, so whoever waits would wait for ever.

    Raised in the hub's parent (the main greenlet), whoever it was that blocked.  `args` is
    `(message, hub, handles)`: the text, the hub that ran dry, and a list with what the loop can tell of its handles.
    """

    @property
    def hub(self) -> Any:
        """The hub that ran dry, or None when the exception was made with other arguments."""
        return self.args[1] if len(self.args) == 3 else None

    def __repr__(self) -> str:
        if len(self.args) != 3:
            return super().__repr__()
        message, hub, handles = self.args
        return f"{message}\n\tHub: {hub}\n\tHandles:\n{handles!r}"

    def __str__(self) -> str:
        return repr(self) if len(self.args) == 3 else super().__str__()


class ConcurrentObjectUseError(AssertionError):
    """An object that one greenlet waits on was waited on by a second one."""


class BlockingSwitchOutError(AssertionError):
    """A blocking call was made in a callback, where there is no greenlet of its own to park."""


class InvalidSwitchError(AssertionError):
    """A parked greenlet was resumed by a stranger: nobody had said what it waited for."""


class InvalidThreadUseError(RuntimeError):
    """An object that belongs to one thread's hub or loop was used from another thread."""


class HubDestroyed(BaseException):
    """Thrown into a hub by `Hub.destroy` to end it; it ends the loop's `run` on its way out.

    Not for user code: it is a BaseException so that no callback's `except Exception` keeps a dying hub alive.
    """
