"""Profiles: what is counted, what is drawn, and which rows are lost."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import flame
import profiles
from greenlet_hub._bench._measure import Entry
from harness import Case, Result, Row

STACKS = {("main", "park"): 3, ("main", "wake", "park"): 1, ("main",): 4}


def test_a_function_is_counted_once_in_a_stack_and_by_who_is_on_top() -> None:
    profile = profiles.Profile("row", {**STACKS, ("main", "main"): 2}, 1.0, 1.0)
    assert profile.tops() == [("main", 0.6, 1.0), ("park", 0.4, 0.4)]


def test_stacks_that_begin_alike_share_their_boxes() -> None:
    root = flame.tree(STACKS)
    assert (root.count, root.callees["main"].count) == (8, 8)
    assert root.callees["main"].callees["park"].count == 3
    assert root.depth() == 4


def test_the_picture_is_xml_with_a_box_per_function_and_its_share() -> None:
    picture = ElementTree.fromstring(flame.svg({("<lambda>", "a & b"): 1, ("<lambda>",): 3}, "row <1>"))
    titles = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["row <1>", "all: 100.0%", "<lambda>: 100.0%", "a & b: 25.0%"]


def test_lost_rows_are_those_in_which_a_peer_is_better_by_more_than_noise() -> None:
    rows = [
        Result("bench_x", Row("lost", "us"), {"ours": [2.0], "gevent": [1.0]}),
        Result("bench_x", Row("even", "us"), {"ours": [1.02], "gevent": [1.0]}),
        Result("bench_x", Row("won", "us"), {"ours": [1.0], "gevent": [2.0]}),
        Result("bench_x", Row("limit", "us"), {"ours": [2.0], "bare epoll": [1.0]}),
    ]
    assert [each.row.name for each in profiles.lost(rows)] == ["lost"]


def test_an_unknown_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = Entry("bench_x", 0, Case((Row("row", "us"),), {"ours": float}), {})
    assert profiles.run(["rwo"], [entry], tmp_path / "none.json") == 2
    assert "no row has the name 'rwo'" in capsys.readouterr().err


def test_ours_is_sampled_in_a_process_of_its_own() -> None:
    import bench_callbacks

    case = bench_callbacks.CASES[0]
    profile = profiles.take(Entry("bench_callbacks", 0, case, {"batches": 30}), "row")
    assert profile.samples > 0
    assert any(function.startswith("hub_loop.") for function, _, _ in profile.tops())


def test_the_page_shows_each_picture_and_those_of_an_earlier_page_go(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "earlier.svg").write_text("<svg/>")
    lost = Result("bench_x", Row("a `row`, 10", "us"), {"ours": [2.0], "gevent": [1.0]})
    profile = profiles.Profile("a `row`, 10", STACKS, 3.0, 1.0)
    profiles.write([profile], {lost.row.name: lost}, tmp_path / "page.md", tmp_path / "pictures")
    text = (tmp_path / "page.md").read_text()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a-row-10.svg"]
    assert "](pictures/a-row-10.svg)" in text
    assert "8 samples; 25% of the CPU time is the kernel's. gevent **0.50x**" in text
    assert "| `main` | 50% | 100% |" in text
