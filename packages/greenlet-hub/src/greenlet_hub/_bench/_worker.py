"""The process in which one contender is measured once.

`python [-P] -m greenlet_hub._bench._worker MODULE CASE CONTENDER CORE,LOAD_CORE ARGUMENTS`

Started by `_measure`, never by hand.  Gives: one line on stdout, a JSON list with a figure (or a reason) per row.  What
the contender itself prints goes to stderr.  The directory it is started in is the first to be searched for MODULE,
unless -P says that it is installed.
All contenders run in the same process image: each has the family's 25 modules in memory, used or not.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from greenlet_hub._bench._model import Case, pin


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
