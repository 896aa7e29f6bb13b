"""A live venue without a gateway: entries are written to a log and applied."""

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
from tests.gateway.log.log_fixtures import TICK, LogDirectory, batches, order

_CONTRACT, _TERMS = LEGACY_2025[0]
POISON = SetProduct(contract=replace(_CONTRACT, family="Q", tick=0), terms=_TERMS)
"""A product with a tick of zero, which cannot be applied. No configuration produces it."""


@define(eq=False)
class LoggedVenue:
    """Writes one log and applies its entries. Each frame advances `time` by a second."""

    book: LogDirectory
    segment_bytes: int = 2**20
    time: int = START
    exchange: Exchange = field(factory=Exchange)
    event_hash: EventHash = field(factory=EventHash)
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
    def resume(cls, book: LogDirectory, recovery: Recovery) -> LoggedVenue:
        """Return a venue that continues a recovered log."""
        replay = recovery.replayer
        return cls(
            book,
            time=recovery.time,
            exchange=replay.exchange,
            event_hash=replay.event_hash,
            recovery=recovery,
        )

    @classmethod
    def after_trading(cls, path: Path, segment_bytes: int = 2**20) -> LoggedVenue:
        """Return a venue after some trading."""
        scribe = cls(LogDirectory(path), segment_bytes)
        for batch in batches():
            scribe.write(*(entry.command for entry in batch))
        return scribe

    @property
    def sequence(self) -> int:
        """The number of the last entry."""
        return self.writer.sequence

    def write(self, *commands: Command) -> int:
        """Write a frame and apply it; return the number of its last entry."""
        for entry in self.write_unapplied(*commands):
            self.event_hash.observe(entry, self.exchange.apply(entry))
        return self.sequence

    def write_unapplied(self, *commands: Command) -> list[Entry]:
        """Write a frame without applying it."""
        self.time += 1_000
        first = self.sequence + 1
        entries = [
            Entry(number, self.time, Origin(start=1), command)
            for number, command in enumerate(commands, first)
        ]
        self.writer.append(entries)
        return entries

    def checkpoint(self) -> int:
        """Write a frame with a checkpoint only."""
        return self.write(self.event_hash.checkpoint())

    def trade(self, frames: int) -> int:
        """Write frames with a Tick and two orders that trade with each other."""
        for _ in range(frames):
            self.write(TICK, order(101, Side.BUY, 65_000), order(102, Side.SELL, 65_000))
        return self.sequence

    def snapshot(self) -> Path:
        """Write a snapshot of the present state and return its path."""
        taken = Snapshot.of(self.exchange, self.sequence, self.writer.hash, self.event_hash)
        return Snapshots(self.book.directory.snapshots, self.book.disk).write(taken)

    def close(self) -> None:
        """Close the log."""
        self.writer.close()
