"""The plots: their points, and, where matplotlib is installed, the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import plots
from harness import Result, Row

CURVES = ("HTTP", "HTTP CPU", "latency", "greenlets", "idle fds", "pending timers", "timers")


def of(curve: str, size: float, **samples: list[float]) -> Result:
    return Result("bench_x", Row(f"{curve} {size}", "us", curve=curve, size=size), samples)


def test_points_are_in_order_of_size_and_leave_out_what_was_not_measured() -> None:
    rows = [of("timers", 100, ours=[2.0]), of("timers", 10, ours=[1.0], trio=[5.0]), of("HTTP", 10, ours=[9.0])]
    assert plots.points(rows, "timers") == {"ours": [(10, 1.0), (100, 2.0)], "trio": [(10, 5.0)]}


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What draws is there; its fonts stay open as long as the process lives, and so are opened before a test."""
    pytest.importorskip("matplotlib", reason="it is in the dependency group `bench`")
    plots.draw_all(EACH, tmp_path_factory.mktemp("first"))


EACH = [of(curve, size, ours=[1.0], gevent=[2.0]) for curve in CURVES for size in (10.0, 50.0)]
EACH.append(Result("bench_memory", Row("memory per greenlet", "KiB"), {"ours": [7.0], "gevent": [8.0]}))


def test_each_plot_has_an_svg_and_a_png_and_the_same_bytes_again(drawing: None, tmp_path: Path) -> None:
    drawn = plots.draw_all(EACH, tmp_path)
    assert list(drawn) == list(plots.PLOTS)
    assert len(list(tmp_path.iterdir())) == 2 * len(plots.PLOTS)
    first = {path: path.read_bytes() for path in drawn.values()}
    plots.draw_all(EACH, tmp_path)
    assert {path: path.read_bytes() for path in drawn.values()} == first


def readable(axes: Any) -> list[str]:
    """The figures beside the part of the y axis that is seen."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    return list(axes.yaxis.get_major_formatter().format_ticks(ticks))


@pytest.mark.parametrize(("ours", "gevent"), [(10.7, 5.6), (5.6, 5.7), (1.3, 0.3), (400.0, 0.5)])
def test_points_can_be_read_however_near_to_one_another_they_are(drawing: None, ours: float, gevent: float) -> None:
    rows = [of("pending timers", size, ours=[ours], gevent=[gevent]) for size in (10.0, 1_000.0)]
    shown = [axes for axes in plots.growth(rows).axes if axes.get_title() == "event beside pending timers"]
    assert len(readable(shown[0])) >= 3


def test_a_ratio_that_is_off_the_picture_stands_there_as_people_write_it(drawing: None) -> None:
    row = Result("bench_x", Row("localhost", "ms"), {"ours": [0.32], "gevent": [1006.0]})
    (axes,) = plots.overview([row]).axes
    assert "3,144x" in [text.get_text() for text in axes.texts]


def test_what_there_are_no_figures_for_is_not_drawn(drawing: None, tmp_path: Path) -> None:
    assert plots.draw_all([], tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()
