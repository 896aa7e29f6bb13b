"""Where the venue's own packages are: `book`, `risk` and `gateway`.

A wheel carries them below `tidegate/_venue`, so that an installation adds one import name to
site-packages. In a checkout they are at the top of the repository, beside this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent
_INSTALLED: Final = _PACKAGE / "_venue"

VENUE: Final = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
"""The directory to put first on `sys.path` before `gateway` is imported."""
