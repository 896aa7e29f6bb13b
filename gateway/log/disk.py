"""Every step by which the log reaches the disk, so that tests can make each of them fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from gateway.files import IrregularFileError, open_regular
from gateway.log.errors import DiskError, LogError

# The size of a file is synced with its data where that has changed; its times need not be.
_sync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync

# A name that cannot be followed to a file: whoever made the folder erred, not the disk.
_MISNAMED: Final = frozenset(
    (errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENXIO)
)


@frozen
class File:
    """A file that is open for appending."""

    path: Path
    descriptor: int


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a DiskError that names the file, or a LogError where there is none."""
    try:
        yield
    except OSError as error:
        if isinstance(error, IrregularFileError) or error.errno in _MISNAMED:
            raise LogError(f"{path}: {error.strerror}") from error
        raise DiskError(error.errno, error.strerror, str(path)) from error


class Disk:
    """Plain files. Every method may raise DiskError, which always means: stop.

    After a failed sync the kernel may call the next one good although what was written before
    is lost, so nothing here is ever tried again.
    """

    def make_directory(self, folder: Path) -> None:
        """Have a directory, and durably where it is new."""
        with disk_errors(folder):
            if not folder.is_dir():
                if folder.exists():
                    raise LogError(f"{folder}: not a directory")
                folder.mkdir(mode=0o750, parents=True)
                _sync_directory(folder.parent)

    def create(self, path: Path) -> File:
        """Make a new file, for appending; one of that name must not be there."""
        with disk_errors(path):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            return File(path, os.open(path, flags, 0o640))

    def open_for_append(self, path: Path) -> File:
        """Open a file that is there, for appending."""
        with disk_errors(path):
            return File(path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def write(self, file: File, data: bytes) -> None:
        """Write all of it. Where a write falls short, the next one finds out why."""
        with disk_errors(file.path):
            left = memoryview(data)
            while left:
                left = left[os.write(file.descriptor, left) :]

    def sync(self, file: File) -> None:
        """Make what was written durable."""
        with disk_errors(file.path):
            _sync(file.descriptor)

    def close(self, file: File) -> None:
        """Close it."""
        with disk_errors(file.path):
            os.close(file.descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file, durably."""
        with disk_errors(path), path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def sync_and_drop_cache(self, path: Path) -> None:
        """Have the next reader see what is on the disk, and not what was only meant for it.

        A process that died may have left pages that are not written yet: they are now. One that
        died of a failed sync may have left pages that never will be, which the kernel holds for
        good: they are dropped.
        """
        with disk_errors(path), open_regular(path) as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, source: Path, target: Path) -> None:
        """Put a file in another's place, atomically."""
        with disk_errors(source):
            source.rename(target)

    def remove(self, path: Path) -> None:
        """Take a file away, if it is there."""
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def sync_directory(self, folder: Path) -> None:
        """Make durable which files there are."""
        with disk_errors(folder):
            _sync_directory(folder)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
