"""A Transport over the sans-I/O protocol of websockets: whole chunks in, one write per batch out.

The library knows handshake, frames, limits and goodbye; what is here is when to read, to write and
to wait. The doing is in plain calls, and only waiting for the kernel is asynchronous.
"""

from __future__ import annotations

import logging
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import trio
from attrs import define, field
from websockets.frames import (  # type: ignore[attr-defined]  # that in C is only here
    BINARY,
    CONT,
    TEXT,
    CloseCode,
    Frame,
    apply_mask,
)
from websockets.http11 import Request
from websockets.protocol import CLOSED, OPEN, SEND_EOF
from websockets.server import ServerProtocol

from gateway.transport.interface import Direct, DisconnectedError, Stream

# A chunk is parsed in one go, at some 6 us a frame: of empty frames it holds the loop for 8 ms.
CHUNK_BYTES: Final = 8 * 2**10
HEAD_BYTES: Final = 16 * 2**10
# The protocol allows to answer the latest ping only. Whoever sends more, and does not read the
# answers, shall not have us keep them.
PONGS: Final = 16

# The first byte of a text message in one frame; in the second, that it is masked; and the length
# from which on the real one follows, in two bytes (RFC 6455, 5.2).
_WHOLE_TEXT: Final = 0x81
_MASKED: Final = 0x80
_TWO_BYTES: Final = 126
_HEAD_BYTES: Final = 2

# What a peer, or its network, may do to a stream.
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
_BLANK_LINE: Final = b"\r\n\r\n"

# It would tell of every connection that opens and closes.
_logger = logging.getLogger(f"{__name__}.protocol")
_logger.setLevel(logging.WARNING)


@lru_cache(maxsize=4_096)
def text_head(length: int) -> bytes:
    """What comes before the payload of a server's text frame of so many bytes (RFC 6455, 5.2).

    The library's own makes a copy of the payload, and takes ten times as long. What many are told
    has one length, and so a head that is made once.
    """
    if length < 126:
        return bytes((0x81, length))
    if length < 2**16:
        return struct.pack("!BBH", 0x81, 126, length)
    return struct.pack("!BBQ", 0x81, 127, length)


@define(eq=False)
class WebSocketTransport:
    """A Transport without a task of its own: whoever receives also has pings answered.

    Over a socket it writes with non-blocking calls; TLS has none, and is written to by `drain`.
    Text messages in one frame of less than 64 KiB, which nearly all are, are taken out of the
    chunk right here, for a fifth of what the library's parser takes; every other frame is the
    library's, whole, so that it never waits in the midst of one. What breaks the rules, or is
    larger, is its own for good, and `_plain` no more.
    """

    _stream: Stream
    _protocol: ServerProtocol
    _frame_bytes: int
    # What came behind the handshake.
    _ahead: bytes = b""
    # The beginning of a frame.
    _rest: bytes = b""
    _plain: bool = field(default=True, init=False)
    _unsent: bytearray = field(factory=bytearray, init=False)
    _control: deque[bytes] = field(factory=lambda: deque(maxlen=PONGS), init=False)
    _fragments: bytearray = field(factory=bytearray, init=False)
    _fragmented: bool = field(default=False, init=False)
    _fragmented_text: bool = field(default=False, init=False)
    # Sending, or cancelled in the midst of it.
    _midway: bool = field(default=False, init=False)
    _ending: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _socket: trio.socket.SocketType | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        plain = isinstance(self._stream, trio.SocketStream)
        self._socket = self._stream.socket if plain else None

    @property
    def direct(self) -> Direct | None:
        """The socket, unless it is under TLS."""
        return Direct(self._socket.fileno(), self._receive_nowait) if self._socket else None

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`."""
        return bool(self._unsent or self._control) or self._midway

    async def receive(self) -> Sequence[str | bytes]:
        """All messages that end in the next chunk of bytes."""
        self._require_open()
        data, self._ahead = self._ahead or await self._read(), b""
        return self._take(data)

    def _receive_nowait(self) -> Sequence[str | bytes]:
        """The same, of what is there."""
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
        return self._take(data)

    def _require_open(self) -> None:
        if self._protocol.state is not OPEN:
            raise DisconnectedError

    def _take(self, data: bytes) -> list[str | bytes]:
        """Messages that end in a chunk; an empty one is the end of them all."""
        if data and self._plain:
            return self._cut(self._rest + data if self._rest else data)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        return self._messages()

    def _cut(self, data: bytes) -> list[str | bytes]:
        """All messages that end in here; `_rest` is what is left behind them."""
        messages: list[str | bytes] = []
        at, size = 0, len(data)
        while size - at >= _HEAD_BYTES:
            length, start = data[at + 1] - _MASKED, at + 6
            if length == _TWO_BYTES:
                start += 2
                length = int.from_bytes(data[at + 2 : at + 4])
            if not 0 <= length <= self._frame_bytes or data[at + 1] == _MASKED + 127:
                self._plain = False
                self._protocol.receive_data(data[at:])
                return messages + self._messages()
            end = start + length
            if end > size:
                break
            if data[at] == _WHOLE_TEXT and not self._fragmented:
                text = apply_mask(data[start:end], data[start - 4 : start])
                try:
                    messages.append(str(text, "utf-8"))
                except UnicodeDecodeError as error:
                    self._refuse_text(error)
                    break
            else:
                self._protocol.receive_data(data[at:end])
                messages += self._messages()
                if self._protocol.state is not OPEN:
                    break
            at = end
        self._rest = data[at:]
        return messages

    def _messages(self) -> list[str | bytes]:
        """What the library has found, and what it wants to say."""
        messages: list[str | bytes] = []
        try:
            for frame in self._protocol.events_received():
                assert isinstance(frame, Frame), "a request comes once, before all frames"
                if frame.opcode is TEXT and frame.fin:
                    messages.append(str(frame.data, "utf-8"))
                elif frame.opcode is BINARY and frame.fin:
                    messages.append(bytes(frame.data))
                elif frame.opcode is TEXT or frame.opcode is BINARY:
                    self._fragmented, self._fragmented_text = True, frame.opcode is TEXT
                    self._fragments += frame.data
                elif frame.opcode is CONT:
                    # The library bounds the sum; as one buffer, empty fragments cost nothing.
                    self._fragments += frame.data
                    if frame.fin:
                        self._fragmented = False
                        whole, self._fragments = bytes(self._fragments), bytearray()
                        messages.append(str(whole, "utf-8") if self._fragmented_text else whole)
        except UnicodeDecodeError as error:
            self._refuse_text(error)
        self._collect()
        return messages

    def _refuse_text(self, error: UnicodeDecodeError) -> None:
        self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at {error.start}")
        self._collect()

    def _collect(self) -> None:
        """Take over what the library has to say: pongs, or a goodbye."""
        for data in self._protocol.data_to_send():
            if data == SEND_EOF:
                self._ending = True
            else:
                self._control.append(data)

    def write(self, messages: Sequence[bytes]) -> None:
        """Frame and write; nothing once a goodbye was said, which comes last."""
        if self._protocol.state is not OPEN:
            return
        parts: list[bytes] = []
        if self._control:
            parts += self._control
            self._control.clear()
        for message in messages:
            parts += text_head(len(message)), message
        data = b"".join(parts)
        if self._unsent or self._midway:
            self._unsent += data
        else:
            sent = self._push(data)
            if sent < len(data):
                self._unsent += data[sent:]

    def _push(self, data: bytes) -> int:
        """How many bytes the kernel took."""
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            # That it is full, or that nobody listens any more, is found out by `drain`.
            return 0

    async def drain(self) -> None:
        """Send what is unsent, answers to pings included."""
        await trio.lowlevel.checkpoint()
        while self.unsent:
            data = bytes(self._unsent) + b"".join(self._control)
            self._unsent.clear()
            self._control.clear()
            self._midway = True
            try:
                await self._stream.send_all(data)
            except _GONE as gone:
                raise DisconnectedError from gone
            self._midway = False

    async def close(self, code: int, reason: str) -> None:
        """Close with a close frame, unless something is unsent that the peer does not read."""
        if not (self._unsent or self._midway):
            with suppress(DisconnectedError):
                await self._part(code, reason)
        await trio.aclose_forcefully(self._stream)

    async def _part(self, code: int, reason: str) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
        await self.speak()
        # Once both have said goodbye nothing more comes. A peer that broke the rules may still be
        # sending: closing on what is unread would be a reset, which overtakes the close frame.
        data = self._rest
        while self._protocol.close_rcvd is None and self._protocol.state is not CLOSED:
            data = data or await self._read()
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            data = b""
            # Nobody answers these any more.
            self._protocol.events_received()
            await self.speak()

    async def _read(self) -> bytes:
        """The next chunk; empty at the end. Raises DisconnectedError."""
        try:
            return await _read(self._stream)
        except _GONE as gone:
            raise DisconnectedError from gone

    async def speak(self) -> None:
        """Send what the library has to say, and after its last word the end of the stream."""
        self._collect()
        await self.drain()
        if self._ending and not self._ended:
            self._ended = True
            if isinstance(self._stream, trio.SocketStream):
                try:
                    await self._stream.send_eof()
                except _GONE as gone:
                    raise DisconnectedError from gone


async def _read(stream: Stream) -> bytes:
    """The next chunk; empty at the end. Raises trio.BrokenResourceError, ClosedResourceError.

    Nearly always nothing is there yet. To wait first and read then spares a system call that
    fails, which is a fifth of what it costs to receive a short chunk.
    """
    if not isinstance(stream, trio.SocketStream):
        return bytes(await stream.receive_some(CHUNK_BYTES))
    while True:
        await trio.lowlevel.wait_readable(stream.socket)
        try:
            return os.read(stream.socket.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            continue
        except OSError as error:
            raise trio.BrokenResourceError from error


async def shake_hands(
    stream: Stream, frame_bytes: int, verdict: Callable[[str], HTTPStatus | None]
) -> WebSocketTransport | None:
    """Open a connection; None where `verdict` refuses the resource, or the library the request."""
    protocol = ServerProtocol(max_size=frame_bytes, logger=_logger)
    received = bytearray()
    while (end := received.find(_BLANK_LINE)) < 0 and len(received) <= HEAD_BYTES:
        data = await stream.receive_some(CHUNK_BYTES)
        if not data:
            return None
        received += data
    # Frames may be right behind the request, and the library would answer those first.
    size = end + len(_BLANK_LINE) if end >= 0 else len(received)
    _answer(protocol, bytes(received[:size]), verdict)
    transport = WebSocketTransport(stream, protocol, frame_bytes, bytes(received[size:]))
    await transport.speak()
    return transport if protocol.state is OPEN else None


def _answer(
    protocol: ServerProtocol, head: bytes, verdict: Callable[[str], HTTPStatus | None]
) -> None:
    """Accept or refuse the request in `head`."""
    if not head.endswith(_BLANK_LINE):
        too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        protocol.send_response(protocol.reject(too_large, too_large.phrase))
        return
    protocol.receive_data(head)
    for request in protocol.events_received():
        assert isinstance(request, Request)
        refusal = verdict(request.path)
        if refusal is None:
            protocol.send_response(protocol.accept(request))
        else:
            protocol.send_response(protocol.reject(refusal, refusal.phrase))
