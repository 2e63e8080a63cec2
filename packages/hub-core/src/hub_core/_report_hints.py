"""Reports, hints: known causes of hangs, each told if what is seen fits it.

Receives: sightings, the loop's handles, and the stacks of threads.  Gives: `Hint`s.

| key | cause |
|---|---|
| `other-hub` | what is waited for belongs to another thread's hub, or to a greenlet there |
| `other-loop` | a watcher of a loop that this hub does not run |
| `dead-owner` | the greenlet that would have to release a thing has ended |
| `native-lock` | the thread stands in a lock of `threading`: that blocks all its greenlets, and perhaps who holds it |
| `unref` | only watchers with `ref=False` are left, and they do not keep the loop running |
| `pool-in-pool` | a job of the thread pool waits, while another has no place to run |

Rule: a hint is one possible cause.  It says what was seen, and what to do.
"""

from __future__ import annotations

import sys
from dis import get_instructions
from inspect import getattr_static

from hub_core._find import ask, is_greenlet
from hub_core._frames import locals_of
from hub_core._hub import Hub
from hub_core._report import Hint
from hub_core._report_find import is_family, running_stack, stack_from
from hub_core._report_graph import thread_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

    from hub_core._report_find import Sighting

_BLOCKING_MODULES = frozenset({"threading", "queue", "_queue", "concurrent.futures._base", "multiprocessing.queues"})
_POOL = "hub_threadpool"


def find(hub: Hub, sightings: list[Sighting], handles: list[Any], threads: dict[int, int]) -> Iterator[Hint]:
    """All hints that fit."""
    yield from _native_lock(hub, sightings)
    yield from _other_hub(hub, sightings, threads)
    yield from _other_loop(hub, sightings)
    yield from _dead_owner(sightings)
    yield from _unref(sightings, handles)
    yield from _pool_in_pool(hub, sightings)


def _numbers(sightings: list[Sighting]) -> tuple[int, ...]:
    return tuple(each.number for each in sightings)


def _names(sightings: list[Sighting]) -> str:
    shown = ", ".join(f"#{each.number}" for each in sightings[:10])
    return f"{shown}, ..." if len(sightings) > 10 else shown


# -- what belongs elsewhere -----------------------------------------------------------------------------------------


def _other_hub(hub: Hub, sightings: list[Sighting], threads: dict[int, int]) -> Iterator[Hint]:
    stuck: dict[int, list[Sighting]] = {}
    for each in sightings:
        if each.state != "parked" or each.foreign:
            continue
        theirs = ask(each.reason, "hub")
        thread = getattr(theirs, "thread_ident", 0) if isinstance(theirs, Hub) else 0
        if thread in (0, hub.thread_ident) and is_greenlet(each.owner) and not each.owner.dead:
            thread = thread_of(each.owner, threads)
        if thread not in (0, hub.thread_ident):
            stuck.setdefault(thread, []).append(each)
    for thread, those in stuck.items():
        yield Hint(
            "other-hub",
            f"{_names(those)} wait in thread {hub.thread_ident:#x} for what belongs to the hub of thread {thread:#x}: "
            "each thread has a hub of its own, and only its own greenlets can be woken from there; let that thread "
            "call loop.run_callback_threadsafe of this hub, or do both in one thread",
            _numbers(those),
        )


def _other_loop(hub: Hub, sightings: list[Sighting]) -> Iterator[Hint]:
    stuck = []
    for each in sightings:
        loop = ask(each.reason, "loop") if ask(each.reason, "active") is not None else None
        if each.state == "parked" and not each.foreign and loop is not None and loop is not hub.loop:
            stuck.append(each)
    if stuck:
        yield Hint(
            "other-loop",
            f"{_names(stuck)} wait for watchers of a loop that this hub does not run; make watchers by hub.loop of the "
            "hub that waits",
            _numbers(stuck),
        )


def _dead_owner(sightings: list[Sighting]) -> Iterator[Hint]:
    stuck = [each for each in sightings if each.state == "parked" and is_greenlet(each.owner) and each.owner.dead]
    if stuck:
        yield Hint(
            "dead-owner",
            f"{_names(stuck)} wait for what belongs to a greenlet that has ended without releasing it: release in a "
            "`finally`, or by `with`",
            _numbers(stuck),
        )


def _unref(sightings: list[Sighting], handles: list[Any]) -> Iterator[Hint]:
    started = [each for each in handles if hasattr(each, "ref")]
    stuck = [each for each in sightings if each.state == "parked" and any(hasattr(one, "ref") for one in each.handles)]
    if stuck and len(started) == len(handles) and not any(each.ref for each in started):
        yield Hint(
            "unref",
            f"only watchers with ref=False are left, {len(started)} of them, and they do not keep the loop running; "
            f"{_names(stuck)} wait for them: use ref=True for what somebody waits for",
            _numbers(stuck),
        )


# -- native locks ---------------------------------------------------------------------------------------------------


def _native_lock(hub: Hub, sightings: list[Sighting]) -> Iterator[Hint]:
    stack = running_stack(hub)
    while stack and is_family(stack[0]):  # a signal handler's, say
        del stack[0]
    if not stack:
        return
    lock = _lock_at(stack[0])
    if lock is None:
        return
    module = _module(stack[0])
    what = f"{module}.{stack[0].f_code.co_qualname}" if module in _BLOCKING_MODULES else "a lock's acquire"
    holders = [each for each in sightings if each.state == "parked" and _knows(each, lock)]
    where = next((frame for frame in stack if _module(frame) not in _BLOCKING_MODULES), stack[0])
    text = (
        f"thread {hub.thread_ident:#x} stands in {what} at {where.f_code.co_filename}:{where.f_lineno}: a lock of "
        "threading blocks the whole thread, its hub and all its greenlets"
    )
    if holders:
        text += f"; {_names(holders)} have that lock among their variables, and cannot run to release it"
    yield Hint("native-lock", f"{text}; between greenlets of one thread use locks made of Waiters", _numbers(holders))


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _lock_at(frame: FrameType) -> Any:
    """The locked native lock whose `acquire`, or `with`, is the very instruction at which this frame stands."""
    instructions = list(get_instructions(frame.f_code))
    here = next(index for index, each in enumerate(instructions) if each.offset >= frame.f_lasti)
    opname = instructions[here].opname
    if opname not in ("BEFORE_WITH", "LOAD_SPECIAL") and not opname.startswith("CALL"):
        return None
    return _evaluate(frame, instructions[:here], opname)


def _evaluate(frame: FrameType, before: list[Any], opname: str) -> Any:
    path: list[str] = []
    wanted = not opname.startswith("CALL")  # of `with`, the object itself comes before; of a call, its method
    for instruction in reversed(before):
        name, value = instruction.opname, instruction.argval
        if name in ("LOAD_ATTR", "LOAD_METHOD"):
            if wanted:
                path.insert(0, value)
            elif value in ("acquire", "__enter__"):
                wanted = True
            else:
                break
        elif name.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")):
            if wanted:
                return _locked(frame, value[-1] if isinstance(value, tuple) else value, path)
        elif name not in ("PRECALL", "KW_NAMES", "CACHE", "PUSH_NULL", "LOAD_CONST", "COPY", "NOP"):
            break
    return None


def _locked(frame: FrameType, name: str, path: list[str]) -> Any:
    missing = object()
    found: Any = locals_of(frame).get(name, frame.f_globals.get(name, missing))
    for attribute in path:
        static = getattr_static(found, attribute, missing)  # no code of a user's class is to run for this
        found = static.__get__(found) if type(static).__name__ == "member_descriptor" else static
    is_lock = type(found).__module__ == "_thread" and type(found).__name__ in ("lock", "RLock")
    return found if is_lock and repr(found).startswith("<locked") else None


def _knows(sighting: Sighting, lock: Any) -> bool:
    return any(value is lock for frame in sighting.stack for value in locals_of(frame).values())


# -- the pool -------------------------------------------------------------------------------------------------------


def _pool_in_pool(hub: Hub, sightings: list[Sighting]) -> Iterator[Hint]:
    codes = {id(frame.f_code): frame for each in sightings for frame in each.stack}  # few, however many greenlets
    theirs = {code for code, frame in codes.items() if _is_pool(frame)}
    waiting = [
        each
        for each in sightings
        if theirs and each.state == "parked" and any(id(frame.f_code) in theirs for frame in each.stack)
    ]
    if not waiting:
        return
    jobs, running = [], 0
    for thread, frame in sys._current_frames().items():
        stack = stack_from(frame)
        if thread == hub.thread_ident or not any(map(_is_pool, stack)):
            continue
        job = [one for one in stack if not is_family(one) and _module(one) not in _BLOCKING_MODULES]
        if job and _called_by_job(stack):
            running += 1
            if _lock_at(stack[0]) is not None:
                jobs.append(f"{job[0].f_code.co_filename}:{job[0].f_lineno}")
    # Else each waits for a job that runs, and that for something else, perhaps, as jobs may.
    if jobs and (_has_queue(hub._threadpool) if _is_ours(hub._threadpool) else len(waiting) > running):
        yield Hint(
            "pool-in-pool",
            f"{_names(waiting)} wait for the thread pool, while {len(jobs)} of its jobs wait themselves ({jobs[0]}): a "
            "job that waits for another job of its own pool waits for a place that it holds; give such jobs a pool of "
            "their own, or a larger one",
            _numbers(waiting),
        )


def _is_ours(pool: Any) -> bool:
    """Whether it is the family's pool.  No code of another one shall run here."""
    return type(pool).__module__.partition(".")[0] == _POOL


def _has_queue(pool: Any) -> bool:
    """Whether a lane of the pool, or the pool beside its lanes, has more jobs than threads."""
    lanes = list(pool.lanes.values())
    jobs, threads = len(pool) - sum(map(len, lanes)), pool.size - sum(lane.size for lane in lanes)
    return jobs > threads or any(len(lane) > lane.size for lane in lanes)


def _is_pool(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] == _POOL


def _called_by_job(stack: list[FrameType]) -> bool:
    """Whether a user's function stands between the wait and the pool's worker: else it is an idle worker that waits."""
    inner = next(frame for frame in stack if _is_pool(frame) or _module(frame) not in _BLOCKING_MODULES)
    return not _is_pool(inner)
