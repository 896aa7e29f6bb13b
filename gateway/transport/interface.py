"""What a conversation needs of a WebSocket, whichever library is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import trio

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class DisconnectedError(Exception):
    """The peer is gone, or has said goodbye."""


class Direct(NamedTuple):
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
    def direct(self) -> Direct | None:
        """How to receive without waiting, where that can be."""
        ...

    @property
    def unsent(self) -> bool:
        """Whether something is left for `drain`: messages, or an answer to a ping."""
        ...

    async def receive(self) -> Sequence[str | bytes]:
        """The next messages; none where something else came, such as a ping.

        Raises DisconnectedError.
        """
        ...

    def write(self, messages: Sequence[bytes]) -> None:
        """Write UTF-8 text messages behind what is unsent; what does not go at once is unsent."""
        ...

    async def drain(self) -> None:
        """Send what is unsent. Raises DisconnectedError.

        Cancelled, it may leave half a frame behind, after which only `close` may come.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, wait for the answer and close the socket; without a word when broken."""
        ...
