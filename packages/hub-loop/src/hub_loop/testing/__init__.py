"""For tests: a clock moved by hand, a scripted poller, a look at what is left behind, and a kit that proves a loop.

`conformance` is the kit, and `pytest_plugin` has a fixture that fails a test which leaves something behind.  They alone
need pytest (`hub-loop[testing]`), so they are loaded by their own names and not here.
"""

from hub_loop.testing._fake import FakePoller, ManualClock, NothingCanHappen, active_watchers
from hub_loop.testing._leftovers import Leftovers

__all__ = ["FakePoller", "Leftovers", "ManualClock", "NothingCanHappen", "active_watchers"]
