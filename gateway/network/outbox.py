"""One connection's way out: bounded in messages and in bytes, with an answer to "full" for each.

A reply has a place before its request is read; private events have places of their own, and no
place left costs the connection; public data is offered, and its publisher deals with a refusal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio
from attrs import Factory, define, field

from gateway.protocol.close_codes import CRASHED, TOO_SLOW, CloseReason
from gateway.protocol.large_results import EncodingJob, LargeReply
from tidegate.auto_reset_event import AutoResetEvent

# Requests of one connection that are read and not answered. A client that pipelines more than
# this learns the pace from its socket; 256 is one batch of the log.
REPLIES: Final = 256
# An account may cancel all its 10,000 orders at once, and listen to them on four channels. The
# venue is faster in cancelling than any connection in telling, so there is room for all of it:
# nobody shall be cut for getting out.
PRIVATE: Final = 40_960
PRIVATE_BYTES: Final = 32 * 2**20
# Beyond these a reader of market data is behind by more than a second of a busy market, and is
# better served by a new snapshot.
PUBLIC: Final = 1_024
PUBLIC_BYTES: Final = 2**20
# Replies may be large, and there is always room for one; beyond this much the next request is
# not read.
REPLY_BYTES: Final = 4 * 2**20
# One write: enough to fill a packet train, small enough to be sent within one send deadline.
WRITE_BYTES: Final = 64 * 2**10


@define(eq=False)
class Outbox:
    """A gateway.protocol.message_sink.Sink that a writer empties.

    `filled` is called when there is something in it again, and by default wakes the writer.
    `size` is the bytes queued.
    `dropped` is called with "private" or "public" for each message that did not fit (and by the
    writer with "unread" when the client does not read). `cut_off` is set when there is a
    `farewell`; what is queued by then is still there to be written.
    `encode` has a job done in slices: a large reply takes its place in the queue before it is
    encoded, so that events of the time in between come after it.
    """

    number: int
    dropped: Callable[[str], None]
    encode: Callable[[EncodingJob], None]
    filled: Callable[[], None] = field(
        default=Factory(lambda self: self.wake, takes_self=True), init=False
    )
    farewell: CloseReason | None = field(default=None, init=False)
    disconnect_requested: trio.Event = field(factory=trio.Event, init=False)
    replies_reserved: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    # Bytes, and in the places of replies that are still to be encoded those replies.
    _queue: deque[Any] = field(factory=deque, init=False)
    # Where these stand, counted as the replies are.
    _unfinished: dict[LargeReply, int] = field(factory=dict, init=False)
    # The places of the replies in it, and how many have left, since it was last taken whole.
    _replies: deque[int] = field(factory=deque, init=False)
    _taken: int = field(default=0, init=False)
    _reply_bytes: int = field(default=0, init=False)
    _work: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _drained: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def __len__(self) -> int:
        """Messages queued."""
        return len(self._queue)

    # What the reader calls.

    @property
    def replies_full(self) -> bool:
        """Whether there is no place for the reply to another request."""
        return (
            self.replies_reserved >= REPLIES
            or self._reply_bytes >= REPLY_BYTES
            or bool(self._unfinished)
        )

    async def wait_for_reply_capacity(self) -> None:
        """Wait until another request may be read: there is a place for its reply."""
        while self.replies_full:
            await self._drained.wait()

    def reserve(self) -> None:
        """Take the place of a reply; `reply` fills it, and it is free again when that is sent."""
        self.replies_reserved += 1

    async def wait_replies_sent(self) -> None:
        """Wait until every reply that is owed is in the writer's hands."""
        while self.replies_reserved:
            await self._drained.wait()

    # What publishers call.

    def reply(self, data: bytes | LargeReply) -> None:
        """Queue the reply to a request that has reserved its place."""
        assert self.replies_reserved, "a reply takes its place before its request is read"
        if self.farewell is None:
            if isinstance(data, LargeReply):
                self._begin(data)
                return
            queue, size = self._queue, len(data)
            if not queue:
                self.filled()
            self._replies.append(self._taken + len(queue))
            queue.append(data)
            self.size += size
            self._reply_bytes += size

    def send_private(self, data: bytes) -> None:
        """Queue an event of an account; where it does not fit, the client is cut."""
        if self.farewell is not None:
            return
        queue = self._queue
        if len(queue) >= PRIVATE or self.size >= PRIVATE_BYTES:
            self.dropped("private")
            # Whoever is this far behind does not read what is queued in a goodbye's time either.
            queue.clear()
            self._replies.clear()
            self._unfinished.clear()
            self.size = self._taken = self._reply_bytes = 0
            self.disconnect(*TOO_SLOW)
            return
        if not queue:
            self.filled()
        queue.append(data)
        self.size += len(data)

    def try_send_public(self, data: bytes) -> bool:
        """Queue public data if it fits."""
        if self.farewell is not None:
            return True
        queue = self._queue
        # A large reply does not make its reader slow.
        if len(queue) >= PUBLIC or self.size - self._reply_bytes >= PUBLIC_BYTES:
            self.dropped("public")
            return False
        if not queue:
            self.filled()
        queue.append(data)
        self.size += len(data)
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """End the connection when what is queued is written, or a second has passed."""
        if self.farewell is None:
            self.farewell = CloseReason(code, reason)
            self.abandon()
            self.disconnect_requested.set()
            self.wake()

    def abandon(self) -> None:
        """Drop replies that are still to be encoded, and all that waits behind the first of them.

        Nothing may leave before them, and a goodbye does not wait for them.
        """
        if not self._unfinished:
            return
        first = next(iter(self._unfinished.values()))
        self._unfinished.clear()
        while self._replies and self._replies[-1] >= first:
            self._replies.pop()
        while len(self._queue) > first - self._taken:
            data = self._queue.pop()
            if not isinstance(data, LargeReply):
                self.size -= len(data)

    def _begin(self, reply: LargeReply) -> None:
        """Keep the place of a reply, and have it encoded."""
        place = self._taken + len(self._queue)
        self._replies.append(place)
        self._queue.append(reply)
        self._unfinished[reply] = place
        self.encode(partial(self._advance, reply))

    def _advance(self, reply: LargeReply) -> bool:
        """Encode a slice of a reply unless it was dropped; returns whether that was the last."""
        if reply not in self._unfinished:
            return True
        try:
            data = reply.advance()
        except Exception:
            self.disconnect(*CRASHED)
            raise
        if data is None:
            return False
        self._queue[self._unfinished.pop(reply) - self._taken] = data
        self.size += len(data)
        self._reply_bytes += len(data)
        self.filled()
        self._drained.set()
        return True

    # What the writer calls.

    def wake(self) -> None:
        """End the next `wait`, whatever is queued."""
        self._work.set()

    async def wait(self) -> None:
        """Wait until there is something to write, or the connection is cut."""
        if self.farewell is None and (not self._queue or isinstance(self._queue[0], LargeReply)):
            await self._work.wait()

    def take(self) -> list[bytes]:
        """What to write next, about WRITE_BYTES of it; empty when nothing can be written yet."""
        if self.size > WRITE_BYTES or self._unfinished:
            return self._take_some()
        taken = list(self._queue)
        self._queue.clear()
        self.size = self._taken = 0
        if self._replies:
            self._answered(len(self._replies), self._reply_bytes)
            self._replies.clear()
        return taken

    def _take_some(self) -> list[bytes]:
        queue, replies = self._queue, self._replies
        taken: list[bytes] = []
        size = answered = answered_bytes = 0
        while queue and size < WRITE_BYTES and not isinstance(queue[0], LargeReply):
            data = queue.popleft()
            taken.append(data)
            size += len(data)
            if replies and replies[0] == self._taken:
                replies.popleft()
                answered += 1
                answered_bytes += len(data)
            self._taken += 1
        self.size -= size
        if answered:
            self._answered(answered, answered_bytes)
        return taken

    def _answered(self, count: int, size: int) -> None:
        """So many replies are in the writer's hands."""
        self.replies_reserved -= count
        self._reply_bytes -= size
        self._drained.set()
