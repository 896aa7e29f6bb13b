"""A log as its bytes alone prove it: every checksum and the chain, from first to last.

Nothing is applied, so this also reads what was written under other rules.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from gateway.log.data_directory import DataDirectory
from gateway.log.errors import DamageError, LogError
from gateway.log.event_hash import EventHash
from gateway.log.frames import GENESIS
from gateway.log.recovery import LogReplayer
from gateway.log.segments import SegmentReader, segments
from gateway.log.snapshots import Snapshot, Snapshots
from risk import RULES
from risk.exchange import Exchange


@define(eq=False)
class LogScan:
    """What there is to replay.

    `snapshots` are the kept ones, oldest first. The log holds the entries from `first` to `last`;
    `foreign` is the last of them under rules that are not ours, 0 where there is none. `skips`
    are to be left out. `torn` is how many bytes there are behind the last whole frame.
    """

    directory: DataDirectory
    snapshots: list[Snapshot]
    first: int = 1
    last: int = 0
    foreign: int = 0
    skips: dict[int, str] = field(factory=dict)
    torn: int = 0

    def starts(self) -> list[ReplayStart]:
        """From where the log can be replayed to its end, first entry first."""
        found = [ReplayStart(0, GENESIS, None)] if self.first == 1 and not self.foreign else []
        found += [
            ReplayStart(snapshot.sequence, snapshot.chain, snapshot)
            for snapshot in self.snapshots
            if snapshot.sequence >= max(self.foreign, self.first - 1)
        ]
        return found


@define(eq=False)
class ReplayStart:
    """The venue after entry `sequence`, whose frame has the hash `chain`: new, or a snapshot."""

    sequence: int
    chain: bytes
    snapshot: Snapshot | None

    def replay(self, skips: dict[int, str]) -> LogReplayer:
        """The venue, ready to go on. Raises LogError."""
        if self.snapshot is None:
            return LogReplayer(Exchange(), skips=skips)
        trail = EventHash(self.snapshot.trail, self.sequence)
        return LogReplayer(self.snapshot.exchange(), trail, skips)


def bytes_of(directory: DataDirectory) -> int:
    """How much a survey reads."""
    return sum(segment.size() for segment in segments(directory.log))


def survey(directory: DataDirectory, advance: Callable[[int], None] = lambda _: None) -> LogScan:
    """Read the whole log; `advance` is told of bytes. Also while the venue runs.

    Raises DamageError with file and place, VersionError for what a later version wrote, and
    LogError where log and snapshots do not fit.
    """
    # Before the log, which then holds at least what they are of.
    snapshots = Snapshots(directory.snapshots)
    found = LogScan(directory, [Snapshot.read(path) for path in reversed(snapshots.paths())])
    every = segments(directory.log)
    if not every:
        raise LogError(f"{directory.path}: there is no log")
    if every[0].header_incomplete():
        found.first, found.last = every[0].first, every[0].first - 1
        return found
    reader = SegmentReader(directory.log, every[0])
    if reader.header.first == 1 and reader.header.previous != GENESIS:
        raise DamageError(every[0].path, 0, "a first segment that something came before")
    found.first, found.last = reader.header.first, reader.sequence
    chain = {reader.sequence: reader.hash}
    wanted = {snapshot.sequence for snapshot in found.snapshots}
    notes = LogReplayer(skips=found.skips)
    for frame in reader.frames():
        if reader.header.rules == RULES:
            notes.note_skips(frame)
        else:
            found.foreign = frame.last
        found.last = frame.last
        if frame.last in wanted:
            chain[frame.last] = frame.hash
        advance(frame.size)
    found.torn = reader.unfinished()
    for snapshot in found.snapshots:
        _require_fit(snapshot, found, chain)
    return found


def _require_fit(snapshot: Snapshot, found: LogScan, chain: dict[int, bytes]) -> None:
    folder, sequence = found.directory.log, snapshot.sequence
    if sequence > found.last:
        raise LogError(
            f"{folder}: the log ends with entry {found.last}, and there is a snapshot of entry"
            f" {sequence}: the end of the log is missing"
        )
    if sequence >= found.first - 1 and chain.get(sequence) != snapshot.chain:
        raise LogError(f"{folder}: the snapshot of entry {sequence} is of another log")
