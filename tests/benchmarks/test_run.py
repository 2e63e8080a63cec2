"""A run: what it keeps when it is interrupted or late, what it publishes, and how it says how far it is."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import harness
import plots
import report
import run
from greenlet_hub._bench import _measure
from harness import Case, Result, Row

README = f"# x\n{report.BEGIN}\nthe former table\n{report.END}\nend\n"
Step = Callable[[Iterable[_measure.Entry]], None]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[run.Places, run.Places]:
    """A whole run's places and a partial one's, of this test alone."""
    readme = tmp_path / "README.md"
    readme.write_text(README)
    whole = run.Places(tmp_path / "latest.json", tmp_path / "page.md", tmp_path / "plots", readme)
    partial = run.Places(tmp_path / "partial.json", tmp_path / "partial.md", tmp_path / "partial", None)
    monkeypatch.setattr(run, "WHOLE", whole)
    monkeypatch.setattr(run, "PARTIAL", partial)
    monkeypatch.setattr(report, "_call", lambda: "1 ns per empty call")  # which takes half a second to measure
    return whole, partial


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, places: object) -> Callable[..., int]:
    """A run of one case whose rounds are made up: `steps` is called in place of each round."""

    def of(steps: list[Step], *arguments: str, in_time: bool = True) -> int:
        case = Case((Row("row", "us", goals={"gevent": 2.0}),), {"ours": float, "asyncio": float})
        entry = _measure.Entry("bench_x", 0, case, {})

        def made_up(
            entries: Iterable[_measure.Entry],
            rounds: int,
            until: float,
            tell: Any,
            *,
            after_round: Callable[[], object],
        ) -> bool:
            for step in steps:
                step(entries)
                after_round()
            return in_time

        monkeypatch.setattr(run, "entries", lambda options: [entry])
        monkeypatch.setattr(_measure, "run", made_up)
        monkeypatch.setattr(plots, "draw_all", lambda results, directory: {})
        return run.run(run.parse(list(arguments)))

    return of


def sample(entries: Iterable[_measure.Entry]) -> None:
    for entry in entries:
        entry.results[0].take("ours", 1.0)
        entry.results[0].take("asyncio", 2.0)


def interrupt(entries: object) -> None:
    raise KeyboardInterrupt


def test_a_whole_run_publishes_page_figures_and_the_readme(
    measured: Any, places: tuple[run.Places, run.Places]
) -> None:
    assert measured([sample] * 7) == 0
    whole, _ = places
    assert "| row | us | 1.00 |" in whole.page.read_text()
    assert whole.readme is not None
    text = whole.readme.read_text()
    assert "| row | us | 1.00 |" in text
    assert "the former table" not in text
    assert text.endswith(f"{report.END}\nend\n")
    assert json.loads(whole.figures.read_text())["around"]["rounds"] == 7


@pytest.mark.parametrize("arguments", [("--quick",), ("--only", "yield"), ("--peers", "gevent"), ("--rounds", "2")])
def test_any_other_run_leaves_what_is_published_alone(
    measured: Any, places: tuple[run.Places, run.Places], arguments: tuple[str, ...]
) -> None:
    assert measured([sample] * 3, *arguments) == 0
    whole, partial = places
    assert not whole.page.exists()
    assert not whole.figures.exists()
    assert whole.readme is not None
    assert whole.readme.read_text() == README
    assert "| row | us | 1.00 |" in partial.page.read_text()


def test_an_interrupted_run_keeps_what_it_has_and_publishes_nothing(
    measured: Any, places: tuple[run.Places, run.Places]
) -> None:
    assert measured([sample, sample, sample, sample, interrupt]) == 130
    whole, partial = places
    assert not whole.figures.exists()
    around, results = run.load(partial.figures)
    assert around["rounds"] == 4
    assert results[0].samples == {"ours": [1.0] * 4, "asyncio": [2.0] * 4}


def test_what_has_been_measured_is_on_disk_after_each_round(
    measured: Any, places: tuple[run.Places, run.Places]
) -> None:
    seen: list[int] = []

    def look(entries: Iterable[_measure.Entry]) -> None:
        seen.append(len(run.load(places[1].figures)[1][0].samples["ours"]))

    measured([sample, look])
    assert seen == [1]


def test_too_few_rounds_are_not_published(measured: Any, places: tuple[run.Places, run.Places]) -> None:
    assert measured([sample] * (run.ENOUGH - 1)) == 0
    assert not places[0].figures.exists()


def fail(entries: Iterable[_measure.Entry]) -> None:
    sample(entries)
    for entry in entries:
        entry.leave_out("asyncio", "failed: boom")


@pytest.mark.parametrize(
    ("steps", "in_time", "everything"),
    [([sample], True, True), ([sample], False, False), ([fail], True, False), ([sample, interrupt], True, False)],
    ids=["all of it", "late", "failed", "interrupted"],
)
def test_rough_figures_show_that_everything_runs_only_if_all_was_measured(
    measured: Any, places: tuple[run.Places, run.Places], steps: list[Step], in_time: bool, everything: bool
) -> None:
    measured(steps, "--quick", in_time=in_time)
    text = places[1].page.read_text()
    assert ("they show that everything runs" in text) is everything
    assert ("nor that everything runs" in text) is not everything


def test_how_long_a_run_takes_is_told_and_not_when_it_is_cut_off(
    measured: Any, places: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "QUICK_GUESS", 300.0)
    measured([sample], "--quick", "--minutes", "2")
    assert "1 cases, 1 round: about 10.0 minutes, and no case begins after 2." in capsys.readouterr().err


def test_what_is_published_has_no_path_of_an_interpreter(measured: Any, places: tuple[run.Places, run.Places]) -> None:
    measured([sample] * 7, "--before=/home/somebody/old/bin/python", "--minutes", "31")
    for path in (places[0].page, places[0].figures, places[0].readme):
        assert path is not None
        text = path.read_text()
        assert "--minutes 31 --before PYTHON" in text
        assert "somebody" not in text


def test_a_failed_measurement_is_the_exit_status(measured: Any, places: tuple[run.Places, run.Places]) -> None:
    assert measured([fail, sample, sample]) == 1
    assert "- asyncio: failed: boom" in places[0].page.read_text()


def test_a_run_that_is_told_to_end_ends_as_after_ctrl_c(measured: Any, places: object) -> None:
    former = signal.getsignal(signal.SIGTERM)
    assert measured([sample, lambda entries: os.kill(os.getpid(), signal.SIGTERM)]) == 130
    assert signal.getsignal(signal.SIGTERM) is former


def test_figures_are_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    run.save(path, {"rounds": 1}, [])
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(TypeError):
        run.save(path, {"rounds": 2}, [])
    assert run.load(path)[0] == {"rounds": 1}


def test_pages_are_made_anew_from_stored_figures(measured: Any, places: tuple[run.Places, run.Places]) -> None:
    measured([sample] * 3)
    places[0].page.write_text("")
    assert run.main(["--from", str(places[0].figures)]) == 0
    assert "| row | us | 1.00 |" in places[0].page.read_text()


def test_without_what_draws_there_is_all_but_the_plots(
    places: tuple[run.Places, run.Places], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(results: object, directory: object) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'")

    monkeypatch.setattr(plots, "draw_all", absent)
    around = {**report.surroundings("", rough=False), "rounds": 3}
    run.publish(places[0], around, [Result("bench_x", Row("row", "us"), {"ours": [1.0]})])
    assert "| row | us | 1.00 |" in places[0].page.read_text()
    assert "no plots: No module named 'matplotlib'" in capsys.readouterr().err


def test_how_long_it_takes_is_told_by_an_earlier_run_or_guessed() -> None:
    row = Row("known", "us"), Row("new", "us")
    known = _measure.Entry("bench_x", 0, Case((row[0],), {"ours": float, "asyncio": float}), {})
    new = _measure.Entry("bench_x", 0, Case((row[1],), {"ours": float, "asyncio": float}, rounds=2), {})
    assert run.expected([known, new], rounds=5, guess=0.5, stored={"known": 3.0}) == 5 * 3.0 + 2 * 2 * 0.5


def test_off_a_terminal_there_is_a_line_per_row_and_round() -> None:
    out = io.StringIO()
    teller = run.Teller(Console(file=out), total=2)
    entry = _measure.Entry("bench_x", 0, Case((Row("row", "us"),), {"ours": float}), {})
    with teller.progress:
        teller.tell(1, entry, "ours")
        entry.results[0].take("ours", 1.5)
        teller.tell(1, entry, None)
    assert out.getvalue() == "1: row (us): ours 1.50\n"


def test_every_case_of_the_table_can_be_asked_for_by_its_concept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_measure, "missing", lambda contender: None)
    every = list(run.entries(run.parse([])))
    assert {entry.module.removeprefix("bench_") for entry in every} == set(run.CONCEPTS)
    names = [row.name for entry in every for row in entry.case.rows]
    assert len(names) == len(set(names))


def test_quick_has_all_rows_and_says_which_it_is_too_small_for() -> None:
    whole, quick = list(run.entries(run.parse([]))), list(run.entries(run.parse(["--quick"])))
    assert [entry.name for entry in quick] == [entry.name for entry in whole]
    left_out = [entry for entry in quick if entry.case.quick is None]
    assert all(not entry.able and set(entry.results[0].notes) for entry in left_out)


def test_each_row_has_as_many_rounds_as_a_whole_run_needs_to_be_published() -> None:
    rounds = {entry.name: entry.case.rounds for entry in run.entries(run.parse([]))}
    assert [name for name, limit in rounds.items() if limit is not None and limit < run.ENOUGH] == []


def test_another_version_of_ours_takes_part_wherever_ours_does() -> None:
    options = run.parse(["--before", "/some/python", "--only", "yield"])
    assert all("ours before" in entry.able for entry in run.entries(options))


def test_peers_are_those_asked_for_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_measure, "missing", lambda contender: None)
    options = run.parse(["--only", "spawn", "--peers", "gevent"])
    assert [entry.able for entry in run.entries(options)] == [["ours", "gevent"], ["ours", "gevent", "gevent raw"]]


def test_a_concept_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.parse(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_a_curve_has_a_figure_or_a_reason_for_each_size() -> None:
    def limit(size: int) -> str | None:
        return "left out: too big" if size > 1_000 else None

    figures = harness.growing(lambda sizes: (*map(float, sizes), 7.0), limit)(most=10_000)
    small = "left out: too large for --quick"
    assert figures == (10.0, 100.0, 1_000.0, "left out: too big", small, small, 7.0)


def test_what_the_memory_is_too_small_for_says_how_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "available_kib", lambda: 1024.0**2)
    assert harness.too_big(1_000_000, 7.0) == "left out: takes about 6.7 GiB, and 1.0 are available"
    assert harness.too_big(1_000, 7.0) is None
    monkeypatch.setattr(harness, "available_kib", lambda: None)
    assert harness.too_big(1_000_000, 7.0) is None


def test_too_many_files_say_how_many_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "allow_files", lambda: 20_000)
    assert harness.too_many_files(100_000) == "left out: a process may open 20,000 files here (`ulimit -Hn`)"
    assert harness.too_many_files(10_000) is None


def test_options_of_a_whole_run() -> None:
    options = run.parse([])
    assert (options.whole, options.rounds, options.minutes) == (True, run.ROUNDS, run.MINUTES)
