"""The conformance kit: what `hub_api.ILoopCore` and `hub_api.ILoop` promise, as tests that any loop can be put to.

    from hub_loop.testing.conformance import LoopConformance

    class TestMyLoop(LoopConformance):
        def make_loop(self) -> ILoopCore:
            return MyLoop()

pytest then collects every behaviour for that loop.  `LoopConformance` is all of it; each of its bases is one subject
and can be subclassed by itself, while a loop is being written.  `Counting` stands beside it, for a loop that is an
`ICountingLoop`, too.  What a loop may declare is in `LoopKit`.

Rule 1: a test knows the documented surface only: no attribute with an underscore, no text of an error, no repr.
Rule 2: no test depends on how fast the machine is.  Time passes as the loop's own clock has it: by hand where the
loop is given a `ManualClock`, else for real, in steps of a few milliseconds; then only "not before" is asserted.
Rule 3: a loop that gets something wrong fails the test that is named after it.  One that loses an event or a wake-up
may block in that test for ever: run the kit with pytest-timeout, or with pytest's `faulthandler_timeout`.
"""

from collections.abc import Collection
from typing import ClassVar

import pytest

# Before the imports below: only then does a failing assertion tell both its sides.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{subject}"
        for subject in (
            *("_kit", "_running", "_callbacks", "_errors", "_threads", "_signal_handlers", "_phases", "_priorities"),
            *("_timers", "_io", "_closing", "_registrations", "_watchers", "_ending", "_counting"),
            *("_signals", "_children", "_forks", "_paths"),
        )
    )
)

from hub_loop.testing.conformance._callbacks import Callbacks
from hub_loop.testing.conformance._children import Children
from hub_loop.testing.conformance._closing import Closing
from hub_loop.testing.conformance._counting import Counting
from hub_loop.testing.conformance._ending import Ending
from hub_loop.testing.conformance._errors import Errors
from hub_loop.testing.conformance._forks import Forks
from hub_loop.testing.conformance._io import Io
from hub_loop.testing.conformance._kit import Kind, LoopKit, MakeWire, Wire
from hub_loop.testing.conformance._paths import Paths
from hub_loop.testing.conformance._phases import Phases
from hub_loop.testing.conformance._priorities import Priorities
from hub_loop.testing.conformance._registrations import Registrations
from hub_loop.testing.conformance._running import Running
from hub_loop.testing.conformance._signal_handlers import SignalHandlers
from hub_loop.testing.conformance._signals import Signals
from hub_loop.testing.conformance._threads import Threads
from hub_loop.testing.conformance._timers import Timers
from hub_loop.testing.conformance._watchers import Watchers


class CoreConformance(
    Running,
    Callbacks,
    Errors,
    Threads,
    SignalHandlers,
    Phases,
    Priorities,
    Timers,
    Io,
    Closing,
    Registrations,
    Watchers,
    Ending,
):
    """What `hub_api.ILoopCore` promises: a loop that a hub can run on."""

    lacks: ClassVar[Collection[str]] = ("signal", "child", "fork", "stat")


class LoopConformance(CoreConformance, Signals, Children, Forks, Paths):
    """What `hub_api.ILoop` promises: all of it."""

    lacks: ClassVar[Collection[str]] = ()


__all__ = [
    "LoopConformance",
    "CoreConformance",
    "LoopKit",
    "Running",
    "Callbacks",
    "Errors",
    "Threads",
    "SignalHandlers",
    "Phases",
    "Priorities",
    "Timers",
    "Io",
    "Closing",
    "Registrations",
    "Watchers",
    "Ending",
    "Signals",
    "Children",
    "Forks",
    "Paths",
    "Counting",
    "Kind",
    "MakeWire",
    "Wire",
]
