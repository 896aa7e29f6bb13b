"""Operations on a data directory: write a snapshot, skip an entry, prune segments."""

from __future__ import annotations

from itertools import pairwise

from gateway.clock import Clock
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import ApplyError, LogError
from gateway.log.recovery import recover
from gateway.log.segments import Segment, list_segments
from gateway.log.snapshots import KEPT, Snapshot, Snapshots
from risk.commands import Entry, Origin, Skip


def write_snapshot(directory: DataDirectory, disk: Disk) -> int:
    """Write a snapshot of the end of a log that is not in use; return its sequence number.

    Like a start, it cuts off a torn tail first. Raises LockedError if the log is in use, and what
    recovery raises.
    """
    require_log(directory)
    with directory.locked(disk):
        recovery = recover(directory, disk)
        for _ in recovery.run():
            pass
        replay = recovery.replayer
        taken = Snapshot.of(replay.exchange, recovery.sequence, recovery.hash, replay.event_hash)
        Snapshots(directory.snapshots, disk).write(taken)
        return recovery.sequence


def skip_entry(
    directory: DataDirectory, sequence: int, reason: str, *, clock: Clock, disk: Disk
) -> Entry:
    """Make every start and replay leave an entry out; return the entry.

    Only the entry at which the venue stops can be skipped: the effects of all others were already
    published. Raises LockedError while the venue runs, and LogError for any other entry.
    """
    require_log(directory)
    with directory.locked(disk):
        recovery = recover(directory, disk)
        if sequence > recovery.sequence:
            raise LogError(f"there is no entry {sequence}: the log ends with {recovery.sequence}")
        if sequence <= recovery.start:
            raise LogError(
                f"entry {sequence} was applied: the snapshot of entry {recovery.start} has its"
                " effects"
            )
        if sequence in recovery.replayer.skips:
            raise LogError(f"entry {sequence} is skipped already")
        poison: Entry | None = None
        try:
            for _ in recovery.run():
                pass
        except ApplyError as error:
            poison = error.entry
        if poison is None or sequence < poison.sequence:
            raise LogError(
                f"entry {sequence} can be applied, and was: to leave it out would undo what its"
                " sender was told"
            )
        if sequence > poison.sequence:
            raise LogError(
                f"the venue stops at entry {poison.sequence}, before entry {sequence}: skip that"
                " one first"
            )
        writer = recovery.writer(disk)
        writer.open()
        try:
            time = max(recovery.time, clock.now())
            command = Skip(sequence=sequence, reason=reason)
            writer.append([Entry(recovery.sequence + 1, time, Origin(), command)])
        finally:
            writer.close()
        return poison


def prune_segments(directory: DataDirectory, disk: Disk) -> list[Segment]:
    """Remove the segments that no start needs; return them, oldest first.

    These are the segments whose last entry is included in the older of the two kept snapshots;
    with fewer than two snapshots there are none. Safe while the venue runs, which only appends.
    Raises DamageError for an invalid snapshot, before anything is removed.
    """
    paths = Snapshots(directory.snapshots, disk).paths()[:KEPT]
    if len(paths) < KEPT:
        return []
    kept = [Snapshot.read(path) for path in paths]
    oldest = min(snapshot.sequence for snapshot in kept)
    every = list_segments(directory.log)
    superfluous = [
        segment for segment, following in pairwise(every) if following.first <= oldest + 1
    ]
    # Oldest first, so that an interruption leaves no gap.
    for segment in superfluous:
        disk.remove(segment.path)
    if superfluous:
        disk.sync_directory(directory.log)
    return superfluous


def require_log(directory: DataDirectory) -> None:
    """Raise LogError if there is no log, so that no new one is begun."""
    if not list_segments(directory.log):
        raise LogError(f"{directory.path}: there is no log")
