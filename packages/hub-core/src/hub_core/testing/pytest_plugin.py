"""A pytest plugin: a test that leaves greenlets or watchers behind fails; with hub-loop also one that leaves fds.

Named in `pytest_plugins` of the topmost conftest.py, or with `-p hub_core.testing.pytest_plugin`.  Where something may
stay, a module or a directory overrides the fixture by one of the same name that does nothing.

Rule 1: which greenlet is asked here, which fd or thread is not.  hub_loop's plugin looks for those; it is pytest that
is told of it, by name, and only where it is installed, so a hub on another loop is tested without.
Rule 2: a hub goes before its loop.  What is active on the loop when the hub has closed what was its own, the timers of
its sleepers and the watchers of its resolver, is the test's.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from weakref import WeakSet

import pytest

from hub_core._hub import Hub
from hub_core._local import get_hub_if_exists, set_loop
from hub_core._parked import parked_greenlets as parked_on
from hub_core._report_signal import came_with_the_loop
from hub_core.testing._parked import Lookout, other_firsts

pytest_plugins: list[str] = ["hub_loop.testing.pytest_plugin"] if find_spec("hub_loop") else []
_lookout = Lookout()  # one for the process, as is the garbage collector


def pytest_collection_finish() -> None:
    """Threads that came with what the tests import are libraries', and make no greenlets if none has made any yet."""
    if not other_firsts():
        _lookout.trust(threading.enumerate())


@pytest.fixture(autouse=True)
def no_greenlet_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a greenlet is parked that was not there before.

    A hub that the test has made its thread's is no leak: it is destroyed, so that each test has a fresh one; a watcher
    that is active on its loop even then is one.  A hub that was there before stays.  A test that failed is let be, but
    for its hub.
    """
    if pytest_plugins:
        request.getfixturevalue("nothing_is_left_behind")  # which looks when the hub and its fds are gone
    failures = request.session.testsfailed
    found = get_hub_if_exists()
    before = WeakSet(_lookout.parked_greenlets())  # nothing is held: a test may be about a greenlet's end
    yield
    hub = get_hub_if_exists()
    names: list[str] = []
    if hub is not None and hub is not found and hub.loop is not None:
        names = _greenlets_of(hub)  # now, for they end with it
        names += _destroy(hub)
    if request.session.testsfailed != failures:
        return
    if any(left not in before for left in _lookout.parked_greenlets()):
        gc.collect()  # one that nobody can reach any more is no leak
        names += [f"greenlet {left!r}" for left in _lookout.parked_greenlets() if left not in before]
    if names:
        pytest.fail(f"the test left behind: {', '.join(names)}", pytrace=False)


def _destroy(hub: Hub) -> list[str]:
    """Destroy the hub, then its loop; return what was still active on that in between."""
    loop: Any = hub.loop
    try:
        hub.destroy(destroy_loop=False)
        handles = loop.debug() if hasattr(loop, "debug") else []
        active = [each for each in handles if getattr(each, "active", False) and not came_with_the_loop(each)]
        return [f"active watcher {watcher!r}" for watcher in active]
    finally:
        set_loop(None)
        loop.destroy()


def _greenlets_of(hub: Hub) -> list[str]:
    if parked_on(hub):
        gc.collect()
    return [f"greenlet {left!r}" for left in parked_on(hub)]
