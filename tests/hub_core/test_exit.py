"""What the interpreter's exit does with the main thread's hubs; whole programs are in journeys/test_shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from weakref import WeakSet

import pytest

from hub_core import Hub, Waiter, _exit, set_hub, sleep, spawn_raw
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet
    from tests.conftest import Kin
    from tests.hub_core.conftest import Elsewhere

    from hub_api import ILoopCore


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch) -> list[Hub]:
    """Two hubs of this thread that the exit knows, and no others."""
    made = [Hub(Loop(default=False)) for _ in range(2)]
    for hub in made:
        hub.exception_stream = None
    monkeypatch.setattr(_exit, "_hubs", made)
    return made


def park(hub: Hub, notes: list[str], cleans: Callable[[], object] = list) -> greenlet:
    """Have a greenlet of `hub` wait, and clean up when it ends."""

    def body() -> None:
        try:
            Waiter().get()
        finally:
            cleans()
            notes.append("done")

    set_hub(hub)
    parked = spawn_raw(body)
    sleep(0)
    return parked


def test_hubs_of_the_main_thread_are_known_and_not_kept_alive() -> None:
    hub = Hub(Loop(default=False))
    assert isinstance(_exit._hubs, WeakSet)
    assert hub in _exit._hubs
    hub.destroy()


def test_each_hub_is_destroyed_with_its_loop_and_its_greenlets_end(hubs: list[Hub]) -> None:
    notes: list[str] = []
    loops = [hub.loop for hub in hubs]
    for hub in hubs:
        park(hub, notes, lambda: sleep(0.001))
    _exit._destroy_all()
    assert notes == ["done"] * 2
    for hub, loop in zip(hubs, loops, strict=True):
        assert hub.dead
        with pytest.raises(ValueError, match="destroyed"):
            loop.now()
    _exit._destroy_all()


def test_what_goes_wrong_with_one_does_not_concern_the_next_and_is_raised_in_the_end(hubs: list[Hub]) -> None:
    def exits() -> None:
        raise SystemExit(3)

    notes: list[str] = []
    park(hubs[0], notes, exits)
    park(hubs[1], notes)
    with pytest.raises(SystemExit):
        _exit._destroy_all()
    assert notes == ["done"]
    assert [cast("object", hub.loop) for hub in hubs] == [None] * 2


def test_after_an_interrupt_nobody_is_waited_for_and_all_are_closed(hubs: list[Hub]) -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    notes: list[str] = []
    park(hubs[0], notes, interrupts)
    left = park(hubs[1], notes)
    with pytest.raises(KeyboardInterrupt):
        _exit._destroy_all()
    assert notes == []
    left.throw()
    assert [cast("object", hub.loop) for hub in hubs] == [None] * 2


def test_another_thread_destroys_none(hubs: list[Hub], elsewhere: Elsewhere) -> None:
    elsewhere(_exit._destroy_all)
    for hub in hubs:
        assert hub.loop is not None
        hub.destroy()


class DeafLoop:
    """A loop that tells nobody of forks."""

    default = False
    now = staticmethod(float)

    def run(self) -> None:
        """Never called."""

    def destroy(self) -> None:
        """Nothing to do."""


def test_in_a_forked_child_a_hub_whose_loop_tells_nobody_of_forks_is_forgotten(kin: Kin) -> None:
    deaf, hub = Hub(cast("ILoopCore", DeafLoop())), Hub(Loop(default=False))

    def check() -> None:
        assert hub in _exit._hubs
        assert deaf not in _exit._hubs

    assert deaf in _exit._hubs
    kin.run(check)
    assert deaf in _exit._hubs
    deaf.destroy()
    hub.destroy()
