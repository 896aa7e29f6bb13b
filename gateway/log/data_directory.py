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
"""Many times what a batch takes."""


@frozen
class DataDirectory:
    """Where everything is that a venue keeps."""

    path: Path

    @property
    def log(self) -> Path:
        """The folder of the segments."""
        return self.path / "log"

    @property
    def snapshots(self) -> Path:
        """The folder of the snapshots."""
        return self.path / "snapshots"

    @contextmanager
    def locked(self, disk: Disk) -> Iterator[int]:
        """Be the one process that writes; the folders are made where they are missing.

        Gives the descriptor that holds the lock; who inherits it holds it as well. The kernel
        frees the lock of processes that have ended, however they ended.
        Raises LockedError when others hold it, and have for LOCK_SECONDS: of a venue that was
        killed, a process may still be writing what it was told to.
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
        while not _is_ours(descriptor):
            if time.monotonic() >= until:
                # Its number is there for people: the lock is what counts.
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                raise LockedError(
                    f"{self.path}: in use by another process (pid {holder or 'unknown'});"
                    " one process at a time writes to a data directory"
                )
            time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
