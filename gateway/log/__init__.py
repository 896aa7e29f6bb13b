"""The log: it puts proposals in one order, stamps them with the time and makes them durable.

What comes out is the only thing that may change the venue. Everything behind this interface can
be replaced: here a list in memory, later segment files, later a stream that machines share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import trio

from risk.commands import Command, Entry, Origin


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """A command on its way to its place in the log."""

    command: Command
    origin: Origin


def stamp(proposals: Sequence[Proposal], after: int, time: int) -> list[Entry]:
    """Return the entries of a batch, numbered from `after + 1` on.

    All get the same time: what becomes durable in one sync happened together.
    """
    return [
        Entry(sequence, time, proposal.origin, proposal.command)
        for sequence, proposal in enumerate(proposals, after + 1)
    ]


class Source(Protocol):
    """Where a log takes its proposals from."""

    async def take(self) -> Sequence[Proposal]:
        """The next batch, as large as what has collected; an empty one means there are no more."""
        ...


Durable = trio.MemorySendChannel[Sequence[Entry]]


class Log(Protocol):
    """One order for everything.

    A log that syncs has it done elsewhere, one batch at a time, and the next one collects in the
    source meanwhile: the slower the disk, the larger the batches (group commit). A log that
    machines share also sends what the others proposed.
    """

    async def run(self, source: Source, durable: Durable) -> None:
        """Send batches of durable entries, in their order, until the source is empty for good.

        Closes `durable` at the end. Raises OSError when entries could not be made durable: the
        venue must stop then, for a retry that succeeds may hide what was lost.
        """
        ...
