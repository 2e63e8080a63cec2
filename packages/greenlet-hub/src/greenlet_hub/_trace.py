"""The trace of a program: which greenlet ran when, for how long, and what it has waited for since.

Receives: greenlet's own notices of switches (`greenlet.settrace`), thread by thread.  Gives: lines for a `TraceFile`.

| what is seen | is written as |
|---|---|
| a native thread with a hub | a process, by the number that the system has for the thread |
| a greenlet | a thread of that process: a track, with its name and where it was spawned |
| a greenlet runs, until it lets others run | a slice on its track, which tells what it waits for then |
| it starts, is thrown into, ends | an instant on its track |
| the hub polls | a slice within one of the hub's |

Rule 1: nothing of the program's is run here (no `repr`, no property) but the `name` of a greenlet, and nothing of it is
kept alive: a track is known by the `id` of its greenlet until that has ended.
Rule 2: our own time is nobody's.  A slice ends when the notice comes, and the next one begins when we are done with it.
Rule 3: a thread's lines are written each time before its hub polls, so whatever ends the process costs the trace the
last turn at most; and after every MOST_LINES, for who never polls.
Rule 4: what a signal handler raises here goes on to the program, as it would have without us.  greenlet ends the
notices then, and the hub's next turn begins them anew.
"""

from __future__ import annotations

import os
import threading
from _thread import get_native_id
from time import perf_counter_ns

import greenlet as greenlets
from greenlet import greenlet

from greenlet_hub import _trace_words as words
from greenlet_hub._trace_file import TraceFile, complain
from hub_core import Hub, get_hub_if_exists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_LINES = 1000
_END = '{"ph":"M","pid":0,"tid":0,"name":"trace_ended","args":{}}'


class Tracer:
    """Traces threads into one file."""

    def __init__(self, file: TraceFile) -> None:
        self._file = file
        self._here = threading.local()
        # Not the `_Thread` itself, which leads to the thread's loop and hub: nothing of a thread may outlive it here.
        self._buffers: list[tuple[threading.Thread, list[str]]] = []
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forked)

    def trace_this_thread(self) -> None:
        """Begin with the calling thread, unless it is traced already."""
        if self._file.closed or getattr(self._here, "thread", None) is not None:
            return
        if greenlets.gettrace() is not None:
            if not getattr(self._here, "told", False):
                self._here.told = True
                name = threading.current_thread().name
                complain(f"{name!r} is not in the trace: somebody else traces its greenlets")
            return
        self._here.thread = here = _Thread(self._file)
        with self._lock:
            ended = [each for each in self._buffers if not each[0].is_alive()]
            for each in ended:
                self._buffers.remove(each)
                self._file.write(each[1])
            self._buffers.append((here.thread, here.lines))
        here.begin()

    def close(self) -> None:
        """The end of the process: write what is left.  Call from: the main thread."""
        with self._lock:
            here = getattr(self._here, "thread", None)
            if here is not None:
                here.end()
            for _, lines in self._buffers:
                self._file.write(lines)
        self._file.close(_END)

    def _forked(self) -> None:
        """In the child there is this thread alone, and nothing of it was written yet."""
        self._lock = threading.Lock()
        here: _Thread | None = getattr(self._here, "thread", None)
        self._buffers = [] if here is None else [(here.thread, here.lines)]
        if here is not None:
            here.begin_in_child()


class _Track:
    """One greenlet."""

    __slots__ = ("head", "started_by", "tid")

    def __init__(self, tid: int, started_by: str) -> None:
        self.tid = tid
        self.started_by = started_by
        """The name of its function; empty if it ran before we came."""
        self.head = ""
        """How each of its slices begins; empty until the first one, by the end of which it has its name."""


class _Thread:
    """The greenlets of one native thread."""

    def __init__(self, file: TraceFile) -> None:
        self.thread = threading.current_thread()
        self._file = file
        self.lines: list[str] = []
        self._tracks: dict[int, _Track] = {}
        self._seen = 0
        self._polls: list[_Polls] = []
        self._pid = self._began = 0

    # -- beginning and end ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Have greenlet tell of this thread's switches from now on.  Call from: the thread."""
        self._pid = get_native_id()
        self._tracks.clear()
        name = f"{self.thread.name} of process {os.getpid()}"
        self._say("process_name", 0, f'"name":{words.quoted(name)}')
        self._say("process_sort_index", 0, f'"sort_index":{0 if self.thread is threading.main_thread() else self._pid}')
        self._known(greenlets.getcurrent())
        hub = get_hub_if_exists()
        if hub is not None:
            self._watch_polls(hub)
        greenlets.settrace(self._switched)
        self._began = perf_counter_ns()

    def begin_in_child(self) -> None:
        """This is a forked child: what was not written is the parent's."""
        del self.lines[:]
        if self.is_on():
            self._seen = 0
            self.begin()

    def is_on(self) -> bool:
        """Whether greenlet tells us; a program may have it tell somebody else.  Call from: the thread."""
        return bool(greenlets.gettrace() == self._switched)

    def end(self) -> None:
        """The slice of whoever runs ends here, as far as the trace tells.  Call from: the thread."""
        if self.is_on():
            greenlets.settrace(None)
            self._end_slice(greenlets.getcurrent(), "the trace ends")

    def keep_up(self) -> None:
        """Write what there is; stop if the file is no more, and begin anew if we are told nothing.

        Call from: the thread.
        """
        self._file.write(self.lines)
        if self._file.closed:
            for each in self._polls:
                each.stop()
            if self.is_on():
                greenlets.settrace(None)
        elif greenlets.gettrace() is None:
            self.begin()

    # -- switches ---------------------------------------------------------------------------------------------------

    def _switched(self, event: str, ends: tuple[greenlet, greenlet]) -> None:
        """One greenlet has let another one run; called by greenlet, in the latter."""
        try:
            now = perf_counter_ns()
            origin, target = ends
            tracks = self._tracks
            track = tracks.get(id(origin)) or self._new_track(origin)
            head = track.head or self._introduce(origin, track)
            then = words.end_of(origin, target)
            began = self._began
            self.lines.append(f'{head}{began}e-3,"dur":{now - began}e-3,"args":{{"then":{then}}}}},\n')
            self._began = 0
            if then is words.ENDS:
                self._instant(track, now, '"end"')
                tracks.pop(id(origin), None)
            known = tracks.get(id(target))
            thrown_into = event[0] == "t"  # the other event begins with an s
            if known is None or thrown_into:
                self._start(target, known, origin, now, thrown_into)
            if len(self.lines) > MOST_LINES:
                self.keep_up()
            self._began = perf_counter_ns()
        except BaseException as error:
            self._failed(error, ends[0])

    def _start(self, target: greenlet, track: _Track | None, origin: greenlet, now: int, thrown_into: bool) -> None:
        """A greenlet runs for the first time, or something is thrown into it."""
        name, thrown = words.start_of(origin, target)
        if track is None:
            track = self._new_track(target, name)
            if words.runs_nothing_yet(2):
                site = words.spawn_site(target)
                self._instant(track, now, '"start"', f',"args":{{"spawned at":{words.quoted(site)}}}' if site else "")
            if isinstance(target, Hub):
                self._watch_polls(target)
        if thrown_into:
            self._instant(track, now, words.quoted(f"throw {thrown}".rstrip()))

    def _known(self, found: greenlet) -> _Track:
        return self._tracks.get(id(found)) or self._new_track(found)

    def _new_track(self, found: greenlet, started_by: str = "") -> _Track:
        self._seen += 1
        track = self._tracks[id(found)] = _Track(self._seen, started_by)
        return track

    def _introduce(self, origin: greenlet, track: _Track) -> str:
        """Write the name of a track, and return how its slices begin."""
        tid = track.tid
        name = words.name_of(origin) or track.started_by or words.outermost(origin)
        self._say("thread_name", tid, f'"name":{words.quoted(name)[:-1]} #{tid}"')
        if isinstance(origin, Hub):
            self._say("thread_sort_index", tid, '"sort_index":-1')
        track.head = f'{{"ph":"X","pid":{self._pid},"tid":{tid},"name":{words.quoted(name)},"ts":'
        return track.head

    def _say(self, what: str, tid: int, details: str) -> None:
        self.lines.append(f'{{"ph":"M","pid":{self._pid},"tid":{tid},"name":"{what}","args":{{{details}}}}},\n')

    def _instant(self, track: _Track, now: int, name: str, details: str = "") -> None:
        self.lines.append(
            f'{{"ph":"i","s":"t","pid":{self._pid},"tid":{track.tid},"name":{name},"ts":{now}e-3{details}}},\n'
        )

    def _end_slice(self, origin: greenlet, why: str) -> None:
        track, began = self._known(origin), self._began
        head = track.head or self._introduce(origin, track)
        self.lines.append(f'{head}{began}e-3,"dur":{perf_counter_ns() - began}e-3,"args":{{"then":"{why}"}}}},\n')

    def _failed(self, error: BaseException, origin: greenlet) -> None:
        """Tell what a signal handler has raised here, which goes on, from a mistake of ours.

        After the former greenlet tells us nothing more, until the hub's next turn.
        """
        if self._began:
            self._end_slice(origin, "switches, and a signal handler raises")
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__name__") in _OURS:
            trace = trace.tb_next
        if trace is not None or not isinstance(error, Exception):
            raise error
        self._file.write(self.lines)
        self._file.close(_END)
        self.keep_up()
        complain(f"the trace ends here: {error!r}")

    # -- the hub's polls --------------------------------------------------------------------------------------------

    def _watch_polls(self, hub: Hub) -> None:
        loop: Any = hub.loop
        self._polls = [each for each in self._polls if each.is_on()]  # others are of loops that were destroyed
        if hasattr(loop, "prepare") and not any(each.loop is loop for each in self._polls):
            self._polls.append(_Polls(self, loop))

    def poll_ended(self, hub: greenlet, began: int, slept: float) -> None:
        """A poll of this hub, and what the loop made of what it told, is over."""
        track = self._known(hub)
        took = perf_counter_ns() - began
        self.lines.append(
            f'{{"ph":"X","pid":{self._pid},"tid":{track.tid},"name":"poll","ts":{began}e-3,'
            f'"dur":{took}e-3,"args":{{"slept":{slept * 1e6:.0f}}}}},\n'
        )


_OURS = {__name__, "greenlet_hub._trace_file", "greenlet_hub._trace_words", "json", "json.encoder"}


class _Polls:
    """The polls of one loop, between its prepare and its check watchers."""

    def __init__(self, thread: _Thread, loop: Any) -> None:
        self._thread = thread
        self.loop = loop
        self._began = 0
        self._slept = 0.0
        self._prepare = loop.prepare(ref=False)
        self._check = loop.check(ref=False)
        self._prepare.start(self._before)
        self._check.start(self._after)

    def is_on(self) -> bool:
        """Whether the loop still has these watchers."""
        return bool(self._prepare.active)

    def stop(self) -> None:
        """Watch no more."""
        self._prepare.stop()
        self._check.stop()

    def _sleep_so_far(self) -> float:
        polled: tuple[float, float | None] = getattr(self.loop, "polled", (0.0, None))
        return polled[0]

    def _before(self) -> None:
        self._thread.keep_up()
        self._slept = self._sleep_so_far()
        self._began = perf_counter_ns()

    def _after(self) -> None:
        current = greenlets.getcurrent()
        if self._began and self._thread.is_on() and isinstance(current, Hub):
            self._thread.poll_ended(current, self._began, self._sleep_so_far() - self._slept)
        self._began = 0


def start(path: str) -> Tracer:
    """A tracer that writes there.  Raises OSError if the file cannot be made."""
    return Tracer(TraceFile(path))
