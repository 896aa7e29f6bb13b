"""Logs for tests: batches of commands to write, data directories, and disks that fail."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from attrs import Factory, define, field

from book.order import Side
from book.units import MONEY, SCALE
from gateway.config import schema
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk, File
from gateway.log.errors import DiskError
from gateway.log.recovery import Recovery, recover
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.writer import SegmentWriter
from gateway.sequencer.bootstrap import configuration_commands
from risk.commands import (
    Cancel,
    Command,
    Deposit,
    Entry,
    OpenAccount,
    Origin,
    Place,
    StartSession,
    Tick,
)
from risk.exchange import Exchange
from tests.gateway.harness import ACCOUNTS, PRICES, START

SESSION = 2**32 + 1
TICK = Tick(prices=tuple((name, price * SCALE) for name, price in sorted(PRICES.items())))


def small_batches() -> list[list[Entry]]:
    """Return frames of some hundred bytes in all, each of which changes the state."""
    commands: list[list[Command]] = [
        [OpenAccount(account=101, name="a")],
        [OpenAccount(account=102, name="b"), StartSession(session=7, account=101)],
        [OpenAccount(account=103, name="c")],
    ]
    return _numbered(commands)


def batches() -> list[list[Entry]]:
    """Return a start and some trading, after which there are orders, positions and balances."""
    first = configuration_commands(schema.parse(ACCOUNTS), Exchange().state, 1)
    rest: list[list[Command]] = [
        [
            StartSession(session=SESSION, account=101),
            StartSession(session=SESSION + 1, account=102),
            order(101, Side.BUY, 64_500),
        ],
        [order(102, Side.SELL, 65_500), order(102, Side.SELL, 64_500)],
        [order(101, Side.BUY, 64_000), TICK],
        [Cancel(account=102, order_id=2), Deposit(account=101, currency="ETH", amount=MONEY // 3)],
        [TICK, order(101, Side.SELL, 66_000), order(102, Side.BUY, 64_999)],
    ]
    return _numbered([[*first, TICK], *rest])


def order(account: int, side: Side, price: int, amount: int = 10) -> Place:
    """Return a limit order for BTC-PERPETUAL."""
    return Place(
        account=account,
        instrument="BTC-PERPETUAL",
        side=side,
        amount=amount * SCALE,
        price=price * SCALE,
    )


def _numbered(commands: Sequence[Sequence[Command]]) -> list[list[Entry]]:
    sequence = count(1)
    return [
        [
            Entry(number, START + second * 1_000, Origin(start=1, request=number), command)
            for command, number in zip(batch, sequence, strict=False)
        ]
        for second, batch in enumerate(commands)
    ]


def digests(batches: Sequence[Sequence[Entry]]) -> dict[int, str]:
    """Return the state's digest after each frame, by the number of its last entry; 0 is empty."""
    exchange = Exchange()
    found = {0: exchange.digest()}
    for batch in batches:
        for entry in batch:
            exchange.apply(entry)
        found[batch[-1].sequence] = exchange.digest()
    return found


class QuickDisk(Disk):
    """A disk that makes nothing durable, for tests whose process does not crash."""

    def sync(self, file: File) -> None:
        """Leave it to the kernel."""

    def sync_directory(self, folder: Path) -> None:
        """Leave it to the kernel."""

    def sync_and_drop_cache(self, path: Path) -> None:
        """Leave it to the kernel."""

    def truncate(self, path: Path, size: int) -> None:
        """Truncate the file without a sync."""
        with path.open("r+b") as file:
            file.truncate(size)


@define(eq=False)
class TruncationRecorder(QuickDisk):
    """A disk that records truncations instead of carrying them out."""

    cuts: list[int] = field(factory=list)

    def truncate(self, path: Path, size: int) -> None:
        """Record the size."""
        self.cuts.append(size)


@define(eq=False)
class FailingDisk(Disk):
    """A disk whose step number `fail_at` fails: a write is half done, other steps do nothing.

    `steps` counts those that write, sync, create or rename.
    """

    fail_at: int = 0
    error: int = errno.ENOSPC
    steps: int = field(default=0, init=False)
    failed: bool = field(default=False, init=False)

    def create(self, path: Path) -> File:
        """A step."""
        self._step(path)
        return super().create(path)

    def write(self, file: File, data: bytes) -> None:
        """A step that is half done when it fails."""
        try:
            self._step(file.path)
        except DiskError:
            super().write(file, data[: len(data) // 2])
            raise
        super().write(file, data)

    def sync(self, file: File) -> None:
        """A step."""
        self._step(file.path)
        super().sync(file)

    def rename(self, source: Path, target: Path) -> None:
        """A step."""
        self._step(source)
        super().rename(source, target)

    def sync_directory(self, folder: Path) -> None:
        """A step."""
        self._step(folder)
        super().sync_directory(folder)

    def _step(self, path: Path) -> None:
        assert not self.failed, "no operation follows a failed one"
        self.steps += 1
        if self.steps == self.fail_at:
            self.failed = True
            raise DiskError(self.error, "as the test wanted", str(path))


@define(eq=False)
class LogDirectory:
    """A data directory that tests open repeatedly, mostly without its lock."""

    path: Path
    disk: Disk = field(factory=QuickDisk)
    directory: DataDirectory = field(
        default=Factory(lambda self: DataDirectory(self.path), takes_self=True), init=False
    )

    def __attrs_post_init__(self) -> None:
        """Create the directories."""
        with self.directory.locked(self.disk):
            pass

    def recover(self) -> Recovery:
        """Recover the directory and replay its log."""
        recovery = recover(self.directory, self.disk)
        for _ in recovery.run():
            pass
        return recovery

    def write(
        self, batches: Sequence[Sequence[Entry]], segment_bytes: int = 2**20
    ) -> SegmentWriter:
        """Append batches and close the writer."""
        with self.directory.locked(self.disk):
            writer = recover(self.directory, self.disk).writer(self.disk, segment_bytes)
            writer.open()
            for batch in batches:
                writer.append(batch)
            writer.close()
        return writer

    def snapshot(self) -> Path:
        """Write a snapshot of the end and return its path."""
        found = self.recover()
        snapshot = Snapshot.of(
            found.replayer.exchange, found.sequence, found.hash, found.replayer.event_hash
        )
        return Snapshots(self.directory.snapshots, self.disk).write(snapshot)

    def replay_to_end(self) -> tuple[int, str]:
        """Return the number of the last entry and the digest of the state there."""
        found = self.recover()
        return found.sequence, found.replayer.exchange.digest()
