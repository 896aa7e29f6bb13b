"""WebSocket messages in and out: the seam behind which the library can be replaced.

Both ways go in batches, because that is what a faster transport is fast by. This one, over
trio-websocket, receives one message at a time, and gathers what it sends into one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Protocol

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

PATH: Final = "/ws/api/v2"

# The library stops answering pings while its queue is full, and ours is never far behind; what
# waits here is memory of a client that we do not read.
_QUEUE: Final = 8
_TOO_BIG: Final = 1009

PEER_ERRORS: Final = (
    ConnectionClosed,
    # The library answers a ping that comes while it says goodbye, and stumbles over itself.
    LocalProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)
"""What a peer, or its network, may make the library's own task raise."""


class DisconnectedError(Exception):
    """The peer is gone, or has said goodbye."""


class Transport(Protocol):
    """One open WebSocket connection."""

    async def receive(self) -> Sequence[str | bytes]:
        """The next messages, at least one. Raises DisconnectedError."""
        ...

    async def send(self, messages: Sequence[bytes]) -> None:
        """Write UTF-8 text messages. Raises DisconnectedError.

        Cancelled half-way it leaves a broken frame behind, after which only `close` may come.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, wait for the answer and close the socket; without a word when broken."""
        ...


@define(eq=False)
class Gathering(trio.abc.Stream):
    """A stream that keeps back what one task writes, until that task is done with its batch.

    What other tasks write meanwhile, the library's answer to a ping, say, goes out at once, and
    takes along what was written before it, so that the order of frames stays.
    """

    _stream: trio.SocketStream
    _gatherer: trio.lowlevel.Task | None = field(default=None, init=False)
    _kept: bytearray = field(factory=bytearray, init=False)
    _writing: trio.Lock = field(factory=trio.Lock, init=False)

    def gather(self) -> None:
        """Keep back what the current task writes from now on."""
        self._gatherer = trio.lowlevel.current_task()

    async def flush(self) -> None:
        """Write what was kept back, and keep back nothing more."""
        self._gatherer = None
        if self._kept:
            await self._write()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or keep back."""
        self._kept += data
        if trio.lowlevel.current_task() is not self._gatherer:
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            # Whoever wrote before us may have taken ours along.
            while self._kept:
                data, self._kept = self._kept, bytearray()
                await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream itself."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream itself."""
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """As the stream itself, which sends nothing after it."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As the stream itself; what is kept back by then is lost."""
        await self._stream.aclose()


@define(eq=False)
class WebSocketTransport:
    """A Transport over trio-websocket, whose own task runs in a nursery of the caller's."""

    _stream: Gathering
    _connection: WebSocketConnection
    _broken: bool = field(default=False, init=False)

    async def receive(self) -> Sequence[str | bytes]:
        """The next message."""
        try:
            return (await self._connection.get_message(),)
        except ConnectionClosed as closed:
            raise DisconnectedError from closed

    async def send(self, messages: Sequence[bytes]) -> None:
        """Write each message as a text frame, all in one write."""
        broken, self._broken = self._broken, True
        try:
            if len(messages) > 1:
                self._stream.gather()
            for message in messages:
                await self._connection.send_message(message.decode())
            await self._stream.flush()
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError) as closed:
            raise DisconnectedError from closed
        self._broken = broken

    async def close(self, code: int, reason: str) -> None:
        """Close with a close frame, unless a frame was broken off."""
        if self._broken:
            await trio.aclose_forcefully(self._stream)
            return
        await self._connection.aclose(code, reason)
        closed = self._connection.closed
        if closed is not None and closed.code == _TOO_BIG:
            await self._linger()

    async def _linger(self) -> None:
        """Read away what the peer still sends, or the reset would overtake the close frame."""
        try:
            await self._stream.send_eof()
            while True:
                try:
                    if not await self._stream.receive_some():
                        return
                except trio.BusyResourceError:
                    # The library reads once more before its task ends.
                    await trio.sleep(0.01)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def shake_hands(
    nursery: trio.Nursery,
    stream: trio.SocketStream,
    *,
    frame_bytes: int,
    seconds: float,
    refusal: HTTPStatus | None,
) -> WebSocketTransport | None:
    """Open a WebSocket connection; None where that failed within `seconds` or was refused.

    A refusal is an HTTP status after the client's request: closing before it would leave common
    clients waiting for a minute.
    """
    with trio.move_on_after(seconds):
        gathering = Gathering(stream)
        request = await wrap_server_stream(
            nursery, gathering, message_queue_size=_QUEUE, max_message_size=frame_bytes
        )
        if refusal is None and request.path.partition("?")[0].rstrip("/") != PATH:
            refusal = HTTPStatus.NOT_FOUND
        if refusal is not None:
            await request.reject(refusal.value, body=refusal.phrase.encode())
            return None
        return WebSocketTransport(gathering, await request.accept())
    return None
