"""Persistence of a venue with a data directory: recovery, log, checkpoints, last snapshot."""

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

# How long a replay runs between checkpoints, at which signals and timers are handled. Each
# checkpoint costs some 50 us.
_REPLAY_SECONDS: Final = 0.01


@define(eq=False)
class Persistence:
    """The recovered exchange of a data directory, and the log that continues it.

    Opened by `open_persistence`. Call `replay_log` before using `exchange` or `archive`.
    """

    settings: LogSettings
    recovery: Recovery
    writer: SegmentWriter
    snapshots: Snapshots
    log: FileLog
    archive: Archive = field(init=False)

    def __attrs_post_init__(self) -> None:
        # The archive observes the replay, so that it reaches back as far as the log is read.
        self.archive = Archive(self.exchange.state)
        self.recovery.replayer.observers.append(lambda _entry, events: self.archive.record(events))

    @property
    def exchange(self) -> Exchange:
        """The recovered exchange."""
        return self.recovery.replayer.exchange

    async def replay_log(self) -> None:
        """Replay the entries after the snapshot and open the log. Raises as Recovery.run."""
        recovery = self.recovery
        began = pause_at = perf_counter()
        with _no_collection():
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
        """Return an observer that continues the event hash and proposes checkpoints."""
        event_hash = self.recovery.replayer.event_hash
        CheckpointProposer(event_hash, propose, self.settings.checkpoint_entries)
        return event_hash.observe

    async def write_final_snapshot(self, seconds: float) -> None:
        """Write a snapshot of the final state, or give up after `seconds`. Raises DiskError.

        Call it after the last entry was applied. Without the snapshot nothing is lost, but the next
        start replays more entries.
        """
        with trio.move_on_after(seconds) as timeout:
            # An abandoned thread checks for cancellation before it writes; if it is writing
            # already, the unfinished file keeps its temporary name.
            await trio.to_thread.run_sync(self._snapshot, abandon_on_cancel=True)
        if timeout.cancelled_caught:
            logger.warning(
                "no snapshot at shutdown: it would have taken more than %.1f s; the next start"
                " replays the log from the last one",
                seconds,
            )

    def _snapshot(self) -> None:
        event_hash, writer = self.recovery.replayer.event_hash, self.writer
        snapshot = Snapshot.of(self.exchange, writer.sequence, writer.hash, event_hash)
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
    """Lock a data directory for the block, cut off a torn tail and load the newest snapshot.

    The log is written by another process; with a `disk`, which replaces the real one, by a thread.
    Raises LogError and DiskError.
    """
    write_strategy = in_thread if disk else None
    disk = disk or Disk()
    with directory.locked(disk) as lock:
        with _no_collection():
            recovery = recover(directory, disk)
        writer = recovery.writer(disk, settings.segment_bytes)
        persistence = Persistence(
            settings,
            recovery,
            writer,
            Snapshots(directory.snapshots, disk),
            FileLog(clock, writer, write_strategy or partial(in_process, lock=lock)),
        )
        try:
            yield persistence
        finally:
            writer.close()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection while many objects are made, none of which is garbage.

    Collections take a fifth of the time in which a large snapshot loads.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
