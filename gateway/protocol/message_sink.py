"""The interface to a client's outgoing messages: plain functions that neither wait nor raise."""

from typing import Protocol

from gateway.protocol.large_results import LargeReply


class MessageSink(Protocol):
    """One client's outgoing messages: a WebSocket's outbox, or the one reply to an HTTP request.

    Accepted messages are written in order, or the connection ends. After `disconnect` every call
    is accepted and does nothing, so that publishers need not check first.
    """

    @property
    def number(self) -> int:
        """The number of the session; 0 for HTTP."""
        ...

    def reply(self, data: bytes | LargeReply) -> None:
        """Send the reply to one request. It always fits: the request reserved its place.

        Messages behind a reply that is still being encoded wait for it.
        """
        ...

    def send_private(self, data: bytes) -> None:
        """Send a private notification; if the queue is full, disconnect with 1008."""
        ...

    def try_send_public(self, data: bytes) -> bool:
        """Send a public notification; return False, and queue nothing, if the queue is full."""
        ...

    def disconnect(self, code: int, reason: str) -> None:
        """Close the connection with a WebSocket close code; later calls do nothing."""
        ...
