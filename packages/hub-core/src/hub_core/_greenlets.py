"""Raw greenlets: a function in a greenlet of its own, without a result, a link or a name; and how one is killed.

Receives: functions, and exceptions for greenlets.  Gives: greenlets whose parent is the hub, so that it learns of their
end and of their errors.
"""

from __future__ import annotations

from sys import _getframe

from greenlet import GreenletExit, getcurrent, greenlet

from hub_api import InvalidThreadUseError
from hub_core._base import HubBase
from hub_core._local import this_hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import NoReturn, ParamSpec

    from hub_api import ILoopCore
    from hub_core._hub import Hub
    from hub_core._ready import Lane

    P = ParamSpec("P")


class RawGreenlet(greenlet):
    """What `spawn_raw` returns: a greenlet that knows its hub, so that parking need not ask the thread for it."""

    __slots__ = ("hub", "loop", "spawn_code", "spawn_lane", "spawn_lasti", "switch_out")

    if TYPE_CHECKING:
        hub: Hub
        loop: ILoopCore
        spawn_code: CodeType | None
        """Who called `spawn_raw`."""
        spawn_lane: Lane
        """The hub's, for `sleep`, which looks whether the hub still has it."""
        spawn_lasti: int
        """At which instruction; the line is looked up by who wants to know it."""
        switch_out: Callable[[], object] | None


def make_raw(run: Callable[..., object], hub: Hub) -> RawGreenlet:
    """A greenlet that will run `run` on `hub`.  No `__init__`: a class call that enters Python costs 100 ns more."""
    made = RawGreenlet(run, hub)
    made.hub = hub
    made.loop = hub.loop
    made.spawn_lane = hub._lane
    made.switch_out = made.spawn_code = None
    made.spawn_lasti = -1
    return made


def spawn_raw(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> greenlet:
    """Run `function(*args, **kwargs)` in a new greenlet, soon: when the current one parks, after those spawned before.

    What it returns is dropped; an exception goes to `Hub.handle_error`.  Keep the greenlet if its identity matters: a
    function whose greenlet was dropped before it started may run in another one (see `_carriers`).
    Call from: any greenlet, or a callback.  Switches: never.  Raises TypeError if `function` is not callable.
    """
    if not callable(function):
        raise TypeError(f"cannot spawn {function!r}: it must be callable")
    hub = this_hub()
    # `make_raw` and `Hub.start_soon`, written out: 0.5 us of 2.9 (benchmarks/bench_spawn.py).
    spawned = RawGreenlet(function, hub)
    spawned.hub = hub
    spawned.loop = loop = hub.loop
    spawned.spawn_lane = lane = hub._lane
    spawned.switch_out = None
    try:
        spawner = _getframe(1)
    except ValueError:  # there is none: this call is all that its greenlet was to run
        spawned.spawn_code = None
        spawned.spawn_lasti = -1
    else:
        spawned.spawn_code = spawner.f_code  # not the frame, which would keep what its locals hold
        spawned.spawn_lasti = spawner.f_lasti
    if loop is None:
        hub.refuse(f"spawn {function!r}")
    if loop.sleeping:
        loop.wakeup()
    hub._new.append((spawned, function, args, kwargs, hub._copy_context() or None))
    if lane.left:
        hub._hold()
    return spawned


def kill(greenlet: greenlet, exception: BaseException | type[BaseException] = GreenletExit) -> None:
    """Raise `exception` in a greenlet, in its turn; one that is dead already is left alone.

    One that has not run yet ends without running.  The current one goes on until it parks: `raise` ends it at once.
    Each call raises once, so one that catches the exception, or parks on its way out, goes on; see
    docs/explain/killing.md.  An object with a `kill` of its own is asked with `kill(exception, block=False)`.
    Call from: the thread of the greenlet, callbacks included.  Switches: never.
    Raises TypeError if `exception` is none, InvalidThreadUseError in another thread, where
    `loop.run_callback_threadsafe(kill, greenlet)` does it, ValueError for a hub, which `Hub.destroy` ends.
    """
    if not (
        isinstance(exception, BaseException) or (isinstance(exception, type) and issubclass(exception, BaseException))
    ):
        raise TypeError(f"kill takes an exception class or instance, got {exception!r}")
    if greenlet.dead:
        return
    own_kill = getattr(greenlet, "kill", None)
    if own_kill is not None:
        own_kill(exception, block=False)
        return
    if _root(greenlet) is not _root(getcurrent()):
        owner = _hub_of(greenlet)
        if owner is not None:
            owner.refuse(f"kill {greenlet!r}", "hub.loop.run_callback_threadsafe(kill, greenlet)")
        raise InvalidThreadUseError(
            f"cannot kill {greenlet!r} from {getcurrent()!r}: it runs in another thread; "
            "use run_callback_threadsafe(kill, greenlet) of that thread's loop"
        )
    if isinstance(greenlet, HubBase):
        raise ValueError(f"cannot kill {greenlet!r}: it runs the loop that all others wait for; use its destroy()")
    hub = _hub_of(greenlet)
    if hub is None or hub.loop is None:
        hub = this_hub()
    if not greenlet:  # alive and false: it has never run
        if isinstance(greenlet.run, _Stillborn):
            return  # killed before: one exception is all that it can die of
        greenlet.run = _Stillborn(exception)
    if isinstance(greenlet.parent, HubBase) and greenlet.parent.loop is None:
        greenlet.parent = hub  # its own is destroyed; its end would lead to whoever stands behind that one
    hub.throw_soon(greenlet, exception)


def _hub_of(member: greenlet | None) -> Hub | None:
    """The hub that `member` runs on, or None: whoever it came from is no hub."""
    from hub_core._hub import Hub

    while member is not None and not isinstance(member, Hub):
        member = member.parent
    return member


class _Stillborn:
    """What a greenlet that was killed before its start runs instead of its function.

    So its place in the hub's lane need not be looked for.  One that has no place there ends by what is thrown.
    """

    def __init__(self, exception: BaseException | type[BaseException]) -> None:
        self._exception = exception

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise self._exception


def _root(member: greenlet) -> greenlet:
    """The first greenlet of the thread that `member` runs in."""
    parent = member.parent
    while parent is not None:
        member, parent = parent, parent.parent
    return member
