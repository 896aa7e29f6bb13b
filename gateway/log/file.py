"""The log on disk: one frame per batch, synced before anybody hears of it."""

from __future__ import annotations

from collections.abc import Callable

import trio
from attrs import define

from gateway.clock import Clock
from gateway.log import Durable, Source
from gateway.log.appender import Appending
from gateway.log.writer import Writer
from risk.commands import Entry


@define(eq=False)
class FileLog:
    """Stamps, numbers, and appends: one batch at a time, while the next one collects.

    `time` is that of the last entry: stamps never go back, also where the machine's clock was
    set back between two starts. `observe` is told the seconds that the disk took for each batch.
    """

    clock: Clock
    writer: Writer
    appending: Appending
    time: int = 0
    observe: Callable[[float], None] = lambda _seconds: None

    async def run(self, source: Source, durable: Durable) -> None:
        """Send each batch once it is on the disk. Raises DiskError; the venue must stop then."""
        with durable:
            async with self.appending(self.writer) as append:
                while batch := await source.take():
                    # One reading for all: what one sync makes durable together happened together.
                    self.time = max(self.time, self.clock.now())
                    entries = [
                        Entry(sequence, self.time, proposal.origin, proposal.command)
                        for sequence, proposal in enumerate(batch, self.writer.sequence + 1)
                    ]
                    self.observe(await append(self.writer.frame(entries)))
                    try:
                        await durable.send(entries)
                    except trio.BrokenResourceError:
                        # Whoever applies them has failed, and says so itself.
                        return
