"""What all commands share: colours, broken pipes, their list, and how one is added."""

from __future__ import annotations

import argparse
import io
import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

from greenlet_hub import _cli, _say, _show
from greenlet_hub.__about__ import __version__

if TYPE_CHECKING:
    from tests.greenlet_hub.conftest import Command


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": ""}, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_and_for_who_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _say.has_colours(Screen() if terminal else io.StringIO()) is coloured


def test_on_a_real_terminal_marks_have_colours(command: Command) -> None:
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [*command.hub, "doctor"], stdout=theirs, stdin=subprocess.DEVNULL, env={**environment, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:
            pass  # EIO: the other end is closed
        os.close(ours)
        assert process.wait(50) == 0
    assert b"\x1b[32mok  \x1b[0m  python" in seen


@pytest.mark.parametrize("words", [["doctor"], ["--quick"], ["demo", "--quick", "--json"], ["resolve", "127.0.0.1"]])
def test_who_stops_reading_is_no_error(command: Command, words: list[str]) -> None:
    with command.start(*words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(50) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no disk that is always full")
@pytest.mark.parametrize("words", [["doctor"], ["demo", "--quick"], ["resolve", "127.0.0.1"]])
def test_a_full_disk_is_told_in_one_sentence(command: Command, words: list[str]) -> None:
    shell = ["sh", "-c", '"$@" >/dev/full', "sh", *command.hub]
    ran = command(*words, program=shell)
    said = f"greenlet-hub {words[0]}: cannot write the output: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (1, said)


def test_other_errors_of_the_system_are_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: argparse.Namespace) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(_show, "run", fail)
    with pytest.raises(FileNotFoundError):
        _cli.main([])


def test_ctrl_c_in_any_command_is_one_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(_show, "run", interrupt)
    assert _cli.main(["demo"]) == 130
    assert capsys.readouterr() == ("", "greenlet-hub demo: interrupted\n")


WRONG = {
    ("HUB_LOOP", "hbu"): "HUB_LOOP is 'hbu', but must be hub or package.module:Class",
    ("HUB_LOOP", "nowhere:Loop"): "HUB_LOOP=nowhere:Loop needs 'nowhere'",
    ("HUB_LOOP_BACKEND", "epol"): "HUB_LOOP_BACKEND is 'epol': unknown poller 'epol'",
    ("HUB_WATCH", "often"): "HUB_WATCH is 'often', but must be a number of seconds",
    ("HUB_REPORT_SIGNAL", "SIGWHAT"): "HUB_REPORT_SIGNAL is 'SIGWHAT': signum must name a signal",
}
WRONG_FOR_LOOKUPS = {
    ("HUB_THREADPOOL", "nowhere:Pool"): "HUB_THREADPOOL=nowhere:Pool needs 'nowhere'",
    ("HUB_THREADPOOL", "thraed"): "HUB_THREADPOOL is 'thraed', but must be thread",
    ("HUB_THREADPOOL_IDLE_TASK_TIMEOUT", "soon"): "HUB_THREADPOOL_IDLE_TASK_TIMEOUT is 'soon', but must be seconds",
    ("HUB_RESOLVER", "aers"): "HUB_RESOLVER is 'aers', but must be thread",
}


@pytest.mark.parametrize(
    ("words", "variable", "value", "says"),
    [
        *((["demo", "--quick"], *wrong, says) for wrong, says in WRONG.items()),
        *((["resolve", "localhost"], *wrong, says) for wrong, says in (WRONG | WRONG_FOR_LOOKUPS).items()),
    ],
)
def test_a_wrong_variable_is_one_sentence_and_status_2(
    command: Command, words: list[str], variable: str, value: str, says: str
) -> None:
    ran = command(*words, environment={variable: value})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"greenlet-hub {words[0]}: {says}")
    assert ran.stderr.count("\n") == 1


def test_the_program_of_run_hears_of_it_as_under_python(command: Command) -> None:
    command.script("import sys\nsys.stdin.readline()\nprint('nobody reads')\n")
    with command.start("run", "program.py") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "BrokenPipeError" in process.stderr.read()
        assert process.wait(50) == 1


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"greenlet-hub {__version__}\n"


@pytest.mark.parametrize("name", sorted(_cli._COMMANDS))
def test_each_command_has_a_help_that_tells_its_exit_status(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        _cli.main([name, "--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert help_text.startswith(f"usage: greenlet-hub {name}")
    assert "\nExit status:\n  " in help_text
    with pytest.raises(SystemExit):
        _cli.main(["--help"])
    assert f"\n    {name} " in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _cli.main(["docter"])
    assert ended.value.code == 2
    assert "invalid choice: 'docter'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(_cli._COMMANDS))
def test_an_unknown_option_is_refused_with_the_usage_of_the_command(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        _cli.main([name, "--what", *(["name"] if name in ("resolve", "run") else [])])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: greenlet-hub {name} ")
    assert said.endswith(f"greenlet-hub {name}: error: unrecognized arguments: --what\n")


@pytest.mark.parametrize("words", [["--quick", "demo"], ["demo", "--quick"], ["--quick"]])
def test_options_of_the_demonstration_may_stand_before_its_name(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    seen: list[tuple[bool, bool, int | None]] = []

    def run(options: argparse.Namespace) -> int:
        seen.append((options.quick, options.json, options.clients))
        return 0

    monkeypatch.setattr(_show, "run", run)
    assert _cli.main(words) == 0
    assert seen == [(True, False, None)]


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (["--json"], ["doctor"]),
        (["--quick"], ["bench", "--seconds", "0.1"]),
        (["--clients", "5", "--json"], ["resolve", "127.0.0.1"]),
        (["--quick"], ["run", "program.py"]),
        (["--quick"], ["run", "-m", "this"]),
    ],
)
def test_before_any_other_name_they_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: list[str], words: list[str]
) -> None:
    for command in _cli._COMMANDS.values():
        monkeypatch.setattr(command, "run", lambda options: pytest.fail("it runs"))
    with pytest.raises(SystemExit) as ended:
        _cli.main([*before, *words])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: greenlet-hub ")
    assert f"error: {' '.join(before)} stands before {words[0]}: a command's own options stand behind its name" in err
