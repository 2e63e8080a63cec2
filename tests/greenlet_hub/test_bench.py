"""`greenlet-hub bench`: the runner with contenders that fail, hang or leave processes behind, and what is printed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from time import monotonic

import pytest

from greenlet_hub import _cli
from greenlet_hub._bench import _cases, _command, _measure
from greenlet_hub._bench._measure import LATE, Entry, Failed
from greenlet_hub._bench._model import Case, Figures, Result, Row

MODULE = """
import os, sys, time
from greenlet_hub._bench._model import Case, Row

def fine(**args): return 1.5
def loud(**args): print("not a figure"); return 2.0
def broken(**args): raise ValueError("no good, see /secret/place")
def gone(**args): os._exit(3)
def two(**args): return 1.0, 2.0
def reason(**args): return "left out: too big"
def slow(**args): time.sleep(60)
def surroundings(**args): return str(sorted(name for name in os.environ if name.startswith(("PYTHON", "HUB_"))))
def father(where, **args):
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    with open(where, "w") as file: file.write(str(child))
    return 1.0

contenders = {name: globals()[name] for name in
              ("fine", "loud", "broken", "gone", "two", "reason", "slow", "surroundings", "father")}
CASES = [Case((Row("row", "us"),), contenders)]
"""


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """A case whose measuring functions are those of MODULE."""
    (tmp_path / "odd_cases.py").write_text(MODULE)
    names = ("fine", "loud", "broken", "gone", "two", "reason", "slow", "surroundings", "father")
    case = Case((Row("row", "us"),), dict.fromkeys(names, float))
    return Entry("odd_cases", 0, case, {"where": str(tmp_path / "pid")}, str(tmp_path))


def test_a_figure_comes_from_a_process_of_its_own(entry: Entry) -> None:
    entry.measure("fine")
    assert entry.results[0].samples == {"fine": [1.5]}


def test_what_a_contender_prints_is_no_figure(entry: Entry) -> None:
    entry.measure("loud")
    assert entry.results[0].samples == {"loud": [2.0]}


@pytest.mark.parametrize(
    ("contender", "why"),
    [
        ("broken", "failed: ValueError: no good, see ..."),
        ("gone", "failed: the process ended with status 3"),
        ("two", "failed: 2 figures for 1 rows"),
    ],
)
def test_one_that_fails_is_out_of_its_case_which_says_why(entry: Entry, contender: str, why: str) -> None:
    entry.measure(contender)
    assert entry.results[0].notes == {contender: why}
    assert contender not in entry.able
    assert entry.results[0].failed()


def test_a_reason_is_no_failure(entry: Entry) -> None:
    entry.measure("reason")
    assert entry.results[0].notes == {"reason": "left out: too big"}
    assert not entry.results[0].failed()


def test_one_that_hangs_is_ended(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_measure, "TIMEOUT", 0.2)
    entry.measure("slow")
    assert entry.results[0].notes == {"slow": "failed: no figure after 0 seconds"}


def test_what_a_contender_has_started_is_gone_when_it_is_over(entry: Entry, tmp_path: Path) -> None:
    entry.measure("father")
    child = int((tmp_path / "pid").read_text())
    until = monotonic() + 30
    while _lives(child):
        assert monotonic() < until, "the child of a contender has outlived its measurement"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_from_outside_changes_what_is_measured(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_LOOP", "nonsense")
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    entry.measure("surroundings")
    assert entry.results[0].notes == {"surroundings": "[]"}


def test_what_lies_where_the_user_stands_is_nobodys_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('in the way')")
    monkeypatch.chdir(tmp_path)
    entry = Entry(_cases.MODULE, 0, _cases.CASES[0], {"ring": 5, "each": 3})
    entry.measure("ours")
    entry.measure("asyncio")
    assert {name: len(taken) for name, taken in entry.results[0].samples.items()} == {"ours": 1, "asyncio": 1}


# -- turns ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every measurement that is made, in order; none is really made."""
    made: list[str] = []

    def measure(
        module: str, index: int, contender: str, args: object, python: str, home: str | None
    ) -> list[float | str]:
        made.append(f"{module}/{contender}")
        if contender == "trio":
            raise Failed("boom")
        return [1.0]

    monkeypatch.setattr(_measure, "measure", measure)
    monkeypatch.setattr(_measure, "missing", lambda contender: None)
    return made


def _entry(name: str, *contenders: str, rounds: int | None = None) -> Entry:
    return Entry(name, 0, Case((Row(name, "us"),), dict.fromkeys(contenders, float), rounds=rounds), {})


def test_contenders_take_turns_case_by_case_and_round_by_round(turns: list[str]) -> None:
    ended: list[int] = []
    entries = [_entry("a", "ours", "gevent"), _entry("b", "ours", rounds=1)]
    done = _measure.run(entries, 2, monotonic() + 60, lambda *_: None, after_round=lambda: ended.append(len(turns)))
    assert done
    assert turns == ["a/ours", "a/gevent", "b/ours", "a/ours", "a/gevent"]
    assert ended == [3, 5]
    assert [entry.rounds for entry in entries] == [2, 1]


def test_one_that_failed_is_not_asked_again(turns: list[str]) -> None:
    entry = _entry("a", "ours", "trio")
    _measure.run([entry], 2, monotonic() + 60, lambda *_: None, after_round=lambda: None)
    assert turns == ["a/ours", "a/trio", "a/ours"]
    assert entry.results[0].notes == {"trio": "failed: boom"}


def test_past_its_time_nothing_is_begun_and_the_table_says_so(turns: list[str]) -> None:
    entries = [_entry("a", "ours"), _entry("b", "ours")]
    entries[0].results[0].take("ours", 1.0)
    assert not _measure.run(entries, 2, monotonic() - 1, lambda *_: None, after_round=lambda: None)
    assert turns == []
    assert entries[0].results[0].notes == {}
    assert entries[1].results[0].notes == {"ours": LATE}


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_measure.MODULES, "trio", "no_such_module_anywhere")
    entry = _entry("a", "ours", "trio")
    assert entry.able == ["ours"]
    assert entry.results[0].notes == {"trio": "not installed: no_such_module_anywhere"}


def test_another_interpreter_of_ours_is_one_more_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def measure(module: str, index: int, contender: str, args: object, python: str, home: object) -> list[float]:
        asked.append((contender, python))
        return [1.0]

    monkeypatch.setattr(_measure, "measure", measure)
    entry = Entry("a", 0, Case((Row("a", "us"),), {"ours": float}), {}, pythons={"ours compiled": "/other/python"})
    for contender in tuple(entry.able):
        entry.measure(contender)
    assert asked == [("ours", sys.executable), ("ours", "/other/python")]
    assert entry.results[0].samples == {"ours": [1.0], "ours compiled": [1.0]}


# -- the command ------------------------------------------------------------------------------------------------------


def few(**args: float) -> Figures:
    return 1.0


def test_the_table_has_ratios_losses_and_reasons() -> None:
    result = Result("x", Row("yield", "us"), {"ours": [1.0, 3.0], "gevent": [4.0], "uvloop": [1.0]})
    result.notes["trio"] = "not installed: trio"
    lines = list(_command.text({"python": "P", "system": "S", "versions": {"gevent": "1"}}, [result]))
    assert lines[0].split() == ["ours", "gevent", "uvloop"]
    assert lines[1] == "yield  us  2.00  4.00 (2.00x)  1.00 (0.50x !)"
    assert "trio: not installed: trio" in lines
    assert "measurements per figure: 1 to 2." in lines[-1]


def test_json_has_every_sample(turns: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    case = Case((Row("yield", "us"),), {"ours": few, "asyncio": few})
    assert _command.run(60, as_json=True, module="m", cases=[case]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"]
    assert told["results"][0]["samples"] == {"ours": [1.0] * 5, "asyncio": [1.0] * 5}


def test_after_ctrl_c_what_there_is_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def once(entries: list[Entry], *_: object, **__: object) -> None:
        entries[0].results[0].take("ours", 1.25)
        raise KeyboardInterrupt

    monkeypatch.setattr(_measure, "run", once)
    assert _command.run(60, as_json=False, module="m", cases=[Case((Row("yield", "us"),), {"ours": few})]) == 130
    printed = capsys.readouterr()
    assert "1.25" in printed.out
    assert "interrupted" in printed.err


def test_a_failed_measurement_is_the_exit_status(turns: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    case = Case((Row("yield", "us"),), {"ours": few, "trio": few})
    assert _command.run(60, as_json=False, module="m", cases=[case]) == 1
    assert "trio: failed: boom" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan"])
def test_no_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        _cli.main(["bench", "--seconds", seconds])
    assert end.value.code == 2
    assert f"{seconds!r} is not a number above 0" in capsys.readouterr().err


EACH = """
import json
from greenlet_hub._bench._cases import CASES
small = {"each": 3, "spawns": 5, "wakes": 10, "batches": 1, "timers": 1000, "ring": 5}
for case in CASES:
    args = {name: small.get(name, value) for name, value in case.args.items()}
    for contender in ("ours", "asyncio"):
        figures = case.contenders[contender](**args)
        print(json.dumps([case.rows[0].name, contender, figures if isinstance(figures, tuple) else [figures]]))
"""


def test_ours_and_asyncio_can_do_all_that_the_command_measures() -> None:
    ran = subprocess.run([sys.executable, "-c", EACH], capture_output=True, text=True, timeout=50, check=True)
    figures = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(figures) == 2 * len(_cases.CASES)
    assert all(len(each) == 1 and each[0] > 0 for _, _, each in figures), figures


def test_the_command_costs_a_measured_process_no_module_but_the_workers_own() -> None:
    code = "import sys, greenlet_hub._bench; print('argparse' in sys.modules, 'json' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.split() == ["False", "False"]
