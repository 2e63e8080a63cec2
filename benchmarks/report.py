"""The table: medians, ratios, goals, losses included.

Receives: results from the runner.  Gives: Markdown, and what JSON stores.  A ratio says how many times better we are
than a peer in that row, whatever the unit: above 1 we win.
Rule 1: nothing here names a machine, a user or a path.
Rule 2: where ours loses it is marked, so that it is found by looking; and what is missing says why.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import timeit
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import Result, number

FAMILY = ("greenlet-hub", "hub-api", "hub-loop", "hub-core", "hub-threadpool", "hub-resolver")
PEERS = ("gevent", "eventlet", "uvloop", "trio", "greenlet")
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
LOSS = "▼"
NO_PEERS = ("ours", "gevent raw", "bare epoll", "ours before")  # a twin, a limit, and ourselves
COMMAND = "`hatch run bench`"
RAW = "Raw: gevent as ours does it, by a raw greenlet and a Waiter, in place of its `Greenlet`."


def surroundings(options: str, *, rough: bool) -> dict[str, Any]:
    """When, on what and with what versions the figures are taken.  `rough`: small, to see that everything works."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": 0,
        "rough": rough,
        "everything": False,
        "options": options,
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_call()}",
        "kernel": f"{platform.system()} {_numbers(platform.release())}",
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "versions": dict(_versions()),
        "seconds": {},
    }


def _call() -> str:
    """What a call of an empty function costs: the yardstick of this build of CPython.

    It differs by a factor of three between builds of one version, which moves the figures of pure Python and leaves
    those of compiled peers where they are.
    """
    seconds = min(timeit.repeat("function()", "def function(): pass", number=200_000, repeat=9)) / 200_000
    return f"{seconds * 1e9:.0f} ns per empty call"


def _numbers(release: str) -> str:
    """A release without what a distribution or a host has added to it."""
    found = re.match(r"\d+(\.\d+)*", release)
    return found[0] if found else release


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> Iterator[tuple[str, str]]:
    for name in (*FAMILY, *PEERS):
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "not installed"
    wrk = shutil.which("wrk")
    # `wrk -v` ends with status 1.
    said = subprocess.run([wrk, "-v"], stdout=subprocess.PIPE, text=True, timeout=10).stdout.split() if wrk else []
    yield "wrk", said[1] if len(said) > 1 else "not installed"


# -- Markdown ---------------------------------------------------------------------------------------------------------


def page(around: Mapping[str, Any], results: Sequence[Result], plots: Mapping[str, tuple[str, str]]) -> str:
    """The whole page: the summary, the plots, then every figure of every contender.

    `plots`: what each shows -> the path of its file, as the page has to write it, and a sentence to read it by.
    """
    parts = [
        "# Benchmark results",
        f"Made by {COMMAND}; do not edit. [How it is measured](benchmarks.md).",
        describe(around),
    ]
    parts += ["## Against the goals", verdict(results), summary(results)]
    if plots:
        parts.append("## Plots")
    for title, (path, reading) in plots.items():
        parts.append(f"### {title}\n\n![{title}. {reading}]({path})\n\n{reading}")
    parts.append("## Every figure")
    for concept in dict.fromkeys(result.concept for result in results):
        parts += [f"### {concept.removeprefix('bench_')}", details([r for r in results if r.concept == concept])]
    return "\n\n".join(parts) + "\n"


def describe(around: Mapping[str, Any]) -> str:
    """The circumstances, in a paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    options = f"; options: {around['options']}" if around["options"] else ""
    rounds = "1 round" if around["rounds"] == 1 else f"{around['rounds']} rounds"
    if not around["rounds"]:
        rounds = "a first round that was not finished,"
    elif around["rounds"] > 3:
        rounds += " (fewer of what takes long)"
    proof = (
        "they show that everything runs, not how fast it is."
        if around.get("everything")
        else "they show neither how fast it is nor that everything runs; what was not reached, or has failed, says so."
    )
    rough = f"**Rough figures**, from small work: {proof}\n\n"
    return (
        f"{rough if around.get('rough') else ''}"
        f"{around['date']}; {around['python']}; {around['kernel']}; {around['cpu']}, {around['cpus']} CPUs. "
        f"Medians of {rounds} in which the contenders take turns, each in a process of its own on one core{options}.\n"
        f"{versions}.\n\n"
        "A ratio says how many times better ours is than that peer, whatever the unit; "
        f"**bold** with {LOSS} where ours loses."
    )


def peers(result: Result) -> dict[str, float]:
    """The ratio of each peer that has a figure in this row."""
    ratios = {c: result.ratio(c) for c in result.samples if c not in NO_PEERS}
    return {c: ratio for c, ratio in ratios.items() if ratio is not None}


def verdict(results: Iterable[Result]) -> str:
    """How many rows are won and lost, peer by peer."""
    tally: dict[str, list[bool]] = {}
    for result in results:
        if result.row.brief:
            for peer, ratio in peers(result).items():
                tally.setdefault(peer, []).append(ratio >= 1.0)
    told = [f"{sum(won)} of {len(won)} against {peer}" for peer, won in tally.items()]
    return f"Of the rows below ours wins {', '.join(told)}." if told else "No peer took part."


def summary(results: Sequence[Result], *, goals: bool = True) -> str:
    """A line per row: ours, gevent, the best of the other peers; the goals too, if they are wanted."""
    brief = [result for result in results if result.row.brief]
    head = ["row", "unit", "ours", "gevent", "ratio", *(["goals"] if goals else []), "best of the others"]
    lines, raw = [], False
    for result in brief:
        others = {peer: ratio for peer, ratio in peers(result).items() if peer != "gevent"}
        best = min(others, key=others.__getitem__) if others else None
        figure, ratio = _figure(result, "gevent"), times(result.ratio("gevent"))
        if result.samples.get("gevent raw"):  # what does as ours does stands beside what programs write
            raw = True
            figure += f" (raw {_figure(result, 'gevent raw')})"
            ratio += f" (raw {times(result.ratio('gevent raw'))})"
        line = [result.row.name, result.row.unit, _figure(result, "ours"), figure, ratio]
        line += [_goals(result)] if goals else []
        lines.append([*line, "-" if best is None else f"{best} {number(result.figure(best))}, {times(others[best])}"])
    return "\n\n".join([_table(head, lines), *([RAW] if raw else []), *_single(brief)])


def _single(results: Sequence[Result]) -> list[str]:
    """Which rows have one sample where others have a median: nothing may be built on them."""
    most = [max(map(len, result.samples.values()), default=0) for result in results]
    names = [result.row.name for result, samples in zip(results, most, strict=True) if samples == 1]
    return [f"One sample each, not a median: {'; '.join(names)}."] if names and max(most) > 1 else []


def details(results: Sequence[Result]) -> str:
    """A line per row, a column per contender: median and ratio; below it what is to be said of missing ones."""
    contenders = list(dict.fromkeys(c for result in results for c in (*result.samples, *result.notes)))
    lines = []
    for result in results:
        line = [result.row.name, result.row.unit]
        for contender in contenders:
            ratio = None if contender == "ours" else result.ratio(contender)
            line.append(_figure(result, contender) + ("" if ratio is None else f", {times(ratio)}"))
        lines.append(line)
    said = [f"- {text}" for text in (*_remarks(results), *_single(results))]
    return "\n".join([_table(["row", "unit", *contenders], lines), *([""] if said else []), *said])


def _remarks(results: Sequence[Result]) -> Iterator[str]:
    """Each reason once, with those whom it is about, and where if that is not everywhere."""
    where: dict[str, dict[str, list[str]]] = {}
    for result in results:
        for contender, text in result.notes.items():
            where.setdefault(text, {}).setdefault(contender, []).append(result.row.name)
    for text, who in where.items():
        rows = list(dict.fromkeys(name for names in who.values() for name in names))
        place = "" if len(rows) == len(results) else f" ({'; '.join(rows)})"
        yield f"{', '.join(who)}: {text}{place}"


def _figure(result: Result, contender: str) -> str:
    if not result.samples.get(contender) and contender in result.notes:
        return result.notes[contender].partition(":")[0]
    return number(result.figure(contender))


def _goals(result: Result) -> str:
    texts = []
    for contender, goal in result.row.goals.items():
        ratio = result.ratio(contender)
        if ratio is not None:
            texts.append(f"{contender} >= {goal:.3g}: {'met' if ratio >= goal else f'**missed: {ratio:.2f}**'}")
    ours = result.figure("ours")
    if result.row.at_most is not None and ours is not None:
        texts.append(f"<= {result.row.at_most:g}: {'met' if ours <= result.row.at_most else '**missed**'}")
    return "; ".join(texts) or "-"


def times(ratio: float | None) -> str:
    """A ratio; a loss is marked."""
    if ratio is None:
        return "-"
    return factor(ratio) if ratio >= 1.0 else f"**{factor(ratio)}** {LOSS}"


def factor(ratio: float) -> str:
    """A ratio by itself; what is very large is not known to the hundredth."""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.2f}x"


def _table(head: list[str], lines: Iterable[list[str]]) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def in_readme(text: str, section: str) -> str:
    """A text with what stands between the two marks replaced.  Raises ValueError if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: it needs the lines {BEGIN} and {END}, in this order")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def section(around: Mapping[str, Any], results: Sequence[Result], plot: str | None) -> str:
    """What the README shows: the circumstances, one plot, and a line for each row that compares ours with somebody."""
    compared = [result for result in results if peers(result)]
    picture = [] if plot is None else [f"![How many times better ours is than its peers, row by row]({plot})"]
    return "\n\n".join([describe(around), verdict(results), *picture, summary(compared, goals=False)])
