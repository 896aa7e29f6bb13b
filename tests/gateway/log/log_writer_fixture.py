"""A live venue as its log shows it: what is written is applied, and checkpoints are left."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from msgspec.structs import replace

from book.order import Side
from gateway.log.event_hash import EventHash
from gateway.log.recovery import Recovery
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.writer import SegmentWriter
from risk.commands import Command, Entry, Origin, SetProduct
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from tests.gateway.harness import START
from tests.gateway.log.log_fixtures import TICK, Book, batches, order

_CONTRACT, _TERMS = LEGACY_2025[0]
POISON = SetProduct(contract=replace(_CONTRACT, family="Q", tick=0), terms=_TERMS)
"""No file of ours brings it, and nothing stops it: there are no prices in steps of nothing."""


@define(eq=False)
class Scribe:
    """Goes on writing one log. `time` passes by a second a frame."""

    book: Book
    segment_bytes: int = 2**20
    time: int = START
    exchange: Exchange = field(factory=Exchange)
    trail: EventHash = field(factory=EventHash)
    recovery: Recovery | None = None
    writer: SegmentWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        for folder in (self.book.directory.log, self.book.directory.snapshots):
            folder.mkdir(parents=True, exist_ok=True)
        directory, disk = self.book.directory.log, self.book.disk
        if self.recovery is None:
            self.writer = SegmentWriter(directory, disk, segment_bytes=self.segment_bytes)
        else:
            self.writer = self.recovery.writer(disk, self.segment_bytes)
        self.writer.open()

    @classmethod
    def after(cls, book: Book, recovery: Recovery) -> Scribe:
        """Going on with the log that was recovered."""
        replay = recovery.replayer
        return cls(
            book,
            time=recovery.time,
            exchange=replay.exchange,
            trail=replay.event_hash,
            recovery=recovery,
        )

    @classmethod
    def trading(cls, path: Path, segment_bytes: int = 2**20) -> Scribe:
        """With some trading behind it."""
        scribe = cls(Book(path), segment_bytes)
        for batch in batches():
            scribe.write(*(entry.command for entry in batch))
        return scribe

    @property
    def sequence(self) -> int:
        """The last entry."""
        return self.writer.sequence

    def write(self, *commands: Command) -> int:
        """A frame, applied; returns its last entry."""
        for entry in self.note(*commands):
            self.trail.observe(entry, self.exchange.apply(entry))
        return self.sequence

    def note(self, *commands: Command) -> list[Entry]:
        """A frame that is written and not applied."""
        self.time += 1_000
        first = self.sequence + 1
        entries = [
            Entry(number, self.time, Origin(start=1), command)
            for number, command in enumerate(commands, first)
        ]
        self.writer.append(entries)
        return entries

    def checkpoint(self) -> int:
        """A frame with nothing but a checkpoint."""
        return self.write(self.trail.checkpoint())

    def trade(self, frames: int) -> int:
        """Frames with a heartbeat and orders that meet."""
        for _ in range(frames):
            self.write(TICK, order(101, Side.BUY, 65_000), order(102, Side.SELL, 65_000))
        return self.sequence

    def snapshot(self) -> Path:
        """Of the present state, under the name that a snapshot of now has."""
        taken = Snapshot.of(self.exchange, self.sequence, self.writer.hash, self.trail)
        return Snapshots(self.book.directory.snapshots, self.book.disk).write(taken)

    def close(self) -> None:
        """The venue has ended."""
        self.writer.close()
