"""For tests: a clock moved by hand, a scripted poller, a look at what is still active, and a kit that proves a loop.

`conformance` is the kit.  It alone needs pytest (`hub-loop[testing]`), so it is imported by its own name and not here.
"""

from hub_loop.testing._fake import FakePoller, ManualClock, NothingCanHappen, active_watchers

__all__ = ["FakePoller", "ManualClock", "NothingCanHappen", "active_watchers"]
