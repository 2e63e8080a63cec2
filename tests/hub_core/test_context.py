"""Contexts (contextvars) of greenlets, as OpenTelemetry uses them: a span is the parent of what is started in it."""

from __future__ import annotations

import threading
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import getcurrent, greenlet

from hub_core import Hub, kill, sleep, spawn_raw, wait_on_watcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Token
    from types import TracebackType


class Span:
    """As much of a tracing span as matters here: it knows its parent, and is the current one inside its block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parent = current_span.get()
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> Span:
        self._token = current_span.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None
        current_span.reset(self._token)  # raises ValueError in another context than that of `set`

    @property
    def path(self) -> str:
        return self.name if self.parent is None else f"{self.parent.path}/{self.name}"


current_span: ContextVar[Span | None] = ContextVar("current_span", default=None)


@pytest.fixture
def paths() -> list[str]:
    """Where spans were, in the order in which they began."""
    return []


@pytest.fixture(params=["held", "dropped"])
def keep(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """A list for the greenlets that a test spawns, or for None: what nobody holds is run by carriers."""
    kept: list[Any] = []

    class Forget(list[Any]):
        def append(self, thing: Any) -> None:
            """Drop it."""

        def extend(self, things: Iterable[Any]) -> None:
            """Drop each before the next."""
            for _ in things:
                pass

    yield kept if request.param == "held" else Forget()
    kept.clear()


def step(paths: list[str], name: str, seconds: float = 0) -> None:
    """A span around something that parks."""
    with Span(name) as span:
        paths.append(span.path)
        sleep(seconds)
        assert current_span.get() is span


def test_a_spawned_greenlet_continues_its_spawners_span(hub: Hub, paths: list[str], keep: list[Any]) -> None:
    def request(number: int) -> None:
        with Span(f"request{number}") as span:
            keep.extend(spawn_raw(step, paths, child) for child in ("db", "cache"))
            sleep(0)
            step(paths, "render")
            assert current_span.get() is span

    with Span("server"):
        keep.extend(spawn_raw(request, number) for number in range(3))
        hub.join()
    assert sorted(paths) == sorted(
        f"server/request{number}/{child}" for number in range(3) for child in ("db", "cache", "render")
    )


def test_what_a_greenlet_sets_stays_in_it(hub: Hub, keep: list[Any]) -> None:
    seen: list[Span | None] = []
    with Span("outer") as outer:

        def leak() -> None:
            seen.append(current_span.get())
            current_span.set(Span("leaked"))
            sleep(0)

        keep.extend(spawn_raw(leak) for _ in range(40))
        hub.join()
        assert current_span.get() is outer
    assert seen == [outer] * 40


def test_what_the_spawner_sets_after_the_spawn_is_not_seen(hub: Hub, keep: list[Any]) -> None:
    seen: list[Span | None] = []
    with Span("then") as then:
        keep.append(spawn_raw(lambda: seen.append(current_span.get())))
        with Span("now"):
            sleep(0)
    assert seen == [then]


def test_one_spawned_in_an_empty_context_starts_with_an_empty_one(hub: Hub, keep: list[Any]) -> None:
    seen: list[Span | None] = []

    def leak() -> None:
        seen.append(current_span.get())
        current_span.set(Span("leaked"))

    with Span("outer"):
        for _ in range(5):
            Context().run(lambda: keep.append(spawn_raw(leak)))
            keep.append(spawn_raw(leak))
        hub.join()
    assert [span and span.path for span in seen] == [None, "outer"] * 5


def test_a_context_of_ones_own_choice_is_kept(hub: Hub) -> None:
    mine = copy_context()
    mine.run(current_span.set, Span("mine"))
    seen: list[Span | None] = []
    spawned = spawn_raw(lambda: seen.append(current_span.get()))
    spawned.gr_context = mine
    started = greenlet(lambda: seen.append(current_span.get()), hub)
    started.gr_context = mine
    with Span("not this"):
        hub.start_soon(started, started.run)
    hub.join()
    assert [span and span.path for span in seen] == ["mine", "mine"]


def test_start_soon_gives_the_callers_context(hub: Hub) -> None:
    seen: list[Span | None] = []
    made = greenlet(lambda: seen.append(current_span.get()), hub)
    with Span("caller") as span:
        hub.start_soon(made, made.run)
    hub.join()
    assert seen == [span]


def test_callbacks_and_timers_continue_the_span_of_their_start(hub: Hub, paths: list[str]) -> None:
    def in_callback(name: str) -> None:
        with Span(name) as span:
            paths.append(span.path)
            spawn_raw(step, paths, "spawned")

    with Span("start"), hub.loop.timer(0.001) as timer:
        timer.start(in_callback, "timer")
        hub.loop.run_callback(in_callback, "callback")
        with Span("inner"):
            hub.join()
    assert sorted(paths) == ["start/callback", "start/callback/spawned", "start/timer", "start/timer/spawned"]


def test_a_threads_post_continues_the_threads_span(hub: Hub, paths: list[str]) -> None:
    def work() -> None:
        with Span("thread"):
            hub.loop.run_callback_threadsafe(spawn_raw, step, paths, "posted")

    thread = threading.Thread(target=work)
    with Span("main"):
        thread.start()
        thread.join()
        hub.join()
    assert paths == ["thread/posted"]


def test_what_wakes_a_greenlet_does_not_change_its_context(hub: Hub) -> None:
    waiter, ticks = hub.waiter(), []

    def wait() -> None:
        with Span("waits") as span:
            ticks.append(waiter.get())
            assert current_span.get() is span
            async_ = hub.loop.async_()
            with Span("sender"):
                hub.loop.run_callback(async_.send)
            wait_on_watcher(async_)
            async_.close()
            assert current_span.get() is span
            ticks.append("async")

    spawn_raw(wait)
    sleep(0)
    with Span("wakes"):
        hub.loop.run_callback(waiter.switch, 1)
        sleep(0.001)
    hub.join()
    assert ticks == [1, "async"]


def test_what_is_thrown_is_raised_in_the_greenlets_own_context(hub: Hub) -> None:
    seen: list[str] = []

    def live() -> None:
        with Span("lives"):
            try:
                sleep(100)
            finally:
                span = current_span.get()
                seen.append(span.path if span else "lost")

    victim = spawn_raw(live)
    sleep(0)
    with Span("killer"):
        kill(victim)
        sleep(0)
    assert seen == ["lives"]


def test_a_function_may_change_its_greenlets_context(hub: Hub, keep: list[Any]) -> None:
    seen: list[Span | None] = []

    def swap() -> None:
        other = copy_context()
        other.run(current_span.set, Span("other"))
        getcurrent().gr_context = other
        sleep(0)
        span = current_span.get()
        seen.append(span)

    keep.extend(spawn_raw(swap) for _ in range(3))
    keep.append(spawn_raw(lambda: seen.append(current_span.get())))
    hub.join()
    assert sorted(span.path if span else "" for span in seen) == ["", "other", "other", "other"]


def test_an_idle_carrier_holds_nobodys_context(hub: Hub) -> None:
    import weakref

    span = Span("gone")
    gone = weakref.ref(span)
    context = copy_context()
    context.run(current_span.set, span)
    context.run(spawn_raw, int)
    del context, span
    hub.join()
    assert gone() is None
