"""Finding: greenlets among all objects, in the lanes of a hub, and behind the handles of its loop.

Receives: a hub, or a kind of object.  Gives: what there is of it at this moment, for nobody keeps a list.

Three ways lead to a greenlet.  The garbage collector knows all objects but those that were set aside (`gc.freeze`).  A
greenlet that is ready stands in the hub's lane.  And what a handle of the loop would call when it fires leads to who
waits for that.

Rule 1: no list of other people's objects lives from one bytecode to the next.  Another thread may be in the middle of
`tuple(generator)`, and the collector tells of its tuple.  Whoever holds that as well, be it in a list of everything,
makes it unfit to be resized: SystemError, in a thread that has nothing to do with us.  So objects are sifted in C, in
one call that runs no Python and in which no other thread runs (test_find.py).
Rule 2: a kind is told by `type(thing)`.  `isinstance` asks the thing for its `__class__`, which may be code.
"""

from __future__ import annotations

import gc
from functools import partial
from itertools import chain, compress, repeat
from types import FunctionType

from greenlet import greenlet

from hub_core._fds import FdWaiter, Side
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from hub_core._hub import Hub


# -- among all objects ----------------------------------------------------------------------------------------------


def sift(
    kind: type,
    seek: Callable[..., list[Any]] = gc.get_objects,
    of: object = None,
    fits: Callable[[type, type], bool] = issubclass,
) -> Iterator[Any]:
    """Those objects of `seek(of)` whose type `fits` the kind.

    Nothing is sought before the first is taken.  By rule 1 they are taken at once, by a single call of C code, as
    `list(...)`; `seek` and `fits` are functions in C, and `kind` is a class with `type` as its metaclass.
    """
    if gc.isenabled():
        gc.collect(0)  # else that may become due in the middle of the call, up to 3.11, and it calls finalizers
    # The list is needed twice, for the things and for their types, and must never have a name.
    twice: Iterator[Any] = chain.from_iterable(map(repeat, map(seek, (of,)), (2,)))
    types: Iterator[Any] = map(map, (type,), twice)
    fitting: Iterator[Any] = map(map, (fits,), types, (repeat(kind),))
    return chain.from_iterable(map(compress, twice, fitting))


def known_greenlets() -> list[greenlet]:
    """All greenlets that the garbage collector knows, of all threads, in any state."""
    return list(sift(greenlet))


# -- of one hub -----------------------------------------------------------------------------------------------------


def near_greenlets(hub: Hub, touched: Iterable[list[Any]]) -> list[greenlet]:
    """Those that the lanes and handles of a hub lead to, whether the collector tells of them or not; perhaps twice.

    `touched`: of each handle, what `touched_by` says.
    """
    return [*list(hub._ready), *waiting_at(touched)]  # list(): one step, whatever the hub's thread does meanwhile


def handles_of(loop: Any) -> list[Any]:
    """What the loop has started, if it tells: watchers, registrations, queued callbacks."""
    debug = getattr(loop, "debug", None)
    return [] if debug is None else list(debug())


def waiting_at(touched: Iterable[list[Any]]) -> list[greenlet]:
    """Greenlets that wait for what handles bring; of each handle, what `touched_by` says."""
    found: list[greenlet] = []
    for parts in touched:
        for part in parts:
            if isinstance(part, (Waiter, Side)):
                found += [part.greenlet] if part.greenlet is not None else []
            elif isinstance(part, FdWaiter):
                sides = (part._reader.greenlet, part._writer.greenlet)
                found += [each for each in sides if each is not None]
            elif is_greenlet(part):
                found.append(part)
    return found


def touched_by(handle: Any) -> list[Any]:
    """What the callback of a watcher, registration or queued call leads to, as one can see without calling it."""
    callback = getattr(handle, "callback", None)
    parts: list[Any] = [handle, *(getattr(handle, "args", None) or ())]
    while isinstance(callback, partial):  # of a partial of a method
        parts += [callback, *callback.args]
        callback = callback.func
    owner = ask(callback, "__self__")
    if owner is not None:
        parts.append(owner)
    for cell in callback.__closure__ or () if isinstance(callback, FunctionType) else ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:
            pass  # an empty cell: the variable has no value yet
    return [part for part in parts if part is not None]


def behind(handles: Iterable[Any]) -> list[greenlet]:
    """Greenlets that wait for what these handles bring."""
    return waiting_at(map(touched_by, handles))


# -- things of users ------------------------------------------------------------------------------------------------


def ask(thing: object, name: str) -> Any:
    """An attribute of a user's thing, or None if it has none or fails to tell."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None  # what cannot be asked is not known


def is_greenlet(thing: object) -> bool:
    """Whether a thing is a greenlet, without asking the thing."""
    return issubclass(type(thing), greenlet)
