"""What a venue with a data directory does beside serving: recover, write, check, snapshot."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Final

import trio
from attrs import define, field

from gateway.clock import Clock
from gateway.config.schema import LogSettings
from gateway.history.archive import Archive
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.event_hash import CheckpointProposer
from gateway.log.file import FileLog
from gateway.log.recovery import Recovery, recover
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.write_strategies import in_process, in_thread
from gateway.log.writer import SegmentWriter
from gateway.sequencer.matcher import Observer
from risk.commands import Checkpoint
from risk.exchange import Exchange

logger = logging.getLogger(__name__)

# A replay lets signals and timers in between; each turn costs the loop some 50 us.
_REPLAY_SECONDS: Final = 0.01


@define(eq=False)
class Persistence:
    """The venue of a data directory, and the log that goes on with it.

    Made by `open_keeper`; `catch_up` comes before anything is read of `exchange` or `archive`.
    """

    settings: LogSettings
    recovery: Recovery
    writer: SegmentWriter
    snapshots: Snapshots
    log: FileLog
    archive: Archive = field(init=False)

    def __attrs_post_init__(self) -> None:
        """The archive hears of what is replayed: it reaches back as far as the log is read."""
        self.archive = Archive(self.exchange.state)
        self.recovery.replayer.observers.append(lambda _entry, events: self.archive.record(events))

    @property
    def exchange(self) -> Exchange:
        """The venue."""
        return self.recovery.replayer.exchange

    async def replay_log(self) -> None:
        """Replay what came after the snapshot, and be ready to write. Raises as Recovery.run."""
        recovery = self.recovery
        began = pause_at = perf_counter()
        with _uncollected():
            for _ in recovery.run():
                if perf_counter() >= pause_at:
                    await trio.lowlevel.checkpoint()
                    pause_at = perf_counter() + _REPLAY_SECONDS
        self.log.time = max(recovery.time, self.exchange.state.time)
        self.writer.open()
        if recovery.sequence:
            logger.info(
                "%s: recovered entry %d: snapshot of entry %d, %d entries replayed in %.2f s",
                recovery.directory.path,
                recovery.sequence,
                recovery.start,
                recovery.sequence - recovery.start,
                perf_counter() - began,
            )

    def observer(self, propose: Callable[[Checkpoint], None]) -> Observer:
        """An observer for the matcher: the trail of the replay goes on, with checkpoints."""
        trail = self.recovery.replayer.event_hash
        CheckpointProposer(trail, propose, self.settings.checkpoint_entries)
        return trail.observe

    async def write_final_snapshot(self, seconds: float) -> None:
        """Leave a snapshot of the end behind, if that is done in time. Raises DiskError.

        Without it the next start replays more, and nothing is lost. Call it when the last entry
        is applied.
        """
        with trio.move_on_after(seconds) as patience:
            # An abandoned thread finds out before it writes; what it has begun to write stays
            # without a name.
            await trio.to_thread.run_sync(self._snapshot, abandon_on_cancel=True)
        if patience.cancelled_caught:
            logger.warning(
                "no snapshot at shutdown: it would have taken more than %.1f s; the next start"
                " replays the log from the last one",
                seconds,
            )

    def _snapshot(self) -> None:
        trail, writer = self.recovery.replayer.event_hash, self.writer
        snapshot = Snapshot.of(self.exchange, writer.sequence, writer.hash, trail)
        trio.from_thread.check_cancelled()
        self.snapshots.write(snapshot)


@contextmanager
def open_persistence(
    directory: DataDirectory,
    settings: LogSettings,
    clock: Clock,
    *,
    disk: Disk | None = None,
) -> Iterator[Persistence]:
    """The directory, locked for as long as the block lasts, mended, and its snapshot loaded.

    A `disk` that takes the place of the real one is asked in a thread. Raises LogError and
    DiskError.
    """
    given, disk = disk, disk or Disk()
    with directory.locked(disk) as lock:
        with _uncollected():
            recovery = recover(directory, disk)
        writer = recovery.writer(disk, settings.segment_bytes)
        keeper = Persistence(
            settings,
            recovery,
            writer,
            Snapshots(directory.snapshots, disk),
            FileLog(clock, writer, in_thread if given else partial(in_process, lock=lock)),
        )
        try:
            yield keeper
        finally:
            writer.close()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make many objects, none of them garbage, without Python looking for some again and again.

    It costs a fifth of the time that a large snapshot takes to load.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
