"""Everything that touches the world: sockets, clocks, files and configuration. Trio lives here.

Importing it fails with ImportError when `book` or `risk` is not the package of this distribution.
Both names are common words, and a `book.py` in somebody's working directory would otherwise win
silently and break far away from its cause.
"""

from pathlib import Path
from types import ModuleType

import book
import risk


def _require_sibling(package: ModuleType, home: Path) -> None:
    """Raise ImportError naming the file that was found in place of our `package` under `home`."""
    expected = home / package.__name__
    found = Path(package.__file__ or package.__path__[0]).resolve()
    if found.parent != expected:
        raise ImportError(
            f"`import {package.__name__}` found {found}, which shadows {expected}:"
            " rename it, or start Python where it is not on the import path",
            name=package.__name__,
            path=str(found),
        )


for _package in (book, risk):
    _require_sibling(_package, Path(__file__).resolve().parent.parent)
