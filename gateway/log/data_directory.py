"""A data directory and its lock: one process writes to it, others may read."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from gateway.files import require_regular
from gateway.log.disk import Disk, disk_errors
from gateway.log.errors import LockedError

LOCK_SECONDS: Final = 1.0
"""Many times as long as writing a batch takes."""


@frozen
class DataDirectory:
    """The directory of all files that a venue keeps."""

    path: Path

    @property
    def log(self) -> Path:
        """The directory of the segments."""
        return self.path / "log"

    @property
    def snapshots(self) -> Path:
        """The directory of the snapshots."""
        return self.path / "snapshots"

    @contextmanager
    def locked(self, disk: Disk) -> Iterator[int]:
        """Lock the directory for writing during the block; create missing subdirectories.

        Yields the descriptor that holds the lock. A process that inherits it holds the lock too.
        The kernel releases the lock when the last of these processes ends, in whatever way.
        Raises LockedError if another process holds the lock for LOCK_SECONDS: after a venue was
        killed, its writer process may still be finishing a write.
        """
        for folder in (self.path, self.log, self.snapshots):
            disk.make_directory(folder)
        path = self.path / "LOCK"
        with disk_errors(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(path, flags, 0o640)
        try:
            with disk_errors(path):
                require_regular(path, descriptor)
                self._lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        until = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() >= until:
                # The process id in the file is only for this message; the lock does not use it.
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                raise LockedError(
                    f"{self.path}: in use by another process (pid {holder or 'unknown'});"
                    " one process at a time writes to a data directory"
                )
            time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
