"""Stat watchers: each change of a path is seen, by polling alone and by inotify alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.hub_loop.eyes import INTERVAL, Eye, kind

from hub_loop._stat import DEFAULT_INTERVAL

if TYPE_CHECKING:
    from tests.conftest import Kin


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
