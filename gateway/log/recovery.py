"""Recovery: the newest valid snapshot, and the entries of the log after it.

Nothing is guessed. A torn tail, which is what a crash leaves of a frame that nobody was told of,
is cut off; whatever else is not as it was written raises, and says where.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field

from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import ApplyError, LogError, VersionError
from gateway.log.event_hash import EventHash
from gateway.log.frames import GENESIS, Frame
from gateway.log.segments import Segment, SegmentReader, reader_after, segments
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.writer import SEGMENT_BYTES, SegmentWriter
from risk import RULES
from risk.commands import Checkpoint, Entry, Skip
from risk.events import Event
from risk.exchange import Exchange

logger = logging.getLogger(__name__)

_SKIP = b'"command":"Skip"'


@define(eq=False)
class LogReplayer:
    """A venue on its way through a log: what was applied so far, and its trail.

    `skips` are the entries to leave out. `observers` are told of every entry that was applied.
    """

    exchange: Exchange = field(factory=Exchange)
    trail: EventHash = field(factory=EventHash)
    skips: dict[int, str] = field(factory=dict)
    observers: list[Callable[[Entry, Sequence[Event]], None]] = field(factory=list)

    def apply(self, entry: Entry) -> Sequence[Event]:
        """Apply one entry. Raises ApplyError, and DivergenceError at a checkpoint that differs."""
        if self.skips and entry.sequence in self.skips:
            return []
        if type(entry.command) is Checkpoint:
            self.trail.compare(entry.command)
        try:
            events = self.exchange.apply(entry)
        except Exception as error:
            raise ApplyError(entry) from error
        self.trail.observe(entry, events)
        for observe in self.observers:
            observe(entry, events)
        return events

    def note_skips(self, frame: Frame) -> None:
        """Leave out what the entries of a frame say is to be left out. Call it ahead of time."""
        if _SKIP in frame.payload:
            for entry in frame.entries():
                if isinstance(entry.command, Skip):
                    self.skips[entry.command.sequence] = entry.command.reason


@define(eq=False)
class Recovery:
    """A data directory as a start finds it, mended where a crash had torn it.

    `replay` is the venue as of the snapshot, `start` the snapshot's entry (0: there is none),
    until `run` has applied the rest of the log, which ends with entry `sequence`, stamped
    `time`, in the frame with that `hash`. `segment` is its last file; None where the next entry
    needs a new one.
    """

    directory: DataDirectory
    replay: LogReplayer
    start: int = 0
    chain: bytes = GENESIS
    sequence: int = 0
    hash: bytes = GENESIS
    time: int = 0
    segment: Segment | None = None

    def run(self) -> Iterator[int]:
        """Apply the entries after the snapshot; yields the number of each that ended a frame.

        Raises what `Replay.apply` raises, and DamageError.
        """
        if self.sequence > self.start:
            reader = reader_after(self.directory.log, self.start, self.chain)
            assert reader is not None, "there was something to read"
            for frame in reader.frames():
                for entry in reader.entries(frame):
                    self.replay.apply(entry)
                yield frame.last

    def writer(self, disk: Disk, segment_bytes: int = SEGMENT_BYTES) -> SegmentWriter:
        """What goes on with this log."""
        return SegmentWriter(
            self.directory.log, disk, self.sequence, self.hash, self.segment, segment_bytes
        )


def recover(directory: DataDirectory, disk: Disk) -> Recovery:
    """Read what there is and cut off a torn tail. Whoever calls it holds the lock.

    Raises LogError (damage, a gap, other rules) and DiskError.
    """
    every = segments(directory.log)
    if every:
        disk.sync_and_drop_cache(every[-1].path)
        disk.sync_directory(directory.log)
    snapshot, exchange = newest(Snapshots(directory.snapshots, disk))
    recovery = Recovery(directory, LogReplayer(exchange), time=exchange.state.time)
    if snapshot is not None:
        recovery.replay.trail = EventHash(snapshot.trail, snapshot.sequence)
        recovery.start = recovery.sequence = snapshot.sequence
        recovery.chain = recovery.hash = snapshot.chain
    _survey(recovery, disk)
    # Whatever stands behind the end by now holds nothing, and its name is wanted.
    for empty in segments(directory.log):
        if empty.first > recovery.sequence and empty != recovery.segment:
            logger.warning("%s never came to hold an entry: removed", empty.path)
            disk.remove(empty.path)
    return recovery


def newest(snapshots: Snapshots) -> tuple[Snapshot | None, Exchange]:
    """The newest snapshot that is valid, and its state."""
    for path in snapshots.paths():
        try:
            snapshot = Snapshot.read(path)
            return snapshot, snapshot.exchange()
        except VersionError:
            raise
        except LogError as error:
            logger.warning("%s is left out: %s", path, error)
    return None, Exchange()


def _survey(recovery: Recovery, disk: Disk) -> None:
    """Find the end of the log, and on the way to it the entries that are to be left out."""
    reader = reader_after(recovery.directory.log, recovery.start, recovery.chain)
    if reader is None:
        return
    last: Frame | None = None
    for frame in reader.frames():
        if reader.header.rules != RULES:
            raise VersionError(
                f"{reader.segment.path} was written under rules {reader.header.rules}, and these"
                f" are rules {RULES}: run `tidegate log snapshot {recovery.directory.path}` with"
                " the version that wrote it, then start this one again"
            )
        recovery.replay.note_skips(frame)
        last = frame
    if reader.fault is not None:
        _cut(reader, disk)
    if last is not None:
        recovery.time = max(recovery.time, reader.entries(last)[-1].time)
    recovery.sequence, recovery.hash = reader.sequence, reader.hash
    if reader.header.rules == RULES:
        recovery.segment = reader.segment


def _cut(reader: SegmentReader, disk: Disk) -> None:
    """Cut off what a crash left of its last write. Raises DamageError for damage."""
    assert reader.fault is not None
    path, rest = reader.segment.path, reader.unfinished()
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
