"""Recovery: a torn tail is cut, damage refuses, and what comes out was never anything else."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.log import recovery, scan, snapshots, writer
from gateway.log.errors import ApplyError, DamageError, DivergenceError, LogError, VersionError
from gateway.log.frames import HEADER_BYTES, decode_frame
from gateway.log.recovery import recover
from gateway.log.segments import list_segments
from risk import RULES
from risk.commands import Checkpoint, Entry, Origin, Skip, Tick
from risk.exchange import Exchange
from tests.gateway.harness import START
from tests.gateway.log.log_fixtures import (
    LogDirectory,
    TruncationRecorder,
    batches,
    digests,
    small_batches,
)

# Three segments of it.
SMALL = 2_500
# The last entry of each batch, and of all.
ENDS = [batch[-1].sequence for batch in batches()]
LAST = ENDS[-1]


def frame_ends(path: Path) -> dict[int, int]:
    """Offset behind each frame of a segment to the number of its last entry."""
    data, ends, at = path.read_bytes(), {}, HEADER_BYTES
    while at < len(data):
        frame = decode_frame(data, at)
        at += frame.size
        ends[at] = frame.last
    return ends


def test_an_empty_directory_is_a_new_venue(tmp_path: Path) -> None:
    """Nothing has to be prepared."""
    book = LogDirectory(tmp_path / "new" / "data")
    assert (0, Exchange().digest()) == book.replay_to_end()
    book.write(batches())
    assert (LAST, digests(batches())[LAST]) == book.replay_to_end()


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Batch by batch, each by a process of its own, over segments of every size."""
    whole = batches()
    for size in (1, SMALL, 2**20):
        book = LogDirectory(tmp_path / str(size))
        for batch in whole:
            book.write([batch], segment_bytes=size)
        assert (LAST, digests(whole)[LAST]) == book.replay_to_end()
        count = len(list_segments(book.directory.log))
        assert {1: 6, SMALL: 3, 2**20: 1}[size] == count


def test_a_log_cut_at_any_byte_is_a_prefix(tmp_path: Path) -> None:
    """Every frame that is whole counts, and goes on from there; the rest is cut off."""
    book = LogDirectory(tmp_path)
    known = digests(small_batches())
    book.write(small_batches())
    (segment,) = list_segments(book.directory.log)
    data, ends = segment.path.read_bytes(), frame_ends(segment.path)
    for size in range(len(data)):
        segment.path.write_bytes(data[:size])
        expected = max((last for end, last in ends.items() if end <= size), default=0)
        assert (expected, known[expected]) == book.replay_to_end()
        if size >= HEADER_BYTES:
            kept = max((end for end in ends if end <= size), default=HEADER_BYTES)
            assert data[:kept] == segment.path.read_bytes()
        else:
            assert not segment.path.exists()
    segment.path.write_bytes(data[:-1])
    book.write(small_batches()[-1:])
    assert (data, known[4]) == (segment.path.read_bytes(), book.replay_to_end()[1])


def test_a_tail_of_zeros_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Behind a whole frame, in place of the end of one, and in place of a whole segment."""
    book = LogDirectory(tmp_path)
    book.write(small_batches())
    (segment,) = list_segments(book.directory.log)
    data = segment.path.read_bytes()
    known = digests(small_batches())
    for tail in (b"\0", bytes(20_000)):
        segment.path.write_bytes(data + tail)
        assert (4, known[4]) == book.replay_to_end()
        segment.path.write_bytes(data[:-9] + bytes(9) + tail)
        assert (3, known[3]) == book.replay_to_end()
    assert f"{segment.path}: cut at byte {len(data)}: a frame of impossible length" in caplog.text
    assert "the log ends with entry 3" in caplog.text
    segment.path.write_bytes(bytes(len(data)))
    assert (0, known[0]) == book.replay_to_end()


def test_a_log_with_any_bit_flipped_is_a_prefix_or_refused(tmp_path: Path) -> None:
    """Only in the last frame, where damage looks like a torn write, is there a prefix."""
    disk = TruncationRecorder()
    book = LogDirectory(tmp_path, disk)
    known = digests(small_batches())
    book.write(small_batches())
    (segment,) = list_segments(book.directory.log)
    data, ends = segment.path.read_bytes(), frame_ends(segment.path)
    last = sorted(ends)[-2]
    with segment.path.open("r+b", buffering=0) as stored:
        for at, byte in enumerate(data):
            for bit in range(8):
                stored.seek(at)
                stored.write(bytes([byte ^ 1 << bit]))
                if at >= last:
                    assert (3, known[3]) == book.replay_to_end()
                    assert [last] == disk.cuts
                    disk.cuts.clear()
                else:
                    with pytest.raises(LogError):
                        recover(book.directory, disk)
            stored.seek(at)
            stored.write(bytes([byte]))
    assert data == segment.path.read_bytes()


def test_damage_is_reported_with_file_and_offset(tmp_path: Path) -> None:
    """Nothing is changed, so that whoever looks into it finds it as it was."""
    book = LogDirectory(tmp_path)
    book.write(batches(), segment_bytes=SMALL)
    first, second, third = list_segments(book.directory.log)
    for segment in (first, second):
        data = segment.path.read_bytes()
        *_, at = (0, *(end for end in frame_ends(segment.path) if end < len(data)))
        at = at or HEADER_BYTES
        hurt = data[: at + 40] + b"#" + data[at + 41 :]
        segment.path.write_bytes(hurt)
        with pytest.raises(DamageError) as caught:
            book.replay_to_end()
        told = f"{segment.path}: damaged: a frame with a wrong checksum at byte {at}"
        assert told == str(caught.value)
        assert hurt == segment.path.read_bytes()
        segment.path.write_bytes(data)
    second.path.unlink()
    with pytest.raises(DamageError, match="does not follow the one before"):
        book.replay_to_end()
    first.path.unlink()
    with pytest.raises(LogError, match="does not reach back to entry 1"):
        book.replay_to_end()
    third.path.unlink()
    assert 0 == book.replay_to_end()[0]


def test_complete_frames_of_another_chain_are_rejected(tmp_path: Path) -> None:
    """A frame that is doubled, left out or of another log has a right checksum."""
    book = LogDirectory(tmp_path)
    book.write(small_batches())
    (segment,) = list_segments(book.directory.log)
    data = segment.path.read_bytes()
    starts = [HEADER_BYTES, *sorted(frame_ends(segment.path))]
    doubled = data + data[starts[-2] :]
    left_out = data[: starts[1]] + data[starts[2] :]
    for wrong in (doubled, left_out):
        segment.path.write_bytes(wrong)
        with pytest.raises(DamageError, match="does not follow the one before"):
            book.replay_to_end()


def test_a_segment_without_a_header_is_removed(tmp_path: Path) -> None:
    """A crash between the creation of a file and the sync of its header."""
    for left in (b"", b"TIDEL", bytes(HEADER_BYTES)):
        book = LogDirectory(tmp_path / str(len(left)))
        book.write(small_batches())
        torn = book.directory.log / f"{5:020}.seg"
        torn.write_bytes(left)
        assert 4 == book.replay_to_end()[0]
        assert not torn.exists()


def test_a_torn_tail_before_the_last_segment_is_damage(tmp_path: Path) -> None:
    """A segment is whole on the disk before the next one is made: nothing can have torn it."""
    for left in (b"", None):
        book = LogDirectory(tmp_path / str(left))
        book.write(batches(), segment_bytes=SMALL)
        *_, second, third = list_segments(book.directory.log)
        if left is not None:
            third.path.write_bytes(left)
        second.path.write_bytes(second.path.read_bytes()[:-3])
        for _ in range(2):
            with pytest.raises(DamageError, match="cut short"):
                book.replay_to_end()


def test_recovery_replays_only_entries_after_the_snapshot(tmp_path: Path) -> None:
    """Whatever stands between snapshot and end is applied, and nothing else."""
    whole = batches()
    for cut in range(1, len(whole) + 1):
        book = LogDirectory(tmp_path / str(cut))
        book.write(whole[:cut])
        book.snapshot()
        book.write(whole[cut:], segment_bytes=1)
        found = book.recover()
        assert (ENDS[cut - 1], LAST) == (found.start, found.sequence)
        assert digests(whole)[LAST] == found.replayer.exchange.digest()
        # What comes before it may be gone.
        if cut < len(whole):
            list_segments(book.directory.log)[0].path.unlink()
            assert (LAST, digests(whole)[LAST]) == book.replay_to_end()


def test_a_damaged_snapshot_is_left_out_for_the_older_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And for the whole log where both are; it is said which."""
    whole = batches()
    book = LogDirectory(tmp_path)
    book.write(whole[:2])
    older = book.snapshot()
    book.write(whole[2:4])
    newer = book.snapshot()
    book.write(whole[4:])
    for damaged, start in ((None, ENDS[3]), (newer, ENDS[1]), (older, 0)):
        if damaged is not None:
            data = bytearray(damaged.read_bytes())
            data[len(data) // 2] ^= 1
            damaged.write_bytes(data)
            caplog.clear()
        found = book.recover()
        assert start == found.start
        assert digests(whole)[LAST] == found.replayer.exchange.digest()
        if damaged is not None:
            assert f"{damaged} is left out" in caplog.text


def test_a_snapshot_and_a_log_must_belong_together(tmp_path: Path) -> None:
    """A snapshot of another log, and one whose entries the log has lost."""
    book, other = LogDirectory(tmp_path / "a"), LogDirectory(tmp_path / "b")
    book.write(batches())
    other.write([[Entry(n, START, Origin(), TICKLESS) for n in range(1, LAST + 1)]])
    path = book.snapshot()
    other_path = other.directory.snapshots / path.name
    other_path.write_bytes(path.read_bytes())
    with pytest.raises(LogError, match="of another log"):
        other.replay_to_end()
    (segment,) = list_segments(book.directory.log)
    segment.path.write_bytes(segment.path.read_bytes()[:-1])
    with pytest.raises(
        LogError, match=f"the log ends with entry {ENDS[-2]}.*snapshot of entry {LAST}"
    ):
        book.replay_to_end()
    segment.path.unlink()
    with pytest.raises(LogError, match="does not reach back"):
        book.replay_to_end()


TICKLESS = Tick(prices=())


def poisoned(monkeypatch: pytest.MonkeyPatch, sequence: int) -> None:
    """Make `apply` raise at an entry."""
    apply: Callable[[Exchange, Entry], object] = Exchange.apply

    def stumble(exchange: Exchange, entry: Entry) -> object:
        if entry.sequence == sequence:
            raise ZeroDivisionError
        return apply(exchange, entry)

    monkeypatch.setattr(Exchange, "apply", stumble)


def test_an_entry_that_cannot_be_applied_stops_until_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The skip stands behind it in the log; every replay has looked ahead."""
    whole = batches()
    book = LogDirectory(tmp_path)
    book.write(whole)
    poisoned(monkeypatch, ENDS[2])
    with pytest.raises(ApplyError, match=f"entry {ENDS[2]} cannot be applied") as caught:
        book.replay_to_end()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    skip = Entry(LAST + 1, whole[-1][-1].time, Origin(), Skip(sequence=ENDS[2], reason="poison"))
    book.write([[skip]])
    found = book.recover()
    assert {ENDS[2]: "poison"} == found.replayer.skips
    digest = found.replayer.exchange.digest()
    monkeypatch.undo()
    assert (LAST + 1, digest) == book.replay_to_end()
    assert digest != digests(whole)[LAST]
    book.snapshot()
    assert (LAST + 1, digest) == book.replay_to_end()


def test_checkpoints_are_compared(tmp_path: Path) -> None:
    """A replay that comes to other events is not the venue that wrote the log."""
    book = LogDirectory(tmp_path)
    book.write(batches()[:3])
    found = book.recover()
    right = found.replayer.event_hash.checkpoint()
    at = ENDS[2] + 1
    book.write([[Entry(at, found.time, Origin(), right)]])
    assert at == book.replay_to_end()[0]
    wrong = Checkpoint(sequence=at, digest="00" * 16)
    book.write([[Entry(at + 1, found.time, Origin(), wrong)]])
    with pytest.raises(DivergenceError, match=f"up to entry {at}"):
        book.replay_to_end()


def test_recovery_never_replays_across_a_change_of_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The old version's snapshot of the end is where the new one begins, in a new segment."""
    caplog.set_level(logging.INFO)
    whole = batches()
    book = LogDirectory(tmp_path)
    book.write(whole[:2])
    book.snapshot()
    book.write(whole[2:4])
    for module in (writer, scan, recovery, snapshots):
        monkeypatch.setattr(module, "RULES", RULES + 1)
    with pytest.raises(VersionError, match="tidegate log snapshot"):
        book.replay_to_end()
    monkeypatch.undo()
    book.snapshot()
    for module in (writer, scan, recovery, snapshots):
        monkeypatch.setattr(module, "RULES", RULES + 1)
    for _ in range(2):
        book.write([])
    book.write(whole[4:])
    assert [RULES, RULES + 1] == [each.header().rules for each in list_segments(book.directory.log)]
    assert (LAST, digests(whole)[LAST]) == book.replay_to_end()


def test_files_of_a_later_version_are_rejected(tmp_path: Path) -> None:
    """Segments and snapshots; nothing is lost by going back to the later version."""
    book = LogDirectory(tmp_path)
    book.write(small_batches())
    snapshot = book.snapshot()
    data = snapshot.read_bytes()
    snapshot.write_bytes(data[:8] + b"\0\2" + data[10:])
    with pytest.raises(VersionError, match="snapshot format 2"):
        book.replay_to_end()
    snapshot.unlink()
    (segment,) = list_segments(book.directory.log)
    data = segment.path.read_bytes()
    segment.path.write_bytes(data[:8] + b"\0\2" + data[10:])
    with pytest.raises(VersionError, match="log format 2"):
        book.replay_to_end()
