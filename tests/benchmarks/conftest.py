"""The benchmark's own files are scripts beside one another: their directory has to be where modules are looked for."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))
