"""hub_core's pytest plugin: a test that leaves something behind fails, and no other does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Verdicts

SUITE = """
import gc, os, threading
import pytest
from greenlet import getcurrent, greenlet
from hub_core import Hub, Waiter, get_hub, get_hub_if_exists, kill, report_on_signal, set_defaults, sleep, spawn_raw
from hub_loop import Loop

set_defaults(loop=Loop)
kept, stop = [], threading.Event()

@pytest.fixture(scope="module")
def server():
    hub = Hub(Loop())
    from hub_core import set_hub
    set_hub(hub)
    kept.append(spawn_raw(Waiter(hub).get))
    sleep(0)
    yield hub
    kill(kept.pop())
    sleep(0)
    hub.destroy(destroy_loop=True)

def test_leaves_a_greenlet():
    kept.append(spawn_raw(Waiter().get))
    sleep(0)

def test_leaves_another_that_the_collector_calls_old():
    kept.append(spawn_raw(Waiter().get))
    sleep(0)
    gc.collect()

def test_leaves_nothing_but_one_that_has_not_begun():
    kept.append(greenlet(lambda: getcurrent().parent.switch()))
    sleep(0)

def test_leaves_one_that_was_made_early():
    kept[-1].switch()

def test_leaves_a_greenlet_and_fails():
    kept.append(spawn_raw(Waiter().get))
    sleep(0)
    assert not kept

def test_leaves_a_hub_that_is_not_its_threads():
    hub = Hub(Loop())
    kept.extend((hub, hub.loop))
    with pytest.raises(BaseException, match="block forever"):
        Waiter(hub).get()

def test_leaves_a_thread():
    threading.Thread(target=stop.wait, name="lost").start()

def test_leaves_an_fd():
    kept.append(os.open(os.devnull, os.O_RDONLY))

def test_leaves_a_watcher_on_its_hub():
    get_hub().loop.timer(60).start(int)

def test_leaves_a_timer_after_it_has_slept():
    get_hub().loop.timer(60, 60, ref=False).start(str)
    sleep(0)

def test_leaves_a_callback_and_a_report_that_no_hub_was_asked_for():
    report_on_signal(get_hub().loop)
    get_hub().loop.run_callback(int)

def test_uses_the_hub_and_leaves_nothing():
    spawn_raw(int)
    sleep(0.001)
    os.close(os.open(os.devnull, os.O_RDONLY))
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    stop.set()

def test_has_a_fresh_hub():
    assert get_hub_if_exists() is None

class TestServer:
    def test_what_was_there_before_is_nobodys_leak(self, server):
        assert len(kept) > 0
        sleep(0)

    def test_a_hub_that_was_there_stays(self, server):
        assert get_hub() is server
        sleep(0.001)

    def test_leaves_a_watcher(self, server):
        kept.append(server.loop.timer(60))
        kept[-1].start(int)
"""


def test_a_test_that_leaves_something_behind_fails_and_no_other(judged_with: Callable[[str, str], Verdicts]) -> None:
    verdicts = judged_with("hub_core.testing.pytest_plugin", SUITE)
    failed = {line.rpartition("::")[2] for line in verdicts.told}
    assert failed == {
        "test_leaves_a_greenlet",
        "test_leaves_another_that_the_collector_calls_old",
        "test_leaves_one_that_was_made_early",
        "test_leaves_a_greenlet_and_fails",
        "test_leaves_a_hub_that_is_not_its_threads",
        "test_leaves_a_thread",
        "test_leaves_an_fd",
        "test_leaves_a_watcher",
        "test_leaves_a_watcher_on_its_hub",
        "test_leaves_a_timer_after_it_has_slept",
    }, verdicts.text
    assert "FAILED test_suite.py::test_leaves_a_greenlet_and_fails" in verdicts.told
    assert len(verdicts.told) == 10, "each is told once"
    for text in (
        "the test left behind: greenlet <RawGreenlet",
        "the test left behind: greenlet <Hub",
        "the test left behind: thread <Thread(lost",
        "-> /dev/null",
        "active watcher <timer",
        "callback=<class 'str'>",
    ):
        assert text in verdicts.text
