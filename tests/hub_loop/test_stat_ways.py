"""Stat watchers: the path and the interval that they are given; inotify with what it costs, misses and leaves behind.

That each change is seen, by either way: test_stat.py.
"""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.eyes import HAS_INOTIFY, INTERVAL, REAL, Eye, kind

from hub_api import WRITE
from hub_loop import Loop, _stat
from hub_loop._stat import DEFAULT_INTERVAL, SHORTEST_INTERVAL
from hub_loop.testing import ManualClock, active_watchers

if TYPE_CHECKING:
    from tests.conftest import Kin

needs_inotify = pytest.mark.skipif(not HAS_INOTIFY, reason="this system has no inotify")
inotify_eyes = pytest.mark.parametrize("eye", [f"inotify-{name}" for name in REAL], indirect=True)


# -- interval, path, errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "used", "shown"),
    [
        (0.0, DEFAULT_INTERVAL, 0.0),
        (0, DEFAULT_INTERVAL, 0),
        (3, 3, 3),
        (0.01, SHORTEST_INTERVAL, SHORTEST_INTERVAL),
        (-1.0, SHORTEST_INTERVAL, SHORTEST_INTERVAL),
        (SHORTEST_INTERVAL, SHORTEST_INTERVAL, SHORTEST_INTERVAL),
    ],
)
@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_the_interval_is_the_time_between_two_looks(
    given: float, used: float, shown: float, loop: Loop, clock: ManualClock, file: Path
) -> None:
    seen: list[str] = []
    with loop.stat(file, given) as watcher:
        assert watcher.interval == given
        watcher.start(seen.append, "changed")
        assert watcher.interval == shown
        for size in (1, 2):
            file.write_text("x" * size)
            clock.advance(used - 0.001)
            loop.run(nowait=True)
            assert len(seen) == size - 1
            clock.advance(0.001)
            loop.run(nowait=True)
            assert len(seen) == size


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_the_default_interval_is_that_of_the_field(loop: Loop) -> None:
    assert (DEFAULT_INTERVAL, SHORTEST_INTERVAL) == (5.007, 0.1074891)
    with loop.stat("/", math.inf) as never:
        never.start(print)
        assert never.interval == math.inf


def test_the_path_is_as_given_and_encoded(loop: Loop, file: Path) -> None:
    for given in (str(file), os.fsencode(file), file):
        watcher = loop.stat(given)
        assert watcher.path is given
        assert watcher._paths == os.fsencode(file)
        assert repr(given) in repr(watcher)
    assert "missing" not in repr(watcher)
    with loop.stat("/no/such/path") as watcher:
        watcher.start(print)
        assert "missing" in repr(watcher)


@pytest.mark.parametrize("path", [None, 7, ["path"], object()])
def test_what_is_no_path_is_a_type_error(path: Any, loop: Loop) -> None:
    with pytest.raises(TypeError, match="path must be a str"):
        loop.stat(path)


@pytest.mark.parametrize("path", ["", b"", "with a \0 in it"])
def test_what_no_system_could_look_at_is_a_value_error(path: Any, loop: Loop) -> None:
    with pytest.raises(ValueError, match="path must be one that the system can look at"):
        loop.stat(path)


@pytest.mark.parametrize("interval", ["1", None, 1j, [1]])
def test_an_interval_that_is_no_number_is_a_type_error(interval: Any, loop: Loop) -> None:
    with pytest.raises(TypeError, match="interval must be a number of seconds"):
        loop.stat("/", interval)


def test_an_interval_that_is_not_a_number_is_a_value_error(loop: Loop) -> None:
    with pytest.raises(ValueError, match="interval must be a number of seconds, got nan"):
        loop.stat("/", math.nan)


def test_a_path_that_may_not_be_looked_at_is_missing(loop: Loop) -> None:
    with loop.stat("/" + "x" * 300) as watcher:  # longer than any name may be
        watcher.start(print)
        assert watcher.attr is None


# -- inotify -----------------------------------------------------------------------------------------------------------


@needs_inotify
@inotify_eyes
def test_one_fd_serves_all_paths_and_goes_with_the_last(eye: Eye, file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for path in (file, file.parent, "/no/such/path", file):
        eye.watch(path)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    for watcher in eye.watchers:
        watcher.stop()
    assert set(os.listdir("/proc/self/fd")) == before


@needs_inotify
@inotify_eyes
def test_a_blocking_loop_is_woken_by_a_change(eye: Eye, file: Path) -> None:
    eye.watch(file)
    thread = threading.Thread(target=file.write_text, args=("from elsewhere",))
    thread.start()
    while not eye.seen or eye.seen[-1][1] != "file of 14":
        eye.loop.run(once=True)
    thread.join()


@needs_inotify
@inotify_eyes
def test_the_timer_sees_what_inotify_does_not_tell(eye: Eye, file: Path) -> None:
    eye.watch(file)
    file.write_text("x")
    assert eye.loop._inotify is not None
    eye.loop._inotify._inotify.read(timeout=0)  # the event is lost, as on a file system that tells none
    assert eye.look() == []
    eye.clock.advance(INTERVAL)
    assert eye.look() == [("file of 5", "file of 1")]
    new = file.with_name("new")
    new.write_text("yy")
    new.replace(file)
    eye.loop._inotify._inotify.read(timeout=0)
    eye.clock.advance(INTERVAL)
    assert eye.look() == [("file of 1", "file of 2")]
    file.write_text("zzz")  # and the marks are on the new file by then
    assert eye.look() == [("file of 2", "file of 3")]


@needs_inotify
@inotify_eyes
def test_when_the_kernels_queue_overflows_all_paths_are_looked_at(eye: Eye, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        eye.watch(path)
    busy = tmp_path / "busy"
    busy.touch()
    eye.watch(busy)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    fds = [os.open(busy, os.O_WRONLY), os.open(busy, os.O_WRONLY)]
    for number in range(most // 2 + 2):  # equal events in a row would count as one
        os.pwrite(fds[0], b"x", 0)
        os.fchmod(fds[0], 0o600 if number & 1 else 0o644)
    for path in paths:
        path.touch()
    for fd in fds:
        os.close(fd)
    seen = eye.look()
    assert sorted(seen) == [("file of 0", "file of 1"), *[("nothing", "file of 0")] * 2]
    paths[0].write_text("y")
    assert eye.look() == [("file of 0", "file of 1")]


@needs_inotify
@inotify_eyes
def test_a_busy_directory_does_not_wake_those_who_wait_for_one_name_in_it(eye: Eye, tmp_path: Path) -> None:
    looks: list[object] = []
    watcher = eye.watch(tmp_path / "late")
    stat = _stat._lstat
    try:
        _stat._lstat = lambda path: looks.append(path) or stat(path)  # type: ignore[func-returns-value]  # both
        for number in range(10):
            (tmp_path / str(number)).touch()
        assert eye.look() == []
        assert looks == []
        (tmp_path / "late").touch()
        assert len(eye.look()) == 1
        looks.clear()
        (tmp_path / "10").touch()
        assert eye.look() == []
        assert looks == []
    finally:
        _stat._lstat = stat
    assert watcher.active


@needs_inotify
@pytest.mark.parametrize("refusal", ["absent", "instances", "registration"])
@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
def test_without_inotify_the_timer_does(
    refusal: str, loop: Loop, clock: ManualClock, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EMFILE, "too many")

    if refusal == "absent":
        monkeypatch.setitem(sys.modules, "inotify_simple", None)
    elif refusal == "instances":
        monkeypatch.setattr("inotify_simple.INotify", refuse)
    else:
        monkeypatch.setattr(type(loop._poller), "watch", refuse)
    seen: list[str] = []
    with loop.stat(file, 1.0) as watcher:
        watcher.start(seen.append, "changed")
        assert loop._inotify is None
        monkeypatch.undo()
        file.write_text("x")
        clock.advance(1.0)
        loop.run(nowait=True)
        assert seen == ["changed"]


@needs_inotify
@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
def test_a_registration_that_fails_otherwise_is_an_error_at_the_start_and_leaves_nothing(
    loop: Loop, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(loop._poller), "watch", fail)
    watcher = loop.stat(file)
    with pytest.raises(MemoryError):
        watcher.start(print)
    monkeypatch.undo()
    assert not watcher.active
    watcher.close()
    assert active_watchers(loop) == []


@needs_inotify
@inotify_eyes
def test_marks_that_the_kernel_refuses_are_done_without(eye: Eye, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSPC, "no more watches for this user")

    monkeypatch.setattr("inotify_simple.INotify.add_watch", refuse)
    eye.watch(file)
    file.write_text("x")
    assert eye.look() == []
    eye.clock.advance(INTERVAL)
    assert eye.look() == [("file of 5", "file of 1")]


@needs_inotify
@inotify_eyes
def test_if_the_fd_is_closed_behind_our_back_the_timer_goes_on(eye: Eye, file: Path) -> None:
    watcher = eye.watch(file)
    inotify = eye.loop._inotify
    assert inotify is not None
    eye.loop.closing_fd(inotify._inotify.fileno())
    assert eye.loop.activecnt == 1
    file.write_text("x")
    eye.clock.advance(INTERVAL)
    assert eye.look() == [("file of 5", "file of 1")]
    watcher.stop()
    assert eye.loop.activecnt == 0


@needs_inotify
@inotify_eyes
def test_a_read_that_fails_is_reported_once_and_the_timer_goes_on(
    eye: Eye, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []

    class Handler:
        def handle_error(self, context: object, type: object, value: object, tb: object, /) -> None:
            errors.append(type)

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "for once")

    eye.loop.error_handler = Handler()
    eye.watch(file)
    monkeypatch.setattr("inotify_simple.INotify.read", fail)
    file.write_text("x")
    assert eye.look() == []
    monkeypatch.undo()
    eye.clock.advance(INTERVAL)
    assert eye.look() == [("file of 5", "file of 1")]
    assert errors == [OSError]
    assert eye.loop.activecnt == 1


@needs_inotify
@inotify_eyes
def test_a_path_that_is_being_replaced_all_the_time_is_looked_at_again_and_not_for_ever(
    eye: Eye, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eye.watch(file)
    stat = _stat._lstat
    replaced: list[int] = []

    def replace_and_look(path: bytes) -> os.stat_result | None:
        found = stat(path)
        replaced.append(1)
        new = file.with_name("new")
        new.write_text("x" * len(replaced))
        new.replace(file)
        return found

    monkeypatch.setattr(_stat, "_lstat", replace_and_look)
    file.write_text("begin")
    assert eye.look() != []
    assert len(replaced) <= 20
    monkeypatch.undo()
    for _ in range(3):
        eye.turn()
    assert kind(eye.watchers[0].attr) == f"file of {len(replaced)}"
    eye.seen.clear()
    file.write_text("the last of all")
    assert eye.look()[-1][1] == "file of 15"


@needs_inotify
@inotify_eyes
def test_a_turn_that_was_begun_in_the_parent_does_not_read_the_parents_events(eye: Eye, file: Path, kin: Kin) -> None:
    reader, writer = os.pipe()
    registration = eye.loop.register(writer, lambda events: kin.fork())
    eye.watch(file)
    registration.want(WRITE)  # lower than inotify's fd, and ready before it: it is told first
    file.write_text("x")
    seen = eye.look()

    def check() -> None:
        for _ in range(2):
            eye.turn()
        told = seen + eye.seen
        assert told == [("file of 5", "file of 1")]

    assert kin._child or kin.is_child
    kin.child_ends(check)
    assert (seen or eye.look()) == [("file of 5", "file of 1")]
    registration.close()
    os.close(reader)
    os.close(writer)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_destroy_stops_the_watchers_and_gives_their_fd_back(loop: Loop, file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    made = Loop()
    watchers = [made.stat(path) for path in (file, file.parent, "/no/such/path")]
    for watcher in watchers:
        watcher.start(print)
    assert active_watchers(made).count(watchers[0]) == 1
    made.destroy()
    assert set(os.listdir("/proc/self/fd")) == before
    for watcher in watchers:
        assert not watcher.active
        watcher.stop()
        with pytest.raises(ValueError, match="destroyed"):
            watcher.start(print)
    with pytest.raises(ValueError, match="destroyed"):
        made.stat(file)


def test_a_watcher_that_was_never_started_costs_no_fd_and_no_module(file: Path) -> None:
    code = "import sys, hub_loop; loop = hub_loop.Loop(); assert 'hub_loop._stat' not in sys.modules;"
    code += "loop.stat('/'); assert not {'inotify_simple', 'ctypes'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
