"""Which part a hub takes: what it was given, else what the environment names, else the default."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from greenlet_hub import (
    BlockingResolver,
    Hub,
    Loop,
    ThreadPool,
    ThreadResolver,
    get_hub,
    get_hub_if_exists,
    set_hub,
    set_loop,
)

IDLE = "HUB_THREADPOOL_IDLE_TASK_TIMEOUT"


class OtherLoop(Loop):
    """Named by HUB_LOOP below."""


class OtherPool(ThreadPool):
    """Named by HUB_THREADPOOL below."""


class OtherResolver(BlockingResolver):
    """Named by HUB_RESOLVER below."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HUB_LOOP", "HUB_LOOP_BACKEND", "HUB_THREADPOOL", IDLE, "HUB_RESOLVER", "HUB_WATCH"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def own_hub() -> Iterator[None]:
    """Each test makes the thread's hub anew, and leaves none."""
    set_hub(None)
    set_loop(None)
    yield
    hub = get_hub()
    hub.destroy(destroy_loop=True)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that the environment can name: this one, under a name that can be imported."""
    module = ModuleType("a_part_of_mine")
    for kind in (OtherLoop, OtherPool, OtherResolver):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "a_part_of_mine", module)
    return "a_part_of_mine"


def test_without_a_word_from_anybody_the_defaults_are_taken() -> None:
    hub = get_hub()
    assert type(hub.loop) is Loop
    assert type(hub.threadpool) is ThreadPool
    assert hub.threadpool.maxsize == hub.threadpool_size == 10
    assert type(hub.resolver) is ThreadResolver


@pytest.mark.parametrize(
    ("variable", "name", "part", "kind"),
    [
        ("HUB_LOOP", "hub", "loop", Loop),
        ("HUB_THREADPOOL", "thread", "threadpool", ThreadPool),
        ("HUB_RESOLVER", "thread", "resolver", ThreadResolver),
        ("HUB_RESOLVER", "block", "resolver", BlockingResolver),
        ("HUB_RESOLVER", " block ", "resolver", BlockingResolver),
        ("HUB_RESOLVER", "", "resolver", ThreadResolver),
    ],
)
def test_the_environment_names_a_part_by_its_short_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, name: str, part: str, kind: type
) -> None:
    monkeypatch.setenv(variable, name)
    assert type(getattr(get_hub(), part)) is kind


@pytest.mark.parametrize(
    ("variable", "kind", "part"),
    [
        ("HUB_LOOP", OtherLoop, "loop"),
        ("HUB_THREADPOOL", OtherPool, "threadpool"),
        ("HUB_RESOLVER", OtherResolver, "resolver"),
    ],
)
def test_the_environment_names_a_part_by_module_and_class(
    monkeypatch: pytest.MonkeyPatch, elsewhere: str, variable: str, kind: type, part: str
) -> None:
    monkeypatch.setenv(variable, f"{elsewhere}:{kind.__name__}")
    assert type(getattr(get_hub(), part)) is kind


def test_the_environment_names_the_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_LOOP_BACKEND", "select")
    loop = get_hub().loop
    assert isinstance(loop, Loop)
    assert loop.backend == "select"


@pytest.mark.parametrize(("asked", "timeout"), [("", 5.0), ("0.5", 0.5), ("0", 0.0), ("never", None)])
def test_the_environment_says_when_idle_threads_leave(
    monkeypatch: pytest.MonkeyPatch, asked: str, timeout: float | None
) -> None:
    monkeypatch.setenv(IDLE, asked)
    assert get_hub().threadpool.idle_task_timeout == timeout


@pytest.mark.parametrize("asked", ["soon", "-1", "nan"])
def test_a_time_for_idle_threads_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv(IDLE, asked)
    with pytest.raises(ValueError, match=f"{IDLE} is '{asked}', but must be seconds, or never"):
        _ = get_hub().threadpool


def test_an_argument_and_an_assignment_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HUB_LOOP", "HUB_THREADPOOL", "HUB_RESOLVER"):
        monkeypatch.setenv(variable, "no_such:Thing")
    resolver = BlockingResolver()
    hub = Hub(loop=Loop, threadpool=lambda hub: ThreadPool(3, hub=hub), resolver=resolver)
    set_hub(hub)
    assert hub.threadpool.maxsize == 3
    assert hub.resolver is resolver
    hub.resolver = other = BlockingResolver()
    assert hub.resolver is other


@pytest.mark.parametrize(
    ("variable", "part", "asked", "says"),
    [
        (
            "HUB_THREADPOOL",
            "threadpool",
            "tread",
            "HUB_THREADPOOL is 'tread', but must be thread or package.module:Class",
        ),
        (
            "HUB_RESOLVER",
            "resolver",
            "aers",
            "HUB_RESOLVER is 'aers', but must be thread, ares, dnspython, block or package.module:Class",
        ),
        ("HUB_RESOLVER", "resolver", "a.b.C", "HUB_RESOLVER is 'a.b.C', but must be thread, ares, "),
        ("HUB_RESOLVER", "resolver", ":C", "HUB_RESOLVER is ':C', but must be"),
        ("HUB_RESOLVER", "resolver", "a:", "HUB_RESOLVER is 'a:', but must be"),
    ],
)
def test_a_bad_name_is_refused_when_the_part_is_needed_and_told_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, part: str, asked: str, says: str
) -> None:
    monkeypatch.setenv(variable, asked)
    hub = get_hub()
    with pytest.raises(ValueError, match="^" + says):
        getattr(hub, part)
    monkeypatch.setenv(variable, "")
    assert getattr(hub, part) is not None


@pytest.mark.parametrize(("asked", "threshold"), [("0.25", 0.25), (" 2 ", 2.0), ("", None), ("0", None), ("0.0", None)])
def test_the_environment_has_each_new_hub_watched(
    monkeypatch: pytest.MonkeyPatch, asked: str, threshold: float | None
) -> None:
    monkeypatch.setenv("HUB_WATCH", asked)
    watch = get_hub()._watch
    assert (None if watch is None else watch.threshold) == threshold
    assert [thread.name for thread in threading.enumerate() if thread.name == "hub-watch"] == ["hub-watch"] * (
        threshold is not None
    )


@pytest.mark.parametrize("asked", ["yes", "-1", "0.001", "nan", "inf", "0,1"])
def test_a_bad_threshold_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("HUB_WATCH", asked)
    with pytest.raises(
        ValueError, match=rf"^HUB_WATCH is '{asked}', but must be a number of seconds, 0.01 or more, or 0"
    ):
        get_hub()
    assert get_hub_if_exists() is None
    monkeypatch.delenv("HUB_WATCH")
    assert get_hub()._watch is None


def test_a_poller_in_the_loops_variable_is_told_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_LOOP", "epoll")
    with pytest.raises(ValueError, match=r"HUB_LOOP is 'epoll'.*a poller is chosen by HUB_LOOP_BACKEND$"):
        get_hub()
    monkeypatch.delenv("HUB_LOOP")


def test_a_module_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_RESOLVER", "no_such_package.resolvers:Mine")
    hub = get_hub()
    says = "^HUB_RESOLVER=no_such_package.resolvers:Mine needs 'no_such_package': install the distribution that has it"
    with pytest.raises(ModuleNotFoundError, match=says):
        _ = hub.resolver


def test_a_class_that_its_module_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_RESOLVER", "hub_resolver:Mine")
    hub = get_hub()
    with pytest.raises(ImportError, match=r"^HUB_RESOLVER=hub_resolver:Mine needs 'Mine', which 'hub_resolver' does"):
        _ = hub.resolver


@pytest.mark.parametrize(
    ("package", "part", "distribution"),
    [("hub_threadpool", "threadpool", "hub-threadpool"), ("hub_resolver", "resolver", "hub-resolver")],
)
def test_a_part_that_is_not_installed_is_asked_for_by_the_name_of_its_distribution(
    monkeypatch: pytest.MonkeyPatch, package: str, part: str, distribution: str
) -> None:
    hub = get_hub()
    real = importlib.import_module

    def without(name: str, *args: Any) -> ModuleType:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ModuleNotFoundError, match=f"needs '{package}': install it with `pip install {distribution}`$"):
        getattr(hub, part)
