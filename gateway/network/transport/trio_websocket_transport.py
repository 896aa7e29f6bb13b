"""A Transport over trio-websocket: receives one message at a time, sends batches in one write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from gateway.network.transport import frames
from gateway.network.transport.frame_filter import FrameFilter, MessageKind
from gateway.network.transport.frames import oversized_placeholder
from gateway.network.transport.handshake import LINGER_BYTES
from gateway.network.transport.interface import CHUNK_BYTES, DisconnectedError, Stream, half_close
from gateway.network.transport.meter import InboundMeter

# Messages that the library queues. It answers no pings while its queue is full; a larger queue
# takes memory for clients that are not read from.
_QUEUE: Final = 8
# The pauses between reads from a client that keeps sending after the close frame was sent; longer
# where the library parses what is read.
_LINGER_PERIOD: Final = 0.01
_PARSING_PERIOD: Final = 0.1

# What the library's own task raises because of a peer. The second is a fault of the library: it
# answers a ping that arrives during its closing handshake, when it may not send any more.
LIBRARY_ERRORS: Final = (ConnectionClosed, LocalProtocolError)


@define(eq=False)
class BufferedStream(trio.abc.Stream):
    """The stream under the library, which filters reads and buffers writes.

    It buffers what one task writes until that task has written its batch. Data of another task,
    such as the library's pong, is sent at once, together with what is buffered before it, so that
    frames keep their order. Reads return the request, `head`, first. Once the connection is
    `accepted` they return frames through the filter, those of `ahead` first; once it is `released`,
    what the filter has held back.
    """

    _stream: Stream
    filter: FrameFilter
    _head: bytes = b""
    _ahead: bytes = b""
    accepted: trio.Event = field(factory=trio.Event, init=False)
    released: trio.Event = field(factory=trio.Event, init=False)
    closed: trio.Event = field(factory=trio.Event, init=False)
    # Whether the end of the stream follows the close frame, because none is awaited from the peer.
    ends_with_close: bool = field(default=False, init=False)
    _buffering_task: trio.lowlevel.Task | None = field(default=None, init=False)
    _buffered: bytearray = field(factory=bytearray, init=False)
    _writing: trio.Lock = field(factory=trio.Lock, init=False)
    # How many more bytes are read without a pause while the connection closes.
    _unpaused_bytes: int = field(default=LINGER_BYTES, init=False)

    def start_buffering(self) -> None:
        """Buffer what the current task writes from now on."""
        self._buffering_task = trio.lowlevel.current_task()

    async def flush(self) -> None:
        """Write what is buffered, and stop buffering."""
        self._buffering_task = None
        if self._buffered:
            await self._write()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write or buffer data."""
        self._buffered += data
        if trio.lowlevel.current_task() is not self._buffering_task:
            await self._write()
        if self.ends_with_close and data[0] == frames.WHOLE_CLOSE:
            await half_close(self._stream)

    async def _write(self) -> None:
        async with self._writing:
            # Another task may have written this task's data meanwhile.
            while self._buffered:
                data, self._buffered = self._buffered, bytearray()
                await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the underlying stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what the library is to read next."""
        if self._head:
            head, self._head = self._head, b""
            return head
        await self.accepted.wait()
        while not self.filter.ended:
            data = self._ahead or await self._stream.receive_some(max_bytes)
            self._ahead = b""
            if not data:
                return b""
            if self.filter.passes_close:
                await self._slow_down(len(data), _PARSING_PERIOD)
            passed = self.filter.feed(bytes(data))
            if passed:
                return passed
        await self.released.wait()
        if self.filter.failed:
            await self._linger()
            return b""
        return self.filter.release() or await self._stream.receive_some(max_bytes)

    async def _linger(self) -> None:
        """Drop what the peer still sends: a reset on close could overtake the close frame."""
        while data := await self._stream.receive_some(CHUNK_BYTES):
            await self._slow_down(len(data), _LINGER_PERIOD)

    async def _slow_down(self, size: int, period: float) -> None:
        """Pause after the first LINGER_BYTES: the client may send until the close deadline."""
        self._unpaused_bytes -= size
        if self._unpaused_bytes < 0:
            await trio.sleep(period)

    async def send_eof(self) -> None:
        """Send the end of the stream; do nothing over TLS, which has no half-close."""
        if isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream; what is buffered is lost."""
        self.closed.set()
        await self._stream.aclose()


@define(eq=False)
class TrioWebSocketTransport:
    """A Transport over trio-websocket, whose own task runs in the caller's nursery."""

    _stream: BufferedStream
    _connection: WebSocketConnection
    _unsent: list[bytes] = field(factory=list, init=False)
    _partial_frame_sent: bool = field(default=False, init=False)
    _closing: bool = field(default=False, init=False)

    @property
    def nonblocking_reader(self) -> None:
        """None: the library reads in a task of its own."""
        return

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`."""
        return bool(self._unsent)

    @property
    def closing(self) -> bool:
        """Whether all messages before the peer's close frame or violation were received."""
        return self._closing

    async def receive(self) -> Sequence[str | bytes]:
        """Return the next message."""
        if self._closing:
            raise DisconnectedError
        try:
            message = await self._connection.get_message()
            assert isinstance(message, bytes), "the filter passes text on as binary"
        except ConnectionClosed as closed:
            raise DisconnectedError from closed
        filter_ = self._stream.filter
        match filter_.kinds.popleft():
            case MessageKind.OVERSIZED:
                return (oversized_placeholder(filter_.limit),)
            case MessageKind.TEXT:
                try:
                    return (str(message, "utf-8"),)
                except UnicodeDecodeError as error:
                    filter_.violation = frames.encoding_violation(error)
                    filter_.ended = self._closing = True
                    return ()
            case MessageKind.END:
                self._closing = True
                return ()
            case MessageKind.BINARY:
                return (message,)

    def write(self, messages: Sequence[bytes]) -> None:
        """Leave the messages to `drain`: the library has no call that does not wait."""
        self._unsent += messages

    async def drain(self) -> None:
        """Write each message as a text frame, all in one write."""
        messages, self._unsent = self._unsent, []
        broken, self._partial_frame_sent = self._partial_frame_sent, True
        try:
            if len(messages) > 1:
                self._stream.start_buffering()
            for message in messages:
                await self._connection.send_message(message.decode())
            await self._stream.flush()
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError) as closed:
            raise DisconnectedError from closed
        self._partial_frame_sent = broken

    async def close(self, code: int, reason: str) -> None:
        """Close with a close frame, unless part of a frame was sent."""
        stream, filter_ = self._stream, self._stream.filter
        if self._partial_frame_sent:
            await trio.aclose_forcefully(stream)
            return
        filter_.passes_close = True
        if filter_.failed:
            stream.ends_with_close = True
            code, reason = filter_.violation or (code, reason)
        stream.released.set()
        if self._closing and not filter_.failed:
            # The library answers the client's close frame and closes the stream.
            await stream.closed.wait()
        else:
            await self._connection.aclose(code, reason)


async def shake_hands(
    nursery: trio.Nursery,
    stream: Stream,
    head: bytes,
    ahead: bytes,
    frame_bytes: int,
    meter: InboundMeter,
) -> TrioWebSocketTransport | None:
    """Open a connection for the request in `head`; return None if the library rejects it.

    `ahead` holds bytes of frames that arrived together with the request. The library's task runs in
    the nursery.
    """
    buffered = BufferedStream(stream, FrameFilter(frame_bytes, meter), head, ahead)
    with trio.CancelScope() as waiting:
        nursery.start_soon(_cancel_when_closed, buffered, waiting)
        request = await wrap_server_stream(
            nursery, buffered, message_queue_size=_QUEUE, max_message_size=frame_bytes
        )
        connection = await request.accept()
        buffered.accepted.set()
        return TrioWebSocketTransport(buffered, connection)
    return None


async def _cancel_when_closed(buffered: BufferedStream, waiting: trio.CancelScope) -> None:
    """Cancel the handshake when the library closes the stream, as it does to reject a request."""
    await buffered.closed.wait()
    waiting.cancel()
