"""The interface of a WebSocket connection that the libraries are adapted to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

# A chunk is parsed in one step: a larger one full of empty frames would hold the event loop for
# milliseconds.
CHUNK_BYTES: Final = 8 * 2**10

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class DisconnectedError(Exception):
    """The peer has disconnected, or the connection is closing and nothing more can be received."""


def socket_stream(stream: Stream) -> trio.SocketStream:
    """Return the TCP stream, with or without TLS on top of it."""
    return stream if isinstance(stream, trio.SocketStream) else stream.transport_stream


async def half_close(stream: Stream) -> None:
    """Send the end of the TCP stream, without a TLS close alert."""
    await socket_stream(stream).send_eof()


async def read_chunk(stream: Stream) -> bytes:
    """Return the next chunk, empty at the end of the stream.

    Mostly nothing has arrived yet: waiting before the first read saves a system call that fails,
    a fifth of the cost of receiving a short chunk. Raises trio.BrokenResourceError and
    trio.ClosedResourceError.
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


class NonblockingReader(NamedTuple):
    """Reads from a socket without waiting.

    `receive` returns what the transport's own `receive` would, or nothing if no data is available;
    `descriptor` can be polled for data.
    """

    descriptor: int
    receive: Callable[[], Sequence[str | bytes]]


class Transport(Protocol):
    """One open WebSocket connection, which receives and sends messages in batches.

    `write` sends as much as it can without waiting, and `drain` waits for the rest. A caller that
    writes nothing while something is `unsent` can bound the messages queued by its own queue.
    """

    @property
    def nonblocking_reader(self) -> NonblockingReader | None:
        """How to receive without waiting, if the transport can."""
        ...

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`: messages or pongs."""
        ...

    @property
    def closing(self) -> bool:
        """Whether no more messages follow: the peer sent a close frame or broke the protocol.

        Replies to earlier messages can be written until `close` is called, which answers the peer.
        """
        ...

    async def receive(self) -> Sequence[str | bytes]:
        """Return the next messages; none if something else arrived, such as a ping.

        A message longer than the limit is replaced by one that is one byte longer than the limit.
        Raises DisconnectedError, also if the transport is closing.
        """
        ...

    def write(self, messages: Sequence[bytes]) -> None:
        """Write UTF-8 text messages after what is unsent, as far as the kernel takes them."""
        ...

    async def drain(self) -> None:
        """Send what is unsent, or a part of it. Raises DisconnectedError.

        If cancelled, part of a frame may have been sent, after which only `close` may be called.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, wait for the peer's if it has not sent one, and close the socket.

        If the connection is closing already, the code is that of the violation or of the peer. If
        part of a frame was sent, no close frame follows.
        """
        ...
