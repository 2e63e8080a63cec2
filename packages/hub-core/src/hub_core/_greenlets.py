"""Raw greenlets: a function in a greenlet of its own, without a result, a link or a name.

Receives: functions.  Gives: greenlets whose parent is the hub, so that it learns of their end and of their errors.
"""

from __future__ import annotations

from greenlet import GreenletExit, getcurrent, greenlet

from hub_api import InvalidThreadUseError
from hub_core._local import this_hub
from hub_core._raw import RawGreenlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    P = ParamSpec("P")


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
    spawned.switch_out = None
    if loop is None:
        hub.refuse(f"spawn {function!r}")
    if loop.sleeping:
        loop.wakeup()
    hub._new.append((spawned, function, args, kwargs))
    if hub._left:
        hub._hold()
    return spawned


def kill(greenlet: greenlet, exception: BaseException | type[BaseException] = GreenletExit) -> None:
    """Raise `exception` in a greenlet, in its turn; one that is dead already is left alone.

    A greenlet that was spawned and has not run yet starts first, and gets the exception where it parks.  An object
    with a `kill` of its own is asked with `kill(exception, block=False)`.
    Call from: the thread of the greenlet; elsewhere InvalidThreadUseError.  Switches: never.
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
    hub = this_hub()
    if _root(greenlet) is not _root(getcurrent()):
        raise InvalidThreadUseError(
            f"cannot kill {greenlet!r} from {getcurrent()!r}: it runs in another thread than {hub!r}; "
            "use run_callback_threadsafe(kill, greenlet) of that thread's loop"
        )
    hub.throw_soon(greenlet, exception)


def _root(member: greenlet) -> greenlet:
    """The first greenlet of the thread that `member` runs in."""
    parent = member.parent
    while parent is not None:
        member, parent = parent, parent.parent
    return member
