"""The log on disk: one frame per batch, synced before anybody hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from attrs import define, field

from gateway.clock import Clock
from gateway.log import Durable, Source, stamp
from gateway.log.errors import StalledError
from gateway.log.write_strategies import Append, WriterProcess, WriteStrategy
from gateway.log.writer import EncodedBatch, SegmentWriter

# Many times what a disk takes that works: a batch that takes longer is waited for in vain.
STALLED_SECONDS: Final = 1.0


@define(eq=False)
class FileLog:
    """Stamps, numbers, and appends: one batch at a time, while the next one collects.

    `time` is that of the last entry: stamps never go back, also where the machine's clock was
    set back between two starts. `observe` is told the seconds that the disk took for each batch.
    """

    clock: Clock
    writer: SegmentWriter
    write_strategy: WriteStrategy
    time: int = 0
    observe_write: Callable[[float], None] = lambda _seconds: None
    # What the disk has been given and has not confirmed, and since when.
    _append: Append | None = field(default=None, init=False)
    _under_way: tuple[EncodedBatch, float] | None = field(default=None, init=False)

    async def run(self, source: Source, durable: Durable) -> None:
        """Send each batch once it is on the disk. Raises DiskError; the venue must stop then."""
        with durable:
            async with self.write_strategy(self.writer) as self._append:
                while batch := await source.take():
                    self.time = max(self.time, self.clock.now())
                    entries = stamp(batch, self.writer.sequence, self.time)
                    self.observe_write(await self._write(self._append, self.writer.encode(entries)))
                    try:
                        await durable.send(entries)
                    except trio.BrokenResourceError:
                        # Whoever applies them has failed, and says so itself.
                        return

    async def _write(self, append: Append, framed: EncodedBatch) -> float:
        self._under_way = framed, trio.current_time()
        seconds = await append(framed)
        self._under_way = None
        return seconds

    def stalled(self) -> StalledError | None:
        """What the log waits for in vain: a batch that the disk has not confirmed for too long."""
        if self._under_way is None:
            return None
        framed, since = self._under_way
        waited = trio.current_time() - since
        if waited < STALLED_SECONDS:
            return None
        append = self._append
        whose = "the disk"
        if isinstance(append, WriterProcess):
            whose = f"the process that writes the log (pid {append.process.pid})"
        return StalledError(
            f"stopped without closing the log: {whose} has not confirmed the last"
            f" {len(framed.data)} bytes, up to entry {framed.last_sequence}, for {waited:.1f} s."
            " It may have been stopped, or the disk may hang. Nothing of this was acknowledged;"
            " what was is in the log, and the next start goes on from there."
        )

    def abandon(self) -> None:
        """Let nothing write any more: what writes holds the lock, and may be stopped for ever."""
        if isinstance(self._append, WriterProcess):
            self._append.process.kill()
