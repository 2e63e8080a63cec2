"""What the doctor tries: each poller, the hub, the pool, each resolver.

Receives: the environment, which chooses.  Gives: marks and texts, see `_doctor`.
Rule: nothing is waited for longer than LIMIT seconds, and everything made here is closed here.
"""

from __future__ import annotations

import socket
import threading
import time
from functools import partial

from greenlet_hub import _defaults, _say, sleep, spawn_raw
from hub_core import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from greenlet_hub._doctor import Check, Found
    from hub_core import Hub
    from hub_loop import Loop

    T = TypeVar("T")

LIMIT = 10.0
"""Seconds for one trial."""
SWITCHES = 2000


class Trials:
    """The trials, which share a hub."""

    def __init__(self) -> None:
        self._hub: Hub | None = None

    def checks(self) -> Iterator[Check]:
        """All of them; to be taken one by one, for what is tried depends on what came before."""
        yield "pollers", try_pollers
        yield "name sources", tell_sources
        yield "hub", self.try_hub
        if self._hub is None:
            for subject in ("pool", "resolvers"):
                yield subject, _not_tried
            return
        yield "pool", self.try_pool
        for name in dict.fromkeys([*_defaults.RESOLVERS, _asked("HUB_RESOLVER", "thread")]):
            yield "resolvers", partial(self.try_resolver, name)

    def close(self) -> None:
        """Give back what was made."""
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.destroy(destroy_loop=True, timeout=LIMIT)

    def _need_hub(self) -> Hub:
        if self._hub is None:
            self._hub = _say.take_hub()
        return self._hub

    def try_hub(self) -> Found:
        """The hub of this thread: greenlets switch and sleep."""
        hub = self._need_hub()
        loop, backend = type(hub.loop), getattr(hub.loop, "backend", "a poller of its own")
        yield "ok", f"{loop.__module__.partition('.')[0]}.{loop.__qualname__} ({_how('HUB_LOOP')}), on {backend}"
        switched = _yields(SWITCHES)
        late = sorted(_lateness(0.001) for _ in range(20))[10]
        told = f"a switch takes {switched * 1e6:.1f} us, a timer of 1 ms is {late * 1e3:.2f} ms late"
        yield ("warn" if late > 0.05 else "ok"), told

    def try_pool(self) -> Found:
        """One job in the pool."""
        hub = self._need_hub()
        pool = hub.threadpool
        began = time.monotonic()
        thread = _within(hub, partial(pool.apply, threading.get_ident))
        took = time.monotonic() - began
        chosen = _how("HUB_THREADPOOL")
        if thread == hub.thread_ident:
            yield (
                "fail",
                f"{type(pool).__name__} ({chosen}) runs jobs in the hub's own thread, where they block all greenlets",
            )
        else:
            yield (
                "ok",
                f"{type(pool).__name__} ({chosen}), {pool.maxsize} threads at most; a job took {took * 1e3:.1f} ms",
            )

    def try_resolver(self, name: str) -> Found:
        """Localhost, by one of the resolvers."""
        chosen = name == _asked("HUB_RESOLVER", "thread")
        told = f"{name} ({_how('HUB_RESOLVER')})" if chosen else name
        hub = self._need_hub()
        try:
            resolver = _defaults.make_resolver(hub, name, "HUB_RESOLVER")
        except ImportError as error:
            yield ("fail" if chosen else "note"), f"{told}: {error}"
            return
        began = time.monotonic()
        try:
            found = _within(hub, partial(resolver.getaddrinfo, "localhost", 80, 0, socket.SOCK_STREAM))
        except OSError as error:
            yield ("fail" if chosen else "warn"), f"{told}: localhost was not found: {error.strerror or error}"
            return
        finally:
            resolver.close()
        addresses = ", ".join(str(entry[4][0]) for entry in found)
        yield "ok", f"{told}: localhost is {addresses} ({(time.monotonic() - began) * 1e3:.1f} ms)"


def _not_tried() -> Found:
    yield "note", "not tried: there is no hub"


# -- pollers --------------------------------------------------------------------------------------------------------


def try_pollers() -> Found:
    """Each poller that the system has; the one that a loop takes is marked."""
    from hub_loop import pollers

    names = pollers.supported()
    try:
        chosen = pollers.choose(None)
    except ValueError as error:
        chosen = ""
        yield "fail", str(error)
    for name in names:
        how = f" ({_how('HUB_LOOP_BACKEND')})" if name == chosen else ""
        yield "ok", f"{name}{how}: {_try_poller(name)}"


def _try_poller(name: str) -> str:
    """A loop on this poller: a timer, a file descriptor, a wake-up by a thread.  Raises TimeoutError."""
    from hub_loop import READ, Loop

    loop = Loop(name, default=False)
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs, loop.timer(0.001) as timer, loop.io(ours.fileno(), READ) as io:
            began = time.monotonic()
            _until(loop, f"{name}: a timer of 1 ms does not fire", timer.start)
            late = time.monotonic() - began - 0.001
            theirs.send(b"x")
            _until(loop, f"{name}: a socket that has data is not readable", io.start)
            io.stop()
            woken = _wake_from_thread(loop, name)
    finally:
        loop.destroy()
    return f"a timer of 1 ms {late * 1e3:.2f} ms late, a socket, a wake-up by a thread in {woken * 1e3:.2f} ms"


def _until(loop: Loop, complaint: str, start: Callable[[Callable[[], object]], object]) -> None:
    """Take turns until what is started here has called back.  Raises TimeoutError."""
    done: list[bool] = []
    with loop.timer(LIMIT) as limit:
        limit.start(done.append, False)
        start(lambda: done.append(True))
        while not done:
            loop.run(once=True)
    if not done[0]:
        raise TimeoutError(complaint)


def _wake_from_thread(loop: Loop, name: str) -> float:
    """Have a thread wake the loop while it sleeps; returns how long that took."""
    posted: list[float] = []

    def post(arrived: Callable[[], object]) -> None:
        give_up = time.monotonic() + LIMIT
        while not loop.sleeping and time.monotonic() < give_up:
            time.sleep(0.001)
        posted.append(time.monotonic())
        loop.run_callback_threadsafe(arrived)

    poster = threading.Thread(target=lambda: None)

    def start(arrived: Callable[[], object]) -> None:
        nonlocal poster
        poster = threading.Thread(target=post, args=(arrived,), name="doctor", daemon=True)
        poster.start()

    _until(loop, f"{name}: a thread cannot wake the loop", start)
    took = time.monotonic() - posted[0]
    poster.join(LIMIT)
    return took


# -- the hub --------------------------------------------------------------------------------------------------------


def _within(hub: Hub, job: Callable[[], T]) -> T:
    """What `job` returns or raises, run in a greenlet of its own.  Raises TimeoutError after LIMIT seconds."""
    waiter = Waiter(hub)

    def work() -> None:
        try:
            waiter.switch(job())
        except Exception as error:
            waiter.throw(error)

    with hub.loop.timer(LIMIT) as timer:
        timer.start(waiter.throw, TimeoutError(f"no answer within {LIMIT:g} s"))
        spawn_raw(work)
        found: Any = waiter.get()
    done: T = found
    return done


def _yields(count: int) -> float:
    """Seconds of one switch, between two greenlets that only yield."""

    def spin() -> None:
        for _ in range(count // 2):
            sleep(0)

    other = spawn_raw(spin)
    sleep(0)
    began = time.perf_counter()
    while not other.dead:
        sleep(0)
    return (time.perf_counter() - began) / count


def _lateness(seconds: float) -> float:
    began = time.monotonic()
    sleep(seconds)
    return time.monotonic() - began - seconds


# -- names ----------------------------------------------------------------------------------------------------------


def tell_sources() -> Found:
    """Where names come from: the files that lookups go by."""
    from hub_resolver import sources

    told = sources()
    for path in told.unread:
        yield "note", f"{path} is missing or cannot be read, and counts as empty"
    searched = f", searching {', '.join(told.search)}" if told.search else ""
    yield "ok", f"name servers {', '.join(told.servers)}{searched}, {told.attempts} attempts of {told.timeout} s"
    known = "is" if told.localhost else "is not"
    order = ", then ".join(told.order) or "nothing that can be asked without the C library"
    yield "ok", f"hosts are looked for in {order}; localhost {known} in the hosts file"


def _asked(variable: str, default: str) -> str:
    return _defaults.given().get(variable, default)


def _how(variable: str) -> str:
    """Who has chosen."""
    asked = _asked(variable, "")
    return f"{variable}={asked}" if asked else "the default"
