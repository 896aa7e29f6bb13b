"""What `tidegate log show` prints, and its status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from book.order import Side
from gateway.cli import log, main
from gateway.log.entry_format import AccountNames, format_json, format_line
from gateway.log.errors import DamageError
from gateway.log.frames import HEADER_BYTES
from gateway.log.segments import SegmentReader, list_segments
from gateway.log.tail import LogTail
from gateway.printable import escape_unprintable
from risk.commands import Entry, OpenAccount, Origin
from tests.gateway.harness import START
from tests.gateway.log.log_fixtures import order
from tests.gateway.log.log_writer_fixture import LoggedVenue
from tests.hypothesis_settings import thorough

DAMAGED = 65

HOSTILE = [
    "\x1b[2J",
    "a\nb",
    "a\rb",
    "\x07",
    "\x7f",
    "\x9b31m",
    "\u202e",
    "\u2028",
    "\ufeff",
    '"\\',
]


@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30)))
@thorough(300)
def test_texts_of_clients_are_printed_as_text(text: str) -> None:
    """Keys, labels and names: one line of characters that print, in either form."""
    who = AccountNames()
    opened = Entry(1, START, Origin(), OpenAccount(account=101, name=text))
    who.learn(opened)
    placed = replace(order(101, Side.BUY, 65_000), label=text)
    for entry in (opened, Entry(2, START, Origin(1, 1, 7, 3, f"101:{text}"), placed)):
        assert format_line(entry, who).isprintable()
        written = format_json(entry)
        assert written.isprintable()
        assert json.loads(written) == json.loads(msgspec.json.encode(entry))


def test_different_keys_look_different() -> None:
    r"""A key that is written `\n` is not one with a newline."""
    lines = {
        format_line(
            Entry(2, START, Origin(1, 1, 7, 3, key), order(101, Side.BUY, 1)), AccountNames()
        )
        for key in ("a\nb", "a\\nb", "a\\\\nb", "a\x1bb", "a\\u001bb", "anb")
    }
    assert 6 == len(lines)


def test_printable_text_is_unchanged() -> None:
    """Of any script."""
    for text in ("plain", "größer", "注文", "a\\b", ""):
        assert text == escape_unprintable(text)
    assert r"\x1b[2J\n\u202e" == escape_unprintable("\x1b[2J\n\u202e")


def recorded(path: Path, segment_bytes: int = 2**20) -> LoggedVenue:
    """A log whose venue has ended."""
    scribe = LoggedVenue.after_trading(path, segment_bytes)
    scribe.trade(3)
    scribe.close()
    return scribe


def middle(data: bytearray) -> int:
    """Flip a bit in a frame that others follow."""
    data[HEADER_BYTES + 60] ^= 1
    return HEADER_BYTES


def end(data: bytearray) -> int:
    """Flip a bit in the last frame."""
    data[-1] ^= 1
    return -1


def cut(data: bytearray) -> int:
    """Cut the last frame short."""
    del data[-5:]
    return -1


def zeros(data: bytearray) -> int:
    """Add what a crash may leave behind the last frame."""
    at = len(data)
    data.extend(bytes(100))
    return at


Spoil = Callable[[bytearray], int]


@pytest.mark.parametrize("spoil", [middle, end, cut, zeros])
@pytest.mark.parametrize("segment_bytes", [1, 2**20])
@pytest.mark.parametrize("form", [[], ["--json"], ["--account", "alice"]])
def test_show_of_an_incomplete_log_has_an_exit_status(
    spoil: Spoil,
    segment_bytes: int,
    form: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is whole before it is shown; then file, byte and what is wrong, and status 65."""
    monkeypatch.setattr(log, "sleep", lambda _: None)
    scribe = recorded(tmp_path / "data", segment_bytes)
    show = ["log", "show", str(scribe.book.directory.path), *form]
    assert 0 == main(show)
    whole = capsys.readouterr()
    last = list_segments(scribe.book.directory.log)[-1].path
    data = bytearray(last.read_bytes())
    at = spoil(data)
    last.write_bytes(data)
    assert DAMAGED == main(show)
    told = capsys.readouterr()
    assert whole.out.startswith(told.out)
    assert str(last) in told.err
    assert (f"byte {at}" if at >= 0 else "byte ") in told.err
    assert "Traceback" not in told.err


def test_an_unknown_account_number_is_rejected(tmp_path: Path) -> None:
    """However long: Python does not read thousands of digits."""
    scribe = recorded(tmp_path / "data")
    for number in ("999", "9" * 5_000, "٣" * 5_000):
        assert main(["log", "show", str(scribe.book.directory.path), "--account", number]) in (
            0,
            65,
        )


def test_show_ignores_damage_after_the_selected_entries(tmp_path: Path) -> None:
    """`--to` ends before it."""
    scribe = recorded(tmp_path / "data")
    (last,) = list_segments(scribe.book.directory.log)
    data = bytearray(last.path.read_bytes())
    end(data)
    last.path.write_bytes(data)
    assert 0 == main(["log", "show", str(scribe.book.directory.path), "--to", "5"])


def test_show_waits_for_a_frame_that_is_being_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that runs is no damage."""
    scribe = recorded(tmp_path / "data")
    (last,) = list_segments(scribe.book.directory.log)
    whole = last.path.read_bytes()
    show = ["log", "show", str(scribe.book.directory.path)]
    assert 0 == main(show)
    expected = capsys.readouterr().out
    last.path.write_bytes(whole[:-5])
    monkeypatch.setattr(log, "sleep", lambda _: last.path.write_bytes(whole))
    assert 0 == main(show)
    assert (expected, "") == capsys.readouterr()


def test_show_follow_reports_damage(tmp_path: Path) -> None:
    """Rather than to wait for ever for a frame that will never be whole; a torn one may be."""
    scribe = recorded(tmp_path / "data")
    (last,) = list_segments(scribe.book.directory.log)
    whole = last.path.read_bytes()
    last.path.write_bytes(whole[:-5])
    tail = LogTail(SegmentReader(scribe.book.directory.log, last))
    shown = sum(frame.count for frame in tail.frames())
    assert 0 < shown < scribe.sequence
    assert [] == list(tail.frames())
    last.path.write_bytes(whole)
    assert 1 == len(list(tail.frames()))
    data = bytearray(whole)
    middle(data)
    last.path.write_bytes(data)
    with pytest.raises(DamageError, match=f"at byte {HEADER_BYTES}"):
        list(LogTail(SegmentReader(scribe.book.directory.log, last)).frames())
