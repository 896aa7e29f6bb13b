"""A Transport over the sans-I/O protocol of websockets: whole chunks in, one write per batch out.

The library implements both handshakes and the parsing of frames. This module decides when to read,
to write and to wait. Reading and writing are plain calls; only waiting for the kernel is
asynchronous.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio
from attrs import Factory, define, field
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from gateway.network.transport import frames
from gateway.network.transport.frames import WHOLE_TEXT, MessageTracker, text_frame_head
from gateway.network.transport.handshake import LINGER_BYTES
from gateway.network.transport.interface import (
    CHUNK_BYTES,
    DisconnectedError,
    NonblockingReader,
    Stream,
    half_close,
    read_chunk,
)
from gateway.network.transport.meter import InboundMeter
from gateway.network.transport.websockets_internals import (
    apply_mask,
    forget_fragments,
    limit_message_size,
)
from gateway.protocol.close_codes import CloseReason

# A server may answer only the latest of several pings (RFC 6455, 5.5.3). This many pongs are queued
# for a client that sends pings without reading.
MAX_QUEUED_PONGS: Final = 16
# How much one call of `drain` sends: the writer has a deadline for each call.
DRAIN_BYTES: Final = 64 * 2**10

_MASKED: Final = frames.MASKED
_HEAD_BYTES: Final = 2
# Longer frames are passed to the library as their bytes arrive.
_MAX_INLINE_BYTES: Final = 64 * 2**10
# The pause between reads from a client that keeps sending after the close frame was sent.
_LINGER_PERIOD: Final = 0.1

# What a stream raises when its peer or the network ends it.
_PEER_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

# The library logs each connection that opens and closes.
_logger = logging.getLogger(f"{__name__}.protocol")
_logger.setLevel(logging.WARNING)


@define(eq=False)
class WebSocketTransport:
    """A Transport without a task of its own: `receive` also answers pings.

    Over a socket `write` uses non-blocking calls; over TLS, which has none, `drain` does all the
    writing. Text messages in one frame, which nearly all are, are parsed here in a fifth of the
    time that the library's parser takes, and so are pings and pongs. The library gets every other
    frame as a whole, so that it never waits for the rest of one, except for frames that are large.
    The payload of a message that is too long is discarded as it arrives, and the library gets its
    frames without payload.
    """

    _stream: Stream
    _protocol: ServerProtocol
    _frame_bytes: int
    _meter: InboundMeter
    # Bytes that arrived together with the handshake request.
    _ahead: bytes = b""
    # The start of an incomplete frame.
    _rest: bytes = b""
    # Whether the library has left its open state.
    closing: bool = field(default=False, init=False)
    # How much of the present frame's payload is still to be discarded, or passed to the library.
    _discarding: int = field(default=0, init=False)
    _passing: int = field(default=0, init=False)
    _unsent: bytearray = field(factory=bytearray, init=False)
    _queued_pongs: deque[bytes] = field(factory=lambda: deque(maxlen=MAX_QUEUED_PONGS), init=False)
    _message: MessageTracker = field(
        default=Factory(lambda self: MessageTracker(self._frame_bytes), takes_self=True), init=False
    )
    # Whether `drain` is sending, or was cancelled while it was.
    _draining: bool = field(default=False, init=False)
    # The library's close frame, once there is one; whether the end of the stream follows it.
    _close_frame: bytes = field(default=b"", init=False)
    _eof_pending: bool = field(default=False, init=False)
    _close_sent: bool = field(default=False, init=False)
    _socket: trio.socket.SocketType | None = field(init=False)
    _max_inline_bytes: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        plain = isinstance(self._stream, trio.SocketStream)
        self._socket = self._stream.socket if plain else None
        self._max_inline_bytes = min(self._frame_bytes, _MAX_INLINE_BYTES)

    @property
    def nonblocking_reader(self) -> NonblockingReader | None:
        """The socket, unless it is under TLS."""
        return (
            NonblockingReader(self._socket.fileno(), self._receive_nowait) if self._socket else None
        )

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`."""
        return bool(self._unsent or self._queued_pongs) or self._draining

    async def receive(self) -> Sequence[str | bytes]:
        """Return all messages that end in the next chunk of bytes."""
        self._require_open()
        data, self._ahead = self._ahead or await self._read(), b""
        return self._process_chunk(data)

    def _receive_nowait(self) -> Sequence[str | bytes]:
        """Return the messages that end in the bytes available now."""
        self._require_open()
        data, self._ahead = self._ahead, b""
        if not data:
            assert self._socket is not None
            try:
                data = os.read(self._socket.fileno(), CHUNK_BYTES)
            except BlockingIOError:
                return ()
            except OSError as error:
                raise DisconnectedError from error
        return self._process_chunk(data)

    def _require_open(self) -> None:
        if self.closing:
            raise DisconnectedError

    def _process_chunk(self, data: bytes) -> list[str | bytes]:
        """Return the messages that end in a chunk. Raises DisconnectedError for an empty one."""
        if not data:
            self._protocol.receive_eof()
            self._collect_output()
            raise DisconnectedError
        messages = self._parse(self._rest + data if self._rest else data)
        self._meter.chunk(len(data), len(messages))
        if self._queued_pongs and not (self._unsent or self._draining):
            self.write(())
        return messages

    def _parse(self, data: bytes) -> list[str | bytes]:
        """Return all messages that end in `data`; keep the incomplete frame after them.

        This is the hot path of reading: one short loop for text messages in one frame.
        """
        messages: list[str | bytes] = []
        at, size, limit = 0, len(data), self._max_inline_bytes
        if self._discarding:
            at = self._discard(0, size)
        elif self._passing:
            at = min(self._passing, size)
            self._passing -= at
            self._protocol.receive_data(data[:at])
            messages += self._library_messages()
        whole = not self._message.open
        while size - at >= _HEAD_BYTES:
            length, start = data[at + 1] - _MASKED, at + 6
            if length > 125:
                octets = 2 if length == frames.LENGTH_16_BIT else 8
                start += octets
                # From an incomplete header this reads too small a length, but `end` is still
                # beyond the data.
                length = int.from_bytes(data[at + 2 : at + 2 + octets])
                if length < (frames.LENGTH_16_BIT if octets == 2 else 2**16):
                    # Not in its shortest form, or incomplete: `_parse_frame` decides.
                    length = 0
            end = start + length
            if whole and 0 < length <= limit and data[at] == WHOLE_TEXT:
                if end > size:
                    break
                text = apply_mask(data[start:end], data[start - 4 : start])
                try:
                    messages.append(str(text, "utf-8"))
                except UnicodeDecodeError as error:
                    self._fail(frames.encoding_violation(error))
                    break
                at = end
            else:
                taken = self._parse_frame(data, at, messages)
                if not taken:
                    break
                at += taken
                whole = not self._message.open
        self._rest = b"" if self.closing else data[at:]
        return messages

    def _parse_frame(self, data: bytes, at: int, messages: list[str | bytes]) -> int:
        """Process a frame that is not a whole text message. Return its size, or 0 to stop there."""
        header = frames.read_header(data, at)
        if header is None:
            return 0
        violation, end = header.violation, header.start + header.length
        discard = self._message.exceeds(header)
        # Keeping the start of a large frame until the rest arrives would copy it with each chunk.
        waits = end > len(data) and header.length <= _MAX_INLINE_BYTES and not discard
        if violation is None:
            if waits or not self._meter.frame():
                return 0
            if not header.opcode & frames.CONTROL:
                violation = self._message.add(header)
        if violation is not None:
            self._fail(violation)
            return 0
        if header.first == frames.WHOLE_PONG:
            return end - at
        if header.first == frames.WHOLE_PING:
            payload = apply_mask(data[header.start : end], data[header.start - 4 : header.start])
            self._queued_pongs.append(bytes((frames.WHOLE_PONG, header.length)) + payload)
            return end - at
        if header.opcode == frames.CLOSE:
            # A close frame may come between the frames of a message, where the library rejects it.
            forget_fragments(self._protocol)
        self._protocol.receive_data(frames.empty_frame(header.first) if discard else data[at:end])
        messages += self._library_messages()
        if self.closing:
            return 0
        if discard:
            self._discarding = header.length
            return self._discard(header.start, len(data)) - at
        self._passing = max(0, end - len(data))
        return end - self._passing - at

    def _discard(self, at: int, size: int) -> int:
        """Skip payload that is to be discarded. Return where it, or the chunk, ends."""
        end = min(at + self._discarding, size)
        self._discarding -= end - at
        return end

    def _library_messages(self) -> list[str | bytes]:
        """Return the messages that the library has completed, and collect its output."""
        messages: list[str | bytes] = []
        try:
            for frame in self._protocol.events_received():
                assert isinstance(frame, Frame), "a request comes once, before all frames"
                if not frame.opcode & frames.CONTROL:
                    message = self._message.append(frame.data)
                    if message is not None:
                        messages.append(message)
        except UnicodeDecodeError as error:
            self._fail(frames.encoding_violation(error))
        self._collect_output()
        return messages

    def _fail(self, violation: CloseReason) -> None:
        self._protocol.fail(*violation)
        self._collect_output()

    def _collect_output(self) -> None:
        """Take the library's output: pongs, or a close frame, which is the last thing sent."""
        for data in self._protocol.data_to_send():
            if data == SEND_EOF:
                self._eof_pending = True
            elif data[0] == frames.WHOLE_CLOSE:
                self._close_frame = data
            else:
                self._queued_pongs.append(data)
        self.closing = self._protocol.state is not State.OPEN

    def write(self, messages: Sequence[bytes]) -> None:
        """Frame messages and write them; write nothing once the close frame was sent."""
        if self._close_sent:
            return
        parts: list[bytes] = []
        if self._queued_pongs:
            parts += self._queued_pongs
            self._queued_pongs.clear()
        large = False
        for message in messages:
            size = len(message)
            if size > DRAIN_BYTES:
                large = True
            parts += text_frame_head(size), message
        # Large messages are written one by one: joining them would copy them once more.
        for data in parts if large else (b"".join(parts),):
            if self._unsent or self._draining:
                self._unsent += data
                continue
            sent = self._write_nowait(data)
            if sent < len(data):
                self._unsent += memoryview(data)[sent:]

    def _write_nowait(self, data: bytes) -> int:
        """Return how many bytes the kernel took."""
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            # `drain` finds out whether the kernel's buffer is full or the peer is gone.
            return 0

    async def drain(self) -> None:
        """Send at most DRAIN_BYTES of what is unsent, pongs included."""
        await trio.lowlevel.checkpoint()
        self._unsent += b"".join(self._queued_pongs)
        self._queued_pongs.clear()
        data = bytes(self._unsent[:DRAIN_BYTES])
        del self._unsent[:DRAIN_BYTES]
        if not data:
            return
        self._draining = True
        try:
            await self._stream.send_all(data)
        except _PEER_GONE as gone:
            raise DisconnectedError from gone
        self._draining = False

    async def close(self, code: int, reason: str) -> None:
        """Close with a close frame, unless the peer has not read all that was written."""
        if not (self._unsent or self._draining):
            with suppress(DisconnectedError):
                await self._close_handshake(code, reason)
        await trio.aclose_forcefully(self._stream)

    async def _close_handshake(self, code: int, reason: str) -> None:
        protocol = self._protocol
        if protocol.state is State.OPEN:
            if self._meter.exceeded:
                protocol.fail(code, reason)
            else:
                protocol.send_close(code, reason)
        await self.send_protocol_output()
        # Once both sides have sent a close frame nothing more arrives, and the server closes first.
        # A peer that broke the protocol may still be sending. Closing with unread bytes would send
        # a reset, which may overtake the close frame, so its data is read and dropped; slowly,
        # because it may never end.
        limit_message_size(protocol, self._frame_bytes)
        left, data, self._rest = LINGER_BYTES, self._rest, b""
        while protocol.close_rcvd is None and protocol.state is not State.CLOSED:
            data = data or await self._read()
            if data:
                protocol.receive_data(data[self._discard(0, len(data)) :])
            else:
                protocol.receive_eof()
            left -= len(data)
            data = b""
            # Messages are dropped.
            protocol.events_received()
            await self.send_protocol_output()
            if left < 0:
                await trio.sleep(_LINGER_PERIOD)

    async def _read(self) -> bytes:
        """Return the next chunk, empty at the end of the stream. Raises DisconnectedError."""
        try:
            return await read_chunk(self._stream)
        except _PEER_GONE as gone:
            raise DisconnectedError from gone

    async def send_protocol_output(self) -> None:
        """Send the library's output, and the end of the stream after its close frame."""
        self._collect_output()
        if self._close_frame and not self._close_sent:
            self._close_sent = True
            self._unsent += b"".join(self._queued_pongs) + self._close_frame
            self._queued_pongs.clear()
        while self.unsent:
            await self.drain()
        if self._eof_pending:
            self._eof_pending = False
            try:
                await half_close(self._stream)
            except _PEER_GONE as gone:
                raise DisconnectedError from gone


async def shake_hands(
    stream: Stream, head: bytes, ahead: bytes, frame_bytes: int, meter: InboundMeter
) -> WebSocketTransport | None:
    """Open a connection for the request in `head`; return None if the library rejects it.

    `ahead` holds bytes of frames that arrived together with the request.
    """
    protocol = ServerProtocol(max_size=None, logger=_logger)
    protocol.receive_data(head)
    for request in protocol.events_received():
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
    transport = WebSocketTransport(stream, protocol, frame_bytes, meter, ahead)
    await transport.send_protocol_output()
    return transport if protocol.state is State.OPEN else None
