"""WebSocket frames (RFC 6455, 5.2), as far as the transports parse and write them themselves."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from attrs import define, field

from gateway.protocol.close_codes import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG, CloseReason

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

# The first byte of a frame that is a whole message, and of control frames.
WHOLE_TEXT: Final = FIN | TEXT
WHOLE_PING: Final = FIN | PING
WHOLE_PONG: Final = FIN | PONG
WHOLE_CLOSE: Final = FIN | CLOSE

# Values of the 7-bit length that announce a length in the next two or eight bytes.
LENGTH_16_BIT: Final = 126
LENGTH_64_BIT: Final = 127
MAX_CONTROL_BYTES: Final = 125
MASK_BYTES: Final = 4

# Close codes that a peer may send (7.4): those of the registry, and those of applications.
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_APPLICATION_CLOSE_CODES: Final = range(3000, 5000)

# A message that exceeds the limit by no more than this is read to its end and answered with an
# error: clients send such a message by mistake. A longer one ends the connection.
MAX_DISCARD_BYTES: Final = 2**20


class Header(NamedTuple):
    """A frame's header: its first byte, where its payload starts and how long that is."""

    first: int
    start: int
    length: int
    masked: bool
    minimal: bool = True

    @property
    def opcode(self) -> int:
        """The frame's type."""
        return self.first & OPCODE

    @property
    def violation(self) -> CloseReason | None:
        """The first rule that the header breaks."""
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
        elif not self.minimal:
            reason = "length not in its shortest form"
        return CloseReason(PROTOCOL_ERROR, reason) if reason else None


def read_header(data: bytes, at: int) -> Header | None:
    """Return the header that starts at `at`, or None if it is incomplete."""
    if len(data) - at < 2:
        return None
    length, start = data[at + 1] & ~MASKED, at + 2
    minimal = True
    if length >= LENGTH_16_BIT:
        size, shortest = (2, LENGTH_16_BIT) if length == LENGTH_16_BIT else (8, 2**16)
        length = int.from_bytes(data[start : start + size])
        start += size
        minimal = length >= shortest
    masked = bool(data[at + 1] & MASKED)
    if masked:
        start += MASK_BYTES
    return Header(data[at], start, length, masked, minimal) if start <= len(data) else None


def close_violation(payload: bytes) -> CloseReason | None:
    """Return the rule that the unmasked payload of a close frame breaks (5.5.1), or None."""
    if not payload:
        return None
    if len(payload) < 2:
        return CloseReason(PROTOCOL_ERROR, "close frame too short")
    code = int.from_bytes(payload[:2])
    if code not in _CLOSE_CODES and code not in _APPLICATION_CLOSE_CODES:
        return CloseReason(PROTOCOL_ERROR, "invalid close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError as error:
        return encoding_violation(error)
    return None


def encoding_violation(error: UnicodeDecodeError) -> CloseReason:
    """Return the close reason for text that is not UTF-8."""
    return CloseReason(INVALID_DATA, f"{error.reason} at {error.start}")


@define(eq=False)
class MessageTracker:
    """Type and size of the message that a client is sending in one or more frames.

    The message is `open` until its last frame was added, and `oversized` once it is longer than
    `limit`.
    """

    limit: int
    open: bool = field(default=False, init=False)
    text: bool = field(default=False, init=False)
    size: int = field(default=0, init=False)
    _payload: bytearray = field(factory=bytearray, init=False)

    @property
    def oversized(self) -> bool:
        """Whether the frames added so far are longer than the limit."""
        return self.size > self.limit

    def exceeds(self, header: Header) -> bool:
        """Return whether the message would be oversized with this frame."""
        if header.opcode & CONTROL:
            return False
        return header.length + (self.size if self.open else 0) > self.limit

    def add(self, header: Header) -> CloseReason | None:
        """Count a data frame. Return the rule that it breaks, or None."""
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

    def append(self, payload: bytes | bytearray | memoryview) -> str | bytes | None:
        """Append the payload of the frame added last; return the message if that completes it.

        An oversized message is returned as a placeholder. Raises UnicodeDecodeError.
        """
        # One buffer for the whole message: a list of fragments would grow with empty ones.
        self._payload += payload
        if self.oversized:
            self._payload.clear()
        if self.open:
            return None
        whole, self._payload = bytes(self._payload), bytearray()
        if self.oversized:
            return oversized_placeholder(self.limit)
        return str(whole, "utf-8") if self.text else whole


def empty_frame(first: int) -> bytes:
    """Return a client's frame with this first byte and no payload."""
    return bytes((first, MASKED, 0, 0, 0, 0))


@lru_cache(maxsize=4_096)
def text_frame_head(length: int) -> bytes:
    """Return the header of a server's text frame whose payload is `length` bytes long.

    The library's serializer copies the payload and takes ten times as long. Notifications of one
    channel mostly have the same length, so the heads are cached.
    """
    if length < LENGTH_16_BIT:
        return bytes((FIN | TEXT, length))
    if length < 2**16:
        return struct.pack("!BBH", FIN | TEXT, LENGTH_16_BIT, length)
    return struct.pack("!BBQ", FIN | TEXT, LENGTH_64_BIT, length)


@lru_cache(maxsize=8)
def oversized_placeholder(limit: int) -> bytes:
    """Return what stands for a message of more than `limit` bytes, whose content was discarded."""
    return bytes(limit + 1)
