"""The format of segment headers and frames, without I/O.

A frame is one group commit. Each contains the hash of the previous frame, so that the frames of
all segments form one chain, in which a missing, repeated or moved frame is detected. Numbers are
big-endian.

    header   magic 8, format u16, rules u32, first sequence u64, previous hash 16, crc32 u32
    frame    length u32, crc32 u32, then `length` bytes, which crc32 and hash cover:
             first sequence u64, count u32, previous hash 16, payload
    payload  a JSON array with [time, origin, command] of each entry; JSON because amounts of
             money can exceed 64 bits
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from zlib import crc32

import msgspec
from attrs import frozen

from risk.commands import AnyCommand, Entry, Origin

MAGIC: Final = b"TIDELOG\n"
FORMAT: Final = 1
"""Version of this format. Newer ones are rejected; older ones remain readable."""

HASH_BYTES: Final = 16
GENESIS: Final = bytes(HASH_BYTES)
"""The previous hash of the first frame of a log."""

FRAME_BYTES: Final = 64 * 2**20
"""The largest frame. A batch holds a few hundred entries, so a larger length is damage and is not
read into memory."""

_HEADER: Final = struct.Struct(f">8sHIQ{HASH_BYTES}sI")
_PREFIX: Final = struct.Struct(">II")
_BODY: Final = struct.Struct(f">QI{HASH_BYTES}s")

HEADER_BYTES: Final = _HEADER.size
PREFIX_BYTES: Final = _PREFIX.size

# Matches where the length of a frame may start. JSON holds no such byte, so that a search for
# frames passes over payloads at the speed of C. Zeros, which a crash may leave, do not match.
_LENGTH: Final = re.compile(rb"(?s)[\x01-\x04]|\x00(?!\x00\x00[\x00-%c])" % _BODY.size)


class FrameError(Exception):
    """Invalid or incomplete bytes of a segment; `offset` is where in the data they start."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"{what} at byte {offset}")
        self.offset = offset
        self.what = what


class NewerFormatError(Exception):
    """The format was written by a later version of this program."""


@frozen
class Header:
    """Header of a segment: rules version, first sequence number, hash of the previous frame."""

    rules: int
    first: int
    previous: bytes

    def encode(self) -> bytes:
        """Return the header's bytes."""
        fields = _HEADER.pack(MAGIC, FORMAT, self.rules, self.first, self.previous, 0)[:-4]
        return fields + crc32(fields).to_bytes(4, "big")

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Parse a header. Raises FrameError, or NewerFormatError for a later format."""
        if len(data) < HEADER_BYTES:
            raise FrameError(0, "a segment header that is cut short")
        magic, version, rules, first, previous, checksum = _HEADER.unpack_from(data)
        if magic != MAGIC:
            raise FrameError(0, "no segment header")
        # Before the checksum, which may be elsewhere in a later format.
        if version > FORMAT:
            raise NewerFormatError(f"log format {version}; this version reads up to {FORMAT}")
        if checksum != crc32(data[: HEADER_BYTES - 4]):
            raise FrameError(0, "a segment header with a wrong checksum")
        return cls(rules, first, previous)


@frozen
class Frame:
    """A complete frame; `size` is its length in bytes, with the prefix."""

    size: int
    first: int
    count: int
    previous: bytes
    hash: bytes
    payload: bytes

    @property
    def last(self) -> int:
        """Sequence number of its last entry."""
        return self.first + self.count - 1

    def entries(self) -> list[Entry]:
        """Return its entries. Raises FrameError if this version cannot read them."""
        try:
            records = _decoder.decode(self.payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FrameError(0, f"entries that cannot be read ({error})") from error
        if len(records) != self.count:
            raise FrameError(0, f"{len(records)} entries where {self.count} were announced")
        return [
            Entry(sequence, time, origin, command)
            for sequence, (time, origin, command) in enumerate(records, self.first)
        ]


def encode_frame(entries: Sequence[Entry], previous: bytes) -> tuple[bytes, bytes]:
    """Return the frame of a batch and its hash, which goes into the next frame."""
    payload = _encoder.encode([(e.time, e.origin, e.command) for e in entries])
    body = _BODY.pack(entries[0].sequence, len(entries), previous) + payload
    assert len(body) <= FRAME_BYTES, "a batch is some hundred entries"
    return _PREFIX.pack(len(body), crc32(body)) + body, _hash(body)


def decode_frame(data: bytes, offset: int) -> Frame:
    """Return the frame that starts at `offset`. Raises FrameError unless it is complete."""
    start = offset + PREFIX_BYTES
    if len(data) < start:
        raise FrameError(offset, "a frame that is cut short")
    length, checksum = _PREFIX.unpack_from(data, offset)
    if not _BODY.size < length <= FRAME_BYTES:
        raise FrameError(offset, "a frame of impossible length")
    body = data[start : start + length]
    if len(body) < length:
        raise FrameError(offset, "a frame that is cut short")
    if crc32(body) != checksum:
        raise FrameError(offset, "a frame with a wrong checksum")
    first, count, previous = _BODY.unpack_from(body)
    if not count:
        raise FrameError(offset, "a frame without entries")
    return Frame(PREFIX_BYTES + length, first, count, previous, _hash(body), body[_BODY.size :])


def contains_frame(data: bytes, start: int) -> bool:
    """Return whether a complete frame starts anywhere from `start` on.

    Frames become durable in order, so a complete one after a broken one means damage; nothing
    complete follows a torn tail.
    """
    return any(_is_complete(data, match.start()) for match in _LENGTH.finditer(data, start))


def _is_complete(data: bytes, offset: int) -> bool:
    length = int.from_bytes(data[offset : offset + 4], "big")
    if offset + PREFIX_BYTES + length > len(data):
        return False
    try:
        decode_frame(data, offset)
    except FrameError:
        return False
    return True


def _hash(body: bytes) -> bytes:
    return blake2b(body, digest_size=HASH_BYTES).digest()


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(list[tuple[int, Origin, AnyCommand]])
