"""What an operator does by hand: nothing of it can lose what somebody was told."""

from pathlib import Path

import pytest

from gateway.log.data_directory import DataDirectory
from gateway.log.errors import ApplyError, DamageError, LockedError, LogError
from gateway.log.maintenance import prune_segments, skip_entry, write_snapshot
from gateway.log.segments import list_segments
from gateway.log.snapshots import Snapshots
from risk.commands import Entry
from tests.gateway.harness import HandClock
from tests.gateway.log.log_fixtures import TICK, QuickDisk
from tests.gateway.log.log_writer_fixture import POISON, LoggedVenue


def skip_it(scribe: LoggedVenue, sequence: int) -> Entry:
    """As the command does, in the year 2025."""
    directory = scribe.book.directory
    return skip_entry(directory, sequence, "no steps", clock=HandClock(), disk=QuickDisk())


def test_a_snapshot_of_an_unused_log_is_of_its_last_entry(tmp_path: Path) -> None:
    """A torn tail is cut off first, as at a start."""
    scribe = LoggedVenue.after_trading(tmp_path)
    last, digest = scribe.sequence, scribe.exchange.digest()
    scribe.write_unapplied(TICK)
    (segment,) = list_segments(scribe.book.directory.log)
    segment.path.write_bytes(segment.path.read_bytes()[:-1])
    assert last == write_snapshot(scribe.book.directory, QuickDisk())
    found = scribe.book.recover()
    assert (last, last, digest) == (found.start, found.sequence, found.replayer.exchange.digest())


def test_only_the_entry_that_stops_the_venue_is_skipped(tmp_path: Path) -> None:
    """Any other had its effects; the skip itself is an entry, stamped no earlier than the last."""
    scribe = LoggedVenue.after_trading(tmp_path)
    healthy = scribe.sequence
    with pytest.raises(LogError, match="can be applied, and was"):
        skip_it(scribe, healthy)
    first, second = (scribe.write_unapplied(POISON)[0] for _ in range(2))
    with pytest.raises(LogError, match=f"no entry {second.sequence + 1}"):
        skip_it(scribe, second.sequence + 1)
    with pytest.raises(LogError, match="can be applied, and was"):
        skip_it(scribe, healthy)
    with pytest.raises(LogError, match=f"stops at entry {first.sequence}, before"):
        skip_it(scribe, second.sequence)
    assert first == skip_it(scribe, first.sequence)
    with pytest.raises(LogError, match="is skipped already"):
        skip_it(scribe, first.sequence)
    with pytest.raises(ApplyError, match=f"entry {second.sequence} "):
        scribe.book.replay_to_end()
    assert second == skip_it(scribe, second.sequence)
    found = scribe.book.recover()
    assert {first.sequence: "no steps", second.sequence: "no steps"} == found.replayer.skips
    assert scribe.time == found.time


def test_what_a_snapshot_includes_is_not_skipped(tmp_path: Path) -> None:
    """It would still be in there."""
    scribe = LoggedVenue.after_trading(tmp_path)
    scribe.snapshot()
    with pytest.raises(LogError, match="was applied"):
        skip_it(scribe, scribe.sequence)


def test_nothing_is_skipped_while_the_venue_runs(tmp_path: Path) -> None:
    """Two who write to one log would ruin it."""
    scribe = LoggedVenue.after_trading(tmp_path)
    (poison,) = scribe.write_unapplied(POISON)
    with (
        scribe.book.directory.locked(QuickDisk()),
        pytest.raises(LockedError, match="in use by another process"),
    ):
        skip_it(scribe, poison.sequence)


def test_maintenance_creates_nothing_in_a_wrong_directory(tmp_path: Path) -> None:
    """A typing error makes no folders."""
    directory = DataDirectory(tmp_path / "typo")
    for attempt in (
        lambda: write_snapshot(directory, QuickDisk()),
        lambda: skip_entry(directory, 1, "", clock=HandClock(), disk=QuickDisk()),
    ):
        with pytest.raises(LogError, match="there is no log"):
            attempt()
    assert [] == list(tmp_path.iterdir())


def test_pruning_leaves_what_the_older_snapshot_needs(tmp_path: Path) -> None:
    """With one snapshot nothing goes: it may be the one that turns out to be damaged."""
    scribe = LoggedVenue.after_trading(tmp_path, segment_bytes=1)
    directory = scribe.book.directory
    scribe.snapshot()
    older = scribe.sequence
    assert [] == prune_segments(directory, QuickDisk())
    scribe.trade(2)
    scribe.snapshot()
    scribe.trade(1)
    before = list_segments(directory.log)
    removed = prune_segments(directory, QuickDisk())
    assert before == removed + list_segments(directory.log)
    assert older + 1 == list_segments(directory.log)[0].first
    assert [] == prune_segments(directory, QuickDisk())
    end = (scribe.sequence, scribe.exchange.digest())
    assert end == scribe.book.replay_to_end()
    Snapshots(directory.snapshots).paths()[0].unlink()
    assert end == scribe.book.replay_to_end()


def test_nothing_is_pruned_for_a_damaged_snapshot(tmp_path: Path) -> None:
    """What it would have to replace is still there."""
    scribe = LoggedVenue.after_trading(tmp_path, segment_bytes=1)
    for _ in range(2):
        scribe.trade(1)
        path = scribe.snapshot()
    path.write_bytes(path.read_bytes()[:-1])
    before = list_segments(scribe.book.directory.log)
    with pytest.raises(DamageError, match=path.name):
        prune_segments(scribe.book.directory, QuickDisk())
    assert before == list_segments(scribe.book.directory.log)
