"""Stat watchers: what counts as a change of a path, and what the watcher says of it.

A loop may be told of changes or may look for them; so every watcher here has a short `interval`, and a test waits for
the callback it expects.  A file is changed in its size, which no clock can hide.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub_api import ILoop, ILoopCore, IStatWatcher
from hub_loop.testing.conformance._kit import LoopKit, turn

INTERVAL = 0.11
"""Seconds: just above what every loop can do."""


class Paths(LoopKit):
    """`stat`."""

    @pytest.fixture
    def stat_loop(self, loop: ILoopCore) -> ILoop:
        """The loop, if it watches paths."""
        return self.offering(loop, "stat")

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A file of three bytes."""
        path = tmp_path / "file"
        path.write_bytes(b"abc")
        return path

    def _until_it_is_told(self, loop: ILoop, watcher: IStatWatcher, act: Callable[[], object]) -> None:
        """Start, let something happen to the path, and wait for the callback."""
        called: list[str] = []
        watcher.start(called.append, "changed")
        turn(loop)
        assert called == []
        act()
        while not called:
            loop.run(once=True)
        watcher.stop()

    def test_a_change_of_a_file_is_told_with_what_it_was_and_what_it_is(self, stat_loop: ILoop, file: Path) -> None:
        with stat_loop.stat(str(file), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, lambda: file.write_bytes(b"abcdef"))
            assert watcher.prev.st_size == 3
            assert watcher.attr.st_size == 6

    def test_a_file_that_is_created_is_told(self, stat_loop: ILoop, tmp_path: Path) -> None:
        path = tmp_path / "not yet"
        with stat_loop.stat(str(path), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, lambda: path.write_bytes(b"new"))
            assert watcher.prev is None
            assert watcher.attr.st_size == 3

    def test_a_file_that_is_deleted_is_told(self, stat_loop: ILoop, file: Path) -> None:
        with stat_loop.stat(str(file), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, file.unlink)
            assert watcher.prev.st_size == 3
            assert watcher.attr is None

    def test_a_file_that_is_replaced_is_told(self, stat_loop: ILoop, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"xyz")
        with stat_loop.stat(str(file), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, lambda: other.rename(file))
            assert watcher.attr.st_ino != watcher.prev.st_ino
            assert watcher.attr.st_ino == os.lstat(file).st_ino

    def test_a_file_that_comes_goes_and_comes_again_is_told_each_time(self, stat_loop: ILoop, file: Path) -> None:
        with stat_loop.stat(str(file), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, file.unlink)
            self._until_it_is_told(stat_loop, watcher, lambda: file.write_bytes(b"again"))
            assert watcher.attr.st_size == 5
            self._until_it_is_told(stat_loop, watcher, file.unlink)
            assert watcher.attr is None

    def test_a_new_entry_in_a_directory_is_told(self, stat_loop: ILoop, tmp_path: Path) -> None:
        with stat_loop.stat(str(tmp_path), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, (tmp_path / "new").mkdir)
            assert watcher.attr.st_nlink != watcher.prev.st_nlink

    def test_a_symbolic_link_is_watched_itself_and_not_followed(
        self, stat_loop: ILoop, file: Path, tmp_path: Path
    ) -> None:
        link, other = tmp_path / "link", tmp_path / "other link"
        link.symlink_to(file)
        other.symlink_to(tmp_path)
        with stat_loop.stat(str(link), INTERVAL) as watcher:
            self._until_it_is_told(stat_loop, watcher, lambda: other.rename(link))
            assert watcher.attr.st_ino == os.lstat(link).st_ino

    def test_before_its_start_a_watcher_knows_nothing(self, stat_loop: ILoop, file: Path) -> None:
        with stat_loop.stat(str(file), INTERVAL) as watcher:
            assert watcher.attr is None
            assert watcher.prev is None

    def test_from_its_start_a_watcher_knows_the_path_as_it_is(self, stat_loop: ILoop, file: Path) -> None:
        with stat_loop.stat(str(file), INTERVAL) as watcher:
            watcher.start(print, "never")
            assert watcher.attr.st_size == 3

    def test_a_path_that_does_not_change_is_not_told(self, stat_loop: ILoop, file: Path) -> None:
        called: list[str] = []
        with stat_loop.stat(str(file), INTERVAL) as watcher, stat_loop.timer(3 * INTERVAL) as timer:
            watcher.start(called.append, "never")
            timer.start(stat_loop.break_)
            stat_loop.run()
        assert called == []

    def test_a_path_is_watched_by_several_each_by_itself(self, stat_loop: ILoop, file: Path) -> None:
        called: list[str] = []
        with stat_loop.stat(str(file), INTERVAL) as one, stat_loop.stat(str(file), INTERVAL) as two:
            one.start(called.append, "never")
            two.start(called.append, "two")
            one.stop()
            file.write_bytes(b"longer")
            while not called:
                stat_loop.run(once=True)
        assert called == ["two"]

    def test_a_watcher_names_its_path_and_its_interval(self, stat_loop: ILoop, file: Path) -> None:
        with stat_loop.stat(str(file), 7.5) as watcher:
            assert watcher.path == str(file)
            assert watcher.interval == 7.5

    def test_a_path_must_be_a_path(self, stat_loop: ILoop) -> None:
        untyped: Any = None
        with pytest.raises(TypeError):
            stat_loop.stat(untyped)
