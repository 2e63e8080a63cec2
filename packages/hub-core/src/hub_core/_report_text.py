"""Reports, in words: as text for people, and as JSON for everybody else.

Receives: a `Report`.  Gives: text, or plain dicts.
Rule 1: the text shows who explains the hang first: cycles, orphans, hints; then every greenlet, and greenlets that are
parked at the same place for the same kind of thing once, with the numbers of the others.
Rule 2: keys of the JSON form are the names of the attributes; docs/howto/debug-a-hang.md lists them.
"""

from __future__ import annotations

from hub_core._report import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from hub_core._report import FrameReport, GreenletReport, Report, WaitReport

_NAMED = 20
"""How many of those parked at the same place are named."""


# -- JSON -----------------------------------------------------------------------------------------------------------


def as_dict(report: Report) -> dict[str, Any]:
    """See `Report.as_dict`."""
    return {
        "version": VERSION,
        "hub": report.hub,
        "thread": report.thread,
        "polling": report.polling,
        "greenlets": [_greenlet(each) for each in report.greenlets],
        "new": report.new,
        "running": None if report.running is None else _greenlet(report.running),
        "cycles": [list(cycle) for cycle in report.cycles],
        "orphans": [{"greenlet": each.greenlet, "verdict": each.verdict, "text": each.text} for each in report.orphans],
        "hints": [{"key": hint.key, "text": hint.text, "greenlets": list(hint.greenlets)} for hint in report.hints],
        "handles": list(report.handles),
        "incomplete": list(report.incomplete),
    }


def _greenlet(each: GreenletReport) -> dict[str, Any]:
    return {
        "number": each.number,
        "id": each.id,
        "name": each.name,
        "state": each.state,
        "main": each.main,
        "thread": each.thread,
        "spawned_at": None if each.spawned_at is None else _frame(each.spawned_at),
        "stack": [_frame(frame) for frame in each.stack],
        "omitted": each.omitted,
        "wait": None if each.wait is None else _wait(each.wait),
        "chain": list(each.chain),
    }


def _frame(frame: FrameReport) -> dict[str, Any]:
    return {
        "filename": frame.filename,
        "lineno": frame.lineno,
        "function": frame.function,
        "family": frame.family,
        "line": frame.line,
    }


def _wait(wait: WaitReport) -> dict[str, Any]:
    return {
        "text": wait.text,
        "type": wait.type,
        "fd": wait.fd,
        "direction": wait.direction,
        "waited": wait.waited,
        "left": wait.left,
        "wakers": list(wait.wakers),
        "owner": wait.owner,
        "owner_text": wait.owner_text,
        "owner_state": wait.owner_state,
    }


# -- text -----------------------------------------------------------------------------------------------------------


def as_text(report: Report) -> str:
    """See `Report`."""
    count = sum(each.state == "parked" for each in report.greenlets)
    ready = sum(each.state == "ready" for each in report.greenlets)
    lines = [f"Report of {report.hub}: {count} parked, {ready} ready, {report.new} not started"]
    lines += [f"! {text}" for text in report.incomplete]
    for cycle in report.cycles:
        lines += ["", *_cycle(report, cycle)]
    explained = {number for cycle in report.cycles for number in cycle}
    orphans = [each for each in report.orphans if each.greenlet not in explained]
    if orphans:
        lines += ["", "Nobody will wake:"]
        lines += [f"  {report[each.greenlet].label}: {each.text} ({each.verdict})" for each in orphans[:_NAMED]]
        if len(orphans) > _NAMED:
            lines.append(f"  and {len(orphans) - _NAMED} more")
    if report.hints:
        lines.append("")
    lines += [f"Hint: {hint.text}" for hint in report.hints]
    if report.running is not None:
        lines += ["", f"{report.running.label}, running", *_place(report.running)]
    for each, others in _grouped(report):
        lines += ["", *_parked(each)]
        if others:
            named = ", ".join(f"#{number}" for number in others[:_NAMED])
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            lines.append(f"  the same place: {named}{more} ({len(others)} greenlets)")
    if report.handles:
        lines += ["", f"The loop has {len(report.handles)} handles"]
        lines += [f"  {handle}" for handle in report.handles[:_NAMED]]
        if len(report.handles) > _NAMED:
            lines.append(f"  and {len(report.handles) - _NAMED} more")
    return "\n".join(lines)


def _cycle(report: Report, cycle: tuple[int, ...]) -> list[str]:
    if len(cycle) == 1:
        lines = ["Deadlock: a greenlet waits for itself"]
    else:
        lines = [f"Deadlock: {len(cycle)} greenlets wait for each other"]
    for number in cycle:
        each = report[number]
        what = "" if each.wait is None else each.wait.text
        lines += [f"  {each.label}", f"    | waits for {what}, which belongs to", "    v"]
    return [*lines, f"  {report[cycle[0]].label}"]


def _grouped(report: Report) -> Iterable[tuple[GreenletReport, list[int]]]:
    """Each greenlet that is told of, and the numbers of those for which it stands."""
    special = {number for cycle in report.cycles for number in cycle}
    special.update(number for hint in report.hints for number in hint.greenlets)
    groups: dict[Any, tuple[GreenletReport, list[int]]] = {}
    for each in report.greenlets:
        wait = each.wait
        unique = each.number in special or (wait is not None and wait.owner_text is not None) or each.main
        key = each.number if unique else (each.state, each.spawned_at, each.stack, wait and (wait.type, wait.direction))
        if key in groups:
            groups[key][1].append(each.number)
        else:
            groups[key] = (each, [])
    return groups.values()


def _parked(each: GreenletReport) -> list[str]:
    wait = each.wait
    state = each.state
    if wait is not None and wait.waited is not None:
        state += f" for {wait.waited:.3f}s"
    lines = [f"{each.label}, {state}"]
    if wait is not None:
        lines += _waits(wait)
    elif each.state == "parked":
        lines.append("  waits for a switch; what it waits for was not recorded")
    if len(each.chain) > 1 and each.number not in each.chain:
        lines.append(f"  which leads to {' -> '.join(f'#{number}' for number in each.chain)}")
    return lines + _place(each)


def _waits(wait: WaitReport) -> list[str]:
    where = f" to {wait.direction.replace('|', ' or ')} fd {wait.fd}" if wait.direction else ""
    lines = [f"  waits{where} for {wait.text}"]
    if wait.owner_text is not None:
        state = f", which is {wait.owner_state}" if wait.owner_state else ""
        lines.append(f"  which belongs to {wait.owner_text}{state}")
    if wait.left is not None:
        lines.append(f"  until {wait.left:.3f}s from then" if wait.left >= 0 else f"  overdue by {-wait.left:.3f}s")
    lines += [f"  to be woken by {waker}" for waker in wait.wakers if waker != wait.text]
    return lines


def _place(each: GreenletReport) -> list[str]:
    lines = []
    if each.spawned_at is not None:
        lines.append(f"  spawned at {each.spawned_at}")
    for frame in each.stack:
        lines.append(f"    {frame}")
        if frame.line:
            lines.append(f"      {frame.line}")
    if each.omitted:
        lines.append(f"    {each.omitted} frames in the middle are left out")
    return lines
