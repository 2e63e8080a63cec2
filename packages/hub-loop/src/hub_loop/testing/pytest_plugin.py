"""A pytest plugin: a test that leaves fds, threads or active watchers behind fails.

Named in `pytest_plugins` of the topmost conftest.py, or with `-p hub_loop.testing.pytest_plugin`.  Where something may
stay, a module or a directory overrides the fixture by one of the same name that does nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from hub_loop.testing import Leftovers


@pytest.fixture(scope="session", autouse=True)
def what_the_tools_brought_is_set_aside() -> None:
    """Keep the objects of pytest and its plugins out of every look at all objects: there are a hundred thousand.

    Once, before any test, and never in between: when a thread ends, greenlet 3.5 asks the garbage collector who still
    refers to that thread's main greenlet, and if it is told nobody, takes the last reference away.  It is not told of
    objects that are set aside, and then the interpreter crashes at some later time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which an fd is open, a thread runs or a watcher is active that was not there before.

    Torn down after the test's other fixtures.  A test that failed is let be: it may not have come to its tidying up,
    and one failure is enough to read.
    """
    failures = request.session.testsfailed
    before = Leftovers()
    yield
    if request.session.testsfailed == failures and (left := before.found()):
        pytest.fail(f"the test left behind: {', '.join(left)}", pytrace=False)
