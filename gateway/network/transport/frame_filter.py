"""Filters what a client sends before trio-websocket, which has a reading task of its own, sees it.

The library closes the connection as soon as it reads a close frame or a violation, before earlier
requests are answered; after some violations it sends no close frame; and it reads messages of any
length into memory. This filter drops the payload of messages that are too long, and holds back the
frame that ends the connection until the connection is closed.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from attrs import Factory, define, field

from gateway.network.transport import frames
from gateway.network.transport.frames import Header, MessageTracker
from gateway.network.transport.meter import InboundMeter
from gateway.network.transport.websockets_internals import apply_mask
from gateway.protocol.close_codes import CloseReason


class MessageKind(Enum):
    """The type of a message that the library returns."""

    TEXT = "text"
    BINARY = "binary"
    OVERSIZED = "longer than the limit, with its content dropped"
    END = "no message: the marker after the last one"


@define(eq=False)
class FrameFilter:
    """Turns what a client sends into what the library is to read.

    Text is passed on as binary, so that the transport finds text that is not UTF-8 in its place
    among the messages. `kinds` are the types of the messages passed on, in order. Once `ended`, the
    rest is held back. With `passes_close` a close frame is passed on like any other frame.
    """

    limit: int
    meter: InboundMeter
    kinds: deque[MessageKind] = field(factory=deque, init=False)
    violation: CloseReason | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)
    passes_close: bool = field(default=False, init=False)
    _message: MessageTracker = field(
        default=Factory(lambda self: MessageTracker(self.limit), takes_self=True), init=False
    )
    _rest: bytes = field(default=b"", init=False)
    # How much of the present frame's payload is still to come, and whether it is passed on.
    _payload: int = field(default=0, init=False)
    _passing: bool = field(default=False, init=False)

    @property
    def failed(self) -> bool:
        """Whether the client broke the protocol or sent too much: no close frame is awaited."""
        return self.violation is not None or self.meter.exceeded

    def feed(self, data: bytes) -> bytes:
        """Return what of the next bytes to pass on; to be called until `ended`."""
        passed = bytearray()
        before = len(self.kinds)
        buffer, at = self._rest + data, 0
        while True:
            if self._payload:
                end = min(at + self._payload, len(buffer))
                self._payload -= end - at
                if self._passing:
                    passed += buffer[at:end]
                at = end
            header = None if self._payload else frames.read_header(buffer, at)
            if header is None or self._waits_for_close_payload(header, len(buffer)):
                break
            if not self._start_frame(header, buffer):
                passed += self._end_marker()
                break
            passed += self._rewrite_head(header, buffer[at : header.start])
            at = header.start
        self._rest = buffer[at:]
        self.meter.chunk(len(data), len(self.kinds) - before)
        return bytes(passed)

    def release(self) -> bytes:
        """Return what was held back: the client's close frame and the bytes after it."""
        rest, self._rest = self._rest, b""
        return rest

    def _waits_for_close_payload(self, header: Header, size: int) -> bool:
        """Return whether this is a valid header of a close frame whose payload is incomplete."""
        return (
            header.opcode == frames.CLOSE
            and header.violation is None
            and header.start + header.length > size
        )

    def _start_frame(self, header: Header, buffer: bytes) -> bool:
        """Take a frame's header; return False where nothing more is to be passed on."""
        self.violation = header.violation
        if self.violation is None:
            if header.opcode == frames.CLOSE and not self.passes_close:
                mask = buffer[header.start - frames.MASK_BYTES : header.start]
                payload = buffer[header.start : header.start + header.length]
                self.violation = frames.close_violation(apply_mask(payload, mask))
                return False
            if not self._is_whole_message(header) and not self.meter.frame():
                return False
            if not header.opcode & frames.CONTROL:
                self.violation = self._message.add(header)
        if self.violation is not None:
            return False
        self._payload = header.length
        self._passing = True
        if not header.opcode & frames.CONTROL:
            self._passing = not self._message.oversized
            if not self._message.open:
                self.kinds.append(self._message_kind())
        return True

    def _is_whole_message(self, header: Header) -> bool:
        """Return whether the frame is a whole message that counts as a request."""
        return header.first == frames.WHOLE_TEXT and 0 < header.length <= self.limit

    def _message_kind(self) -> MessageKind:
        if self._message.oversized:
            return MessageKind.OVERSIZED
        return MessageKind.TEXT if self._message.text else MessageKind.BINARY

    def _end_marker(self) -> bytes:
        """Return an empty message, which the library returns after all others."""
        self.ended = True
        self.kinds.append(MessageKind.END)
        opcode = frames.CONTINUATION if self._message.open else frames.BINARY
        return frames.empty_frame(frames.FIN | opcode)

    def _rewrite_head(self, header: Header, head: bytes) -> bytes:
        if header.opcode & frames.CONTROL:
            return head
        first = header.first
        if header.opcode == frames.TEXT:
            first += frames.BINARY - frames.TEXT
        return bytes((first,)) + head[1:] if self._passing else frames.empty_frame(first)
