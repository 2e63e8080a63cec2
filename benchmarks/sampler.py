"""A process that is sampled: a case's contender "ours", or a server.

`python sampler.py MODULE CASE ARGUMENTS` runs a case; `python sampler.py -m MODULE` runs a server until SIGTERM.

Started by `profiles.py`, or by `bench_http.served` while BENCH_PROFILE names a directory.  Gives: a file there.
A SIGPROF comes with every tick of CPU time (1 to 10 ms: setitimer(2)); its handler is given the frame that runs in the
main thread, whichever greenlet that belongs to.  CPython calls it between two bytecodes, behind the call in which the
signal came.
A case that starts a server leaves two files: its own, and that of the server, which is the one that counts.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
from collections import Counter
from types import FrameType

import profiles
from harness import Case, cores, pin

INTERVAL = 0.001
DEEPEST = 60


class Sampler:
    """Counts stacks, from `start` to `stop`."""

    def __init__(self) -> None:
        self.stacks: Counter[tuple[str, ...]] = Counter()
        self._before = os.times()

    def start(self) -> None:
        """Begin."""
        self._before = os.times()
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self, kind: str) -> None:
        """End, and leave the file, if anything was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        after = os.times()
        if self.stacks:
            profiles.dump(kind, self.stacks, after.user - self._before.user, after.system - self._before.system)

    def _sample(self, signum: int, frame: FrameType | None) -> None:
        stack: list[str] = []
        while frame is not None and len(stack) < DEEPEST:
            name = self._name(frame)
            if name:
                stack.append(name)
            frame = frame.f_back
        if stack:
            self.stacks[tuple(reversed(stack))] += 1

    @staticmethod
    def _name(frame: FrameType) -> str:
        """How a frame is called; nothing for those of this file, of imports and of what runs modules."""
        module = str(frame.f_globals.get("__name__", "?"))
        if module.startswith(("importlib", "runpy")) or frame.f_code.co_filename == __file__:
            return ""
        return f"{module}.{frame.f_code.co_qualname}"


def main() -> None:
    """Run what is asked for, sampled."""
    sampler = Sampler()
    if sys.argv[1] == "-m":
        module = sys.argv[2]

        def end(signum: int, frame: FrameType | None) -> None:
            sampler.stop("server")
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
        sampler.start()
        runpy.run_module(module, run_name="__main__")
        return
    module, index, args = sys.argv[1:]
    where = cores()
    if where is not None:
        pin(where[0])
        os.environ["BENCH_CORES"] = f"{where[0]},{where[1]}"
    case: Case = importlib.import_module(module).CASES[int(index)]
    sampler.start()
    case.contenders["ours"](**json.loads(args))
    sampler.stop("case")
    os._exit(0)


if __name__ == "__main__":
    main()
