"""The table: medians, ratios, marks at losses, reasons where there is no figure, and the README's section."""

from __future__ import annotations

import json

import pytest

import report
from harness import Result, Row

AROUND = {
    "date": "2026-01-01 00:00 UTC",
    "rounds": 3,
    "rough": False,
    "options": "",
    "python": "CPython 3.11.2",
    "kernel": "Linux 6",
    "cpu": "A",
    "cpus": 2,
    "versions": {"gevent": "26.9.0"},
}


def result(row: Row | None = None, **samples: list[float]) -> Result:
    return Result("bench_yield", row or Row("yield", "us"), samples)


def test_a_figure_is_the_median_of_its_samples() -> None:
    assert result(ours=[9.0, 1.0, 2.0]).figure("ours") == 2.0


def test_a_ratio_above_one_is_better_whichever_way_the_unit_goes() -> None:
    assert result(ours=[1.0], gevent=[2.0]).ratio("gevent") == 2.0
    rate = Row("HTTP", "k/s", higher_is_better=True)
    assert result(rate, ours=[1.0], gevent=[2.0]).ratio("gevent") == 0.5


def test_a_row_that_is_lost_is_marked_and_one_that_is_won_is_not() -> None:
    lost, won = report.summary([result(ours=[2.0], gevent=[1.0]), result(ours=[1.0], gevent=[2.0])]).splitlines()[2:]
    assert f"**0.50x** {report.LOSS}" in lost
    assert report.LOSS not in won


def test_a_very_large_ratio_is_a_number_that_people_write() -> None:
    assert report.times(3144.04) == "3,144x"
    assert report.times(99.5) == "99.50x"


def test_the_best_of_the_others_is_the_one_nearest_to_beating_us_and_never_a_limit_or_ourselves() -> None:
    taken = {
        "ours": [1.0],
        "gevent": [0.1],
        "trio": [3.0],
        "uvloop": [1.5],
        "bare epoll": [0.1],
        "ours before": [0.5],
    }
    line = report.summary([Result("bench_yield", Row("yield", "us"), taken)]).splitlines()[2]
    assert line.endswith("| uvloop 1.50, 1.50x |")


def test_goals_are_met_or_missed_against_a_peer_and_for_ourselves() -> None:
    row = Row("import", "ms", goals={"gevent": 2.0, "trio": 1.0}, at_most=3.0)
    line = report.summary([result(row, ours=[4.0], gevent=[6.0])]).splitlines()[2]
    assert "gevent >= 2: **missed: 1.50**; <= 3: **missed**" in line
    assert "trio" not in line


def test_a_row_of_ours_alone_has_its_goal_and_dashes() -> None:
    line = report.summary([result(Row("report", "us", at_most=3.0), ours=[2.0])]).splitlines()[2]
    assert line == "| report | us | 2.00 | - | - | <= 3: met | - |"


def test_the_readme_has_rows_that_compare_and_no_goals_and_the_page_has_all() -> None:
    won = result(Row("import", "ms", goals={"gevent": 2.0}), ours=[4.0], gevent=[6.0])
    alone, absent = result(Row("report", "us", at_most=3.0), ours=[2.0]), result(Row("idle fds", "us"))
    absent.notes["ours"] = absent.notes["gevent"] = "left out: too many files"
    shown = report.section(AROUND, [won, alone, absent], None)
    assert "| import | ms | 4.00 | 6.00 | 1.50x | - |" in shown
    assert "goals" not in shown
    assert "report" not in shown
    assert "left out" not in shown
    page = report.page(AROUND, [won, alone, absent], {})
    assert "| import | ms | 4.00 | 6.00 | 1.50x | gevent >= 2: **missed: 1.50** | - |" in page
    assert "| report | us | 2.00 | - | - | <= 3: met | - |" in page


def test_gevent_doing_as_ours_does_stands_beside_what_programs_write() -> None:
    taken = {"ours": [10.0], "gevent": [30.0], "gevent raw": [20.0]}
    table = report.summary([Result("bench_spawn", Row("spawn and join", "us"), taken)])
    assert "| 30.0 (raw 20.0) | 3.00x (raw 2.00x) |" in table.splitlines()[2]
    assert table.endswith(report.RAW)


def test_rows_of_one_sample_among_medians_are_named() -> None:
    several, single = result(ours=[1.0, 2.0], gevent=[2.0, 3.0]), result(Row("once", "us"), ours=[1.0], gevent=[2.0])
    said = "One sample each, not a median: once."
    assert said in report.section(AROUND, [several, single], None)
    assert f"- {said}" in report.details([several, single])
    assert "One sample" not in report.section(AROUND, [single], None)  # there the circumstances say it of all


def test_what_has_no_figure_says_why_once_and_where() -> None:
    first, second = result(Row("one", "us"), ours=[1.0]), result(Row("two", "us"), ours=[1.0])
    first.notes["gevent"] = second.notes["gevent"] = "not installed: gevent"
    second.notes["trio"] = "left out: too large"
    table = report.details([first, second])
    assert "| one | us | 1.00 | not installed | - |" in table
    assert "| two | us | 1.00 | not installed | left out |" in table
    assert table.splitlines()[-2:] == ["- gevent: not installed: gevent", "- trio: left out: too large (two)"]


def test_a_row_that_is_not_brief_stands_on_the_page_and_not_in_the_summary() -> None:
    point = result(Row("yield among 10 greenlets", "us", brief=False), ours=[1.0])
    page = report.page(AROUND, [point], {})
    summary, _, every = page.partition("## Every figure")
    assert "among 10" not in summary
    assert "among 10" in every


def test_the_verdict_counts_wins_per_peer() -> None:
    rows = [result(ours=[1.0], gevent=[2.0], trio=[0.5]), result(ours=[1.0], gevent=[0.5])]
    assert "1 of 2 against gevent, 0 of 1 against trio" in report.verdict(rows)


def test_rough_figures_say_so_first() -> None:
    assert report.describe({**AROUND, "rough": True}).startswith("**Rough figures**")
    said = report.describe({**AROUND, "rough": True, "everything": True})
    assert said.startswith("**Rough figures**, from small work: they show that everything runs, not how fast it is.")
    assert "Rough" not in report.describe(AROUND)


def test_a_result_survives_json_with_all_it_says() -> None:
    before = result(Row("r", "us", goals={"gevent": 2.0}, curve="timers", size=10.0, brief=False), ours=[1.0, 2.0])
    before.notes["trio"] = "failed: x"
    assert Result.from_json(json.loads(json.dumps(before.as_json()))) == before


def test_figures_of_an_older_run_without_curves_can_be_read() -> None:
    stored = result(ours=[1.0]).as_json()
    for name in ("curve", "size", "brief"):
        del stored[name]
    assert Result.from_json(stored).row == Row("yield", "us")


def test_only_the_marked_section_of_the_readme_is_replaced() -> None:
    text = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    assert report.in_readme(text, "new") == f"above\n{report.BEGIN}\nnew\n{report.END}\nbelow\n"


@pytest.mark.parametrize("text", ["", f"{report.BEGIN}\n", f"{report.END}\n{report.BEGIN}\n"])
def test_a_readme_without_both_marks_in_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        report.in_readme(text, "new")
