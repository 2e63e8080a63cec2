"""`greenlet-hub run`: the program is as it is under python, and what is told of it.  Always as a process of its own."""

from __future__ import annotations

import signal
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.greenlet_hub.conftest import Command

PYTHON = [sys.executable]
TELL = """
import atexit, json, os, sys
import __main__
x = "mine"
print({name: type(value).__name__ for name, value in sorted(vars(__main__).items())})
print(getattr(__loader__, "path", None))
__builtins__.answer = 42
print(answer)
print(json.dumps([sys.argv, sys.path[0], __name__, __file__, __package__, __spec__ and __spec__.name]))
atexit.register(lambda: print("at the end", sys.modules["__main__"].x, __main__.x))
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


# -- as under python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["program.py"], ["below/program.py"], ["below"], ["below.zip"], ["-m", "below.program"], ["-m", "below"]]
)
def test_a_program_sees_what_it_sees_under_python(command: Command, words: list[str]) -> None:
    command.script(TELL)
    command.script(TELL, "below/program.py")
    command.script(TELL, "below/__main__.py")
    with zipfile.ZipFile(command.directory / "below.zip", "w") as archive:
        archive.writestr("__main__.py", TELL)
    arguments = [*words, "-m", "--trace", "a b", "--"]
    ours, theirs = command("run", *arguments), command(*arguments, program=PYTHON)
    assert theirs.returncode == 0, theirs.stderr
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert lines(ours.stdout)[-1] == "at the end mine mine"


def test_a_python_that_adds_no_directory_to_the_path_adds_none(command: Command) -> None:
    command.script(TELL)
    safe = command("program.py", program=[*PYTHON, "-P"])
    ours = command("run", "program.py", program=[*PYTHON, "-P", "-m", "greenlet_hub"])
    assert (ours.returncode, ours.stdout, ours.stderr) == (safe.returncode, safe.stdout, safe.stderr)


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit(3)",
        "sys.exit('words')",
        "1/0",
        "def f():\n    try:\n        1/0\n    except ArithmeticError:\n        raise ValueError('two') from None\nf()",
        "raise KeyboardInterrupt",
        "os._exit(5)",
        "sys.excepthook = lambda *a: print('hook', len(list(__import__('traceback').walk_tb(a[2]))))\n1/0",
        "import missing_from_here",
        "(",
        "sleep(0.001); spawn_raw(sys.exit, 4); sleep(9)",
        "os.kill(os.getpid(), signal.SIGINT); sleep(9)",
        "import threading; threading.Thread(target=lambda: (sleep(0.01), print('last'))).start()",
    ],
)
def test_a_program_ends_as_it_ends_under_python(command: Command, ending: str) -> None:
    command.script(f"import os, signal, sys\nfrom greenlet_hub import sleep, spawn_raw\nprint('begins')\n{ending}\n")
    ours = command("run", "--no-watch", "program.py")
    theirs = command("program.py", program=PYTHON)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_a_program_that_is_compiled_runs(command: Command) -> None:
    import py_compile

    command.script(f"print('compiled', __file__)\n{TELL}")
    py_compile.compile(
        str(command.directory / "program.py"), str(command.directory / "program.pyc"), doraise=True, optimize=0
    )
    ran, theirs = command("run", "program.pyc"), command("program.pyc", program=PYTHON)
    assert lines(ran.stdout)[0] == f"compiled {command.directory / 'program.pyc'}"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, theirs.stdout, "")


def test_a_program_finds_neither_our_tools_nor_other_variables(command: Command) -> None:
    command.script(
        "import os, sys\n"
        "from greenlet_hub import sleep\n"
        "sleep(0.001)\n"
        "print(sorted(set(sys.modules) & {'rich', 'hub_threadpool', 'hub_resolver', 'asyncio', 'zipfile'}))\n"
        "print([name for name in os.environ if name.startswith('HUB_')])\n"
    )
    ran = command("run", "program.py")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n[]\n", "")


def test_ctrl_c_in_a_program_that_waits_ends_it_by_that_signal(command: Command) -> None:
    command.script(
        "from greenlet_hub import sleep, spawn_raw\n"
        "def worker():\n"
        "    try:\n"
        "        sleep(99)\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "spawn_raw(worker)\n"
        "sleep(0.001)\n"
        "print('waits')\n"
        "sleep(99)\n"
    )
    with command.start("run", "--no-watch", "--trace", "out.json", "program.py") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        out, err = command.finish(process)
    assert process.returncode == -signal.SIGINT
    assert out == "cleaned up\n"
    assert lines(err)[-1] == "KeyboardInterrupt"
    assert (command.directory / "out.json").read_text().endswith("}\n]\n")


# -- what cannot be run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.py"], "cannot run 'nowhere.py': there is no such file"),
        (["empty"], "cannot run 'empty': there is no '__main__' module in it"),
        (["-m", "nowhere"], "cannot run 'nowhere': there is no module of that name"),
        (["-m", "nowhere.below"], "cannot run 'nowhere.below': there is no module of that name"),
        (["-m", "empty"], "cannot run 'empty': it is a package without a '__main__' module"),
        (["-m", "math"], "cannot run 'math': it has no Python code"),
        (["--trace", "nowhere/out.json", "program.py"], "cannot write the trace to 'nowhere/out.json': No such file"),
        (["--trace", "/dev/full", "program.py"], "cannot write the trace to '/dev/full': No space left on device"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_and_status_2(command: Command, words: list[str], says: str) -> None:
    command.script("print('it runs')")
    command.script("", "empty/__init__.py")
    ran = command("run", *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"greenlet-hub run: {says}")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a script, or -m and a module, to run"),
        (["-m"], "argument -m: expected one argument"),
        (["--watch", "0", "program.py"], "'0' is no number of seconds, 0.01 or more; --no-watch is without"),
        (["--watch", "soon", "program.py"], "'soon' is no number of seconds"),
        (["--watch", "1", "--no-watch", "program.py"], "not allowed with"),
        (["--report-signal", "KILL", "program.py"], "'KILL', which is no signal that a program can handle"),
        (["--report-signal", "SIGWHAT", "program.py"], "'SIGWHAT', which is no signal that a program can handle"),
        (["--report-signal", "4000", "program.py"], "'4000', which is no signal that a program can handle"),
        (["--what", "program.py"], "unrecognized arguments: --what"),
        (["--tra", "out.json", "program.py"], "unrecognized arguments: --tra"),
    ],
)
def test_wrong_arguments_are_refused_with_the_usage(command: Command, words: list[str], says: str) -> None:
    command.script("print('it runs')")
    ran = command("run", *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("usage: greenlet-hub")
    assert says in ran.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HUB_WATCH", "soon", "HUB_WATCH is 'soon', but must be a number of seconds"),
        (
            "HUB_REPORT_SIGNAL",
            "SIGWHAT",
            "HUB_REPORT_SIGNAL is 'SIGWHAT', which is no signal that a program can handle",
        ),
    ],
)
def test_a_wrong_variable_is_named_before_the_program_runs(
    command: Command, variable: str, value: str, says: str
) -> None:
    command.script("print('it runs')")
    ran = command("run", "program.py", environment={variable: value})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"greenlet-hub run: {says}")


# -- reports --------------------------------------------------------------------------------------------------------

WAITS = """
import os, signal, sys
from greenlet_hub import Waiter, get_hub, sleep, spawn_raw
def patient():
    Waiter().get()
"""


def test_a_signal_prints_a_report_of_who_waits_for_what(command: Command) -> None:
    command.script(f"{WAITS}spawn_raw(patient)\nsleep(0.001)\nos.kill(os.getpid(), signal.SIGUSR2)\nsleep(0.001)\n")
    ran = command("run", "program.py")
    assert ran.returncode == 0, ran.stderr
    assert "'patient', parked for" in ran.stderr
    assert 'program.py", line 5, in patient' in ran.stderr


def test_the_signal_can_be_another_one_by_option_or_variable(command: Command) -> None:
    command.script(f"{WAITS}sleep(0.001)\nsignal.raise_signal(signal.SIGUSR1)\n")
    for ran in (
        command("run", "--report-signal", "usr1", "program.py"),
        command("run", "program.py", environment={"HUB_REPORT_SIGNAL": "SIGUSR1"}),
    ):
        assert ran.returncode == 0
        assert "Report of <Hub" in ran.stderr


def test_before_there_is_a_hub_the_signal_says_where_the_program_is(command: Command) -> None:
    command.script(
        "import signal\ndef prepare():\n    signal.raise_signal(signal.SIGUSR2)\nprepare()\nprint('goes on')\n"
    )
    ran = command("run", "program.py")
    assert (ran.returncode, ran.stdout) == (0, "goes on\n")
    assert lines(ran.stderr)[0] == "There is no hub yet.  The main thread, most recent call last:"
    places = [line.rpartition("/")[2] for line in lines(ran.stderr) if "File" in line]
    assert places == ['program.py", line 4, in <module>', 'program.py", line 3, in prepare']


def test_a_handler_of_the_program_stays_whether_it_came_before_the_hub_or_after(command: Command) -> None:
    command.script(
        f"{WAITS}sleep(0.001 * ('after' in sys.argv))\n"
        "signal.signal(signal.SIGUSR2, lambda *_: print('mine'))\n"
        "sleep(0.001)\n"
        "signal.raise_signal(signal.SIGUSR2)\n"
    )
    for when in ("before", "after"):
        ran = command("run", "program.py", when)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "mine\n", "")


def test_without_reports_the_signal_is_left_alone(command: Command) -> None:
    command.script(f"{WAITS}sleep(0.001)\nsignal.raise_signal(signal.SIGUSR2)\n")
    assert command("run", "--no-report-signal", "program.py").returncode == -signal.SIGUSR2


@pytest.mark.parametrize("more", [[], ["--trace", "out.json"]])
def test_a_loop_exit_tells_who_is_stuck(command: Command, more: list[str]) -> None:
    command.script(f"{WAITS}spawn_raw(patient)\nWaiter().get()\n")
    ran = command("run", *more, "program.py")
    assert ran.returncode == 1
    assert "This operation would block forever" in ran.stderr
    assert "'patient': nobody else holds this waiter (certain)" in ran.stderr


# -- the watch ------------------------------------------------------------------------------------------------------


def test_what_blocks_a_hub_is_told_also_in_a_thread(command: Command) -> None:
    command.script(
        "import io, sys, threading, time\n"
        "from greenlet_hub import sleep, spawn_raw\n"
        "sys.stderr = told = io.StringIO()\n"
        "def block():\n"
        "    until = time.monotonic() + 40\n"
        "    while 'has been blocked for' not in told.getvalue() and time.monotonic() < until:\n"
        "        time.sleep(0.001)\n"
        "def main():\n"
        "    spawn_raw(block)\n"
        "    sleep(0.001)\n"
        "    print('in block' in told.getvalue(), threading.current_thread().name in told.getvalue())\n"
        "main()\n"
        "told.truncate(0)\n"
        "thread = threading.Thread(target=main, name='the second')\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    ran = command("run", "--watch", "0.02", "program.py")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True True\nTrue True\n", "")


def test_the_watch_is_on_unless_option_or_variable_say_no(command: Command) -> None:
    command.script(
        "import threading\n"
        "from greenlet_hub import sleep\n"
        "sleep(0.001)\n"
        "print([each.name for each in threading.enumerate()][1:])\n"
    )
    on, off = "['hub-watch']\n", "[]\n"
    assert command("run", "program.py").stdout == on
    assert command("run", "--no-watch", "program.py").stdout == off
    assert command("run", "program.py", environment={"HUB_WATCH": "0"}).stdout == off
    assert command("run", "--watch", "5", "program.py", environment={"HUB_WATCH": "0"}).stdout == on
