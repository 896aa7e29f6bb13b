"""The follower: it reaches the state of the venue, or reports where it diverges."""

from pathlib import Path

import pytest

from gateway.log import writer
from gateway.log.data_directory import DataDirectory
from gateway.log.errors import ApplyError, DamageError, DivergenceError, LogError, VersionError
from gateway.log.follower import Follower
from gateway.log.segments import list_segments
from gateway.log.snapshots import Snapshot, Snapshots
from risk.commands import Checkpoint, Deposit, Skip, Tick
from tests.gateway.log.log_fixtures import TICK, QuickDisk
from tests.gateway.log.log_writer_fixture import POISON, LoggedVenue


def follower_of(scribe: LoggedVenue, every: int = 10**9, *, pruning: bool = False) -> Follower:
    """One that begins now."""
    return Follower.open(scribe.book.directory, QuickDisk(), every=every, pruning=pruning)


def kept(scribe: LoggedVenue) -> list[int]:
    """The snapshots that there are, newest first."""
    directory = scribe.book.directory
    return [Snapshot.read(path).sequence for path in Snapshots(directory.snapshots).paths()]


def test_a_follower_reaches_the_state_of_the_venue(tmp_path: Path) -> None:
    """One frame behind, for different segment sizes."""
    for size in (1, 2_500, 2**20):
        scribe = LoggedVenue.after_trading(tmp_path / str(size), size)
        follower = follower_of(scribe)
        for _ in range(3):
            before = scribe.trade(2)
            digest = scribe.exchange.digest()
            scribe.write(TICK)
            follower.catch_up()
            assert (before, digest) == (follower.sequence, follower.replayer.exchange.digest())
            assert 0 == follower.catch_up()


def test_a_follower_ignores_an_incomplete_frame(tmp_path: Path) -> None:
    """For each part of the frame that can be read, nothing is raised and nothing is applied."""
    scribe = LoggedVenue.after_trading(tmp_path)
    follower = follower_of(scribe)
    follower.catch_up()
    (segment,) = list_segments(scribe.book.directory.log)
    size = segment.path.stat().st_size
    last = scribe.write(TICK)
    scribe.write(TICK)
    whole = segment.path.read_bytes()
    for cut in range(size, len(whole), 7):
        segment.path.write_bytes(whole[:cut])
        follower.catch_up()
        assert follower.sequence < last
    segment.path.write_bytes(whole)
    follower.catch_up()
    assert last == follower.sequence


def test_a_frame_whose_sync_failed_may_be_replaced(tmp_path: Path) -> None:
    """After a failed sync the venue stops, and the next start writes another frame."""
    scribe = LoggedVenue.after_trading(tmp_path)
    follower = follower_of(scribe)
    (segment,) = list_segments(scribe.book.directory.log)
    before = segment.path.read_bytes()
    scribe.write_unapplied(Deposit(account=101, currency="BTC", amount=1))
    follower.catch_up()
    segment.path.write_bytes(before)
    scribe.writer = scribe.book.recover().writer(scribe.book.disk)
    scribe.writer.open()
    scribe.write(TICK)
    digest = scribe.exchange.digest()
    scribe.write(TICK)
    follower.catch_up()
    assert digest == follower.replayer.exchange.digest()


def test_a_snapshot_waits_until_a_checkpoint_has_confirmed_it(tmp_path: Path) -> None:
    """The snapshot has the state of the time when it was due, and leads to the same end."""
    scribe = LoggedVenue.after_trading(tmp_path)
    follower = follower_of(scribe, every=6)
    due = scribe.trade(3)
    follower.catch_up()
    scribe.write(TICK)
    follower.catch_up()
    assert [] == kept(scribe)
    scribe.checkpoint()
    scribe.trade(1)
    follower.catch_up()
    assert 1 == follower.checkpoints
    (taken,) = kept(scribe)
    assert 0 < taken <= due
    found = scribe.book.recover()
    assert taken == found.start
    assert (scribe.sequence, scribe.exchange.digest()) == (
        found.sequence,
        found.replayer.exchange.digest(),
    )
    assert taken == follower_of(scribe).sequence


def test_a_diverging_follower_raises_and_writes_no_snapshot(tmp_path: Path) -> None:
    """A checkpoint of the venue differs from the follower's event hash."""
    scribe = LoggedVenue.after_trading(tmp_path)
    follower = follower_of(scribe, every=6)
    at = scribe.trade(3)
    scribe.write(Checkpoint(sequence=at, digest="00" * 16))
    scribe.write(TICK)
    with pytest.raises(DivergenceError, match=f"up to entry {at}"):
        follower.catch_up()
    assert [] == kept(scribe)


def test_a_follower_prunes_segments_that_the_older_snapshot_includes(tmp_path: Path) -> None:
    """A start and a follower need only the remaining segments."""
    scribe = LoggedVenue.after_trading(tmp_path, segment_bytes=1)
    follower = follower_of(scribe, every=6, pruning=True)
    for _ in range(4):
        scribe.trade(3)
        scribe.checkpoint()
        scribe.write(TICK)
        follower.catch_up()
    newest, older = kept(scribe)
    first, second, *_ = (segment.first for segment in list_segments(scribe.book.directory.log))
    assert first <= older + 1 < second
    assert newest > older
    assert (scribe.sequence, scribe.exchange.digest()) == scribe.book.replay_to_end()
    assert newest == follower_of(scribe).sequence


def test_a_follower_raises_at_damage(tmp_path: Path) -> None:
    """A follower reads every byte that the venue has written, so it detects damage first."""
    scribe = LoggedVenue.after_trading(tmp_path)
    follower = follower_of(scribe)
    follower.catch_up()
    (segment,) = list_segments(scribe.book.directory.log)
    size = segment.path.stat().st_size
    scribe.write(TICK)
    scribe.writer.segment_bytes = 1
    scribe.write(TICK)
    damaged = bytearray(segment.path.read_bytes())
    damaged[size + 40] ^= 1
    segment.path.write_bytes(damaged)
    with pytest.raises(DamageError, match=f"at byte {size}"):
        follower.catch_up()


def test_other_rules_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue with other rules has a follower of its own version."""
    scribe = LoggedVenue.after_trading(tmp_path, segment_bytes=1)
    follower = follower_of(scribe)
    monkeypatch.setattr(writer, "RULES", 99)
    scribe.write(TICK)
    scribe.write(TICK)
    with pytest.raises(VersionError, match="rules 99"):
        follower.catch_up()


def test_an_entry_that_cannot_be_applied_ends_it_until_it_is_skipped(tmp_path: Path) -> None:
    """As in the venue, which applies entries with the same function."""
    scribe = LoggedVenue.after_trading(tmp_path)
    follower = follower_of(scribe)
    (poison,) = scribe.write_unapplied(POISON)
    scribe.write_unapplied(TICK)
    with pytest.raises(ApplyError, match=f"entry {poison.sequence} "):
        follower.catch_up()
    scribe.write_unapplied(Skip(sequence=poison.sequence, reason="no steps"))
    scribe.write_unapplied(Tick(prices=()))
    follower = follower_of(scribe)
    follower.catch_up()
    assert scribe.sequence - 1 == follower.sequence


def test_a_follower_requires_a_log(tmp_path: Path) -> None:
    """A wrong path raises LogError and is not taken for a new venue."""
    with pytest.raises(LogError, match="there is no log"):
        Follower.open(DataDirectory(tmp_path / "typo"), QuickDisk())
