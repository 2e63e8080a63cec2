"""The process in which one contender is measured once.

`python worker.py MODULE CASE CONTENDER CORE,LOAD_CORE ARGUMENTS`

Started by `run.py`, never by hand.  Gives: one line on stdout, a JSON list with a figure per row.  What the contender
itself prints goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from harness import Case, pin


def main() -> None:
    """Measure, print, and leave without tearing anything down: that is not what is timed."""
    module, index, contender, where, args = sys.argv[1:]
    out = os.dup(1)
    os.dup2(2, 1)
    if where:
        core, load_core = where.split(",")
        pin(int(core))
        os.environ["BENCH_CORES"] = f"{core},{load_core}"
    case: Case = importlib.import_module(module).CASES[int(index)]
    figures = case.contenders[contender](**json.loads(args))
    os.write(out, json.dumps(figures if isinstance(figures, tuple) else [figures]).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
