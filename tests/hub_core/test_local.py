"""Which hub: one for each thread, made when first asked for, gone with its thread."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from importlib import metadata
from typing import TYPE_CHECKING, cast

import pytest
from greenlet import greenlet

import hub_core
from hub_core import (
    Hub,
    InvalidThreadUseError,
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    get_loop,
    set_default_hub_class,
    set_hub,
    set_loop,
    sleep,
    spawn_raw,
)
from hub_core._local import defaults
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.hub_core.conftest import Elsewhere, MakeLoop


class OtherHub(Hub):
    """A hub of an application's own class."""


@pytest.fixture
def implicit(no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs are made with hub-loop's loop by default; what the test decides about classes is undone.

    A thread remembers its class, so tests that set one look at it in other threads.
    """
    monkeypatch.setattr(defaults, "loop", Loop)
    monkeypatch.setattr(defaults, "hub_class", None)


def test_the_package_tells_its_version_and_no_other_missing_name() -> None:
    assert hub_core.__version__ == metadata.version("hub-core")
    with pytest.raises(AttributeError, match="has no attribute 'versions'"):
        _ = cast("Any", hub_core).versions


def test_get_hub_makes_a_hub_once_and_returns_it_ever_after(implicit: None) -> None:
    hub = get_hub()
    assert type(hub) is Hub
    assert get_hub() is hub
    assert get_hub_if_exists() is hub


def test_get_hub_if_exists_makes_nothing(implicit: None) -> None:
    assert get_hub_if_exists() is None
    assert get_hub_if_exists() is None


@pytest.mark.parametrize(("args", "kwargs"), [((1,), {}), ((), {"default": True})])
def test_arguments_of_get_hub_are_ignored_with_a_deprecation_that_names_set_hub(
    hub: Hub, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    with pytest.warns(DeprecationWarning, match=r"use set_hub\(\)") as caught:
        assert get_hub(*args, **kwargs) is hub
    assert caught[0].filename == __file__


def test_get_hub_without_arguments_does_not_warn(hub: Hub) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get_hub()


def test_each_thread_has_its_own_hub(implicit: None, elsewhere: Elsewhere) -> None:
    hub = get_hub()

    def look() -> tuple[bool, bool, int]:
        before = get_hub_if_exists() is None
        other = get_hub()
        return before, other is not hub, other.thread_ident

    assert elsewhere(look) == (True, True, elsewhere.ident)
    assert get_hub() is hub


def test_set_hub_makes_it_this_threads_and_none_leaves_the_thread_without_one(no_hub: MakeLoop) -> None:
    hub = Hub(no_hub)
    assert get_hub_if_exists() is None
    set_hub(hub)
    assert get_hub() is hub
    set_hub(None)
    assert get_hub_if_exists() is None
    hub.destroy(destroy_loop=True)


def test_set_hub_does_not_destroy_the_former_one(no_hub: MakeLoop) -> None:
    first, second = Hub(no_hub), Hub(no_hub)
    set_hub(first)
    set_hub(second)
    assert first.loop is not None
    first.destroy(destroy_loop=True)
    assert get_hub() is second
    second.destroy(destroy_loop=True)


@pytest.mark.parametrize("wrong", [1, "hub", object(), greenlet(), Hub])
def test_set_hub_takes_nothing_but_a_hub(no_hub: MakeLoop, wrong: Any) -> None:
    with pytest.raises(TypeError, match="set_hub takes a Hub or None, got"):
        set_hub(wrong)


def test_set_hub_refuses_another_threads_hub(hub: Hub, elsewhere: Elsewhere) -> None:
    with pytest.raises(InvalidThreadUseError, match="a hub belongs to one thread"):
        elsewhere(lambda: set_hub(hub))


def test_get_hub_class_is_asked_once_per_thread(implicit: None, elsewhere: Elsewhere) -> None:
    assert get_hub_class() is Hub
    set_default_hub_class(OtherHub)
    assert get_hub_class() is Hub, "this thread has asked before"
    assert elsewhere(get_hub_class) is OtherHub
    assert type(get_hub()) is Hub
    assert elsewhere(lambda: type(get_hub())) is OtherHub


@pytest.mark.parametrize("wrong", [int, None, greenlet, "Hub"])
def test_set_default_hub_class_takes_nothing_but_subclasses_of_hub(implicit: None, wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a subclass of Hub"):
        set_default_hub_class(wrong)


def test_the_loop_that_was_set_is_used_by_the_next_hub(implicit: None) -> None:
    loop = Loop(default=False)
    set_loop(loop)
    assert get_loop() is loop
    assert get_hub().loop is loop
    set_loop(None)
    assert get_loop() is None


# -- the end of a thread -----------------------------------------------------------------------------------------------


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def greenlets() -> int:
    gc.collect()
    return sum(isinstance(thing, greenlet) for thing in gc.get_objects())


def use_the_hub() -> None:
    spawn_raw(sleep, 0.001)
    spawn_raw(print, end="")
    sleep(0.001)
    get_hub().join()  # a greenlet that is parked when its thread ends can be ended by nobody


def use_and_destroy() -> None:
    use_the_hub()
    get_hub().destroy()


def use_own_and_destroy() -> None:
    hub = Hub(Loop(default=False))
    set_hub(hub)
    use_the_hub()
    hub.destroy()


@pytest.mark.parametrize("use", [use_the_hub, use_and_destroy, use_own_and_destroy, get_hub])
def test_200_threads_that_use_the_hub_once_leave_no_fd_and_no_greenlet(
    implicit: None, use: Callable[[], object]
) -> None:
    before = fds(), greenlets()
    for _ in range(8):
        threads = [threading.Thread(target=use) for _ in range(25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # A thread that was joined may still be on its way out, where greenlet frees what it had; the rest is freed when
    # another thread uses greenlets.
    for _ in range(1000):
        sleep(0)
        get_hub().destroy(destroy_loop=True)
        if greenlets() <= before[1]:  # fewer, if an earlier test's were still on their way
            break
    assert fds() == before[0]
    assert greenlets() <= before[1]


def test_an_implicit_hub_is_closed_as_its_thread_ends(implicit: None, elsewhere: Elsewhere) -> None:
    def use() -> tuple[Hub, Loop]:
        use_the_hub()
        return get_hub(), cast("Loop", get_hub().loop)

    hub, loop = elsewhere(use)
    assert cast("Any", hub).loop is None
    with pytest.raises(ValueError, match="destroyed"):
        loop.now()


def test_a_hub_that_was_set_is_its_holders_and_is_left_alone_as_the_thread_ends(
    implicit: None, elsewhere: Elsewhere
) -> None:
    def use() -> Hub:
        hub = Hub(Loop(default=False))
        set_hub(hub)
        return hub

    hub = elsewhere(use)
    assert hub.loop is not None
    hub.destroy()


def test_an_implicit_hub_that_was_replaced_is_left_alone_as_the_thread_ends(
    implicit: None, elsewhere: Elsewhere
) -> None:
    def use() -> Hub:
        hub = get_hub()
        set_hub(hub)  # the same again changes nothing
        set_hub(None)
        return hub

    hub = elsewhere(use)
    assert hub.loop is not None
    hub.destroy()


def test_a_hub_destroyed_twice_in_its_thread_and_made_again_is_closed_too(implicit: None, elsewhere: Elsewhere) -> None:
    before = fds()

    def use() -> None:
        for _ in range(3):
            use_the_hub()
            get_hub().destroy()
        use_the_hub()

    elsewhere(use)
    assert fds() == before
