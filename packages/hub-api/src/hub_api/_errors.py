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
    `str` is these three and the report, `repr` is without it.
    """

    report: Any = None
    """What each greenlet waited for at that moment, as `hub_core.Hub.report` returns it.

    None if the hub has not made one: for the end of a program that waits in `join`, or where the exception was made by
    somebody else.
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
        text = repr(self) if len(self.args) == 3 else super().__str__()
        return text if self.report is None else f"{text}\n{self.report}"


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


class ForkedError(RuntimeError):
    """What was under way in the parent at a fork ended in the child with this: who worked on it is not in the child."""


class JobCancelledError(RuntimeError):
    """A job was cancelled before a worker took it, and never ran."""


class PoolFullError(RuntimeError):
    """A job was refused because all places of its pool or lane are taken."""


class PoolKilledError(RuntimeError):
    """A pool that was killed takes no more jobs, and those that no worker had taken never ran."""


class WorkerLostError(RuntimeError):
    """A worker died before it could tell what its job returned or raised; whether that had an effect is not known."""
