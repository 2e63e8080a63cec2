"""`greenlet-hub run --trace`: what is in the file, and that it can be read whatever becomes of the process."""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.greenlet_hub.conftest import Command

HEAD = """
import os, signal, sys, threading, time
import greenlet
from greenlet_hub import FdWaiter, GreenletExit, Hub, Waiter, get_hub, kill, sleep, spawn_raw, wait_read
"""


class Trace:
    """A trace as a viewer sees it; what no viewer could show is refused."""

    def __init__(self, path: Path, *, whole: bool = True) -> None:
        text = path.read_text()
        assert text.endswith("}\n]\n") is whole
        self.events: list[dict[str, Any]] = json.loads(text if whole else text.rstrip(",\n") + "]")
        self.slices: dict[tuple[int, int], list[tuple[float, float, dict[str, Any]]]] = defaultdict(list)
        self.names: dict[tuple[int, int], str] = {}
        self.threads: dict[int, str] = {}
        for each in self.events:
            self._take(each)
        assert {each["pid"] for each in self.events if each["name"] != "trace_ended"} == set(self.threads)
        for track, slices in self.slices.items():
            assert track in self.names
            slices.sort(key=lambda each: (each[0], -each[1]))
        self._check_that_one_runs_at_a_time()

    def _take(self, event: dict[str, Any]) -> None:
        track = event["pid"], event["tid"]
        if event["ph"] == "X":
            assert event["dur"] >= 0
            self.slices[track].append((event["ts"], round(event["ts"] + event["dur"], 3), event))
        elif event["ph"] == "i":
            assert event["s"] == "t"
            assert event["ts"] > 0
        else:
            assert event["ph"] == "M"
            if event["name"] == "thread_name":
                self.names[track] = event["args"]["name"]
            elif event["name"] == "process_name":
                self.threads[event["pid"]] = event["args"]["name"]

    def _check_that_one_runs_at_a_time(self) -> None:
        """In a thread one greenlet runs at a time; within a hub's slice there are polls, and each in one slice."""
        for pid in self.threads:
            of_thread = [each for track, slices in self.slices.items() if track[0] == pid for each in slices]
            of_thread.sort(key=lambda each: (each[0], -each[1]))
            end, slice_end = 0.0, 0.0
            for began, ended, event in of_thread:
                if event["name"] == "poll":
                    assert end <= began <= ended <= slice_end
                    end = ended
                else:
                    assert began >= slice_end
                    end, slice_end = began, ended

    def track(self, name: str) -> tuple[int, int]:
        """The one track of that name, without its number."""
        found = [track for track, known in self.names.items() if known.rpartition(" #")[0] == name]
        assert len(found) == 1, self.names
        return found[0]

    def ends(self, name: str) -> list[str]:
        """Why the slices of a track have ended, without addresses."""
        slices = [event for _, _, event in self.slices[self.track(name)] if event["name"] != "poll"]
        return [str(event["args"]["then"]).partition(" 0x")[0] for event in slices]

    def instants(self, name: str) -> list[str]:
        track = self.track(name)
        return [each["name"] for each in self.events if each["ph"] == "i" and (each["pid"], each["tid"]) == track]


def run(command: Command, source: str, *more: str) -> CompletedProcess[str]:
    command.script(HEAD + source)
    return command("run", "--no-watch", *more, "--trace", "out.json", "program.py")


def traced(command: Command, source: str) -> Trace:
    """Run a program that ends well, and read its trace."""
    ran = run(command, source)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return Trace(command.directory / "out.json")


# -- what is told ---------------------------------------------------------------------------------------------------


def test_each_greenlet_is_a_track_with_its_name_its_site_and_what_it_waits_for(command: Command) -> None:
    trace = traced(
        command,
        """
class Lock:
    def __repr__(self):
        raise AssertionError("nobody asks")
def sleeper():
    sleep(0.001)
def reader(fd):
    wait_read(fd)
def owner(fd):
    waiter = FdWaiter(fd)
    waiter.wait_read(); waiter.close()
def waiting():
    waiter.get(); sleep(0)
def locked():
    lock.get()
def raw():
    get_hub().loop.run_callback(greenlet.getcurrent().switch)
    get_hub().switch()
def victim():
    sleep(99)
class Named(greenlet.greenlet):
    name = "the named one"
a, b, c, d = *os.pipe(), *os.pipe()
waiter, lock = Waiter(), Waiter()
lock.reason = Lock()
for each in (sleeper, waiting, locked, raw): spawn_raw(each)
spawn_raw(reader, a); spawn_raw(owner, c)
named = Named(lambda: sleep(0.001), get_hub()); get_hub().start_soon(named, named.run)
killed = spawn_raw(victim)
sleep(0.001)
os.write(b, b"x"); os.write(d, b"x"); waiter.switch(); lock.switch(); kill(killed)
sleep(0.01)
""",
    )
    assert trace.ends("sleeper") == ["sleeps", "ends"]
    assert trace.ends("reader")[0].startswith("waits for fd ")
    assert trace.ends("reader")[0].endswith(" to read")
    assert trace.ends("owner")[0].startswith("waits for fd ")
    assert trace.ends("waiting") == ["waits for Waiter", "is ready: sleep(0)", "ends"]
    assert trace.ends("locked") == ["waits for Lock", "ends"]
    assert trace.ends("raw") == ["waits in hub.switch()", "ends"]
    assert trace.ends("the named one") == ["sleeps", "ends"]
    assert trace.ends("victim") == ["sleeps", "ends"]
    assert trace.instants("victim") == ["start", "throw GreenletExit", "end"]
    assert set(trace.ends("hub")[:-1]) == {"hands over"}
    assert trace.ends("main greenlet")[-1] == "the trace ends"
    starts = [each["args"]["spawned at"] for each in trace.events if each["name"] == "start" and "args" in each]
    assert starts[0].rpartition("/")[2] == "program.py:30 in <module>"


def test_greenlets_that_nobody_holds_have_their_own_tracks_and_names_and_leave_nothing_behind(
    command: Command,
) -> None:
    trace = traced(
        command,
        """
def short(): pass
for _ in range(500): spawn_raw(short)
sleep(0.001)
assert len(greenlet.gettrace().__self__._tracks) < 10
""",
    )
    names = [name for name in trace.names.values() if name.startswith("short #")]
    assert len(names) == len(set(names)) == 500


def test_polls_are_within_the_hubs_slices_and_tell_how_long_it_slept(command: Command) -> None:
    trace = traced(command, "sleep(0.2)")
    polls = [event for _, _, event in trace.slices[trace.track("hub")] if event["name"] == "poll"]
    assert max(event["args"]["slept"] for event in polls) > 10_000
    assert all(event["args"]["slept"] <= event["dur"] + 1 for event in polls)


def test_each_thread_with_a_hub_has_tracks_of_its_own(command: Command) -> None:
    trace = traced(
        command,
        """
def worker(): sleep(0.01)
def main():
    spawn_raw(worker); sleep(0.03)
threads = [threading.Thread(target=main, name=f"thread {n}") for n in range(3)]
for each in threads: each.start()
sleep(0.01)
for each in threads: each.join()
threading.Thread(target=main, name="thread 3").start()
import gc
sleep(0.01)
tracer = next(each for each in gc.get_objects() if type(each).__name__ == "Tracer")
assert [each.name for each, _ in tracer._buffers][1:] == ["thread 3"]
""",
    )
    names = sorted(name.partition(" of process ")[0] for name in trace.threads.values())
    assert names == ["MainThread", "thread 0", "thread 1", "thread 2", "thread 3"]
    workers = [track for track, name in trace.names.items() if name.startswith("worker #")]
    assert len({pid for pid, _ in workers}) == len(workers) == 4


def test_hubs_that_come_and_go_are_told_and_not_kept(command: Command) -> None:
    trace = traced(
        command,
        """
for n in range(5):
    with Hub() as hub:
        hub.name = f"number {n}"
        sleep(0.001)
assert len(greenlet.gettrace().__self__._polls) == 1
""",
    )
    assert [trace.ends(f"hub number {n}")[-1] for n in range(5)] == ["ends"] * 5
    assert all(
        "poll" in [each["name"] for _, _, each in trace.slices[trace.track(f"hub number {n}")]] for n in range(5)
    )


def test_the_end_of_hubs_is_in_it(command: Command) -> None:
    trace = traced(
        command,
        """
def worker():
    try: sleep(99)
    finally: sleep(0.001)
spawn_raw(worker); sleep(0.001)
""",
    )
    assert trace.ends("worker") == ["sleeps", "sleeps", "ends"]
    assert "throw GreenletExit" in trace.instants("worker")


# -- forks ----------------------------------------------------------------------------------------------------------


def test_a_forked_child_has_a_file_of_its_own_and_the_parents_is_whole(command: Command) -> None:
    trace = traced(
        command,
        """
def before(): sleep(0.02)
def in_child(): sleep(0.001)
spawn_raw(before)
for _ in range(20): sleep(0)
pid = os.fork()
if pid == 0:
    spawn_raw(in_child); sleep(0.005)
    sys.exit()
sleep(0.03)
os.waitpid(pid, 0)
print(pid)
if os.fork() == 0: os._exit(0)
os.wait()
""",
    )
    assert not any(name.startswith("in_child #") for name in trace.names.values())
    assert trace.ends("before") == ["sleeps", "ends"]
    others = sorted(path for path in command.directory.glob("out-*.json"))
    assert len(others) == 1  # and none of the child that had nothing to tell
    child = Trace(others[0])
    assert child.ends("in_child") == ["sleeps", "ends"]
    assert list(child.threads.values()) == [f"MainThread of process {others[0].stem.partition('-')[2]}"]
    assert not set(child.threads) & set(trace.threads)


# -- sudden ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_a_file_without_an_end_can_be_read_and_has_all_until_the_last_poll(command: Command, end: str) -> None:
    run(
        command,
        f"""
def worker():
    sleep(0.001)
    parked.append(True)
    Waiter().get()
parked = []
spawn_raw(worker)
while not parked: sleep(0.001)
sleep(0.001)
{end}
""",
    )
    trace = Trace(command.directory / "out.json", whole=False)
    assert trace.ends("worker") == ["sleeps", "waits for Waiter"]


def test_who_sleeps_has_written_everything_already(command: Command) -> None:
    command.script(f"{HEAD}\ndef worker(): sleep(99)\nspawn_raw(worker)\nsleep(0.001)\nprint('waits')\nsleep(99)\n")
    with command.start("run", "--no-watch", "--trace", "out.json", "program.py") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        path = command.directory / "out.json"
        while '"hub #2"' not in path.read_text() or path.read_text().count('"main greenlet"') < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        command.finish(process)
    trace = Trace(path, whole=False)
    assert trace.ends("worker") == ["sleeps"]
    assert trace.ends("main greenlet") == ["sleeps", "sleeps"]


def test_who_never_polls_writes_now_and_then(command: Command) -> None:
    trace = traced(
        command,
        """
def other():
    while True: main.switch()
main, second = greenlet.getcurrent(), greenlet.greenlet(other)
for _ in range(5000): second.switch()
assert len(greenlet.gettrace().__self__.lines) <= 1010
assert os.path.getsize("out.json") > 100_000
""",
    )
    assert trace.ends("other")[:2] == ["switches", "switches"]


# -- what may go wrong ----------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_ends_the_trace_with_one_sentence_and_not_the_program(command: Command) -> None:
    ran = run(
        command,
        """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(300): sleep(0.0001)
print("ended", greenlet.gettrace(), [each for each in get_hub().loop.debug() if "prepare" in repr(each)])
""",
    )
    assert (ran.returncode, ran.stdout) == (0, "ended None []\n")
    path = command.directory / "out.json"
    assert ran.stderr == f"greenlet-hub run: the trace ends here, {path} cannot be written: File too large\n"


def test_another_file_under_the_same_number_is_left_alone(command: Command) -> None:
    ran = run(
        command,
        """
sleep(0.001)
ours = next(int(fd) for fd in os.listdir("/proc/self/fd") if os.readlink(f"/proc/self/fd/{fd}").endswith("out.json"))
os.close(ours)
with open("other.txt", "w") as other:
    assert other.fileno() == ours
    other.write("mine")
    other.flush()
    for _ in range(10): sleep(0.0001)
    if os.fork() == 0:
        sleep(0.001)
        other.write(" still")
        sys.exit()
    os.wait()
""",
    )
    assert ran.returncode == 0
    assert ran.stderr.startswith("greenlet-hub run: the trace ends here")
    assert ran.stderr.count("\n") == 1
    assert (command.directory / "other.txt").read_text() == "mine still"


def test_what_a_signal_handler_raises_in_the_middle_of_it_goes_on_and_so_does_the_trace(command: Command) -> None:
    trace = traced(
        command,
        """
from greenlet_hub import _trace_words
former = _trace_words.end_of
def interrupted(origin, target):
    if target is main:
        _trace_words.end_of = former
        signal.raise_signal(signal.SIGALRM)
    return former(origin, target)
def handler(*_): raise TimeoutError("the alarm")
signal.signal(signal.SIGALRM, handler)
main = greenlet.getcurrent()
sleep(0.001)
_trace_words.end_of = interrupted
try: sleep(0.001)
except TimeoutError as error: print(error)
else: raise AssertionError("it was lost")
def early():
    for _ in range(5): sleep(0.001)
def later(): sleep(0.001)
spawn_raw(early)
sleep(0.001)
spawn_raw(later)
sleep(0.05)
""",
    )
    assert trace.ends("early")[-2:] == ["sleeps", "ends"]
    assert trace.ends("later") == ["sleeps", "ends"]


def test_a_mistake_of_ours_ends_the_trace_and_is_said(command: Command) -> None:
    ran = run(
        command,
        """
from greenlet_hub import _trace
sleep(0.001)
_trace.MOST_LINES = None
sleep(0.001)
print("goes on", greenlet.gettrace())
""",
    )
    assert (ran.returncode, ran.stdout) == (0, "goes on None\n")
    assert ran.stderr.startswith("greenlet-hub run: the trace ends here: TypeError(")
    assert Trace(command.directory / "out.json").ends("main greenlet")[:2] == ["sleeps", "sleeps"]


def test_a_program_that_traces_by_itself_goes_before_us(command: Command) -> None:
    ran = run(
        command,
        """
def other(): pass
def thread():
    greenlet.settrace(mine)
    for _ in range(3):
        with Hub(): sleep(0.001)
    assert greenlet.gettrace() is mine
sleep(0.001)
def mine(*_): pass
greenlet.settrace(mine)
spawn_raw(other)
sleep(0.001)
second = threading.Thread(target=thread, name="second")
second.start(); second.join()
""",
    )
    assert ran.returncode == 0
    assert ran.stderr == "greenlet-hub run: 'second' is not in the trace: somebody else traces its greenlets\n"
    trace = Trace(command.directory / "out.json")
    assert not any(name.startswith("other #") for name in trace.names.values())
