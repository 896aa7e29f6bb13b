"""Recovery: load the newest valid snapshot and replay the entries of the log after it.

A torn tail, which a crash leaves of a frame that was never acknowledged, is cut off. Any other
deviation raises an error that names the place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from attrs import define

from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import VersionError
from gateway.log.frames import GENESIS, Frame
from gateway.log.replayer import LogReplayer
from gateway.log.scan import LogScan, ReplayStart, newest_start
from gateway.log.segments import Segment, SegmentReader, list_segments, reader_after
from gateway.log.snapshots import Snapshots
from gateway.log.writer import SEGMENT_BYTES, SegmentWriter
from risk import RULES

logger = logging.getLogger(__name__)


@define(eq=False)
class Recovery:
    """The state of a data directory at a start, after a torn tail was cut off.

    `replayer` holds the exchange at the snapshot, which includes entry `start` (0 without a
    snapshot) and whose frame has the hash `chain`; `run` applies the rest of the log. The log ends
    with entry `sequence`, whose time is `time` and whose frame has the hash `hash`. `segment` is
    its last file, or None if the next entry needs a new one.
    """

    directory: DataDirectory
    replayer: LogReplayer
    start: int = 0
    chain: bytes = GENESIS
    sequence: int = 0
    hash: bytes = GENESIS
    time: int = 0
    segment: Segment | None = None

    def run(self) -> Iterator[int]:
        """Apply the entries after the snapshot; yield the number of the last entry of each frame.

        Raises what `LogReplayer.apply` raises, and DamageError.
        """
        if self.sequence > self.start:
            reader = reader_after(self.directory.log, self.start, self.chain)
            assert reader is not None, "there are entries to read"
            for entries in reader.batches(self.sequence):
                for entry in entries:
                    self.replayer.apply(entry)
                yield entries[-1].sequence

    def writer(self, disk: Disk, segment_bytes: int = SEGMENT_BYTES) -> SegmentWriter:
        """Return a writer that continues this log."""
        return SegmentWriter(
            self.directory.log, disk, self.sequence, self.hash, self.segment, segment_bytes
        )


def recover(directory: DataDirectory, disk: Disk) -> Recovery:
    """Load the newest snapshot, find the end of the log and cut off a torn tail.

    The caller holds the lock. Raises LogError (damage, a gap, other rules) and DiskError.
    """
    every = list_segments(directory.log)
    if every:
        disk.sync_and_drop_cache(every[-1].path)
        disk.sync_directory(directory.log)
    start, replay = newest_start(Snapshots(directory.snapshots, disk))
    recovery = Recovery(
        directory,
        replay,
        start.sequence,
        start.chain,
        start.sequence,
        start.chain,
        replay.exchange.state.time,
    )
    _find_end(recovery, start, disk)
    # Segments after the end are empty, and their names are needed for new ones.
    for empty in list_segments(directory.log):
        if empty.first > recovery.sequence and empty != recovery.segment:
            logger.warning("%s never came to hold an entry: removed", empty.path)
            disk.remove(empty.path)
    return recovery


def _find_end(recovery: Recovery, start: ReplayStart, disk: Disk) -> None:
    """Find the end of the log, and on the way to it the entries that are to be left out."""
    reader = start.reader(recovery.directory)
    if reader is None:
        return
    scan = LogScan(recovery.directory)
    last: Frame | None = None
    for frame in scan.frames(reader):
        if scan.foreign:
            raise VersionError(
                f"{reader.segment.path} was written under rules {reader.header.rules}, and these"
                f" are rules {RULES}: run `tidegate log snapshot {recovery.directory.path}` with"
                " the version that wrote it, then start this one again"
            )
        last = frame
    recovery.replayer.skips = scan.skips
    if reader.fault is not None:
        _cut(reader, disk)
    if last is not None:
        recovery.time = max(recovery.time, reader.entries(last)[-1].time)
    recovery.sequence, recovery.hash = reader.sequence, reader.hash
    if reader.header.rules == RULES:
        recovery.segment = reader.segment


def _cut(reader: SegmentReader, disk: Disk) -> None:
    """Cut off the unfinished last write of a crash. Raises DamageError for damage."""
    assert reader.fault is not None
    path, rest = reader.segment.path, reader.unfinished_bytes()
    logger.warning(
        "%s: cut at byte %d: %s, the unfinished write of a crash (%d bytes); the log ends with"
        " entry %d",
        path,
        reader.offset,
        reader.fault.what,
        rest,
        reader.sequence,
    )
    disk.truncate(path, reader.offset)
