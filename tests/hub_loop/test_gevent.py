"""The loop for gevent's hubs, without gevent: what it adds to `Loop`, and what it binds early."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest

import hub_loop
import hub_loop.gevent
from hub_api import READ, WRITE
from hub_loop.gevent import Loop


@pytest.fixture
def hosted() -> Iterator[Loop]:
    """A loop such as gevent makes."""
    loop = Loop(flags=None, default=False)
    yield loop
    loop.destroy()


class HubDestroyed(BaseException):
    """What gevent throws into a hub that ends, by its name."""


class Hub:
    """As much of a hub as a loop's errors meet."""

    def __init__(self) -> None:
        self.told: list[tuple[object, BaseException]] = []

    def handle_error(self, context: object, type: object, value: BaseException, tb: object) -> None:
        if type is HubDestroyed:
            raise value
        self.told.append((context, value))


def raising(error: BaseException) -> None:
    raise error


# -- the module -----------------------------------------------------------------------------------------------------


def test_the_module_offers_what_gevent_copies_from_it() -> None:
    assert hub_loop.gevent.loop is Loop
    assert (hub_loop.gevent.READ, hub_loop.gevent.WRITE) == (1, 2)
    assert hub_loop.gevent.supported_backends() == hub_loop.supported()
    assert set(hub_loop.gevent.__all__) <= set(vars(hub_loop.gevent))
    assert sys.modules[Loop.__module__] is hub_loop.gevent


def test_neither_hub_loop_nor_its_module_for_gevent_imports_gevent() -> None:
    program = "import sys, hub_loop; assert 'hub_loop.gevent' not in sys.modules; import hub_loop.gevent"
    program += "; assert not [name for name in sys.modules if name.partition('.')[0] in ('gevent', 'greenlet')]"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_loop_is_made_after_the_systems_pollers_were_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError("a poller is asked that would wait for the loop itself")

    for name in ("epoll", "kqueue", "kevent"):
        monkeypatch.delattr(select, name, raising=False)
    monkeypatch.setattr(select, "poll", never)
    monkeypatch.setattr(select, "select", never)
    monkeypatch.setattr(socket, "socketpair", never)
    for name in hub_loop.gevent.supported_backends():
        loop = Loop(name, default=False)
        ran: list[int] = []
        loop.timer(0.0).start(ran.append, 1)
        loop.run()
        assert (loop.backend, ran) == (name, [1])
        loop.destroy()


# -- making one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "backend"), [(1, "select"), (2, "poll"), ("poll", "poll"), (["select"], "select")])
def test_flags_are_names_or_the_numbers_of_libev(flags: int | str | list[str], backend: str) -> None:
    loop = Loop(flags, default=False)
    assert loop.backend == backend
    assert loop.backend_int == {"select": 1, "poll": 2}[backend]
    loop.destroy()


def test_several_numbers_give_the_best_of_them_and_none_the_best_of_all() -> None:
    both, best = Loop(1 | 2, default=False), Loop(0, default=False)
    assert both.backend == "poll"
    assert best.backend == hub_loop.supported()[0]
    both.destroy()
    best.destroy()


def test_ptr_tells_loops_apart_while_they_live_and_is_0_afterwards() -> None:
    one, other = Loop(), Loop(default=False)
    assert one.ptr
    assert one.ptr != other.ptr
    assert (one.default, other.default) == (True, False)
    one.destroy()
    other.destroy()
    assert (one.ptr, other.ptr) == (0, 0)
    assert not one.default


def test_async_is_an_attribute_still(hosted: Loop) -> None:
    watcher = getattr(hosted, "async")()
    ran: list[int] = []
    watcher.start(ran.append, 1)
    watcher.send()
    hosted.run(nowait=True)
    watcher.close()
    assert ran == [1]


# -- what differs ---------------------------------------------------------------------------------------------------


def test_an_io_watcher_without_events_never_fires_and_keeps_run_going(hosted: Loop) -> None:
    reader, writer = os.pipe()
    watcher = hosted.io(reader, 0)
    watcher.start(raising, AssertionError("it fired"))
    os.close(writer)  # hangs up, which is told to whoever watches for anything
    assert hosted.run(nowait=True) is True
    watcher.close()
    assert hosted.run(nowait=True) is False
    with pytest.raises(ValueError, match="events must be"):
        hosted.io(reader, 4)
    hosted.closing_fd(reader)
    os.close(reader)


def test_a_callback_queued_from_another_thread_wakes_the_loop(hosted: Loop) -> None:
    ran: list[int] = []
    guard = hosted.timer(30.0)
    guard.start(raising, AssertionError("nobody woke the loop"))

    def finish() -> None:
        ran.append(threading.get_ident())
        guard.close()

    thread = threading.Thread(target=hosted.run_callback, args=(finish,))
    hosted.run_callback(thread.start)
    hosted.run()
    thread.join()
    assert ran == [threading.get_ident()]


def test_a_destroyed_loop_queues_nothing(hosted: Loop) -> None:
    hosted.destroy()
    with pytest.raises(ValueError, match="destroyed loop"):
        hosted.run_callback(print)


def test_the_end_of_a_hub_leaves_run_and_drops_callbacks_but_no_events(hosted: Loop) -> None:
    hosted.error_handler = hub = Hub()
    ran: list[object] = []
    hosted.run_callback(raising, HubDestroyed())
    dropped = hosted.run_callback(ran.append, "dropped")
    with hosted.async_(ref=False) as watcher:
        watcher.start(ran.append, "event")
        watcher.send()
        with pytest.raises(HubDestroyed):
            hosted.run()
        assert (bool(dropped), ran, hub.told) == (False, [], [])
        assert hosted.pendingcnt == 1
        hosted.run_callback(ran.append, "later")  # the loop outlives its hub
        hosted.run()
        watcher.send()
        hosted.run(nowait=True)
    assert ran == ["later", "event", "event"]


def test_the_end_of_a_hub_comes_from_a_watchers_callback_too(hosted: Loop) -> None:
    hosted.error_handler = Hub()
    ran: list[int] = []
    hosted.run_callback(ran.append, 1)
    with hosted.check(ref=False) as watcher:
        watcher.start(raising, HubDestroyed())
        with pytest.raises(HubDestroyed):
            hosted.run()
    assert hosted.run() is False
    assert ran == []


def test_an_error_handler_may_be_a_function(hosted: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    hub, error = Hub(), ValueError("wrong")
    hosted.error_handler = hub.handle_error  # type: ignore[assignment]  # what is under test
    context = hosted.run_callback(raising, error)
    hosted.run(nowait=True)
    assert hub.told == [(context, error)]
    hosted.error_handler = traceback.print_exception  # type: ignore[assignment]  # it takes other arguments: it raises
    hosted.run_callback(raising, error)
    hosted.run(nowait=True)
    assert "TypeError" in capsys.readouterr().err


def test_sigchld_needs_no_installing(hosted: Loop) -> None:
    import signal

    before = signal.getsignal(signal.SIGCHLD)
    hosted.install_sigchld()
    hosted.reset_sigchld()
    assert signal.getsignal(signal.SIGCHLD) is before
    hosted.io(0, READ | WRITE).close()


# -- children -------------------------------------------------------------------------------------------------------


def test_a_watcher_for_any_child_is_told_of_those_that_are_watched(hosted: Loop) -> None:
    told: list[tuple[int, int]] = []
    with subprocess.Popen(["sh", "-c", "exit 3"]) as watched, subprocess.Popen(["true"]) as unwatched:
        one, anybody = hosted.child(watched.pid), hosted.child(0, False)
        assert (anybody.pid, anybody.rpid) == (0, 0)

        def end() -> None:
            told.append((anybody.rpid, os.waitstatus_to_exitcode(anybody.rstatus)))
            anybody.stop()

        anybody.start(end)
        one.start(lambda: None)
        hosted.run()
        assert told == [(watched.pid, 3)]
        assert unwatched.wait() == 0  # nobody has reaped it
        watched.returncode = 3
        one.close()
        anybody.close()


def test_a_watcher_for_any_child_ends_with_the_loop(hosted: Loop) -> None:
    anybody = hosted.child(0)
    anybody.start(print)
    hosted.destroy()
    assert not anybody.active
    with pytest.raises(ValueError, match="destroyed loop"):
        hosted.child(os.getpid())


def test_who_watches_a_child_for_longer_is_told_before_one_who_comes_after_its_end(hosted: Loop) -> None:
    told: list[str] = []
    with subprocess.Popen(["true"]) as process:
        first = hosted.child(process.pid)
        first.start(told.append, "first")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        second = hosted.child(process.pid)
        second.start(told.append, "second")
        assert (first.rpid, second.rpid) == (process.pid, process.pid)  # gevent's waitpid reads the first's
        hosted.run()
        process.returncode = 0
    assert told == ["first", "second"]


def test_nothing_is_imported_late() -> None:
    program = """
import hub_loop.gevent, os, signal, sys
before = set(sys.modules)
loop = hub_loop.gevent.Loop()
watchers = [loop.signal(signal.SIGUSR1), loop.fork(), loop.async_(), loop.timer(1.0), loop.stat("/")]
pid = os.fork()
if pid == 0:
    loop.reinit()
    os._exit(0)
watchers.append(loop.child(pid))
for watcher in watchers:
    watcher.start(watcher.stop)
loop.run(nowait=True)
for watcher in watchers:
    watcher.close()
loop.destroy()
late = {name for name in sys.modules if name not in before and not name.startswith(("ctypes", "encodings"))}
print(sorted(late))
"""
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown == "[]\n"
