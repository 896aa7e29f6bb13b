"""Open files that an operator names, if they are regular files.

Opening a FIFO without a writer would block for ever, a device may have no end, and a directory
fails only when it is read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class IrregularFileError(OSError):
    """A path names something other than a regular file."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises IrregularFileError for other kinds of files, and OSError.

    Symbolic links are followed.
    """
    # Check before opening, which has effects on some devices, and afterwards, without a race.
    _require_regular(path, path.stat())
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        require_regular(path, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")  # noqa: PTH123 - it is open already


def require_regular(path: Path, descriptor: int) -> None:
    """Raise IrregularFileError unless a descriptor is that of a regular file."""
    _require_regular(path, os.fstat(descriptor))


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise IrregularFileError(errno.EINVAL, f"{kind}, not a regular file", str(path))
