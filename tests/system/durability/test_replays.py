"""A replay is the venue, whatever it did and wherever it was kept and started again."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.cli.progress import ConsoleMeter
from gateway.log.event_hash import EventHash
from gateway.log.recovery import recover
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.verify import Verification
from gateway.log.writer import SegmentWriter
from tests.gateway.log.log_fixtures import LogDirectory
from tests.hypothesis_settings import thorough
from tests.risk.random_commands import RandomCommands, small_venue
from tests.risk.venue import Venue
from tests.system.durability.venue_process import replayed_elsewhere

SEGMENT_BYTES = 20_000
TURNS = st.sampled_from(["trade"] * 5 + ["snapshot", "checkpoint", "restart"])


@define(eq=False)
class Kept:
    """A venue that writes down what it applies; `written` are its entries in the log."""

    book: LogDirectory
    venue: Venue = field(factory=small_venue)
    trail: EventHash = field(factory=EventHash)
    written: int = 0
    writer: SegmentWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin the log with what made the venue."""
        self.venue.checked = False
        self.writer = recover(self.book.directory, self.book.disk).writer(
            self.book.disk, SEGMENT_BYTES
        )
        self.writer.open()
        self.write()

    def write(self) -> None:
        """A frame of what was applied since the last one."""
        entries = self.venue.entries[self.written :]
        for entry, events in zip(entries, self.venue.events[self.written :], strict=True):
            self.trail.observe(entry, events)
        if entries:
            self.writer.append(entries)
            self.written += len(entries)

    def trade(self, random: Random) -> None:
        """A few random things, in one frame."""
        random_commands = RandomCommands(self.venue, random)
        for _ in range(random.randrange(1, 20)):
            random_commands.step()

    def checkpoint(self, _random: Random) -> None:
        """The trail so far, for every replay to compare its own with."""
        self.venue.do(self.trail.checkpoint())

    def snapshot(self, _random: Random) -> None:
        """The state of now."""
        taken = Snapshot.of(self.venue.exchange, self.written, self.writer.hash, self.trail)
        Snapshots(self.book.directory.snapshots, self.book.disk).write(taken)

    def restart(self, _random: Random) -> None:
        """End as a kill does, and go on with what the next start finds."""
        self.writer.close()
        found = self.book.recover()
        assert self.written == found.sequence
        assert self.venue.exchange.digest() == found.replayer.exchange.digest()
        assert self.trail.value == found.replayer.event_hash.value
        self.venue.exchange, self.trail = found.replayer.exchange, found.replayer.event_hash
        self.writer = found.writer(self.book.disk, SEGMENT_BYTES)
        self.writer.open()


@thorough(12)
@given(
    turns=st.lists(TURNS, min_size=20, max_size=50),
    # Seeded: numbers that are small by choice, as hypothesis likes them, are a dull day.
    random=st.randoms(use_true_random=True),
    hash_seed=st.integers(0, 2**32 - 1),
)
def test_every_replay_comes_to_the_state_of_the_venue(
    turns: list[str], random: Random, hash_seed: int
) -> None:
    """From the start, from every snapshot, at every restart, and in a process with other hashes."""
    with TemporaryDirectory() as folder:
        kept = Kept(LogDirectory(Path(folder)))
        for turn in turns:
            getattr(kept, turn)(random)
            kept.write()
        kept.writer.close()
        proved = Verification(
            kept.book.directory, ConsoleMeter(Console(file=io.StringIO())), 20
        ).run()
        assert (kept.written, kept.venue.exchange.digest()) == (proved.scan.last, proved.digest)
        expected = f"{proved.digest} {kept.trail.value.hex()}\n"
        assert expected == replayed_elsewhere(Path(folder), hash_seed)
