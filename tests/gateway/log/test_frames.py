"""The format of frames: round trips, and detection of incomplete or invalid bytes."""

import struct
from typing import get_args
from zlib import crc32

import pytest

from book.units import MONEY
from gateway.config.schema import Config
from gateway.log.frames import (
    GENESIS,
    HEADER_BYTES,
    PREFIX_BYTES,
    FrameError,
    Header,
    NewerFormatError,
    contains_frame,
    decode_frame,
    encode_frame,
)
from gateway.sequencer.bootstrap import configuration_commands
from risk import exchange
from risk.commands import AnyCommand, Checkpoint, Command, Deposit, Entry, Origin, Skip
from risk.exchange import Exchange
from tests.gateway.log.log_fixtures import batches


def test_every_command_has_a_record_and_a_function() -> None:
    """This fails if a command is added to the core without its record or its function."""
    assert set(Command.__subclasses__()) >= set(get_args(AnyCommand))
    ours = {each for each in Command.__subclasses__() if each.__module__ == "risk.commands"}
    assert ours == set(get_args(AnyCommand)) == set(exchange._TABLE)


def test_entries_are_read_as_they_were_written() -> None:
    """All kinds of commands with all their fields, and money beyond 64 bits."""
    entries = [each for batch in batches() for each in batch]
    for command in (
        *configuration_commands(Config(), Exchange().state, 1),
        Deposit(account=101, currency="BTC", amount=MONEY * 10**12),
        Checkpoint(sequence=1, digest="00"),
        Skip(sequence=1, reason='"quoted" — ünd mehr\n'),
    ):
        origin = Origin(node=1, start=2, session=2**34, request=2**40)
        entries.append(Entry(len(entries) + 1, 10**15, origin, command))
    data, hashed = encode_frame(entries, GENESIS)
    frame = decode_frame(data, 0)
    assert entries == frame.entries()
    assert (len(data), 1, len(entries), GENESIS, hashed) == (
        frame.size,
        frame.first,
        frame.last,
        frame.previous,
        frame.hash,
    )


def test_zeros_are_not_a_frame() -> None:
    """A crash may leave a file longer than the written data, filled with zeros."""
    for size in (1, PREFIX_BYTES, 10_000):
        with pytest.raises(FrameError):
            decode_frame(bytes(size), 0)
        assert not contains_frame(bytes(size), 0)


def test_a_complete_frame_is_found_at_any_offset() -> None:
    """This distinguishes damage from a torn tail."""
    data, _ = encode_frame(batches()[1], GENESIS)
    for before in (b"", b"\0" * 7, b"\1\2\3\4" * 9, data[:-1], b"\xff"):
        assert contains_frame(before + data + b"rest", 0)
        assert contains_frame(before + data, len(before))
        assert not contains_frame(before + data, len(before) + 1)


def test_headers_round_trip_and_unreadable_ones_are_rejected() -> None:
    """A later format is rejected whatever follows its version; a damaged header is a FrameError."""
    header = Header(rules=3, first=17, previous=b"p" * 16)
    data = header.encode()
    assert (header, HEADER_BYTES) == (Header.decode(data + b"more"), len(data))
    newer = data[:8] + struct.pack(">H", 2) + b"anything else" * 3
    with pytest.raises(NewerFormatError, match="log format 2; this version reads up to 1"):
        Header.decode(newer)
    for broken in (data[:-1], b"X" + data[1:], data[:-1] + b"\0", bytes(HEADER_BYTES)):
        with pytest.raises(FrameError):
            Header.decode(broken)


def test_an_invalid_payload_is_rejected() -> None:
    """Also a payload with an unknown command, which is never skipped."""
    whole, _ = encode_frame([Entry(1, 5, Origin(), Skip(sequence=1, reason=""))], GENESIS)
    for wrong in (whole.replace(b"Skip", b"Slip"), whole.replace(b"[[5,", b"[[5.")):
        frame = decode_frame(_sealed(wrong[PREFIX_BYTES:]), 0)
        with pytest.raises(FrameError, match="entries that cannot be read"):
            frame.entries()


def _sealed(body: bytes) -> bytes:
    return struct.pack(">II", len(body), crc32(body)) + body
