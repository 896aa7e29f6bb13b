"""Errors that end a venue with a log on disk or prevent its start, with their exit statuses.

The statuses follow sysexits.h.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from risk.commands import Entry


class DiskError(OSError):
    """A disk operation failed; `filename` names the file. Nothing written later counts as durable.

    Operations are not retried: a sync may succeed after a failed one although data was lost.
    """

    status: ClassVar[int] = 74


class LogError(Exception):
    """The data directory cannot be used in its present state."""

    status: ClassVar[int] = 65


class DamageError(LogError):
    """Log or snapshot contain bytes that this program cannot have written."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(f"{path}: damaged: {what} at byte {offset}")
        self.path = path
        self.offset = offset


class VersionError(LogError):
    """A file was written by a later version of this program, or under other rules."""


class LockedError(LogError):
    """Another process holds the lock of the directory."""

    status: ClassVar[int] = 75


class StalledError(LogError):
    """A stopping venue could not close its log in time."""

    status: ClassVar[int] = 69


class DivergenceError(LogError):
    """A replay produced other events than the live venue did, so the two programs differ."""

    status: ClassVar[int] = 70


class IdentityError(LogError):
    """A replay reached a state whose balances or margins are inconsistent, which is a bug."""

    status: ClassVar[int] = 70


class ApplyError(Exception):
    """Applying an entry raised an exception, which is a bug; `__cause__` is that exception."""

    status: ClassVar[int] = 70

    def __init__(self, entry: Entry) -> None:
        super().__init__(
            f"entry {entry.sequence} cannot be applied, and the venue stops before any effect"
            f" of it: {entry}"
        )
        self.entry = entry
