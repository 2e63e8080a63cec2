"""Reports: when one is made, what it is made of, and objects that do not want to be shown.

Who is stuck, and why: test_report_graph.py.
"""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import greenlet
from tests.hub_core.locks import Lock
from tests.hub_core.reported import end, named, spawn, stuck, take_both

from hub_core import GreenletReport, Hub, LoopExit, Report, Waiter, WaitReport, sleep, spawn_raw, wait_read

if TYPE_CHECKING:
    from tests.hub_core.conftest import Elsewhere, Reports


# -- LoopExit -------------------------------------------------------------------------------------------------------


def test_the_end_of_a_program_in_join_makes_no_report(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Hub] = []
    monkeypatch.setattr("hub_core._report_make.make", lambda hub, now: made.append(hub))
    it = spawn_raw(lambda: Waiter().get())
    assert hub.join()
    assert hub.join(10)
    assert made == []
    with pytest.raises(LoopExit):
        hub.switch()
    assert made == [hub]
    end(it)


def test_a_report_that_fails_leaves_the_loop_exit_and_says_so_on_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(hub: Hub, now: float) -> Report:
        raise MemoryError("none left")

    monkeypatch.setattr("hub_core._report_make.make", fail)
    with pytest.raises(LoopExit) as caught:
        hub.switch()
    assert caught.value.report is None
    assert caught.value.__notes__ == ["the report failed: MemoryError('none left')"]
    assert caught.value.args == ("This operation would block forever", hub, [])


def test_the_handles_of_a_loop_exit_are_what_the_loop_had_started(hub: Hub) -> None:
    with hub.loop.timer(60, ref=False) as timer:
        timer.start(int)
        with pytest.raises(LoopExit) as caught:
            hub.switch()
        assert caught.value.args[2] == [repr(timer)] == list(caught.value.report.handles)
        timer.stop()
    assert "unref" in caught.value.args[2][0], "it is what it was then"


# -- a picture ------------------------------------------------------------------------------------------------------


def test_a_report_keeps_nothing_alive_and_does_not_change(hub: Hub) -> None:
    import gc
    import weakref

    class Thing:
        owner = None

    def wait(thing: Thing) -> None:
        waiter = Waiter()
        waiter.reason = thing
        waiter.get()

    it = spawn_raw(wait, Thing())
    sleep(0)
    report = hub.report()
    alive = [weakref.ref(each) for each in gc.get_objects() if type(each) is Thing] + [weakref.ref(it)]
    before = str(report)
    end(it)
    del it
    gc.collect()
    assert [each() for each in alive] == [None, None]
    assert str(report) == before
    assert pickle.loads(pickle.dumps(report)) == report


@pytest.mark.skipif(
    sys.version_info < (3, 13) and sys.gettrace() is not None, reason="a traced frame keeps what was looked at"
)
def test_looking_leaves_the_frames_that_were_looked_at_as_they_were(hub: Hub) -> None:
    import weakref

    class Thing:
        pass

    seen: list[weakref.ref[Thing]] = []
    gate = Waiter()

    def wait() -> None:
        thing = Thing()
        seen.append(weakref.ref(thing))
        gate.get()
        del thing
        seen.append(weakref.ref(seen[0]() or Thing()))
        gate.get()

    it = spawn_raw(wait)
    sleep(0)
    hub.report()
    gate.switch()
    sleep(0)
    assert seen[0]() is None, "a dict of its locals that the frame has kept would hold it"
    end(it)


def test_json_has_the_documented_keys_and_says_the_same(hub: Hub) -> None:
    a, b = Lock("a"), Lock("b")
    greenlets = spawn("alice", take_both, a, b), spawn("bob", take_both, b, a), spawn("sleeper", sleep, 60)
    sleep(0.02)
    report = hub.report()
    read = json.loads(report.as_json())
    assert read == report.as_dict()
    assert json.loads(report.as_json(indent=2)) == read
    assert list(read) == [
        "version",
        "hub",
        "thread",
        "polling",
        "greenlets",
        "new",
        "running",
        "cycles",
        "orphans",
        "hints",
        "handles",
        "incomplete",
    ]
    assert read["version"] == 1
    by_name = {each["name"]: each for each in read["greenlets"]}
    alice = by_name["alice"]
    assert set(alice) == {*GreenletReport.__slots__}
    assert set(alice["wait"]) == {*WaitReport.__slots__}
    assert alice["stack"][-1]["line"] == "with second:"
    assert alice["spawned_at"]["function"] == "spawn"
    assert alice["wait"]["owner"] == by_name["bob"]["number"]
    assert 59 < by_name["sleeper"]["wait"]["left"] <= 60
    end(*greenlets)


def test_a_number_that_is_not_there_is_a_key_error(hub: Hub) -> None:
    report = hub.report()
    with pytest.raises(KeyError):
        report[99]
    assert report.running is not None
    assert report[report.running.number] is report.running


# -- whoever asks, and whenever -------------------------------------------------------------------------------------


def test_a_callback_that_asks_is_shown_as_what_runs(hub: Hub, reports: Reports) -> None:
    seen: list[Report] = []

    def ask() -> None:
        seen.append(hub.report())

    hub.loop.run_callback(ask)
    it = spawn_raw(Waiter().get)
    sleep(0.001)
    running = seen[0].running
    assert running is not None
    assert (running.name, running.stack[0].function.rpartition(".")[2]) == ("hub", "ask")
    assert seen[0].greenlets[0].main
    end(it)


def test_a_destroyed_hub_has_a_report_without_greenlets(hub: Hub, elsewhere: Elsewhere) -> None:
    def use() -> Report:
        from hub_loop import Loop

        made = Hub(Loop())
        made.destroy(destroy_loop=True)
        return made.report()

    report = elsewhere(use)
    assert report.greenlets == ()
    assert "destroyed" in str(report)


def test_a_report_never_switches(hub: Hub) -> None:
    import greenlet as greenlets

    a, b = Lock("a"), Lock("b")
    both = spawn("alice", take_both, a, b), spawn("bob", take_both, b, a)
    sleep(0.01)
    switches: list[Any] = []
    greenlets.settrace(lambda event, pair: switches.append(event))
    try:
        str(hub.report())
        hub.report().as_json()
    finally:
        greenlets.settrace(None)
    assert switches == []
    end(*both)


AT_EXIT = """
import atexit
from hub_core import Hub, LoopExit, Waiter, set_hub
from hub_loop import Loop

set_hub(Hub(Loop()))

def wait():
    try:
        Waiter().get()
    except LoopExit as error:
        print(error.report.greenlets[0].stack[0].line)

class Late:
    def __init__(self, hub):
        self.hub = hub
    def __del__(self):
        try:
            print("late", len(self.hub.report().greenlets) >= 0)
        except Exception as error:
            print("late", type(error).__name__)

from hub_core import get_hub
late = Late(get_hub())
late.again = late
atexit.register(wait)
"""


def test_a_report_works_while_the_interpreter_shuts_down(tmp_path: Path) -> None:
    script = tmp_path / "at_exit.py"
    script.write_text(AT_EXIT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Waiter().get()"
    assert len(lines) < 3


# -- what is waited for ---------------------------------------------------------------------------------------------


def test_a_wait_for_a_stranger_fd_tells_fd_direction_since_and_deadline(clocked_hub: Hub) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = spawn("reader", wait_read, ours.fileno(), 30.0)
        sleep(5)
        wait = named(clocked_hub.report(), "reader").wait
        assert wait is not None
        assert (wait.fd, wait.direction, wait.waited, wait.left) == (ours.fileno(), "read", 5.0, 25.0)
        assert any("timer" in waker for waker in wait.wakers)
        end(reader)


def test_a_wait_for_an_fd_of_ones_own_tells_its_side(clocked_hub: Hub) -> None:
    import socket

    from hub_core import FdWaiter

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())
        owned.clear_write()
        reader, writer = spawn("reader", owned.wait_read, 9.0), spawn("writer", owned._writer.wait)
        sleep(2)
        report = clocked_hub.report()
        read, written = named(report, "reader").wait, named(report, "writer").wait
        assert read is not None
        assert (read.fd, read.direction, read.left) == (ours.fileno(), "read", 7.0)
        if written is not None:  # a poller that tells states says at once that it can be written
            assert (written.direction, written.left) == ("write", None)
        assert f"waits to read fd {ours.fileno()} for <FdWaiter" in str(report)
        end(reader, writer)
        owned.close()


def test_a_timer_that_is_overdue_says_so(clocked_hub: Hub, clock: Any) -> None:
    it = spawn("late", sleep, 1.0)
    sleep(0)
    clock.advance(3.0)
    report = clocked_hub.report()
    wait = named(report, "late").wait
    assert wait is not None
    assert wait.left == -2.0
    assert "overdue by 2.000s" in str(report)
    end(it)


def test_a_raw_switch_to_the_hub_records_nothing_and_is_listed_all_the_same(hub: Hub) -> None:
    it = spawn("raw", hub.switch)
    sleep(0)
    each = named(hub.report(), "raw")
    assert (each.state, each.wait) == ("parked", None)
    assert "what it waits for was not recorded" in str(hub.report())
    end(it)


# -- things that do not want to be shown ----------------------------------------------------------------------------


def test_a_repr_that_raises_or_is_huge_or_recurs_is_cut_short(hub: Hub) -> None:
    class Raises:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    class Huge:
        def __repr__(self) -> str:
            return "<" + "x" * 10_000_000 + ">"

    class Recurs:
        def __repr__(self) -> str:
            return f"{self!r}"

    class Blocks:
        def __repr__(self) -> str:
            sleep(1)
            return "?"

    things: list[object] = [Raises(), Huge(), Recurs(), Blocks(), list(range(1_000_000)), "s" * 10_000_000]
    greenlets = [spawn(f"g{number}", hub.park, None, thing) for number, thing in enumerate(things)]
    report = stuck(hub)
    texts = [each.wait.text for each in report.greenlets if each.wait is not None and re.fullmatch(r"g\d", each.name)]
    assert max(map(len, texts)) <= 200
    text = "\n".join(texts)
    for words in ("repr raised ZeroDivisionError", "repr raised RecursionError", "repr raised BlockingSwitchOut"):
        assert words in text
    assert "[0, 1, 2" in text
    end(*greenlets)


def test_a_name_that_is_no_text_or_cannot_be_asked_is_not_used(hub: Hub) -> None:
    class Nameless(greenlet):
        @property
        def name(self) -> str:
            raise OSError

    it = Nameless(Waiter().get, hub)
    hub.start_soon(it, Waiter().get)
    other: Any = spawn_raw(hub.switch)
    other.name = 7
    sleep(0)
    assert {"Hub.switch", "Waiter.get"} <= {each.name for each in hub.report().greenlets}
    end(it, other)


def test_code_without_source_has_a_line_number_and_no_line(hub: Hub) -> None:
    namespace: dict[str, Any] = {"Waiter": Waiter}
    exec(compile("def wait():\n    Waiter().get()", "<no such file>", "exec"), namespace)
    it = spawn_raw(namespace["wait"])
    sleep(0)
    (frame,) = named(hub.report(), "wait").stack
    assert (frame.filename, frame.lineno, frame.line) == ("<no such file>", 2, "")
    assert 'File "<no such file>", line 2, in wait' in str(hub.report())
    end(it)


def test_a_stack_as_deep_as_it_gets_is_shown_at_its_ends(hub: Hub) -> None:
    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            Waiter().get()

    it = spawn("diver", dive, 800)
    sleep(0)
    each = named(hub.report(), "diver")
    assert (len(each.stack), each.omitted) == (50, 801 - 50)
    assert "751 frames in the middle are left out" in str(hub.report())
    end(it)


def test_a_repr_of_several_lines_or_of_control_characters_is_one_line(hub: Hub) -> None:
    class Lines:
        def __repr__(self) -> str:
            return "one\ntwo\x1b[31m"

    it = spawn("it", hub.park, None, Lines())
    sleep(0)
    wait = named(hub.report(), "it").wait
    assert wait is not None
    assert wait.text == r"one\ntwo\x1b[31m"
    end(it)


def test_a_wait_until_the_end_of_time_has_no_deadline_and_is_valid_json(hub: Hub) -> None:
    it = spawn("it", sleep, float("inf"))
    sleep(0)
    wait = named(hub.report(), "it").wait
    assert wait is not None
    assert wait.left is None
    json.loads(hub.report().as_json(), parse_constant=pytest.fail)
    end(it)


def test_many_orphans_and_handles_are_counted_and_not_all_listed(hub: Hub) -> None:
    greenlets = [spawn(f"orphan {number}", lambda: Waiter().get()) for number in range(30)]
    timers = [hub.loop.timer(60, ref=False) for _ in range(30)]
    for timer in timers:
        timer.start(int)
    text = str(stuck(hub))
    assert text.count("nobody else holds this waiter (certain)") == 20
    assert "and 10 more" in text
    assert "The loop has 30 handles" in text
    assert "and 9 more (29 greenlets)" in text
    for timer in timers:
        timer.close()
    end(*greenlets)


def test_a_container_that_lies_about_itself_is_no_end_of_the_report(hub: Hub) -> None:
    kind = type("list", (), {"__iter__": lambda self: 1 / 0, "__len__": lambda self: 3})
    it = spawn("it", hub.park, None, kind())
    sleep(0)
    wait = named(hub.report(), "it").wait
    assert wait is not None
    assert wait.text.startswith("<list at 0x")
    end(it)


def test_things_of_which_every_attribute_fails_or_is_anything_are_shown_all_the_same(hub: Hub) -> None:
    from unittest.mock import MagicMock

    class Hostile:
        def __getattr__(self, name: str) -> object:
            raise OSError(name)

        def __call__(self) -> None: ...

    greenlets = [spawn("hostile", hub.park, None, Hostile()), spawn("mock", hub.park, None, MagicMock())]
    with hub.loop.timer(60) as one, hub.loop.timer(60) as two:
        one.start(Hostile())
        two.start(MagicMock(), MagicMock(), Hostile())
        sleep(0)
        report = hub.report()
    hostile = named(report, "hostile").wait
    assert hostile is not None
    assert (hostile.fd, hostile.owner_text) == (None, "unknown: asking for it raised OSError")
    assert named(report, "mock").wait is not None
    assert "the report failed" not in str(report)
    json.loads(report.as_json())
    end(*greenlets)
