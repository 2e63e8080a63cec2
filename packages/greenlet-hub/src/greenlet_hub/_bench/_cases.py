"""What `greenlet-hub bench` measures: the kernel's own operations, in sizes that take a fraction of a second each.

The project's table has the same workloads in other sizes, with goals, and more rows (`benchmarks/` of the repository).
"""

from __future__ import annotations

from greenlet_hub._bench import _callbacks, _spawn, _timers, _waiter, _yield
from greenlet_hub._bench._model import Case, Row

MODULE = __name__
JOIN = {contender: measure for contender, measure in _spawn.JOIN.items() if contender != "gevent raw"}
CASES = [
    Case((Row("yield, ring of 100", "us"),), _yield.CONTENDERS, {"ring": 100, "each": 200}),
    Case((Row("spawn and end", "us"),), _spawn.BATCHES, {"batches": 1}),
    Case((Row("spawn and join", "us"),), JOIN, {"spawns": 2_000}),
    Case((Row("wake, ping-pong", "us"),), _waiter.CONTENDERS, {"wakes": 10_000}),
    Case((Row("callback", "us"),), _callbacks.QUEUE, {"batches": 40}),
    Case((Row("timer, start + stop", "us"),), _timers.STOPPED, {"sizes": [1_000], "timers": 5_000}),
    Case((Row("timer, firing", "us"),), _timers.FIRED, {"timers": 10_000}),
]
