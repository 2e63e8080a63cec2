"""Reports: who is stuck, on what, since when, and why nobody will wake them.

Receives: a hub, or one greenlet.  Gives: a `Report`, which is a picture: texts and numbers, no reference to what it
shows.  So it may be kept, sent and printed anywhere and at any time, and keeps nothing alive.

| file | does |
|---|---|
| `_report` (this one) | what a report is made of; `wait_reason` |
| `_report_find` | finds the greenlets of a hub, their stacks and their waits |
| `_report_graph` | owners, cycles, orphans |
| `_report_hints` | known causes |
| `_report_make` | puts it all together |
| `_report_text` | a report as text and as JSON |
| `_report_signal` | a report when a signal comes |

Rule 1: the reader pays.  Parking records the argument of `Hub.park` and the turn's time, in a frame that exists anyway
(law 6); spawning records where.  Everything else is looked up when somebody asks.
Rule 2: nothing here switches, and whatever a user's `repr` or `owner` raises becomes a text in the report.
Rule 3: what cannot be known is left out or said to be missing (`incomplete`), never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub_core._report_find import reason_of, stack_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from greenlet import greenlet

VERSION = 1
"""Of the JSON form.  Keys are added without a new number; one that is taken away or changes its meaning brings one."""


def wait_reason(parked: greenlet) -> object:
    """Return what a parked greenlet waits for: a watcher, an `FdWaiter`, a `Waiter`, or whatever `Hub.park` was given.

    None for a greenlet that is not parked there: one that runs, has ended, only sleeps for 0 seconds, or called
    `Hub.switch` itself.  Call from: any thread; of another one's greenlet it may be what it waited for a moment ago.
    Switches: never.
    """
    return reason_of(stack_of(parked))


@dataclass(frozen=True, slots=True)
class FrameReport:
    """One place in the code."""

    filename: str
    lineno: int
    function: str
    family: bool = False
    """Whether it is the hub family's own code."""

    @property
    def line(self) -> str:
        """The text of the line, as it is in the file now; empty if there is no source."""
        import linecache

        return linecache.getline(self.filename, self.lineno).strip()

    def __str__(self) -> str:
        return f'File "{self.filename}", line {self.lineno}, in {self.function}'


@dataclass(frozen=True, slots=True)
class WaitReport:
    """What a parked greenlet waits for."""

    text: str
    """The `repr` of the object, shortened."""
    type: str
    """The name of its type."""
    fd: int | None
    """The file descriptor, if it is one that is waited for."""
    direction: str | None
    """`read`, `write` or `read|write`, for a file descriptor."""
    waited: float | None
    """For how many seconds, counted from the beginning of the turn in which it parked: never too few.

    Too many by as long as the greenlets of that turn had run by then.
    """
    left: float | None
    """Seconds until a timer ends the wait; negative if it is overdue, None if there is none."""
    wakers: tuple[str, ...]
    """What in the loop leads to this wait: watchers and queued callbacks."""
    owner: int | None
    """The number of the greenlet that has to run for this to be released, if that is known."""
    owner_text: str | None
    """The same in words, also for an owner that is dead, or no greenlet."""
    owner_state: str | None
    """`parked`, `ready`, `new`, `running` or `dead`; None if the owner is not known or no greenlet."""


@dataclass(frozen=True, slots=True)
class OrphanReport:
    """Why nobody will end a wait."""

    greenlet: int
    verdict: str
    """`certain`, or `suspect` where something unseen might still do so."""
    text: str


@dataclass(frozen=True, slots=True)
class GreenletReport:
    """One greenlet."""

    number: int
    """Of this greenlet in this report, from 1."""
    id: int
    """What `id()` says of it."""
    name: str
    """Its `name`, if it has one that is a text, else that of its function."""
    state: str
    """`parked`; `ready`: may go on, or start, as soon as it is its turn; `new`, `running`, `dead`: as owners only."""
    main: bool
    """Whether it is the hub's parent."""
    thread: int
    """The thread that it runs in; of an owner this may be another one than the hub's, 0 if nobody can tell."""
    spawned_at: FrameReport | None
    """Who called `spawn_raw`."""
    stack: tuple[FrameReport, ...]
    """Innermost first, without the family's own frames, unless there are no others."""
    omitted: int
    """How many frames of a deep stack were left out, from its middle."""
    wait: WaitReport | None
    """None for one that is not parked, or by bare `Hub.switch`, which records nothing."""
    chain: tuple[int, ...]
    """Its owner, that one's owner, and so on, as far as it goes or until it comes round."""

    @property
    def label(self) -> str:
        """How texts call it."""
        if self.main:
            return f"#{self.number} (the main greenlet)"
        return f"#{self.number} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Hint:
    """A known cause that fits what is seen."""

    key: str
    """`other-hub`, `other-loop`, `native-lock`, `unref`, `pool-in-pool` or `dead-owner`."""
    text: str
    greenlets: tuple[int, ...]
    """The numbers of those that it is about."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a hub's greenlets wait for, at one moment: see `Hub.report`.  `str(report)` is for people.

    A report refers to nothing that it shows: it keeps no greenlet alive, and does not change.
    """

    hub: str
    """The `repr` of the hub."""
    thread: int
    """The thread of the hub."""
    polling: bool
    """Whether its loop slept in the poller."""
    greenlets: tuple[GreenletReport, ...]
    """Those that are parked or ready, the main one first; then owners from elsewhere."""
    new: int
    """How many were spawned and had not started."""
    running: GreenletReport | None
    """The greenlet that ran, if one did.  A callback that ran counts as one, named `hub`."""
    cycles: tuple[tuple[int, ...], ...]
    """Greenlets that wait for each other, by number: each waits on what the next one owns, the last on the first's."""
    orphans: tuple[OrphanReport, ...]
    """Waits that nobody will end."""
    hints: tuple[Hint, ...]
    """Known causes that fit."""
    handles: tuple[str, ...]
    """What the loop had started, in words: watchers, registrations, queued callbacks."""
    incomplete: tuple[str, ...]
    """Why greenlets may be missing; empty if none can be."""

    def as_dict(self) -> dict[str, Any]:
        """The report as dicts, lists, texts and numbers: the JSON form, which docs/howto/debug-a-hang.md lists."""
        from hub_core._report_text import as_dict

        return as_dict(self)

    def as_json(self, indent: int | None = None) -> str:
        """The report as JSON; `indent` as for `json.dumps`."""
        import json

        return json.dumps(self.as_dict(), indent=indent)

    def __getitem__(self, number: int) -> GreenletReport:
        """The greenlet of that number.  Raises KeyError."""
        for each in self.greenlets:
            if each.number == number:
                return each
        if self.running is not None and self.running.number == number:
            return self.running
        raise KeyError(number)

    def __str__(self) -> str:
        from hub_core._report_text import as_text

        return as_text(self)
