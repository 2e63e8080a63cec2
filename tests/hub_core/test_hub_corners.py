"""The hub in its corners: late cancellations, nothing left to join, what is destroyed, carriers that could be seen."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, cast

import greenlet as greenlets
import pytest

from hub_core import (
    Hub,
    InvalidSwitchError,
    InvalidThreadUseError,
    Waiter,
    get_hub_if_exists,
    get_loop,
    kill,
    set_hub,
    set_loop,
    sleep,
    spawn_raw,
)
from hub_core._base import HubBase
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Kin
    from tests.hub_core.conftest import Elsewhere


def test_a_cancellation_whose_wait_has_ended_meanwhile_does_not_hit_the_next_wait(hub: Hub) -> None:
    outcomes: list[str] = []
    with hub.loop.timer(0.005) as watcher:

        def wait_twice() -> None:
            hub.wait(watcher)
            outcomes.append("first")
            hub.wait(watcher)
            outcomes.append("second")

        spawn_raw(wait_twice)
        sleep(0)
        waited = cast("Any", watcher.callback)
        hub.cancel_wait(watcher, TimeoutError)  # queued
        waited(waited.__self__)  # but the wait ends before the queue is run
        sleep(0)
        assert outcomes == ["first"]
        assert watcher.callback is not waited
        assert hub.join()
    assert outcomes == ["first", "second"]


def test_cancelling_what_nobody_waits_for_is_fine_also_if_a_function_is_its_callback(hub: Hub) -> None:
    calls: list[str] = []
    with hub.loop.timer(0) as watcher:
        watcher.start(calls.append, "fired")
        hub.cancel_wait(watcher, TimeoutError)
        assert hub.join()
    assert calls == ["fired"]


def test_join_with_nothing_left_is_done_whatever_the_timeout(hub: Hub) -> None:
    assert [hub.join(timeout) for timeout in (0, 0.0001, 1, None)] == [True] * 4


def test_a_waiter_of_a_destroyed_hub_says_so(hub: Hub) -> None:
    waiter = Waiter()
    spawn_raw(waiter.get)
    sleep(0)
    parked = waiter.greenlet
    hub.destroy(timeout=0)
    with pytest.raises(ValueError, match="is destroyed"):
        waiter.switch(1)
    assert parked is not None
    parked.throw()


def test_a_traced_spawn_is_seen_in_a_greenlet_of_its_own(hub: Hub) -> None:
    seen: set[Any] = set()
    greenlets.settrace(lambda event, pair: seen.add(pair[1]))
    try:
        for _ in range(5):
            spawn_raw(int)
        hub.join()
    finally:
        greenlets.settrace(None)
    assert len([one for one in seen if one.dead]) == 5
    seen.clear()


def test_a_slot_that_a_function_changes_does_not_reach_the_next(hub: Hub) -> None:
    found: list[object] = []

    def change() -> None:
        current = cast("Any", greenlets.getcurrent())
        found.append(current.loop)
        current.loop = "mine"

    for _ in range(3):
        spawn_raw(change)
    hub.join()
    assert found == [hub.loop] * 3


def test_a_callback_that_answers_to_every_name_is_left_to_the_hub(hub: Hub) -> None:
    class Strange:
        def __init__(self) -> None:
            self.called = 0

        def __getattr__(self, name: str) -> Any:
            return [] if name == "__func__" else super().__getattribute__(name)

        def __call__(self) -> None:
            self.called += 1

    strange = Strange()
    hub.loop.run_callback(strange)
    sleep(0.001)
    assert strange.called == 1


def test_an_interrupt_between_two_statements_of_the_hub_surfaces_in_main_and_does_not_end_the_hub(hub: Hub) -> None:
    serve, interrupts = Hub._serve, [KeyboardInterrupt("first"), KeyboardInterrupt("second")]

    class Interrupted(Hub):
        def _serve(self) -> None:
            if interrupts:
                raise interrupts.pop(0)
            serve(self)

    fresh = Interrupted(Loop(default=False))
    fresh.exception_stream = cast("Any", None)
    for text in ("first", "second"):
        with pytest.raises(KeyboardInterrupt, match=text):
            fresh.join()
    assert not fresh.dead
    assert fresh.join()
    fresh.destroy(destroy_loop=True)


def test_an_interrupt_while_one_is_dealt_with_does_not_end_the_hub_either(hub: Hub) -> None:
    fail, serve = Hub._loop_failed, Hub._serve
    interrupts = [KeyboardInterrupt("second")]

    class Interrupted(Hub):
        def _serve(self) -> None:
            if interrupts:
                raise KeyboardInterrupt("first")
            serve(self)

        def _loop_failed(self, error: BaseException) -> None:
            if interrupts:
                raise interrupts.pop()
            fail(self, error)

    fresh = Interrupted(Loop(default=False))
    fresh.exception_stream = cast("Any", None)
    with pytest.raises(KeyboardInterrupt, match="second"):
        fresh.join()
    assert fresh.join()
    fresh.destroy(destroy_loop=True)


def test_join_in_another_thread_is_refused(hub: Hub, elsewhere: Elsewhere) -> None:
    with pytest.raises(InvalidThreadUseError, match=r"cannot join of <Hub"):
        elsewhere(hub.join)


def test_what_only_the_hub_itself_can_do_is_not_done_by_its_base(hub: Hub) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: HubBase.handle_system_error(hub, KeyboardInterrupt, None),
        lambda: HubBase._end_parked(hub),
        lambda: HubBase._unwind(hub, False),
    ]
    for attempt in attempts:
        with pytest.raises(NotImplementedError):
            attempt()


def test_a_spawn_while_the_loop_is_being_destroyed_says_that_the_hub_is(no_hub: Callable[[], Loop]) -> None:
    refused: list[str] = []

    class Spawning(Loop):
        def destroy(self) -> None:
            if get_hub_if_exists() is not None:
                with pytest.raises(ValueError, match=r"cannot spawn .* is destroyed; get_hub"):
                    spawn_raw(int)
                refused.append("spawn")
            super().destroy()

    made = Hub(Spawning(default=False))
    set_hub(made)
    made.destroy()
    assert refused == ["spawn"]


def test_a_hub_whose_threads_number_is_anothers_by_now_is_unwound_without_an_error(hub: Hub) -> None:
    # Only of a thread that ended without its storage being dropped: here that thread is still there, but says so.
    hubs: list[Hub] = []
    made, done = threading.Event(), threading.Event()

    def run() -> None:
        theirs = Hub(Loop(default=False))
        theirs.join()
        hubs.append(theirs)
        number = theirs.thread_ident
        made.set()
        done.wait()
        theirs.thread_ident = number
        theirs.destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    made.wait()
    theirs = hubs.pop()
    theirs.thread_ident = threading.get_ident()
    try:
        theirs._unwind(destroy_loop=False)
        assert not theirs.dead
    finally:
        done.set()
        thread.join()
    assert theirs.dead


def test_a_hub_tells_whether_it_runs_itself_and_whose_the_calling_thread_is(hub: Hub, elsewhere: Elsewhere) -> None:
    seen: list[bool] = []
    hub.loop.run_callback(lambda: seen.append(hub.current))
    spawn_raw(lambda: seen.append(hub.current))
    hub.join()
    assert seen == [True, False]
    assert hub.of_this_thread() is hub
    assert elsewhere(hub.of_this_thread) is None
    other = Hub(Loop(default=False))
    assert other.of_this_thread() is hub
    other.destroy(destroy_loop=True)


class Foreign:
    """A loop of somebody else's, as far as the hub asks."""

    def __init__(self, loop: Loop, **more: Any) -> None:
        self.__dict__.update(more, loop=loop)

    def __getattr__(self, name: str) -> Any:
        if name in ("fork_listener", "reinit"):
            raise AttributeError(name)
        return getattr(self.loop, name)


def test_a_loop_that_knows_nothing_of_forks_cannot_be_reinited_and_the_error_says_so(hub: Hub) -> None:
    foreign = Hub(cast("Any", Foreign(cast("Loop", hub.loop))))
    with pytest.raises(TypeError, match=r"its loop has no reinit\(\) .* make a new hub there"):
        foreign.reinit()
    foreign.destroy(destroy_loop=False)


def test_parts_look_for_a_fork_themselves_if_the_loop_tells_nobody_of_it(hub: Hub) -> None:
    calls: list[str] = []

    class Part:
        def _on_fork(self) -> None:
            calls.append("part")

        def close(self) -> None:
            pass

    foreign = Hub(cast("Any", Foreign(cast("Loop", hub.loop), reinit=lambda: calls.append("loop"))))
    foreign.resolver = Part()
    foreign.reinit()
    assert calls == ["loop", "part"]
    foreign.destroy(destroy_loop=False)


def test_a_greenlet_that_its_destroyed_hub_has_let_go_yields_on_the_threads_next_hub() -> None:
    ran: list[object] = []
    first = Hub(loop=Loop())
    set_hub(first)

    def wait() -> None:
        try:
            first.switch()
        finally:
            sleep(0)
            ran.append(get_hub_if_exists())

    parked = spawn_raw(wait)
    sleep(0)
    first.destroy(destroy_loop=True, timeout=0)
    second = Hub(loop=Loop())
    set_hub(second)
    spawn_raw(ran.append, "second")
    parked.parent = greenlets.getcurrent()
    parked.throw()
    second.join()
    assert ran == ["second", second]
    assert not first._ready  # it stood there for a moment
    second.destroy(destroy_loop=True)


@pytest.mark.parametrize("way", ["waiter", "switch", "yield"])
@pytest.mark.parametrize("how", ["thrown into", "switched to"])
def test_a_greenlet_that_goes_on_after_its_hub_is_refused_by_what_waits_on_that(way: str, how: str) -> None:
    def yield_for_long() -> None:
        for _ in range(9):
            sleep(0)

    refused: list[pytest.ExceptionInfo[BaseException]] = []
    first = Hub(loop=Loop(default=False))
    set_hub(first)
    ways: dict[str, Callable[[], object]] = {
        "waiter": Waiter(first).get,
        "switch": first.switch,
        "yield": yield_for_long,
    }

    def live() -> None:
        with contextlib.suppress(ZeroDivisionError, InvalidSwitchError):
            ways[way]()
        with pytest.raises(ValueError, match="destroyed") as told:
            Waiter(first).get()
        refused.append(told)

    parked = spawn_raw(live)
    sleep(0)
    first.destroy(destroy_loop=True, timeout=0)
    second = Hub(loop=Loop(default=False))
    set_hub(second)
    parked.parent = greenlets.getcurrent()
    if how == "thrown into":
        parked.throw(ZeroDivisionError)
    else:
        parked.switch()
    second.join()
    assert len(refused) == 1
    second.destroy(destroy_loop=True)


def test_of_a_loop_that_cannot_tell_what_it_has_a_destroyed_hub_takes_nothing_out(no_hub: Callable[[], Loop]) -> None:
    class Silent(Loop):
        debug: Any = None

    loop = Silent(default=False)
    hub = Hub(loop)
    set_hub(hub)
    with loop.timer(60) as of_a_greenlet, loop.timer(60) as of_a_user:
        of_a_user.start(int)
        spawn_raw(hub.wait, of_a_greenlet)
        sleep(0)
        hub.destroy(destroy_loop=False)
        assert of_a_user.active
    set_loop(None)
    loop.destroy()


def test_what_is_to_wake_a_waiter_that_nobody_waits_on_yet_stays_in_a_forked_child(hub: Hub, kin: Kin) -> None:
    waiter = Waiter()
    with hub.loop.timer(0.001) as timer:
        timer.start(waiter.switch, "awake")

        def check() -> None:
            hub.loop.update_now()  # its first use, in a child
            assert waiter.get() == "awake"

        kin.run(check)
        check()


def test_who_yields_and_is_resumed_by_a_stranger_stands_in_the_lane_no_more(hub: Hub) -> None:
    order: list[str] = []

    def yields() -> None:
        sleep(0)
        sleep(0)  # hands over to the other one, which is not new any more
        order.append("yielded")
        assert first not in hub._ready
        second.switch()

    def intrudes() -> None:
        sleep(0)
        first.switch()
        order.append("intruded")

    first, second = spawn_raw(yields), spawn_raw(intrudes)
    assert hub.join()
    assert order == ["yielded", "intruded"]
    kill(first)
    assert hub.join()


def test_a_block_whose_end_is_interrupted_leaves_its_thread_without_the_destroyed_hub(
    no_hub: Callable[[], Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Hub(no_hub()):
        monkeypatch.setattr("hub_core._local.forget", interrupted)
    assert get_hub_if_exists() is None


def test_a_loop_that_is_destroyed_is_not_kept_for_the_next_hub(no_hub: Callable[[], Loop]) -> None:
    hub = Hub(no_hub())
    set_hub(hub)
    set_loop(hub.loop)
    hub.destroy(destroy_loop=True)
    assert get_loop() is None


def test_a_hub_that_was_destroyed_before_its_thread_ended_is_let_be(elsewhere: Elsewhere) -> None:
    kept: list[Hub] = []

    def make_two() -> None:
        kept.extend(Hub(Loop(default=False)) for _ in range(2))
        kept[0].destroy()
        kept[0].name = "let be"
        set_hub(kept[1])

    elsewhere(make_two)
    assert kept[0].name == "let be"
    assert kept[1].dead
    for hub in kept[1:]:
        hub.destroy(destroy_loop=True)


def test_each_hub_of_a_thread_that_ends_is_its_hub_while_its_greenlets_end(elsewhere: Elsewhere) -> None:
    kept: list[Hub] = []
    own: list[bool] = []

    def wait(hub: Hub) -> None:
        try:
            hub.switch()
        finally:
            own.append(get_hub_if_exists() is hub)

    def make_two() -> None:
        for _ in range(2):
            kept.append(Hub(Loop(default=False)))
            set_hub(kept[-1])
            spawn_raw(wait, kept[-1])
            sleep(0)

    elsewhere(make_two)
    assert own == [True, True]
    for hub in kept:
        hub.destroy(destroy_loop=True)
