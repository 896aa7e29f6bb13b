"""Verification: it passes what the venue wrote, and says where anything else is not."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli import progress
from gateway.cli.log import format_report
from gateway.cli.progress import ConsoleMeter
from gateway.log import writer
from gateway.log.errors import (
    ApplyError,
    DamageError,
    DivergenceError,
    IdentityError,
    LogError,
    VersionError,
)
from gateway.log.event_hash import START, EventHash
from gateway.log.frames import HEADER_BYTES
from gateway.log.maintenance import prune_segments
from gateway.log.segments import list_segments
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.verify import Verification, Verified
from risk.commands import Checkpoint, Skip
from risk.state import INSURANCE
from tests.gateway.log.log_fixtures import TICK
from tests.gateway.log.log_writer_fixture import POISON, LoggedVenue


def verify(scribe: LoggedVenue, every: int = 10) -> Verified:
    """Prove its log, quietly."""
    meter = ConsoleMeter(Console(file=io.StringIO()))
    return Verification(scribe.book.directory, meter, every).run()


def recorded(path: Path, segment_bytes: int = 2**20) -> LoggedVenue:
    """A log with two snapshots and two checkpoints."""
    scribe = LoggedVenue.after_trading(path, segment_bytes)
    for _ in range(2):
        scribe.trade(3)
        scribe.checkpoint()
        scribe.snapshot()
    scribe.trade(3)
    return scribe


def forge(scribe: LoggedVenue) -> None:
    """A snapshot with money from nowhere, whose checksum and digest are right."""
    insurance = scribe.exchange.state.wallet(INSURANCE, "BTC")
    insurance.balance += 1
    scribe.snapshot()
    insurance.balance -= 1


def test_an_intact_log_is_verified(tmp_path: Path) -> None:
    """From the start and from both snapshots, over segments of every size, to one state."""
    for size in (1, 2_500, 2**20):
        scribe = recorded(tmp_path / str(size), size)
        found = verify(scribe)
        last = scribe.sequence
        first, second = (snapshot.sequence for snapshot in found.scan.snapshots)
        assert (1, last, 0) == (found.scan.first, found.scan.last, found.scan.torn)
        assert scribe.exchange.digest() == found.digest
        assert last + (last - first) + (last - second) == found.entries
        # Both from the start, and the second once more from the first snapshot.
        assert (2 + 1, 2 + 1) == (found.checkpoints, found.snapshots)
        assert found.checks > last // 10
        text = format_report(found, 1.0)
        assert f"entries 1 to {last}: checksums right, chain whole" in text
        assert f"replayed from the start, the snapshot of entry {first}" in text
        assert found.digest in text


def test_any_flipped_bit_is_found_where_it_is(tmp_path: Path) -> None:
    """In a header, in a frame, in a snapshot; in the last frame it is a torn tail, and is told."""
    scribe = recorded(tmp_path, 2_500)
    every = list_segments(scribe.book.directory.log)
    for segment in every:
        whole = segment.path.read_bytes()
        for at in range(0, len(whole), 101):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << at % 8
            segment.path.write_bytes(damaged)
            told = _told(scribe)
            torn = segment == every[-1] and "bytes of an unfinished frame" in told
            assert torn or str(segment.path) in told
        segment.path.write_bytes(whole)
    for path in Snapshots(scribe.book.directory.snapshots).paths():
        whole = path.read_bytes()
        path.write_bytes(whole[:-10] + b"0" + whole[-9:])
        with pytest.raises(DamageError, match=path.name):
            verify(scribe)
        path.write_bytes(whole)


def _told(scribe: LoggedVenue) -> str:
    """Why a log is not proved, or else what was proved of it."""
    try:
        return format_report(verify(scribe, every=10**9), 1.0)
    except (DamageError, VersionError) as error:
        return str(error)


def test_a_torn_tail_is_reported_and_is_no_damage(tmp_path: Path) -> None:
    """A crash leaves one, and the venue may be writing just now."""
    scribe = recorded(tmp_path)
    last = scribe.sequence
    (segment,) = list_segments(scribe.book.directory.log)
    size = segment.path.stat().st_size
    scribe.write(TICK)
    segment.path.write_bytes(segment.path.read_bytes()[:-5])
    torn = segment.path.stat().st_size - size
    found = verify(scribe)
    assert (last, torn) == (found.scan.last, found.scan.torn)
    assert f"after them {torn} bytes of an unfinished frame" in format_report(found, 1.0)


def test_a_missing_segment_is_found(tmp_path: Path) -> None:
    """Nothing inside the files says so but the chain."""
    scribe = recorded(tmp_path, 2_500)
    _, second, third, *_ = list_segments(scribe.book.directory.log)
    second.path.unlink()
    with pytest.raises(DamageError, match=third.path.name):
        verify(scribe)


def test_a_missing_end_is_detected_by_the_snapshot(tmp_path: Path) -> None:
    """A log cut between two frames looks whole."""
    scribe = recorded(tmp_path, 1)
    scribe.snapshot()
    list_segments(scribe.book.directory.log)[-1].path.unlink()
    with pytest.raises(LogError, match="the end of the log is missing"):
        verify(scribe)


def test_a_snapshot_with_another_state_is_detected(tmp_path: Path) -> None:
    """The replay from the start does not come to it."""
    scribe = recorded(tmp_path)
    forge(scribe)
    with pytest.raises(DivergenceError, match=f"after entry {scribe.sequence} .* another state"):
        verify(scribe)


def test_a_snapshot_with_another_event_hash_is_detected(tmp_path: Path) -> None:
    """The state may be the same: its trail is not."""
    scribe = recorded(tmp_path)
    scribe.event_hash = EventHash(START, scribe.sequence)
    scribe.snapshot()
    with pytest.raises(DivergenceError, match=f"up to entry {scribe.sequence} .* other events"):
        verify(scribe)


def test_a_checkpoint_that_differs_is_found(tmp_path: Path) -> None:
    """The venue came to other events than its log leads to."""
    scribe = recorded(tmp_path)
    at = scribe.sequence
    scribe.write(Checkpoint(sequence=at, digest="00" * 16))
    with pytest.raises(DivergenceError, match=f"up to entry {at}"):
        verify(scribe)


def test_inconsistent_balances_are_detected_in_a_pruned_log(tmp_path: Path) -> None:
    """A log that was pruned proves no snapshot's past; the identities still hold it to account."""
    scribe = recorded(tmp_path, 1)
    for _ in range(2):
        scribe.write(TICK)
        forge(scribe)
    assert prune_segments(scribe.book.directory, scribe.book.disk)
    with pytest.raises(IdentityError, match="money is conserved in BTC"):
        verify(scribe)


def test_a_pruned_log_is_verified_from_its_snapshots(tmp_path: Path) -> None:
    """It says from where on."""
    scribe = recorded(tmp_path, 1)
    prune_segments(scribe.book.directory, scribe.book.disk)
    found = verify(scribe)
    assert found.scan.first == found.scan.snapshots[0].sequence + 1 > 1
    assert scribe.exchange.digest() == found.digest


def test_entries_of_other_rules_are_verified_by_checksum_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot precedes the change; from there on the log is replayed."""
    monkeypatch.setattr(writer, "RULES", 0)
    scribe = LoggedVenue.after_trading(tmp_path)
    scribe.snapshot()
    change = scribe.sequence
    monkeypatch.undo()
    scribe.writer.segment_bytes = 1
    scribe.trade(2)
    found = verify(scribe)
    assert (change, scribe.sequence - change) == (found.scan.foreign, found.entries)
    assert scribe.exchange.digest() == found.digest
    told = f"entries 1 to {change}: not replayed, written under other rules"
    assert told in format_report(found, 1.0)
    for path in Snapshots(scribe.book.directory.snapshots).paths():
        path.unlink()
    assert (0, "") == (verify(scribe).entries, verify(scribe).digest)
    first = list_segments(scribe.book.directory.log)[0].path
    damaged = bytearray(first.read_bytes())
    damaged[HEADER_BYTES + 99] ^= 1
    first.write_bytes(damaged)
    with pytest.raises(DamageError, match=f"at byte {HEADER_BYTES}"):
        verify(scribe)


def test_a_skip_is_honoured_from_every_start(tmp_path: Path) -> None:
    """Also from a snapshot before it. Without the skip, the entry is named."""
    scribe = recorded(tmp_path)
    (poison,) = scribe.write_unapplied(POISON)
    with pytest.raises(ApplyError, match=f"entry {poison.sequence} "):
        verify(scribe)
    scribe.write(Skip(sequence=poison.sequence, reason="no steps"))
    scribe.trade(1)
    found = verify(scribe)
    assert scribe.exchange.digest() == found.digest
    assert f"entry {poison.sequence} is skipped: no steps" in format_report(found, 1.0)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    """With what it is and what can be read."""
    scribe = recorded(tmp_path)
    (segment,) = list_segments(scribe.book.directory.log)
    whole = segment.path.read_bytes()
    segment.path.write_bytes(whole[:8] + b"\0\2" + whole[10:])
    with pytest.raises(VersionError, match="log format 2; this version reads up to 1"):
        verify(scribe)
    segment.path.write_bytes(whole)
    path = Snapshots(scribe.book.directory.snapshots).paths()[0]
    taken = path.read_bytes()
    path.write_bytes(taken[:8] + b"\0\2" + taken[10:])
    with pytest.raises(VersionError, match="snapshot format 2; this version reads up to 1"):
        verify(scribe)
    path.write_bytes(taken)
    assert Snapshot.read(path).sequence < verify(scribe).scan.last


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both say how fast it goes."""
    scribe = recorded(tmp_path)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    for terminal, expected in ((True, "━"), (False, f" of {scribe.sequence}, ")):
        output = io.StringIO()
        console = Console(file=output, force_terminal=terminal, width=120)
        Verification(scribe.book.directory, ConsoleMeter(console)).run()
        assert expected in output.getvalue()
        assert "replay from entry 1" in output.getvalue()
        assert "/s" in output.getvalue()
