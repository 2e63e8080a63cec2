"""How programs end: by Ctrl-C in each phase, by an exit, with greenlets that are still parked; status and last words.

Each program runs in a process of its own, which interrupts itself at the moment in question.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, signal, sys, threading, time
from greenlet_hub import *
from greenlet import getcurrent, greenlet

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def guarded(name, cleans=lambda: None, waits=lambda: sleep(60)):
    try:
        waits()
    finally:
        cleans()
        print(name, "is done", flush=True)

hub = get_hub()
"""


def run(program: str, *flags: str) -> tuple[int, str, str]:
    """Run a program; returns its exit status, and what it wrote."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", HEAD + program], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


TWO_PARKED = """
spawn_raw(guarded, "one")
spawn_raw(guarded, "two", lambda: sleep(0.01))
sleep(0)
try:
    {phase}
except KeyboardInterrupt:
    assert getcurrent().parent is None
    print("main has seen it", flush=True)
    raise
"""

PHASES = {
    "in the poll": "hub.loop.timer(0.01).start(lambda: threading.Thread(target=interrupt).start()); sleep(60)",
    "in a callback": "hub.loop.run_callback(interrupt); sleep(60)",
    "in a timer's callback": "hub.loop.timer(0.001).start(interrupt); sleep(60)",
    "in a greenlet": "spawn_raw(interrupt); sleep(60)",
    "in a greenlet that computes": "spawn_raw(lambda: [interrupt(), sum(range(10**6))]); sleep(60)",
    "in main": "interrupt(); time.sleep(5)",
    "in a handoff": """
    def ring():
        while True:
            sleep(0)
    for _ in range(5):
        spawn_raw(ring)
    signal.signal(signal.SIGALRM, lambda *_: interrupt())  # no thread: the ring might keep it from running
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    sleep(60)""",
    "in an import": """
    import tempfile
    with tempfile.TemporaryDirectory() as place:
        with open(os.path.join(place, "interrupting.py"), "w") as module:
            module.write("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
        sys.path.insert(0, place)
        import interrupting  # it is the module's body that is struck
        print("the import went on")""",
    "in join": "hub.loop.timer(0.001).start(interrupt); hub.join()",
}


@pytest.mark.parametrize("phase", PHASES, ids=list(PHASES))
def test_ctrl_c_is_seen_by_main_then_the_finally_blocks_run_then_sigint_ends_the_process(phase: str) -> None:
    status, told, errors = run(TWO_PARKED.format(phase=PHASES[phase]))
    assert status == -signal.SIGINT, errors
    assert told == "main has seen it\none is done\ntwo is done\n"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in errors


def test_a_program_that_catches_ctrl_c_and_ends_has_the_status_that_it_chose() -> None:
    status, told, errors = run(
        """
spawn_raw(guarded, "one")
sleep(0)  # so that it is parked, however late this process is
hub.exception_stream = None
hub.loop.timer(0.001).start(interrupt)
try:
    sleep(60)
except KeyboardInterrupt:
    sys.exit(7)
"""
    )
    assert (status, told, errors) == (7, "one is done\n", "")


def test_a_second_ctrl_c_waits_for_nobody_and_says_who_was_not_done() -> None:
    status, told, errors = run(
        """
spawn_raw(guarded, "slow", lambda: (hub.loop.timer(0.05).start(interrupt), sleep(0.9)))
spawn_raw(guarded, "quick")
hub.loop.timer(0.001).start(interrupt)
try:
    sleep(60)
except KeyboardInterrupt:
    print("main has seen it", flush=True)
    raise
"""
    )
    assert status == -signal.SIGINT, errors
    assert told == "main has seen it\nquick is done\n"
    assert "had not ended by then" in errors
    assert "waiting for <timer" in errors


def test_ctrl_c_in_destroy_is_raised_by_destroy_when_all_is_closed() -> None:
    status, told, errors = run(
        """
import warnings
warnings.simplefilter("ignore")
hub.exception_stream = None
spawn_raw(guarded, "slow", lambda: (interrupt(), sleep(60)))
sleep(0)
loop = hub.loop
try:
    hub.destroy(destroy_loop=True)
except KeyboardInterrupt:
    print("raised", hub.loop, "destroyed" in repr(loop), get_hub_if_exists(), flush=True)
"""
    )
    assert (status, told, errors) == (0, "raised None True None\n", "")


ENDS = {
    "falls off its end": ("", 0),
    "exits": ("sys.exit(3)", 3),
    "exits in a greenlet": ("spawn_raw(sys.exit, 4); sleep(1)", 4),
    "exits with a text": ("hub.exception_stream = None; spawn_raw(sys.exit, 0); sleep(1)", 0),
    "has a greenlet that ends": ("spawn_raw(sleep, 0); sleep(0)", 0),
    "has destroyed its hub": ("hub.destroy()", 0),
    "has destroyed its hub and made another": ("hub.destroy(); spawn_raw(guarded, 'late'); sleep(0)", 0),
    "runs in a greenlet of its own": ("greenlet(lambda: sleep(0.001)).switch()", 0),
}


@pytest.mark.parametrize("end", ENDS, ids=list(ENDS))
def test_a_program_with_parked_greenlets_ends_with_its_own_status_and_no_last_words(end: str) -> None:
    code, expected = ENDS[end]
    status, told, errors = run(f"spawn_raw(guarded, 'it')\nspawn_raw(Waiter().get)\nsleep(0)\n{code}")
    assert (status, errors) == (expected, "")
    assert told.startswith("it is done\n")


LEFT = {
    "no stderr": "sys.stderr = None; spawn_raw(guarded, 'it'); spawn_raw(int, 'x'); sleep(0)",
    "a deleted stderr": "del sys.stderr; spawn_raw(guarded, 'it'); spawn_raw(int, 'x'); sleep(0)",
    "a pool": """
hub.threadpool.apply(int)
spawn_raw(guarded, 'it', lambda: hub.threadpool.apply(time.sleep, (0.01,)))
sleep(0)""",
    "a handler that destroys": """
import atexit
atexit.register(hub.destroy)
spawn_raw(guarded, 'it')
sleep(0)""",
    "a handler that sleeps": """
import atexit
atexit.register(lambda: sleep(0.001))
spawn_raw(guarded, 'it')
sleep(0)""",
    "a daemon thread with a hub": """
def use():
    spawn_raw(guarded, 'theirs')
    sleep(60)
threading.Thread(target=use, daemon=True).start()
time.sleep(0.05)
spawn_raw(guarded, 'it')
sleep(0)""",
    "an exit that was caught": """
hub.loop.run_callback(sys.exit, 0)
try:
    sleep(1)
except SystemExit:
    pass
spawn_raw(guarded, 'it')
sleep(0)""",
}


STARTS_NO_THREAD_AT_THE_END = (3, 12, 0) <= sys.version_info[:3] < (3, 12, 3)
"""Nor may a pool then, which has let its workers leave by the time that hubs are destroyed: python/cpython#113964."""


@pytest.mark.parametrize("left", LEFT, ids=list(LEFT))
def test_a_program_ends_cleanly_whatever_is_left_of_it(left: str) -> None:
    status, told, errors = run(LEFT[left])
    if left == "a pool" and STARTS_NO_THREAD_AT_THE_END:
        assert (status, told) == (0, "")
        assert "The process ends, and CPython 3.12.0 to 3.12.2 start no thread then" in errors
    else:
        assert (status, told, errors) == (0, "it is done\n", "")


def test_greenlets_that_do_not_end_are_named_and_do_not_hold_the_process_up() -> None:
    status, told, errors = run("spawn_raw(guarded, 'it', lambda: sleep(60))\nsleep(0)")
    assert status == 0
    assert told == ""
    assert "RuntimeWarning" in errors
    assert "had not ended by then" in errors


def test_a_forked_child_that_exits_leaves_the_finally_blocks_to_its_parent() -> None:
    status, told, errors = run(
        """
import warnings
spawn_raw(guarded, "the parent's")
sleep(0)
sys.stdout.flush()
if os.fork() == 0:
    sys.exit(0)
os.wait()
print("the child is gone", flush=True)
""",
        "-Wignore",
    )
    assert (status, told, errors) == (0, "the child is gone\nthe parent's is done\n", "")


@pytest.mark.parametrize(
    "end", ["sys.exit(0)", "spawn_raw(sys.exit, 0); sleep(60)", "os.kill(os.getpid(), signal.SIGTERM); sleep(60)"]
)
def test_a_forked_child_that_exits_runs_the_finally_blocks_of_its_own_greenlets(end: str) -> None:
    status, told, errors = run(
        f"""
import warnings
spawn_raw(guarded, "the parent's")
sleep(0)
sys.stdout.flush()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    spawn_raw(guarded, "the child's", lambda: sleep(0.001))
    sleep(0)
    {end}
assert os.wait()[1] == 0
print("the child is gone", flush=True)
""",
        "-Wignore",
    )
    assert (status, told, errors) == (0, "the child's is done\nthe child is gone\nthe parent's is done\n", "")


def test_the_finally_block_of_a_greenlet_dropped_at_exit_is_run_once(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(HEAD + "kept = spawn_raw(guarded, 'it', waits=Waiter().get)\nsleep(0)\n")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "it is done\n", "")
