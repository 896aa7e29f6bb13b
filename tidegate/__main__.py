"""The console script `tidegate`, and `python -m tidegate`."""

from __future__ import annotations

import sys
from importlib import import_module

from tidegate.location import VENUE


def main() -> int:
    """Run the command line; returns the exit status.

    The venue's directory comes first on the import path: modules of the same names in the working
    directory or in site-packages do not shadow it.
    """
    sys.path.insert(0, str(VENUE))
    status: int = import_module("gateway.cli").main()
    return status


if __name__ == "__main__":
    sys.exit(main())
