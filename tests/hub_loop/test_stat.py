"""Stat watchers: each change of a path is seen, by polling alone and by inotify alone."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_api import WRITE
from hub_loop import Loop, _stat, supported
from hub_loop._stat import DEFAULT_INTERVAL, SHORTEST_INTERVAL, Stat
from hub_loop.testing import FakePoller, ManualClock, active_watchers

if TYPE_CHECKING:
    from tests.conftest import Kin

REAL = [name for name in ("epoll", "poll", "select") if name in supported()]
HAS_INOTIFY = sys.platform == "linux"
INTERVAL = 2.0


class Eye:
    """A loop that sees changes by one mechanism only, and the account of what its watchers said."""

    def __init__(self, loop: Loop, clock: ManualClock, polling: bool) -> None:
        self.loop, self.clock, self.polling = loop, clock, polling
        self.seen: list[tuple[str, str]] = []
        self.watchers: list[Stat] = []

    def watch(self, path: Any, **options: Any) -> Stat:
        """A started watcher."""
        watcher = self.loop.stat(path, INTERVAL, **options)
        self.watchers.append(watcher)
        watcher.start(lambda: self.seen.append((kind(watcher.prev), kind(watcher.attr))))
        return watcher

    def turn(self) -> None:
        """Give every change that was made the chance to be seen, by this mechanism and no other."""
        if self.polling:
            self.clock.advance(INTERVAL)
        self.loop.run(nowait=True)

    def look(self) -> list[tuple[str, str]]:
        """What is told of the changes since the last look."""
        self.turn()
        seen, self.seen = self.seen, []
        return seen


def kind(found: os.stat_result | None) -> str:
    """What a stat result is of, and how long, in a word."""
    if found is None:
        return "nothing"
    return {0o10: f"file of {found.st_size}", 0o04: "directory", 0o12: "link"}[found.st_mode >> 12]


@pytest.fixture(
    params=[
        *(f"polling-{name}" for name in (*REAL, "fake")),
        *(f"inotify-{name}" for name in REAL if HAS_INOTIFY),
    ]
)
def eye(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Eye]:
    """Each mechanism on each poller; the clock moves only for polling, so inotify gets no help from it."""
    way, poller = request.param.split("-")
    if way == "polling":
        monkeypatch.setattr(_stat, "find_inotify", lambda: None)
    else:
        assert _stat.find_inotify() is not None, "the tests' environment has inotify_simple"
    clock = ManualClock()
    made = Loop(poller=FakePoller(clock), clock=clock) if poller == "fake" else Loop(poller, clock=clock)
    eye = Eye(made, clock, way == "polling")
    yield eye
    for watcher in eye.watchers:
        watcher.close()
    assert active_watchers(made) == []
    assert made.activecnt == 0
    assert made._inotify is None
    made.destroy()


needs_inotify = pytest.mark.skipif(not HAS_INOTIFY, reason="this system has no inotify")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of five bytes."""
    path = tmp_path / "file"
    path.write_text("first")
    return path


# -- changes -----------------------------------------------------------------------------------------------------------


def test_nothing_is_told_while_nothing_changes(eye: Eye, file: Path) -> None:
    eye.watch(file)
    assert eye.look() == []
    file.read_text()
    os.utime(file, ns=(1, file.stat().st_mtime_ns))
    assert [(before, after) for before, after in eye.look() if before != after] == []


def test_a_file_that_is_written_to(eye: Eye, file: Path) -> None:
    watcher = eye.watch(file)
    with file.open("a") as stream:
        stream.write("more")
    assert eye.look() == [("file of 5", "file of 9")]
    assert watcher.attr == os.lstat(file)
    file.write_text("")
    assert eye.look() == [("file of 9", "file of 0")]
    assert eye.look() == []


@pytest.mark.parametrize("change", ["mode", "time", "links", "size", "same size"])
def test_each_thing_that_lstat_tells_counts(change: str, eye: Eye, file: Path) -> None:
    eye.watch(file)
    if change == "mode":
        file.chmod(0o400)
    elif change == "time":
        os.utime(file, (1000, 1000))
    elif change == "links":
        (file.parent / "other").hardlink_to(file)
    elif change == "size":
        os.truncate(file, 2)
    else:
        file.write_text("other")
        os.utime(file, (1000, 1000))  # the kernel's clock ticks every few milliseconds: not a matter of that
    assert len(eye.look()) == 1
    assert eye.look() == []


def test_a_missing_path_that_comes_and_goes(eye: Eye, tmp_path: Path) -> None:
    path = tmp_path / "later"
    watcher = eye.watch(path)
    assert (watcher.prev, watcher.attr) == (None, None)
    (tmp_path / "other").touch()
    assert eye.look() == []
    path.touch()
    assert eye.look() == [("nothing", "file of 0")]
    path.write_text("x")
    assert eye.look() == [("file of 0", "file of 1")]
    path.unlink()
    assert eye.look() == [("file of 1", "nothing")]
    path.mkdir()
    assert eye.look() == [("nothing", "directory")]


@pytest.mark.parametrize("kept_open", [False, True])
def test_a_file_that_is_replaced_and_its_replacement(kept_open: bool, eye: Eye, file: Path) -> None:
    held = file.open()
    if not kept_open:
        held.close()
    eye.watch(file)
    for size in (6, 7, 8):
        new = file.with_name("new")
        new.write_text("x" * size)
        assert eye.look() == []
        new.replace(file)
        assert eye.look() == [(f"file of {5 if size == 6 else size - 1}", f"file of {size}")]
    with file.open("a") as stream:
        stream.write("y")
    assert eye.look() == [("file of 8", "file of 9")]
    held.close()


def test_a_file_that_is_moved_away_and_back(eye: Eye, file: Path) -> None:
    eye.watch(file)
    file.rename(file.with_name("away"))
    assert eye.look() == [("file of 5", "nothing")]
    file.with_name("away").rename(file)
    assert eye.look() == [("nothing", "file of 5")]


def test_a_directory_and_what_is_in_it(eye: Eye, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    os.utime(directory, (1000, 1000))
    eye.watch(directory)
    (directory / "entry").touch()
    assert eye.look() == [("directory", "directory")]
    os.utime(directory, (1000, 1000))
    eye.look()
    (directory / "entry").unlink()
    assert eye.look() == [("directory", "directory")]
    directory.rmdir()
    assert eye.look() == [("directory", "nothing")]


def test_a_symbolic_link_and_not_what_it_leads_to(eye: Eye, file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    eye.watch(link)
    file.write_text("longer than before")
    assert eye.look() == []
    other = file.with_name("other")
    other.symlink_to("nowhere")
    other.replace(link)
    assert eye.look() == [("link", "link")]
    link.unlink()
    assert eye.look() == [("link", "nothing")]


def test_a_path_whose_directories_do_not_exist_yet(eye: Eye, tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "file"
    eye.watch(path)
    (tmp_path / "one").touch()  # a file where a directory should be
    assert eye.look() == []
    (tmp_path / "one").unlink()
    assert eye.look() == []
    (tmp_path / "one").mkdir()
    assert eye.look() == []
    (tmp_path / "one" / "two").mkdir()
    assert eye.look() == []
    path.touch()
    assert eye.look() == [("nothing", "file of 0")]


def test_a_path_made_with_all_its_directories_at_once(eye: Eye, tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "file"
    eye.watch(path)
    path.parent.mkdir(parents=True)
    path.touch()
    assert eye.look() == [("nothing", "file of 0")]
    path.write_text("x")
    assert eye.look() == [("file of 0", "file of 1")]


@pytest.mark.parametrize("above", [1, 2])
def test_a_directory_on_the_way_that_is_replaced(above: int, eye: Eye, tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "file"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    eye.watch(path)
    directory = path.parents[above - 1]
    directory.rename(tmp_path / "away")
    assert eye.look() == [("file of 3", "nothing")]
    path.parent.mkdir(parents=True)
    path.write_text("newer")
    assert eye.look() == [("nothing", "file of 5")]
    (tmp_path / "away").rename(tmp_path / "far away")
    assert eye.look() == []
    path.write_text("newest")
    assert eye.look() == [("file of 5", "file of 6")]


def test_a_directory_that_is_replaced_between_two_turns(eye: Eye, tmp_path: Path) -> None:
    path = tmp_path / "one" / "file"
    path.parent.mkdir()
    path.write_text("old")
    eye.watch(path)
    path.parent.rename(tmp_path / "away")
    path.parent.mkdir()
    path.write_text("newer")
    assert eye.look() == [("file of 3", "file of 5")]
    path.unlink()
    assert eye.look() == [("file of 5", "nothing")]


def test_a_hard_link_that_is_written_to_by_its_other_name(eye: Eye, file: Path) -> None:
    other = file.with_name("other")
    other.hardlink_to(file)
    eye.watch(file)
    eye.watch(other)
    other.write_text("by the other name")
    assert eye.look() == [("file of 5", "file of 17")] * 2
    file.unlink()
    assert sorted(eye.look()) == [("file of 17", "file of 17"), ("file of 17", "nothing")]
    other.write_text("alone")
    assert eye.look() == [("file of 17", "file of 5")]


def test_the_same_path_twice(eye: Eye, file: Path) -> None:
    first, second = eye.watch(file), eye.watch(os.fsencode(file))
    file.write_text("x")
    assert eye.look() == [("file of 5", "file of 1")] * 2
    first.stop()
    file.write_text("yy")
    assert eye.look() == [("file of 1", "file of 2")]
    second.stop()
    file.write_text("zzz")
    assert eye.look() == []


def test_a_file_and_the_directory_it_is_in(eye: Eye, file: Path) -> None:
    os.utime(file.parent, (1000, 1000))
    eye.watch(file.parent)
    eye.watch(file)
    missing = file.with_name("missing")
    eye.watch(missing)
    file.write_text("x")
    assert eye.look() == [("file of 5", "file of 1")]
    missing.write_text("here")
    assert sorted(eye.look()) == [("directory", "directory"), ("nothing", "file of 4")]


def test_changes_within_one_turn_are_one(eye: Eye, file: Path) -> None:
    eye.watch(file)
    for size in (1, 2, 3):
        file.write_text("x" * size)
    assert eye.look() == [("file of 5", "file of 3")]
    file.unlink()
    file.write_text("again")
    assert eye.look() == [("file of 3", "file of 5")]


def test_changes_while_an_event_is_pending_go_with_it(eye: Eye, file: Path) -> None:
    watcher = eye.watch(file)
    file.write_text("x")
    watcher._look()
    assert watcher.pending
    file.write_text("yy")
    watcher._look()
    assert eye.look() == [("file of 5", "file of 2")]


def test_a_change_between_construction_and_start_is_none(eye: Eye, file: Path) -> None:
    watcher = eye.loop.stat(file)
    eye.watchers.append(watcher)
    file.write_text("before the start")
    assert watcher.attr is None
    watcher.start(eye.seen.append, ("it", "changed"))
    assert kind(watcher.attr) == "file of 16"
    assert watcher.prev is None
    assert eye.look() == []
    eye.clock.advance(DEFAULT_INTERVAL)
    assert eye.look() == []


def test_a_watcher_that_is_started_again_begins_anew(eye: Eye, file: Path) -> None:
    watcher = eye.watch(file)
    file.write_text("x")
    assert eye.look() == [("file of 5", "file of 1")]
    watcher.stop()
    assert kind(watcher.attr) == "file of 1"
    file.write_text("while it was idle")
    watcher.start(lambda: eye.seen.append((kind(watcher.prev), kind(watcher.attr))))
    assert watcher.prev is None
    assert eye.look() == []
    file.write_text("yy")
    assert eye.look() == [("file of 17", "file of 2")]


def test_a_callback_may_read_write_stop_and_start(eye: Eye, file: Path) -> None:
    watcher = eye.loop.stat(file, INTERVAL)
    eye.watchers.append(watcher)
    seen: list[str] = []

    def react() -> None:
        seen.append(file.read_text())
        if len(seen) == 1:
            file.write_text("written by the callback")
        else:
            watcher.stop()

    watcher.start(react)
    file.write_text("x")
    for _ in range(4):
        eye.turn()
    assert seen == ["x", "written by the callback"]
    assert not watcher.active


def test_a_callback_that_raises_is_reported_and_the_watcher_goes_on(eye: Eye, file: Path) -> None:
    errors: list[object] = []

    class Handler:
        def handle_error(self, context: object, type: object, value: object, tb: object, /) -> None:
            errors.append(context)

    def fail() -> None:
        raise ValueError("not this time")

    eye.loop.error_handler = Handler()
    watcher = eye.watch(file)
    watcher.callback = fail
    for size in (1, 2):
        file.write_text("x" * size)
        eye.turn()
    assert errors == [watcher, watcher]
    assert watcher.active


def test_relative_paths_and_names_that_are_no_text(eye: Eye, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = b"\xff\xfe not text"
    eye.watch("directory/file")
    eye.watch(odd)
    eye.watch(".")
    os.mkdir("directory")
    assert eye.look() == [("directory", "directory")]
    Path("directory/file").touch()
    assert eye.look() == [("nothing", "file of 0")]
    os.utime(".", (1000, 1000))
    eye.look()
    Path(os.fsdecode(odd)).touch()
    assert sorted(eye.look()) == [("directory", "directory"), ("nothing", "file of 0")]


def test_a_path_with_a_slash_at_its_end_is_the_directory_behind_a_link(eye: Eye, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    watcher = eye.watch(f"{tmp_path}/link/")
    assert kind(watcher.attr) == "directory"
    os.utime(tmp_path / "directory", (1000, 1000))
    eye.turn()
    if eye.polling:  # inotify's mark is on the link itself: there the timer is what sees it
        assert eye.seen == [("directory", "directory")]
    else:
        eye.clock.advance(INTERVAL)
        assert eye.look() == [("directory", "directory")]


def test_priority_is_honoured(eye: Eye, file: Path) -> None:
    order: list[str] = []
    for name, priority in (("low", -1), ("high", 1), ("none", None)):
        watcher = eye.loop.stat(file, INTERVAL, priority=priority)
        eye.watchers.append(watcher)
        watcher.start(order.append, name)
    file.write_text("x")
    eye.turn()
    eye.loop.run(nowait=True)  # what a timer's callback finds out of the ordinary rank comes in the turn after it
    assert sorted(order) == ["high", "low", "none"]
    if not eye.polling:
        assert order == ["high", "none", "low"]


def test_ref_decides_whether_the_loop_runs_on(eye: Eye, file: Path) -> None:
    watcher = eye.watch(file, ref=False)
    assert eye.loop.activecnt == 0
    eye.loop.run()
    watcher.ref = True
    assert eye.loop.activecnt == 1
    watcher.stop()
    assert eye.loop.activecnt == 0


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


# -- inotify -----------------------------------------------------------------------------------------------------------

inotify_eyes = pytest.mark.parametrize("eye", [f"inotify-{name}" for name in REAL], indirect=True)


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


# -- forks -------------------------------------------------------------------------------------------------------------


def test_both_see_changes_after_a_fork_and_neither_takes_the_others(eye: Eye, file: Path, kin: Kin) -> None:
    missing = file.with_name("missing")
    eye.watch(file)
    eye.watch(missing)

    def check() -> None:
        file.write_text("by the child")
        assert eye.look() == [("file of 5", "file of 12")]
        missing.touch()
        assert eye.look() == [("nothing", "file of 0")]
        eye.watchers[0].stop()
        eye.watchers[1].stop()
        eye.loop.destroy()

    kin.run(check)
    assert sorted(eye.look()) == [("file of 5", "file of 12"), ("nothing", "file of 0")]
    file.write_text("by the parent")
    assert eye.look() == [("file of 12", "file of 13")]


def test_a_change_before_the_fork_is_told_in_both(eye: Eye, file: Path, kin: Kin) -> None:
    eye.watch(file)
    file.write_text("x")

    def check() -> None:
        assert eye.look() == [("file of 5", "file of 1")]

    kin.run(check)
    assert eye.look() == [("file of 5", "file of 1")]


def test_a_child_that_destroys_its_loop_leaves_the_parents_marks(eye: Eye, file: Path, kin: Kin) -> None:
    eye.watch(file)
    kin.run(eye.loop.destroy)
    file.write_text("x")
    assert eye.look() == [("file of 5", "file of 1")]


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
