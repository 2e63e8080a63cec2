"""The kit can fail: a loop that gets one thing wrong fails the tests that are named after it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FLAWS = {
    "the last callback first": (
        "Callbacks",
        """
    def run_callback(self, func, /, *args):
        callback = super().run_callback(func, *args)
        self._queue.rotate(1)
        return callback
""",
        "test_callbacks_run_once_each_first_in_first_out",
        "test_what_is_not_callable_is_refused_at_the_call",
    ),
    "timers early": (
        "Timers",
        """
    def timer(self, after, repeat=0.0, ref=True, priority=None):
        return super().timer(after / 2, repeat, ref, priority)
""",
        "test_a_timer_is_never_early",
        "test_a_timer_fires_once",
    ),
    "equal deadlines in any order": (
        "Timers",
        """
    def __init__(self):
        super().__init__()
        self._timers.next_number = iter(range(1_000_000, 0, -1)).__next__
""",
        "test_equal_deadlines_fire_first_in_first_out",
        "test_a_timer_is_never_early",
    ),
    "closing_fd tells nobody": (
        "Closing",
        """
    def closing_fd(self, fd):
        super().closing_fd(fd)
        return False
""",
        "test_closing_fd_calls_back_whoever_watches_in_any_direction",
        "test_closing_fd_of_an_fd_that_nobody_watches_is_false",
    ),
    "errors are dropped": (
        "Errors",
        """
    def handle_error(self, context, type, value, tb, /):
        pass
""",
        "test_an_exception_goes_to_the_handler_with_the_callback_and_the_batch_goes_on",
        "test_a_callback_that_raised_is_neither_pending_nor_true",
    ),
    "no refusal in other threads": (
        "Threads",
        """
    def ref(self):
        self._refs += 1
""",
        "test_a_loops_methods_are_refused_in_another_thread",
        "test_wakeup_ends_a_blocking_poll",
    ),
    "a destroyed loop goes on": (
        "Ending",
        """
    def now(self):
        return self._now
""",
        "test_a_destroyed_loop_refuses_everything",
        "test_a_destroyed_loop_makes_no_watcher",
    ),
    "priorities mean nothing": (
        "Priorities",
        """
    def timer(self, after, repeat=0.0, ref=True, priority=None):
        return super().timer(after, repeat, ref)
""",
        "test_timers_of_one_turn_are_called_by_priority_then_in_the_order_of_their_deadlines",
        "test_reader_and_writer_of_one_fd_are_called_by_priority",
    ),
}


HEAD = """
from hub_loop import Loop
from hub_loop.testing.conformance import *
"""
CLASSES = """
class Loop{number}(Loop):
{flaw}

class Test{number}({subject}):
    lacks = {lacks!r}

    def make_loop(self):
        return Loop{number}()
"""
LACKS = ("signal", "child", "fork", "stat")


def play(folder: Path, text: str, *names: str) -> tuple[dict[str, str], str]:
    """Run tests of a file in a pytest of its own: what became of each of them, and what pytest said."""
    (folder / "test_flaws.py").write_text(text)
    tests = [f"test_flaws.py::{name}" for name in names]
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "no:randomly", "--timeout=20"]
    ran = subprocess.run([*command, *tests], capture_output=True, text=True, cwd=folder, timeout=50, check=False)
    verdicts = re.findall(r"^(PASSED|FAILED|ERROR) test_flaws.py::(\S+)", ran.stdout, re.MULTILINE)
    assert verdicts, ran.stdout + ran.stderr
    return {name: verdict for verdict, name in verdicts}, ran.stdout


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """What became of two tests for each flaw, all in one run: the one that must fail, and one beside it."""
    text, names = HEAD, list[str]()
    for number, (subject, flaw, *tests) in enumerate(FLAWS.values()):
        text += CLASSES.format(number=number, subject=subject, flaw=flaw, lacks=LACKS)
        names += [f"Test{number}::{test}" for test in tests]
    return play(tmp_path_factory.mktemp("flaws"), text, *names)


@pytest.mark.parametrize("name", FLAWS)
def test_a_loop_with_one_flaw_fails_the_test_that_is_named_after_it_and_not_the_one_beside(
    flawed: tuple[dict[str, str], str], name: str
) -> None:
    verdicts, output = flawed
    number = list(FLAWS).index(name)
    _, _, fails, passes = FLAWS[name]
    assert verdicts[f"Test{number}::{fails}"] == "FAILED", output
    assert verdicts[f"Test{number}::{passes}"] == "PASSED", output


def test_a_failing_assertion_of_the_kit_tells_both_its_sides(flawed: tuple[dict[str, str], str]) -> None:
    assert "At index 0 diff: 199 != 0" in flawed[1]


def test_a_subclass_that_makes_no_loop_is_told_what_to_do(tmp_path: Path) -> None:
    verdicts, output = play(tmp_path, HEAD + "\nclass TestNothing(Phases):\n    pass\n", "TestNothing")
    assert set(verdicts.values()) == {"ERROR"}
    assert "TestNothing must say how its loop is made: override make_loop" in output
