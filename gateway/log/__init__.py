"""The log: it orders proposals, stamps them with the time and makes them durable.

Only durable entries change the state of the venue. Implementations keep entries in memory
(`memory`) or in segment files (`file`); the interface also allows a log that machines share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import trio

from risk.commands import Command, Entry, Origin


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """A command that is not in the log yet, and its origin."""

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
    """What a log takes proposals from."""

    async def take(self) -> Sequence[Proposal]:
        """Wait for proposals and return all that are queued; an empty batch is the end."""
        ...


Durable = trio.MemorySendChannel[Sequence[Entry]]


class Log(Protocol):
    """A total order of all commands.

    A log on disk leaves syncing to another thread or process, one batch at a time, while the next
    batch collects in the source: the slower the disk, the larger the batches (group commit).
    """

    async def run(self, source: Source, durable: Durable) -> None:
        """Send batches of durable entries, in their order, until the source is empty for good.

        Closes `durable` at the end. Raises OSError when entries could not be made durable. The
        venue must stop then: a retry may succeed although earlier writes were lost.
        """
        ...
