"""What a conversation needs of a WebSocket, whichever library is behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

# A chunk is parsed in one go: of empty frames it would hold the loop for milliseconds.
CHUNK_BYTES: Final = 8 * 2**10

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class DisconnectedError(Exception):
    """The peer is gone, or the connection is closing and nothing more will be received."""


def socket_stream(stream: Stream) -> trio.SocketStream:
    """The TCP stream, also where TLS is over it."""
    return stream if isinstance(stream, trio.SocketStream) else stream.transport_stream


async def half_close(stream: Stream) -> None:
    """Send the end of the stream; under TLS without its own goodbye, which WebSocket replaces."""
    await socket_stream(stream).send_eof()


async def read_chunk(stream: Stream) -> bytes:
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


class NonblockingReader(NamedTuple):
    """A socket that can be read without waiting; `receive` is then as the transport's own.

    When there is something to read `descriptor` says; when there is not, `receive` has nothing.
    """

    descriptor: int
    receive: Callable[[], Sequence[str | bytes]]


class Transport(Protocol):
    """One open WebSocket connection; both ways go in batches.

    Writing is two things: `write` does it, as far as that goes without waiting, and `drain` waits
    for the rest. Whoever keeps to writing nothing while something is `unsent` has a bounded queue
    of its own, and not a second one in here.
    """

    @property
    def nonblocking_reader(self) -> NonblockingReader | None:
        """How to receive without waiting, where that can be."""
        ...

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`: messages, or an answer to a ping."""
        ...

    @property
    def closing(self) -> bool:
        """Whether no more messages will come: the peer sent a close frame or broke the protocol.

        Until `close`, which answers it, replies to what was received before can be written.
        """
        ...

    async def receive(self) -> Sequence[str | bytes]:
        """The next messages; none where something else came, such as a ping.

        A message that is longer than the limit comes as one of as many bytes as just exceed it.
        Raises DisconnectedError, also where the transport is closing.
        """
        ...

    def write(self, messages: Sequence[bytes]) -> None:
        """Write UTF-8 text messages behind what is unsent; what does not go at once is unsent."""
        ...

    async def drain(self) -> None:
        """Send what is unsent, or a part of it. Raises DisconnectedError.

        Cancelled, it may leave half a frame behind, after which only `close` may come.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close the connection: with its own code where it is closing already.

        Sends a close frame, unless half a frame is out, waits for the peer's where that has not
        sent one, and closes the socket.
        """
        ...
