"""A hub of the smallest kind, so that resolvers are tested alone: a real loop, no greenlets.

Who waits on a `FakeWaiter` turns the loop meanwhile.  So one "greenlet" is enough, and what really needs two stands in
tests/journeys/test_resolvers.py.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

import pytest

from hub_api import IHub, InvalidThreadUseError
from hub_loop import Loop
from hub_loop.testing import active_watchers

try:
    import pycares
except ModuleNotFoundError:
    pass
else:
    # Its one thread starts with the first channel and never ends: it is no test's.
    pycares.Channel(sock_state_cb=lambda fd, read, write: None).close()


class FakeWaiter:
    """Holds an outcome; to wait is to turn the loop."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.came = False
        self.error: BaseException | None = None

    def switch(self, value: object, /) -> None:
        assert get_ident() == self.hub.thread_ident
        self.came = True

    def throw(self, error: BaseException) -> None:
        self.came, self.error = True, error

    def get(self) -> None:
        while not self.came:
            self.hub.wait_for_event()
        if self.error is not None:
            raise self.error


class FakeHub:
    """What a resolver asks of a hub."""

    def __init__(self) -> None:
        self.loop = Loop(default=False)
        self.thread_ident = get_ident()
        self.meanwhile: list[Callable[[], object]] = []
        self.errors: list[BaseException] = []
        self.loop.error_handler = self

    def waiter(self) -> FakeWaiter:
        return FakeWaiter(self)

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        raise InvalidThreadUseError(f"cannot {what} of {self!r}; use {remedy}")

    def wait_for_event(self) -> None:
        """What another greenlet would do while this one waits, else a turn of the loop."""
        if self.meanwhile:
            self.meanwhile.pop(0)()
        else:
            assert self.loop.run(once=True) or self.loop.pendingcnt == 0

    def handle_error(self, context: object, type: Any, value: BaseException, tb: Any) -> None:
        self.errors.append(value)


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    """A hub that is left as it was made: nothing watched, nothing failed."""
    made = FakeHub()
    yield made
    made.loop.run(nowait=True)
    left = active_watchers(made.loop)
    made.loop.destroy()
    assert made.errors == []
    assert left == []


@pytest.fixture
def hub(fake_hub: FakeHub) -> IHub:
    """The same, as resolvers take it."""
    return cast(IHub, fake_hub)
