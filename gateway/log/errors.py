"""Why a venue with a log on disk ends, or does not start; each with the status it exits with.

The statuses are those of sysexits.h, which service managers and people can look up.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from risk.commands import Entry


class DiskError(OSError):
    """The disk refused a step; `filename` says where. Nothing after it counts as written.

    Never tried again: a sync that succeeds after one that failed may have lost what lay between.
    """

    status: ClassVar[int] = 74


class LogError(Exception):
    """The data directory cannot be used as it is."""

    status: ClassVar[int] = 65


class DamageError(LogError):
    """Bytes in the middle of the log, or of the only snapshot, that were never written so."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(f"{path}: damaged: {what} at byte {offset}")
        self.path = path
        self.offset = offset


class VersionError(LogError):
    """Written by a later version of this program, or under rules that are not ours."""


class LockedError(LogError):
    """Another process writes to the directory."""

    status: ClassVar[int] = 75


class StalledError(LogError):
    """The venue was told to stop, and its log could not be closed in time."""

    status: ClassVar[int] = 69


class DivergenceError(LogError):
    """A replay came to other events than the live venue: not the program that wrote the log."""

    status: ClassVar[int] = 70


class IdentityError(LogError):
    """A replay reached a state in which money or margin do not add up, which is a bug."""

    status: ClassVar[int] = 70


class ApplyError(Exception):
    """Applying an entry raised, which is a bug; `__cause__` is what it raised."""

    status: ClassVar[int] = 70

    def __init__(self, entry: Entry) -> None:
        super().__init__(
            f"entry {entry.sequence} cannot be applied, and the venue stops before any effect"
            f" of it: {entry}"
        )
        self.entry = entry
