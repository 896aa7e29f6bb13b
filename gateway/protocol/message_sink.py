"""What publishes to a client writes here: plain calls, none of which waits or raises."""

from typing import Protocol

from gateway.protocol.large_results import LargeReply


class MessageSink(Protocol):
    """One client's way out. WebSocket connections have an outbox; an HTTP request has one place.

    Nothing that a sink is given can be taken back: what was accepted is written in this order, or
    the connection ends. After a cut every call is accepted and does nothing, so that whoever
    publishes need not ask first.
    """

    @property
    def number(self) -> int:
        """The session that the client speaks in; 0 for HTTP."""
        ...

    def reply(self, data: bytes | LargeReply) -> None:
        """Answer one request, in the place that it took before it was read; always fits.

        What follows a reply that is still to be encoded waits for it.
        """
        ...

    def send_private(self, data: bytes) -> None:
        """Push what belongs to an account; without room the connection is cut with 1008."""
        ...

    def try_send_public(self, data: bytes) -> bool:
        """Push public data; False means full: nothing was queued, and nothing else happened."""
        ...

    def disconnect(self, code: int, reason: str) -> None:
        """End the connection with a WebSocket close code; only the first call counts."""
        ...
