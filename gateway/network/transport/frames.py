"""WebSocket frames (RFC 6455, 5.2) as far as the transports look at them themselves."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from attrs import define, field

from gateway.protocol.close_codes import PROTOCOL_ERROR, TOO_BIG, CloseReason

FIN: Final = 0x80
RESERVED: Final = 0x70
OPCODE: Final = 0x0F
MASKED: Final = 0x80
CONTROL: Final = 0x08

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

# Lengths from which on the real one follows, in two bytes or in eight.
LENGTH_16_BIT: Final = 126
LENGTH_64_BIT: Final = 127
MAX_CONTROL_BYTES: Final = 125
MASK_BYTES: Final = 4

# A message that is too long is read to its end and answered, if it is longer by no more than this.
# Clients send such a message by mistake; who sends more is disconnected.
MAX_DISCARD_BYTES: Final = 2**20


class Header(NamedTuple):
    """A frame's header: its first byte, where its payload begins and how long that is."""

    first: int
    start: int
    length: int
    masked: bool

    @property
    def opcode(self) -> int:
        """What kind of frame it is."""
        return self.first & OPCODE

    @property
    def violation(self) -> CloseReason | None:
        """Which rule the header alone breaks."""
        reason = ""
        if not self.masked:
            reason = "incorrect masking"
        elif self.first & RESERVED:
            reason = "reserved bits must be 0"
        elif self.opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            reason = "invalid opcode"
        elif self.opcode & CONTROL and not self.first & FIN:
            reason = "fragmented control frame"
        elif self.opcode & CONTROL and self.length > MAX_CONTROL_BYTES:
            reason = "control frame too long"
        return CloseReason(PROTOCOL_ERROR, reason) if reason else None


def read_header(data: bytes, at: int) -> Header | None:
    """The header that begins at `at`; None where it is not complete."""
    if len(data) - at < 2:
        return None
    length, start = data[at + 1] & ~MASKED, at + 2
    if length >= LENGTH_16_BIT:
        size = 2 if length == LENGTH_16_BIT else 8
        length = int.from_bytes(data[start : start + size])
        start += size
    masked = bool(data[at + 1] & MASKED)
    if masked:
        start += MASK_BYTES
    return Header(data[at], start, length, masked) if start <= len(data) else None


@define(eq=False)
class MessageTracker:
    """The message that a client is sending, of which more frames may come: its kind and its size.

    `open` says that its last frame has not come; `oversized`, that it is longer than `limit`.
    """

    limit: int
    open: bool = field(default=False, init=False)
    text: bool = field(default=False, init=False)
    size: int = field(default=0, init=False)

    @property
    def oversized(self) -> bool:
        """Whether it is longer than the limit, by the frames that were added."""
        return self.size > self.limit

    def exceeds(self, header: Header) -> bool:
        """Whether the message would be too long with this frame."""
        if header.opcode & CONTROL:
            return False
        return header.length + (self.size if self.open else 0) > self.limit

    def add(self, header: Header) -> CloseReason | None:
        """Count a data frame. Returns what it breaks, if anything."""
        if header.opcode == CONTINUATION:
            if not self.open:
                return CloseReason(PROTOCOL_ERROR, "unexpected continuation frame")
        else:
            if self.open:
                return CloseReason(PROTOCOL_ERROR, "expected a continuation frame")
            self.size, self.text = 0, header.opcode == TEXT
        self.size += header.length
        if self.size > self.limit + MAX_DISCARD_BYTES:
            return CloseReason(TOO_BIG, f"message of over {self.limit} bytes")
        self.open = not header.first & FIN
        return None


def empty_frame(first: int) -> bytes:
    """A client's frame with this first byte and no payload."""
    return bytes((first, MASKED, 0, 0, 0, 0))


@lru_cache(maxsize=4_096)
def text_frame_head(length: int) -> bytes:
    """What comes before the payload of a server's text frame of so many bytes.

    The library's own makes a copy of the payload, and takes ten times as long. What many are told
    has one length, and so a head that is made once.
    """
    if length < 126:
        return bytes((0x81, length))
    if length < 2**16:
        return struct.pack("!BBH", 0x81, 126, length)
    return struct.pack("!BBQ", 0x81, 127, length)


@lru_cache(maxsize=8)
def oversized_placeholder(limit: int) -> bytes:
    """What is received in place of a message of more than `limit` bytes, whose content is gone."""
    return bytes(limit + 1)
