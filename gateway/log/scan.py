"""One pass over a log, which proves its bytes, and the places from which it can be replayed.

A scan applies nothing, so it also reads entries that were written under other rules. Recovery and
the follower scan the log from the newest snapshot on; verification and replay scan all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field

from gateway.log.data_directory import DataDirectory
from gateway.log.errors import DamageError, LogError, VersionError
from gateway.log.event_hash import EventHash
from gateway.log.frames import GENESIS, Frame
from gateway.log.replayer import LogReplayer
from gateway.log.segments import SegmentReader, list_segments, reader_after
from gateway.log.snapshots import Snapshot, Snapshots
from risk import RULES
from risk.commands import Skip
from risk.exchange import Exchange

logger = logging.getLogger(__name__)

_SKIP: Final = b'"command":"Skip"'


@define(eq=False)
class LogScan:
    """What a pass over a log finds, complete once `frames` has ended.

    The log holds the entries from `first` to `last`; `foreign` is the last of them that was
    written under rules other than ours, 0 if there is none. `skips` are the entries to leave out,
    with the reasons. `snapshots` are the kept ones, oldest first, where they were read. `torn` is
    the number of bytes after the last whole frame.
    """

    directory: DataDirectory
    snapshots: list[Snapshot] = field(factory=list)
    first: int = 1
    last: int = 0
    foreign: int = 0
    skips: dict[int, str] = field(factory=dict)
    torn: int = 0

    def frames(self, reader: SegmentReader) -> Iterator[Frame]:
        """Yield the frames from the reader's position on. Raises DamageError and VersionError."""
        self.first, self.last = reader.sequence + 1, reader.sequence
        for frame in reader.frames():
            if reader.header.rules == RULES:
                self._note_skips(frame)
            else:
                self.foreign = frame.last
            self.last = frame.last
            yield frame

    def starts(self) -> list[ReplayStart]:
        """Return the places from which the log can be replayed to its end, first entry first."""
        starts = [ReplayStart()] if self.first == 1 and not self.foreign else []
        starts += [
            ReplayStart(snapshot.sequence, snapshot.chain, snapshot)
            for snapshot in self.snapshots
            if snapshot.sequence >= max(self.foreign, self.first - 1)
        ]
        return starts

    def _note_skips(self, frame: Frame) -> None:
        # The test for the text saves decoding all the frames that hold no Skip.
        if _SKIP in frame.payload:
            for entry in frame.entries():
                if isinstance(entry.command, Skip):
                    self.skips[entry.command.sequence] = entry.command.reason


@define(eq=False)
class ReplayStart:
    """A place from which a log can be replayed: a new exchange, or a snapshot.

    Entry `sequence` is the last that the snapshot includes, and `chain` is the hash of its frame.
    """

    sequence: int = 0
    chain: bytes = GENESIS
    snapshot: Snapshot | None = None

    def replayer(self, skips: dict[int, str]) -> LogReplayer:
        """Return the exchange in that state. Raises LogError for an unreadable payload."""
        if self.snapshot is None:
            return LogReplayer(Exchange(), skips=skips)
        trail = EventHash(self.snapshot.event_hash, self.sequence)
        return LogReplayer(self.snapshot.exchange(), trail, skips)

    def reader(self, directory: DataDirectory) -> SegmentReader | None:
        """Return a reader of the entries that follow. None and errors as in `reader_after`."""
        return reader_after(directory.log, self.sequence, self.chain)


def newest_start(snapshots: Snapshots) -> tuple[ReplayStart, LogReplayer]:
    """Return the newest valid snapshot, or the beginning of the log, and the exchange there.

    Raises VersionError for a snapshot of a later version; other invalid ones are passed over.
    """
    for path in snapshots.paths():
        try:
            snapshot = Snapshot.read(path)
            start = ReplayStart(snapshot.sequence, snapshot.chain, snapshot)
            return start, start.replayer({})
        except VersionError:
            raise
        except LogError as error:
            logger.warning("%s is left out: %s", path, error)
    return ReplayStart(), LogReplayer()


def log_bytes(directory: DataDirectory) -> int:
    """Return the number of bytes that `scan_log` reads."""
    return sum(segment.size() for segment in list_segments(directory.log))


def scan_log(directory: DataDirectory, advance: Callable[[int], None] = lambda _: None) -> LogScan:
    """Read the whole log and its snapshots, also while the venue runs.

    `advance` gets the size of each frame, in bytes. Raises DamageError with file and place,
    VersionError for what a later version wrote, and LogError where log and snapshots do not fit.
    """
    # Before the log, which then holds at least the entries that they include.
    snapshots = Snapshots(directory.snapshots)
    scan = LogScan(directory, [Snapshot.read(path) for path in reversed(snapshots.paths())])
    every = list_segments(directory.log)
    if not every:
        raise LogError(f"{directory.path}: there is no log")
    if every[0].header_incomplete():
        scan.first, scan.last = every[0].first, every[0].first - 1
        return scan
    reader = SegmentReader(directory.log, every[0])
    if reader.header.first == 1 and reader.header.previous != GENESIS:
        raise DamageError(every[0].path, 0, "a first segment that something came before")
    chain = {reader.sequence: reader.hash}
    snapshot_entries = {snapshot.sequence for snapshot in scan.snapshots}
    for frame in scan.frames(reader):
        if frame.last in snapshot_entries:
            chain[frame.last] = frame.hash
        advance(frame.size)
    scan.torn = reader.unfinished_bytes()
    for snapshot in scan.snapshots:
        _require_fit(snapshot, scan, chain)
    return scan


def _require_fit(snapshot: Snapshot, scan: LogScan, chain: dict[int, bytes]) -> None:
    folder, sequence = scan.directory.log, snapshot.sequence
    if sequence > scan.last:
        raise LogError(
            f"{folder}: the log ends with entry {scan.last}, and there is a snapshot of entry"
            f" {sequence}: the end of the log is missing"
        )
    if sequence >= scan.first - 1 and chain.get(sequence) != snapshot.chain:
        raise LogError(f"{folder}: the snapshot of entry {sequence} is of another log")
