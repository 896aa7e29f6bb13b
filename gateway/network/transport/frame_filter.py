"""What a client sends, between the socket and trio-websocket, which reads by itself.

The library closes the connection as soon as it finds a close frame or a violation, before what came
earlier is answered, and reads messages of any length into memory. So its frames are looked at here
first: messages that are too long lose their payload, and the frame that ends the connection is kept
back until the connection is closed.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from attrs import Factory, define, field

from gateway.network.transport import frames
from gateway.network.transport.frames import Header, MessageTracker
from gateway.network.transport.meter import InboundMeter
from gateway.protocol.close_codes import CloseReason


class MessageKind(Enum):
    """What a message that comes out of the library is."""

    TEXT = "text"
    BINARY = "binary"
    OVERSIZED = "longer than the limit; its content is gone"
    END = "not a message: no more of them will come"


@define(eq=False)
class FrameFilter:
    """Turns what a client sends into what the library is to read.

    Text goes to the library as binary, so that text which is not UTF-8 is found by the transport,
    in its place among the messages. `kinds` are those of the messages passed on, in order.
    `ended` says that the rest is kept back; with `passes_close` a close frame is passed on like any
    other frame.
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
    # What is left of the payload of the frame that began last, and whether it is passed on.
    _payload: int = field(default=0, init=False)
    _passing: bool = field(default=False, init=False)

    @property
    def failed(self) -> bool:
        """Whether the client broke the protocol or sent too much: no close frame is awaited."""
        return self.violation is not None or self.meter.exceeded

    def feed(self, data: bytes) -> bytes:
        """What to pass on of the next bytes; call it until `ended`."""
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
            if header is None:
                break
            if not self._start_frame(header):
                passed += self._end_marker()
                break
            passed += self._rewrite_head(header, buffer[at : header.start])
            at = header.start
        self._rest = buffer[at:]
        self.meter.chunk(len(data), len(self.kinds) - before)
        return bytes(passed)

    def release(self) -> bytes:
        """What was kept back: the client's close frame, and what came behind it."""
        rest, self._rest = self._rest, b""
        return rest

    def _start_frame(self, header: Header) -> bool:
        """Take a frame's header; false where no more is to be passed on."""
        self.violation = header.violation
        if self.violation is None:
            if header.opcode == frames.CLOSE and not self.passes_close:
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
        """Whether the frame is a whole message that counts as a request."""
        first = frames.FIN | frames.TEXT
        return header.first == first and 0 < header.length <= self.limit

    def _message_kind(self) -> MessageKind:
        if self._message.oversized:
            return MessageKind.OVERSIZED
        return MessageKind.TEXT if self._message.text else MessageKind.BINARY

    def _end_marker(self) -> bytes:
        """The end of all messages, as one that the library gives out behind them."""
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
