"""The end of the process: jobs that run get a little time, and those that need more are named.

Receives: crews, of pools and of executors, as they start their workers.  Gives: an end within a deadline, and a list on
stderr.

Hooks of `atexit` are called in the reverse order of their registration, and ours is registered with the first worker.
So those that were registered later find everything as it was.  Those that were registered earlier come when we are
done: a pool still takes jobs and starts threads for them, if CPython does, and whoever uses it waits for them itself.

Rule: threads of the pool are daemons, so the interpreter waits for none of them; what is waited for is waited for here.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from time import monotonic, perf_counter
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Protocol

    class IWorker(Protocol):
        """A thread that may be at work when the process ends."""

        @property
        def thread(self) -> threading.Thread: ...

        def doing(self) -> tuple[str, float] | None:
            """The name of the call that it makes, and when that began, by `perf_counter`."""
            ...

    class ICrew(Protocol):
        """Workers that end together."""

        @property
        def pid(self) -> int: ...

        @property
        def workers(self) -> Collection[IWorker]: ...

        def retire(self) -> None:
            """The process ends: let the workers leave."""
            ...


_deadline = 2.0
_crews: WeakSet[ICrew] | None = None


def set_exit_deadline(seconds: float) -> None:
    """Set how long jobs that are under way when the process ends have to end as well; 0 waits for none, inf for all.

    Of all pools and executors of the process; 2 seconds until it is set.  Call from: any thread.  Switches: never.
    Raises ValueError for what is no time.
    """
    global _deadline
    if not seconds >= 0:
        raise ValueError(f"the deadline must be seconds, 0 or more, got {seconds!r}")
    _deadline = seconds


def start(crew: ICrew, thread: threading.Thread) -> None:
    """Start a worker's thread, and have its crew's jobs waited for when the process ends.

    The crew is not kept alive by that.
    Raises RuntimeError if the system has no thread, or the process ends and CPython starts none any more.
    """
    global _crews
    if _crews is None:
        first: WeakSet[ICrew] = WeakSet()
        if _crews is None:  # still: another thread may have started its first worker meanwhile
            _crews = first
            atexit.register(_at_exit)
    _crews.add(crew)
    try:
        thread.start()
    except RuntimeError as error:
        if is_ending():
            # In hooks of atexit: python/cpython#113964, measured on 3.12.1; it was mended in 3.12.3.
            error.add_note(
                "The process ends, and CPython 3.12.0 to 3.12.2 start no thread then; other versions do until all "
                "hooks of atexit were called. Use the pool before the end of the program, or another version."
            )
        raise


def is_ending() -> bool:
    """Whether the process ends: the main thread is past its last line, and hooks of `atexit` are called, or were."""
    return not threading.main_thread().is_alive()


def _at_exit() -> None:
    deadline = monotonic() + _deadline
    crews = [crew for crew in _all_crews() if crew.pid == os.getpid()]
    for crew in crews:
        crew.retire()
    busy = [worker for crew in crews for worker in list(crew.workers)]
    for worker in busy:
        if worker.thread is not threading.current_thread() and worker.thread.is_alive():  # it may not have begun
            worker.thread.join(min(max(0.0, deadline - monotonic()), threading.TIMEOUT_MAX))  # it may be inf
    still = [line for worker in busy if (line := _describe(worker))]
    if still and sys.stderr is not None:
        sys.stderr.write(
            f"hub_threadpool: {len(still)} calls still run {_deadline:g} s after the end of the program and are "
            f"given up: {'; '.join(still)}\n"
        )


def _all_crews() -> list[ICrew]:
    while True:
        try:
            return list(_crews or ())
        except RuntimeError:
            pass  # another thread has started a crew meanwhile


def _describe(worker: IWorker) -> str:
    doing = worker.doing()
    if doing is None or not worker.thread.is_alive():
        return ""
    name, started_at = doing
    seconds = perf_counter() - started_at if started_at else 0.0  # it may be about to begin
    return f"{name} in {worker.thread.name} for {seconds:.1f} s"
