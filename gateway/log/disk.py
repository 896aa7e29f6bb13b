"""Every operation by which the log changes the disk, in one class that tests can replace."""

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

# fdatasync also syncs a changed file size. The other metadata is not needed.
_sync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync

# Errors of a path that leads to no regular file, which is not a failure of the disk.
_MISNAMED: Final = frozenset(
    (errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENXIO)
)


@frozen
class File:
    """A file open for appending."""

    path: Path
    descriptor: int


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a DiskError that names the file, or a LogError for an unusable path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, IrregularFileError) or error.errno in _MISNAMED:
            raise LogError(f"{path}: {error.strerror}") from error
        raise DiskError(error.errno, error.strerror, str(path)) from error


class Disk:
    """File operations. Every method may raise DiskError, after which the venue must stop.

    No operation is retried: after a failed sync the kernel may report success for the next one
    although earlier writes are lost.
    """

    def make_directory(self, folder: Path) -> None:
        """Create a directory durably unless it exists."""
        with disk_errors(folder):
            if not folder.is_dir():
                if folder.exists():
                    raise LogError(f"{folder}: not a directory")
                folder.mkdir(mode=0o750, parents=True)
                _sync_directory(folder.parent)

    def create(self, path: Path) -> File:
        """Create a new file for appending. Its name must not exist."""
        with disk_errors(path):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            return File(path, os.open(path, flags, 0o640))

    def open_for_append(self, path: Path) -> File:
        """Open an existing file for appending."""
        with disk_errors(path):
            return File(path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def write(self, file: File, data: bytes) -> None:
        """Write all of `data`. After a short write, the next one raises the error."""
        with disk_errors(file.path):
            left = memoryview(data)
            while left:
                left = left[os.write(file.descriptor, left) :]

    def sync(self, file: File) -> None:
        """Make the written data durable."""
        with disk_errors(file.path):
            _sync(file.descriptor)

    def close(self, file: File) -> None:
        """Close a file."""
        with disk_errors(file.path):
            os.close(file.descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Truncate a file durably."""
        with disk_errors(path), path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def sync_and_drop_cache(self, path: Path) -> None:
        """Make later reads return what is on the disk, not what only the page cache holds.

        Pages that a dead process left unwritten are written. Pages of a failed sync, which the
        kernel marks as clean although they were never written, are dropped.
        """
        with disk_errors(path), open_regular(path) as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, replacing the target atomically."""
        with disk_errors(source):
            source.rename(target)

    def remove(self, path: Path) -> None:
        """Remove a file if it exists."""
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def sync_directory(self, folder: Path) -> None:
        """Make created, renamed and removed names in a directory durable."""
        with disk_errors(folder):
            _sync_directory(folder)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
