"""The plots: throughput, latency, memory, growth, and one picture of all ratios.

Receives: results.  Gives: an SVG and a PNG each, on a transparent background, in tones that can be read on white and on
black alike (text has a contrast of 4.3 on white, and on the dark of the documentation).
Rule 1: the same contender has the same colour and mark everywhere; ours is the thickest.
Rule 2: a row that is lost has a colour and a mark of its own.
Rule 3: the same figures give the same bytes, so that a plot changes only with them.
Rule 4: matplotlib is imported when something is drawn; a run without it has all but the plots, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import report
from harness import Result

INK, FAINT = "#7a7a7a", "#7a7a7a55"
WIN, LOST = "#2f81f7", "#e5534b"
FARTHEST = 20.0  # times better or worse: what is farther stands there, with its figure
STYLES: dict[str, dict[str, Any]] = {
    "ours": {"color": WIN, "marker": "o", "linewidth": 3.0, "zorder": 5},
    "ours before": {"color": WIN, "marker": "o", "linestyle": "--", "zorder": 5},
    "gevent": {"color": "#2da44e", "marker": "s"},
    "eventlet": {"color": "#a371f7", "marker": "^"},
    "asyncio": {"color": "#bf8700", "marker": "D"},
    "asyncio streams": {"color": "#bf8700", "marker": "D", "linestyle": "--"},
    "uvloop": {"color": "#e16f24", "marker": "v"},
    "uvloop streams": {"color": "#e16f24", "marker": "v", "linestyle": "--"},
    "trio": {"color": "#db61a2", "marker": "P"},
    "bare epoll": {"color": INK, "marker": "x", "linestyle": ":"},
}
LOOK = {
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.markersize": 6,
    "svg.fonttype": "path",
    "svg.hashsalt": "benchmarks",
}


@dataclass(frozen=True)
class Plot:
    """One picture: the name of its file, its title, how to read it, and what draws it (False: there is nothing)."""

    name: str
    title: str
    reading: str
    draw: Callable[[Sequence[Result]], Any]


def draw_all(results: Sequence[Result], directory: Path) -> dict[Plot, Path]:
    """Draw what there are figures for; gives the SVG of each.  The PNG stands beside it."""
    from matplotlib import rc_context

    drawn = {}
    with rc_context(LOOK):
        for plot in PLOTS:
            figure = plot.draw(results)
            if figure is None:
                continue
            directory.mkdir(parents=True, exist_ok=True)
            drawn[plot] = directory / f"{plot.name}.svg"
            figure.savefig(drawn[plot], transparent=True, bbox_inches="tight", metadata={"Date": None})
            figure.savefig(directory / f"{plot.name}.png", transparent=True, bbox_inches="tight", dpi=110)
    return drawn


def _panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of no screen, and its axes in rows and columns."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


# -- curves -----------------------------------------------------------------------------------------------------------


def points(results: Iterable[Result], curve: str) -> dict[str, list[tuple[float, float]]]:
    """Contender -> its points (size, figure) on a curve, in order."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        if result.row.curve == curve:
            for contender in result.samples:
                figure = result.figure(contender)
                if figure is not None:
                    lines.setdefault(contender, []).append((result.row.size, figure))
    return {contender: sorted(line) for contender, line in lines.items()}


def _curves(axes: Any, results: Sequence[Result], curve: str) -> bool:
    lines = points(results, curve)
    for contender, style in STYLES.items():
        if contender in lines:
            axes.plot(*zip(*lines[contender], strict=True), label=contender, **style)
    return bool(lines)


def _log_figures(axes: Any) -> None:
    """A logarithmic y axis, with figures that people write; call it when all curves are there."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Below a decade 1, 2 and 5 may all lie outside, or one of them inside, by which no point could be read.
    axes.yaxis.set_major_locator(
        MaxNLocator(8, steps=[1, 2, 5, 10]) if high < 10 * low else LogLocator(subs=(1.0, 2.0, 5.0))
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda figure, _: f"{figure:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _say_what_is_missing(axes: Any, results: Iterable[Result], curve: str) -> None:
    """Where a size has no figure of anybody, the reason."""
    for result in results:
        if result.row.curve == curve and not result.samples and result.notes:
            why = next(iter(result.notes.values()))
            place = {"transform": axes.get_xaxis_transform(), "rotation": 90, "fontsize": 8.5}
            axes.text(result.row.size, 0.03, fill(why, 36), ha="right", va="bottom", **place)


def _count(size: float) -> str:
    """A number as an axis has room for it."""
    for power, letter in ((1e6, "M"), (1e3, "k")):
        if size >= power:
            return f"{size / power:g}{letter}"
    return f"{size:g}"


def _size_axis(axes: Any, results: Sequence[Result], curve: str, label: str) -> None:
    sizes = sorted({result.row.size for result in results if result.row.curve == curve})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [_count(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(label)


def throughput(results: Sequence[Result]) -> Any:
    """Requests a second, and CPU time per request, by connections."""
    figure, ((left, right),) = _panels(1, 2, (11, 4.6))
    found = [_curves(left, results, "HTTP"), _curves(right, results, "HTTP CPU")]
    if not any(found):
        return None
    for axes, curve, label in zip(
        (left, right), ("HTTP", "HTTP CPU"), ("thousand requests a second", "us of CPU time per request"), strict=True
    ):
        _size_axis(axes, results, curve, "connections")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    _legend(figure, left)
    return figure


def latency(results: Sequence[Result]) -> Any:
    """Percentiles of latency at a fixed rate."""
    shares = sorted({result.row.size for result in results if result.row.curve == "latency"})
    lines = points(results, "latency")
    if not lines:
        return None
    figure, ((axes,),) = _panels(1, 1, (8, 4.6))
    for contender, style in STYLES.items():
        if contender in lines:
            xs = [shares.index(share) for share, _ in lines[contender]]
            axes.plot(xs, [figure for _, figure in lines[contender]], label=contender, **style)
    axes.set_xticks(range(len(shares)), [f"{share:g} %" for share in shares])
    _log_figures(axes)
    axes.set_xlabel("share of the requests that are answered within")
    axes.set_ylabel("us")
    _legend(figure, axes)
    return figure


def growth(results: Sequence[Result]) -> Any:
    """Cost of an operation as there are more of them."""
    curves = {
        "greenlets": ("yield among greenlets", "greenlets"),
        "idle fds": ("event beside idle fds", "fds"),
        "pending timers": ("event beside pending timers", "timers"),
        "timers": ("start + stop beside pending timers", "timers"),
    }
    figure, panels = _panels(2, 2, (11, 8))
    found = False
    for axes, (curve, (title, label)) in zip(panels.flat, curves.items(), strict=True):
        if _curves(axes, results, curve):
            found = True
            _size_axis(axes, results, curve, label)
            _log_figures(axes)
            _say_what_is_missing(axes, results, curve)
        axes.set_title(title)
        axes.set_ylabel("us per operation")
    if not found:
        return None
    _legend(figure, panels[0][0])
    return figure


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")


# -- bars and dots ----------------------------------------------------------------------------------------------------


def memory(results: Sequence[Result]) -> Any:
    """What a greenlet, a connection and a server take."""
    rows = [result for result in results if result.concept.endswith("memory") and result.samples]
    if not rows:
        return None
    figure, panels = _panels(1, len(rows), (4.4 * len(rows), 4))
    for axes, result in zip(panels[0], rows, strict=True):
        bars = [(c, value) for c in STYLES if (value := result.figure(c)) is not None]
        bars.sort(key=lambda bar: -bar[1])
        names, values = [c for c, _ in bars], [value for _, value in bars]
        drawn = axes.barh(names, values, color=[STYLES[c]["color"] for c in names])
        axes.bar_label(drawn, fmt="%.3g", padding=3, color=INK)
        axes.set_title(result.row.name.replace(" of an HTTP server with", " of a server,\n"), fontsize=11)
        axes.set_xlabel(result.row.unit)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.15)
    return figure


def overview(results: Sequence[Result]) -> Any:
    """How many times better ours is, row by row."""
    rows = [result for result in results if result.row.brief and report.peers(result)]
    if not rows:
        return None
    figure, ((axes,),) = _panels(1, 1, (10, 1.4 + 0.26 * len(rows)))
    for line, result in enumerate(rows):
        for against, ratio in _two(result):
            _dot(axes, ratio, line, against == "gevent")
    axes.axvline(1.0, color=INK, linewidth=1.5)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}x" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [result.row.name.replace("`", "") for result in rows], fontsize=10)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_xlabel("how many times better ours is; left of 1x it loses")
    for color, filled, label in (
        (WIN, True, "won against gevent"),
        (LOST, True, "lost to gevent"),
        (WIN, False, "won against the best of the other peers"),
        (LOST, False, "lost to the best of the other peers"),
    ):
        axes.scatter([], [], marker=_marker(color == WIN, filled), label=label, **_paint(color, filled))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _two(result: Result) -> Iterator[tuple[str, float]]:
    """Against the best of the others, and against gevent."""
    ratios = report.peers(result)
    gevent = ratios.pop("gevent", None)
    if ratios:
        best = min(ratios, key=ratios.__getitem__)
        yield best, ratios[best]
    if gevent is not None:
        yield "gevent", gevent


def _dot(axes: Any, ratio: float, line: int, filled: bool) -> None:
    color = WIN if ratio >= 1.0 else LOST
    shown = min(max(ratio, 1 / FARTHEST), FARTHEST)
    axes.scatter([shown], [line], marker=_marker(ratio >= 1.0, filled), **_paint(color, filled))
    if shown != ratio:
        axes.annotate(report.factor(ratio), (shown, line), (8, -4), textcoords="offset points", fontsize=9)


def _marker(won: bool, filled: bool) -> str:
    return ("o" if filled else "D") if won else ("X" if filled else "v")


def _paint(color: str, filled: bool) -> dict[str, Any]:
    return {"s": 60 if filled else 34, "facecolors": color if filled else "none", "edgecolors": color, "zorder": 3}


OVERVIEW = Plot(
    "overview",
    "All ratios",
    "Each row twice: against gevent (filled) and against the best of the other peers (hollow). Crosses and triangles "
    "pointing down are losses.",
    overview,
)
PLOTS = (
    OVERVIEW,
    Plot("throughput", "HTTP by connections", "Left: more is better. Right: less is better.", throughput),
    Plot("latency", "HTTP latency", "At a fixed rate; both axes: less is better.", latency),
    Plot("memory", "Memory", "Less is better.", memory),
    Plot("growth", "Growth", "A flat line says that what only waits costs nothing. Less is better.", growth),
)
