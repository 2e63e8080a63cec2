"""`python -m greenlet_hub`, and the script `greenlet-hub`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    from greenlet_hub import _cli

    return _cli.main()


if __name__ == "__main__":
    sys.exit(main())
