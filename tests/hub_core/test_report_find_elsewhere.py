"""Finding the greenlets of a hub from elsewhere: other threads ask at any time and disturb nobody; so does a child."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.hub_core.reported import end, find

from hub_core import Hub, Report, Waiter, kill, set_hub, sleep, spawn_raw, wait_reason
from hub_core._find import known_greenlets
from hub_loop import Loop

if TYPE_CHECKING:
    from tests.conftest import Kin
    from tests.hub_core.conftest import Elsewhere


def test_another_thread_may_ask_at_any_time(hub: Hub, elsewhere: Elsewhere) -> None:
    # The main greenlet of this thread stands in Thread.join meanwhile: it runs, and blocks.
    it = spawn_raw(sleep, 60)
    sleep(0)
    report = elsewhere(hub.report)
    each = find(report, it)
    assert each is not None
    assert each.state == "parked"
    assert report.running is not None
    assert report.running.main
    assert report.thread == threading.get_ident()
    end(it)


def test_a_later_thread_of_the_same_number_is_not_shown_as_running_in_a_hub_whose_thread_has_ended(
    elsewhere: Elsewhere,
) -> None:
    def live() -> Hub:
        hub = Hub(Loop(default=False))
        set_hub(hub)
        sleep(0.001)
        return hub

    hub = elsewhere(live)
    hub.thread_ident = threading.get_ident()  # the system gives the numbers of threads again, but not at our word
    for report in (hub.report(), elsewhere(hub.report)):  # the second finds us at a lock, in Thread.join
        assert report.running is None
        assert report.hints == ()
    hub.destroy()


def test_another_thread_that_asks_on_and_on_disturbs_nobody_and_always_gets_whole_stacks(hub: Hub) -> None:
    # Greenlets park and go on as fast as they can; each stack that is seen must be one that this program can have.
    done = threading.Event()
    reports: list[Report] = []
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not done.is_set():
                reports.append(hub.report())
                str(reports[-1])
        except BaseException as error:
            errors.append(error)

    def outer(depth: int) -> None:
        if depth:
            outer(depth - 1)
        else:
            sleep(0)
            sleep(0.0001)

    def run() -> None:
        for _ in range(150):
            outer(5)

    thread = threading.Thread(target=look)
    thread.start()
    greenlets = [spawn_raw(run) for _ in range(20)]
    while not all(each.dead for each in greenlets) or len(reports) < 5:
        sleep(0.001)
    done.set()
    thread.join()
    assert not errors
    names = {
        tuple(frame.function.rpartition(".")[2] for frame in each.stack)
        for report in reports
        for each in report.greenlets
        if not each.main and each.stack and not each.stack[0].family
    }
    assert names <= {("outer",) * 6 + ("run",), ()}


def test_wait_reason_may_be_asked_from_another_thread(hub: Hub, elsewhere: Elsewhere) -> None:
    waiter = Waiter()
    it = spawn_raw(waiter.get)
    sleep(0)
    assert elsewhere(lambda: wait_reason(it)) is waiter
    end(it)


def test_threads_that_end_while_others_look_are_no_danger(hub: Hub) -> None:
    # greenlet 3.5 crashes if somebody whom the garbage collector does not see holds a main greenlet as its thread ends.
    def live() -> None:
        theirs = Hub(Loop())
        set_hub(theirs)
        sleep(0.0001)
        theirs.destroy(destroy_loop=True)

    for _ in range(5):
        threads = [threading.Thread(target=live) for _ in range(10)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            hub.report()
        for thread in threads:
            thread.join()


def test_in_a_child_the_waits_of_the_parents_greenlets_are_no_handles_even_before_the_loops_first_use(
    hub: Hub, kin: Kin
) -> None:
    import socket

    from hub_core import FdWaiter, wait_read

    ours, theirs = socket.socketpair()
    with ours, theirs, hub.loop.timer(50) as users:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())
        parked = [spawn_raw(sleep, 60), spawn_raw(owned.wait_read), spawn_raw(wait_read, theirs.fileno(), 70)]
        sleep(0)
        users.start(kill, parked[0])

        def check() -> None:
            report = hub.report()
            assert report.greenlets == ()
            assert report.handles == (repr(users),)

        assert len(hub.report().handles) > len(parked)
        kin.run(check)
        users.stop()
        end(*parked)
        owned.close()


def test_hubs_that_other_threads_are_about_to_make_have_no_part_in_a_report(hub: Hub) -> None:
    making, go_on = threading.Event(), threading.Event()

    def loop(*, default: bool | None = None) -> Loop:
        making.set()
        go_on.wait(30)
        return Loop()

    def make() -> None:
        Hub(loop).destroy(destroy_loop=True)

    class Owned:
        owner: object = None
        hub: object = None

    def wait(thing: Owned) -> None:
        waiter = Waiter()
        waiter.reason = thing
        waiter.get()

    thing = Owned()
    it = spawn_raw(wait, thing)
    sleep(0)
    thread = threading.Thread(target=make)
    thread.start()
    making.wait(30)
    try:
        half = next(each for each in known_greenlets() if isinstance(each, Hub) and not hasattr(each, "loop"))
        assert find(hub.report(), it) is not None
        thing.owner = thing.hub = half
        each = find(hub.report(), half)
        del half  # so that it is freed in its own thread
    finally:
        thing.owner = thing.hub = None
        go_on.set()
        thread.join()
    assert each is not None
    assert (each.state, each.thread) == ("new", thread.ident)
    end(it)
