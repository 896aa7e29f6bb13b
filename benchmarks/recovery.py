"""How soon a venue is back, and how fast its log is proved.

    python benchmarks/recovery.py [--quick] [--entries N] [--tail N] [--accounts N] [--rounds N]

A log of N entries is made by the exchange itself, written by the log's own writer, with the
checkpoints that a venue leaves in it and a snapshot that leaves a tail of its last entries: a
hundred accounts that place orders, cancel them and trade, and a Tick a second. Then

- `tidegate log verify` proves it: it replays the log from the start, and the tail once more from
  the snapshot, and the rate is of all that it replays;
- `tidegate serve` starts on it as a kill would have left it, and the time runs from the start of
  the process until a client is logged in.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attrs import define, field

from benchmarks.crowd import Crowd, log_in, open_peers
from benchmarks.load import TIDEGATE, server, venue_config
from book.order import Side, TimeInForce
from book.units import SCALE
from gateway.config import schema
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk, File
from gateway.log.event_hash import CheckpointProposer, EventHash
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.writer import SegmentWriter
from gateway.sequencer.bootstrap import configuration_commands
from risk.commands import Cancel, Command, Entry, Origin, Place, StartSession, Tick
from risk.events import Ordered
from risk.exchange import Exchange

BATCH = 50
"""Entries of one group commit: what some clients send while the last one syncs."""

PER_SECOND = 1_000
"""Entries from one Tick to the next."""

BTC = "BTC-PERPETUAL"
START = 1_750_000_000_000
SESSION = 2**32


class PatientDisk(Disk):
    """A disk that is synced once, at the end: the log is made for what comes after."""

    def sync(self, file: File) -> None:
        """Later."""


@define(eq=False)
class Trading:
    """A venue under way, and the log of it."""

    directory: DataDirectory
    accounts: int
    chance: random.Random = field(factory=lambda: random.Random(1))
    exchange: Exchange = field(factory=Exchange)
    trail: EventHash = field(factory=EventHash)
    writer: SegmentWriter = field(init=False)
    _due: list[Command] = field(factory=list)
    _resting: list[tuple[int, int]] = field(factory=list)
    _tick_at: int = 0

    def __attrs_post_init__(self) -> None:
        disk = PatientDisk()
        for folder in (self.directory.path, self.directory.log, self.directory.snapshots):
            disk.make_directory(folder)
        self.writer = SegmentWriter(self.directory.log, disk)
        self.writer.open()
        CheckpointProposer(self.trail, self._due.append)

    def write(self, commands: Iterator[Command], entries: int) -> None:
        """Apply and write so many more entries, in batches."""
        end = self.writer.sequence + entries
        while (first := self.writer.sequence + 1) <= end:
            batch = [
                self._apply(sequence, self._due.pop() if self._due else next(commands))
                for sequence in range(first, min(first + BATCH, end + 1))
            ]
            self.writer.append(batch)

    def _apply(self, sequence: int, command: Command) -> Entry:
        time = START + sequence // BATCH * (BATCH * 1_000 // PER_SECOND)
        account = getattr(command, "account", 100)
        session = SESSION + account if isinstance(command, Place | Cancel) else 0
        entry = Entry(sequence, time, Origin(0, 1, session, sequence), command)
        events = self.exchange.apply(entry)
        self.trail.observe(entry, events)
        for event in events:
            if isinstance(event, Ordered) and event.order.state.value == "open":
                self._resting.append((event.order.account, event.order.order_id))
        return entry

    def opening(self, text: str) -> list[Command]:
        """The steps of a start, and the log-in of all clients."""
        first = configuration_commands(schema.parse(text), self.exchange.state, 1)
        sessions = [
            StartSession(session=SESSION + 101 + number, account=101 + number)
            for number in range(self.accounts)
        ]
        return [*first, _tick(), *sessions]

    def commands(self) -> Iterator[Command]:
        """Orders without end: half that rest, some that trade, and cancels of the rest."""
        chance = self.chance
        while True:
            if self.writer.sequence >= self._tick_at:
                self._tick_at += PER_SECOND
                yield _tick()
            if len(self._resting) > 10 * self.accounts or (self._resting and chance.random() < 0.4):
                index = chance.randrange(len(self._resting))
                self._resting[index], last = self._resting[-1], self._resting[index]
                self._resting.pop()
                yield Cancel(account=last[0], order_id=last[1])
            else:
                yield self._order()

    def _order(self) -> Place:
        side = self.chance.choice((Side.BUY, Side.SELL))
        crossing = self.chance.random() < 0.2
        away = self.chance.randrange(1, 100)
        price = 65_000 + (20 if crossing else -away) * (1 if side is Side.BUY else -1)
        return Place(
            account=101 + self.chance.randrange(self.accounts),
            instrument=BTC,
            side=side,
            amount=10 * SCALE * self.chance.randrange(1, 10),
            price=price * SCALE,
            time_in_force=(
                TimeInForce.IMMEDIATE_OR_CANCEL if crossing else TimeInForce.GOOD_TIL_CANCELLED
            ),
        )

    def snapshot(self) -> None:
        """Keep the state as it is."""
        writer = self.writer
        taken = Snapshot.of(self.exchange, writer.sequence, writer.hash, self.trail)
        Snapshots(self.directory.snapshots).write(taken)


def _tick() -> Tick:
    return Tick(prices=(("btc_usd", 65_000 * SCALE), ("eth_usd", 3_500 * SCALE)))


def make(directory: DataDirectory, text: str, accounts: int, entries: int, tail: int) -> None:
    """The log, and the snapshot before its tail."""
    trading = Trading(directory, accounts)
    opening = trading.opening(text)
    trading.write(iter(opening), len(opening))
    commands = trading.commands()
    trading.write(commands, entries - tail - len(opening))
    trading.snapshot()
    trading.write(commands, tail)
    trading.writer.close()
    os.sync()


def verified(path: Path) -> list[str]:
    """The last lines of `tidegate log verify`."""
    done = subprocess.run(
        [TIDEGATE, "log", "verify", str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-2:]


def first_log_in(file: Path) -> float:
    """Seconds from the start of the process until a client is logged in."""
    began = perf_counter()
    with server([TIDEGATE, "serve", "--config", str(file)]) as (url, _):
        peers = open_peers(url, 1)
        log_in(peers, [0])
        seconds = perf_counter() - began
        Crowd(peers).close()
        return seconds


def main() -> None:
    """Make the log, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it, once")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--tail", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.entries, options.tail, options.rounds = 20_000, 2_000, 1
    with tempfile.TemporaryDirectory() as folder:
        made, copied = Path(folder, "made"), Path(folder, "copy")
        file = venue_config(Path(folder, "venue.toml"), options.accounts, f'data_dir = "{copied}"')
        began = perf_counter()
        make(DataDirectory(made), file.read_text(), options.accounts, options.entries, options.tail)
        size = sum(each.stat().st_size for each in made.rglob("*") if each.is_file())
        seconds = perf_counter() - began
        print(f"{options.entries:,} entries, {size / 2**20:.0f} MiB, made in {seconds:.0f} s")
        print("verify:", *verified(made), sep="\n  ")
        taken = []
        for _ in range(options.rounds):
            shutil.copytree(made, copied)
            taken.append(first_log_in(file))
            shutil.rmtree(copied)
        told = ", ".join(f"{each:.2f}" for each in taken)
        print(f"first log-in after {options.tail:,} entries: {median(taken):.2f} s (of {told})")


if __name__ == "__main__":
    main()
