"""A log in memory: durable for as long as the process lives."""

from __future__ import annotations

from collections import deque

import trio
from attrs import define, field

from gateway.clock import Clock
from gateway.log import Durable, Source, stamp
from risk.commands import Entry


@define(eq=False)
class MemoryLog:
    """Stamps and numbers proposals, and stores the last `keep` entries in `entries`."""

    clock: Clock
    keep: int = 0
    sequence: int = field(default=0, init=False)
    entries: deque[Entry] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.entries = deque(maxlen=self.keep)

    async def run(self, source: Source, durable: Durable) -> None:
        """Send each batch as soon as it is taken."""
        with durable:
            while batch := await source.take():
                entries = stamp(batch, self.sequence, self.clock.now())
                self.sequence += len(entries)
                self.entries.extend(entries)
                try:
                    await durable.send(entries)
                except trio.BrokenResourceError:
                    # The matcher has failed, and reports that itself.
                    return
