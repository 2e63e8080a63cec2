"""For tests of code that runs on a hub: an order for greenlets, a wait for all of them, and what switches.

`pytest_plugin` fails a test that leaves greenlets behind.  It alone needs pytest (`hub-core[testing]`), so it is loaded
by its own name and not here.
"""

from hub_core.testing._parked import parked_greenlets, wait_all_parked
from hub_core.testing._sequencer import Sequencer
from hub_core.testing._switches import assert_no_switch, assert_switches

__all__ = ["Sequencer", "assert_no_switch", "assert_switches", "parked_greenlets", "wait_all_parked"]
