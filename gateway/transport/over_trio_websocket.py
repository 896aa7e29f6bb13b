"""A Transport over trio-websocket: one message at a time in, gathered into one write out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from gateway.transport.interface import DisconnectedError, Stream

# The library stops answering pings while its queue is full, and ours is never far behind; what
# waits here is memory of a client that we do not read.
_QUEUE: Final = 8
_TOO_BIG: Final = 1009


@define(eq=False)
class Gathering(trio.abc.Stream):
    """A stream that keeps back what one task writes, until that task is done with its batch.

    What other tasks write meanwhile, the library's answer to a ping, say, goes out at once, and
    takes along what was written before it, so that the order of frames stays.
    """

    _stream: Stream
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
        """As the stream itself, which sends nothing after it; TLS has no such thing."""
        if isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """As the stream itself; what is kept back by then is lost."""
        await self._stream.aclose()


@define(eq=False)
class WebSocketTransport:
    """A Transport over trio-websocket, whose own task runs in a nursery of the caller's."""

    _stream: Gathering
    _connection: WebSocketConnection
    _unsent: list[bytes] = field(factory=list, init=False)
    _broken: bool = field(default=False, init=False)

    @property
    def direct(self) -> None:
        """The library reads by itself."""
        return

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`."""
        return bool(self._unsent)

    async def receive(self) -> Sequence[str | bytes]:
        """The next message."""
        try:
            return (await self._connection.get_message(),)
        except ConnectionClosed as closed:
            raise DisconnectedError from closed

    def write(self, messages: Sequence[bytes]) -> None:
        """Leave it all to `drain`: the library has no call that does not wait."""
        self._unsent += messages

    async def drain(self) -> None:
        """Write each message as a text frame, all in one write."""
        messages, self._unsent = self._unsent, []
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
    stream: Stream,
    frame_bytes: int,
    verdict: Callable[[str], HTTPStatus | None],
) -> WebSocketTransport | None:
    """Open a connection whose task runs in `nursery`; None where `verdict` refuses the resource."""
    gathering = Gathering(stream)
    request = await wrap_server_stream(
        nursery, gathering, message_queue_size=_QUEUE, max_message_size=frame_bytes
    )
    refusal = verdict(request.path)
    if refusal is not None:
        await request.reject(refusal.value, body=refusal.phrase.encode())
        return None
    return WebSocketTransport(gathering, await request.accept())
