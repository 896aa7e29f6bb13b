"""The follower: it replays the log of a running venue, verifies it and writes snapshots.

The cost of a snapshot grows with the state, and this way does not slow down the live venue. Since
the follower computes all events itself, each checkpoint in the log shows that both agree.
"""

from __future__ import annotations

import logging
from copy import copy
from typing import Final

from attrs import define, field

from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import LogError, VersionError
from gateway.log.frames import Frame
from gateway.log.maintenance import prune_segments
from gateway.log.replayer import LogReplayer
from gateway.log.scan import LogScan, newest_start
from gateway.log.segments import SegmentReader
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.tail import LogTail
from risk import RULES
from risk.commands import Checkpoint

logger = logging.getLogger(__name__)

SNAPSHOT_ENTRIES: Final = 100_000
"""Distance of snapshots: a start replays these entries and those up to the next checkpoint, which
takes some five seconds."""


@define(eq=False)
class Follower:
    """A replay that follows a growing log, up to its last frame but one.

    After every `every` entries it captures the state, and writes it as a snapshot once a checkpoint
    has shown that the live venue had the same state. With `pruning`, it removes segments that no
    snapshot needs after each snapshot.
    """

    directory: DataDirectory
    disk: Disk
    replayer: LogReplayer
    tail: LogTail
    sequence: int
    chain: bytes
    every: int = SNAPSHOT_ENTRIES
    pruning: bool = False
    checkpoints: int = field(default=0, init=False)
    _taken: int = field(init=False)
    _unconfirmed: Snapshot | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._taken = self.sequence

    @classmethod
    def open(
        cls,
        directory: DataDirectory,
        disk: Disk,
        *,
        every: int = SNAPSHOT_ENTRIES,
        pruning: bool = False,
    ) -> Follower:
        """Begin at the newest snapshot. Raises LogError if there is no log."""
        start, replay = newest_start(Snapshots(directory.snapshots, disk))
        reader = start.reader(directory)
        if reader is None:
            raise LogError(f"{directory.path}: there is no log")
        # A Skip follows the entry that it skips, and none is added while the venue runs.
        scan = LogScan(directory)
        for _ in scan.frames(copy(reader)):
            pass
        replay.skips = scan.skips
        return cls(
            directory, disk, replay, LogTail(reader), start.sequence, start.chain, every, pruning
        )

    def catch_up(self) -> int:
        """Apply the entries that became durable since the last call; return their number.

        Raises ApplyError, DivergenceError, VersionError, DamageError and DiskError.
        """
        began = self.sequence
        for frame in self.tail.frames():
            _require_our_rules(self.tail.reader)
            self._apply(frame)
        return self.sequence - began

    def write_snapshot(self) -> int:
        """Write a snapshot of the present state; return its sequence number.

        Entries after the last checkpoint are not confirmed yet; the next checkpoint covers them.
        """
        self._write(self._state())
        return self.sequence

    def _apply(self, frame: Frame) -> None:
        for entry in self.tail.reader.entries(frame):
            self.replayer.apply(entry)
            if isinstance(entry.command, Checkpoint):
                self._confirm(entry.command)
        self.sequence, self.chain = frame.last, frame.hash
        if self._unconfirmed is None and self.sequence >= self._taken + self.every:
            self._unconfirmed = self._state()

    def _confirm(self, checkpoint: Checkpoint) -> None:
        """Write the captured state if the checkpoint confirms it."""
        if not self.replayer.event_hash.compare(checkpoint):
            return
        self.checkpoints += 1
        snapshot = self._unconfirmed
        if snapshot is not None and checkpoint.sequence >= snapshot.sequence:
            self._unconfirmed = None
            self._write(snapshot)

    def _state(self) -> Snapshot:
        return Snapshot.of(
            self.replayer.exchange, self.sequence, self.chain, self.replayer.event_hash
        )

    def _write(self, snapshot: Snapshot) -> None:
        path = Snapshots(self.directory.snapshots, self.disk).write(snapshot)
        self._taken = snapshot.sequence
        logger.info("%s written, %d bytes", path, len(snapshot.payload))
        if self.pruning:
            for segment in prune_segments(self.directory, self.disk):
                logger.info("%s removed: no snapshot needs it", segment.path)


def _require_our_rules(reader: SegmentReader) -> None:
    if reader.header.rules != RULES:
        raise VersionError(
            f"{reader.segment.path} is written under rules {reader.header.rules}, and these are"
            f" rules {RULES}: follow it with the version that writes it"
        )
