"""Failures of disk, log or exchange that end the whole venue, and how they are reported."""

from __future__ import annotations

import sys
import traceback

import trio
from attrs import define, field

from gateway.log.errors import ApplyError, DiskError, LogError
from gateway.printable import escape_unprintable

VenueError = DiskError | ApplyError | LogError
VENUE_ERRORS = (DiskError, ApplyError, LogError)


@define(eq=False)
class Failure:
    """The first fatal error of a venue, if there was one."""

    occurred: trio.Event = field(factory=trio.Event, init=False)
    error: VenueError | None = field(default=None, init=False)

    def set(self, error: VenueError) -> None:
        """Record an error; later ones are ignored. A plain call."""
        if self.error is None:
            self.error = error
        self.occurred.set()


def report_failure(error: VenueError) -> int:
    """Print to stderr why the venue ended or did not start; return the exit status."""
    if isinstance(error, ApplyError):
        cause = error.__cause__
        assert cause is not None, "ApplyError is always raised from another exception"
        sys.stderr.writelines(traceback.format_exception(cause))
    sys.stderr.write(f"tidegate: {_explain(error)}\n")
    sys.stderr.flush()
    return error.status


def _explain(error: VenueError) -> str:
    if isinstance(error, DiskError):
        return (
            f"stopped, because the disk failed: {escape_unprintable(str(error))}. Everything that"
            " was acknowledged is in the log, and nothing was after this; the next start goes on"
            " from there."
        )
    if isinstance(error, ApplyError):
        return (
            f"{error}\nThis is a bug. `tidegate log skip DIR {error.entry.sequence} --reason TEXT`"
            " has every start and replay leave the entry out."
        )
    return escape_unprintable(str(error))
