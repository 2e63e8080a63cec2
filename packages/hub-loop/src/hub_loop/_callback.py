"""Callbacks: functions queued on the loop, each to be called once.

Receives: a function and its arguments.  Gives: the object that `run_callback` returns.
Rule: the loop clears `callback` before the call and `args` after it, so that truth means "queued or running".
It is called in a copy of the context (contextvars) that it was queued in.
A post is a callback from another thread or a signal handler.  It runs like any other; it has a name of its own because
a forked child must not run what its parent's threads have posted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any


class Callback:
    """A queued call: see `hub_api.ICallback`.  Made and filled by `Loop.run_callback`, without a frame for it."""

    __slots__ = ("_context", "args", "callback")

    if TYPE_CHECKING:
        _context: Context | None  # None for an empty one
        callback: Callable[..., object] | None
        args: tuple[Any, ...] | None

    @property
    def pending(self) -> bool:
        """True while it is queued and has not started."""
        return self.callback is not None

    def stop(self) -> None:
        """Do not run it.  Idempotent."""
        self.callback = None
        self.args = None

    close = stop

    def __bool__(self) -> bool:
        return self.args is not None

    def __repr__(self) -> str:
        if self.args is None:
            return f"<callback at {id(self):#x} stopped>"
        state = "running" if self.callback is None else "pending"
        return f"<callback at {id(self):#x} {state} callback={self.callback!r} args={self.args!r}>"


class Post(Callback):
    """A call queued by `run_callback_threadsafe`."""

    __slots__ = ()


def struck_at_entry(function: object, error: BaseException) -> bool:
    """Whether `error` came as `function` was entered, so that nothing of it was done.

    CPython looks for signals at the first instruction of a Python function, RESUME.  What is raised there, a
    KeyboardInterrupt say, comes from a signal handler or a tracer, and is not the function's.
    Call from: an `except` around the call.
    """
    entered = None if error.__traceback__ is None else error.__traceback__.tb_next
    if entered is None or entered.tb_frame.f_code is not getattr(function, "__code__", None):
        return False
    import opcode  # at a Ctrl-C, and not before

    resume: int = opcode.opmap["RESUME"]
    instructions = entered.tb_frame.f_code.co_code[::2]  # each is of two bytes
    entry: int = instructions.find(resume)
    return entered.tb_lasti <= 2 * entry
