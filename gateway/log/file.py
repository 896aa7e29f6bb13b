"""The log on disk: one frame per batch, synced before its entries are applied."""

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

# Many times as long as a working disk takes for a batch.
STALLED_SECONDS: Final = 1.0


@define(eq=False)
class FileLog:
    """Stamps, numbers and appends one batch at a time, while the next one collects.

    `time` is that of the last entry: stamps never go back, even if the machine's clock was set
    back between two starts. `observe_write` is called with the seconds that the disk took for each
    batch.
    """

    clock: Clock
    writer: SegmentWriter
    write_strategy: WriteStrategy
    time: int = 0
    observe_write: Callable[[float], None] = lambda _seconds: None
    # The batch that is being written, and since when.
    _append: Append | None = field(default=None, init=False)
    _in_flight: tuple[EncodedBatch, float] | None = field(default=None, init=False)

    async def run(self, source: Source, durable: Durable) -> None:
        """Send each batch once it is durable. Raises DiskError; the venue must stop then."""
        with durable:
            async with self.write_strategy(self.writer) as self._append:
                while batch := await source.take():
                    self.time = max(self.time, self.clock.now())
                    entries = stamp(batch, self.writer.sequence, self.time)
                    self.observe_write(await self._write(self._append, self.writer.encode(entries)))
                    try:
                        await durable.send(entries)
                    except trio.BrokenResourceError:
                        # The matcher has failed, and reports that itself.
                        return

    async def _write(self, append: Append, batch: EncodedBatch) -> float:
        self._in_flight = batch, trio.current_time()
        seconds = await append(batch)
        self._in_flight = None
        return seconds

    def stalled(self) -> StalledError | None:
        """Return an error if the present write has taken longer than STALLED_SECONDS."""
        if self._in_flight is None:
            return None
        batch, since = self._in_flight
        waited = trio.current_time() - since
        if waited < STALLED_SECONDS:
            return None
        append = self._append
        culprit = "the disk"
        if isinstance(append, WriterProcess):
            culprit = f"the process that writes the log (pid {append.process.pid})"
        return StalledError(
            f"stopped without closing the log: {culprit} has not confirmed the last"
            f" {len(batch.data)} bytes, up to entry {batch.last_sequence}, for {waited:.1f} s."
            " It may have been stopped, or the disk may hang. Nothing of this was acknowledged;"
            " what was is in the log, and the next start goes on from there."
        )

    def abandon(self) -> None:
        """Kill the writer process, which holds the lock and may be suspended for ever."""
        if isinstance(self._append, WriterProcess):
            self._append.process.kill()
