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
MAX_REPLIES: Final = 256
# An account may cancel all its 10,000 orders at once, and listen to them on four channels. The
# venue is faster in cancelling than any connection in telling, so there is room for all of it:
# nobody shall be cut for getting out.
MAX_PRIVATE_MESSAGES: Final = 40_960
MAX_PRIVATE_BYTES: Final = 32 * 2**20
# Beyond these a reader of market data is behind by more than a second of a busy market, and is
# better served by a new snapshot.
MAX_PUBLIC_MESSAGES: Final = 1_024
MAX_PUBLIC_BYTES: Final = 2**20
# Replies may be large, and there is always room for one; beyond this much the next request is
# not read.
MAX_REPLY_BYTES: Final = 4 * 2**20
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
    on_drop: Callable[[str], None]
    start_encoding: Callable[[EncodingJob], None]
    on_filled: Callable[[], None] = field(
        default=Factory(lambda self: self.wake, takes_self=True), init=False
    )
    close_reason: CloseReason | None = field(default=None, init=False)
    disconnect_requested: trio.Event = field(factory=trio.Event, init=False)
    replies_reserved: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    # Bytes, and in the places of replies that are still to be encoded those replies.
    _queue: deque[Any] = field(factory=deque, init=False)
    # Where these stand, counted as the replies are.
    _unfinished: dict[LargeReply, int] = field(factory=dict, init=False)
    # The places of the replies in it, and how many have left, since it was last taken whole.
    _reply_positions: deque[int] = field(factory=deque, init=False)
    _messages_taken: int = field(default=0, init=False)
    _reply_bytes: int = field(default=0, init=False)
    _wakeup: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _replies_released: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def __len__(self) -> int:
        """Messages queued."""
        return len(self._queue)

    # What the reader calls.

    @property
    def replies_full(self) -> bool:
        """Whether there is no place for the reply to another request."""
        return (
            self.replies_reserved >= MAX_REPLIES
            or self._reply_bytes >= MAX_REPLY_BYTES
            or bool(self._unfinished)
        )

    async def wait_for_reply_capacity(self) -> None:
        """Wait until another request may be read: there is a place for its reply."""
        while self.replies_full:
            await self._replies_released.wait()

    def reserve(self) -> None:
        """Take the place of a reply; `reply` fills it, and it is free again when that is sent."""
        self.replies_reserved += 1

    async def wait_replies_sent(self) -> None:
        """Wait until every reply that is owed is in the writer's hands."""
        while self.replies_reserved:
            await self._replies_released.wait()

    # What publishers call.

    def reply(self, data: bytes | LargeReply) -> None:
        """Queue the reply to a request that has reserved its place."""
        assert self.replies_reserved, "a reply takes its place before its request is read"
        if self.close_reason is None:
            if isinstance(data, LargeReply):
                self._queue_large_reply(data)
                return
            queue, size = self._queue, len(data)
            if not queue:
                self.on_filled()
            self._reply_positions.append(self._messages_taken + len(queue))
            queue.append(data)
            self.size += size
            self._reply_bytes += size

    def send_private(self, data: bytes) -> None:
        """Queue an event of an account; where it does not fit, the client is cut."""
        if self.close_reason is not None:
            return
        queue = self._queue
        if len(queue) >= MAX_PRIVATE_MESSAGES or self.size >= MAX_PRIVATE_BYTES:
            self.on_drop("private")
            # Whoever is this far behind does not read what is queued in a goodbye's time either.
            queue.clear()
            self._reply_positions.clear()
            self._unfinished.clear()
            self.size = self._messages_taken = self._reply_bytes = 0
            self.disconnect(*TOO_SLOW)
            return
        if not queue:
            self.on_filled()
        queue.append(data)
        self.size += len(data)

    def try_send_public(self, data: bytes) -> bool:
        """Queue public data if it fits."""
        if self.close_reason is not None:
            return True
        queue = self._queue
        # A large reply does not make its reader slow.
        if len(queue) >= MAX_PUBLIC_MESSAGES or self.size - self._reply_bytes >= MAX_PUBLIC_BYTES:
            self.on_drop("public")
            return False
        if not queue:
            self.on_filled()
        queue.append(data)
        self.size += len(data)
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """End the connection when what is queued is written, or a second has passed."""
        if self.close_reason is None:
            self.close_reason = CloseReason(code, reason)
            self.drop_unfinished_replies()
            self.disconnect_requested.set()
            self.wake()

    def drop_unfinished_replies(self) -> None:
        """Drop replies that are still to be encoded, and all that waits behind the first of them.

        Nothing may leave before them, and a goodbye does not wait for them.
        """
        if not self._unfinished:
            return
        first = next(iter(self._unfinished.values()))
        self._unfinished.clear()
        while self._reply_positions and self._reply_positions[-1] >= first:
            self._reply_positions.pop()
        while len(self._queue) > first - self._messages_taken:
            data = self._queue.pop()
            if not isinstance(data, LargeReply):
                self.size -= len(data)

    def _queue_large_reply(self, reply: LargeReply) -> None:
        """Keep the place of a reply, and have it encoded."""
        place = self._messages_taken + len(self._queue)
        self._reply_positions.append(place)
        self._queue.append(reply)
        self._unfinished[reply] = place
        self.start_encoding(partial(self._encode_slice, reply))

    def _encode_slice(self, reply: LargeReply) -> bool:
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
        self._queue[self._unfinished.pop(reply) - self._messages_taken] = data
        self.size += len(data)
        self._reply_bytes += len(data)
        self.on_filled()
        self._replies_released.set()
        return True

    # What the writer calls.

    def wake(self) -> None:
        """End the next `wait`, whatever is queued."""
        self._wakeup.set()

    async def wait(self) -> None:
        """Wait until there is something to write, or the connection is cut."""
        if self.close_reason is None and (
            not self._queue or isinstance(self._queue[0], LargeReply)
        ):
            await self._wakeup.wait()

    def take(self) -> list[bytes]:
        """What to write next, about WRITE_BYTES of it; empty when nothing can be written yet."""
        if self.size > WRITE_BYTES or self._unfinished:
            return self._take_some()
        taken = list(self._queue)
        self._queue.clear()
        self.size = self._messages_taken = 0
        if self._reply_positions:
            self._release_replies(len(self._reply_positions), self._reply_bytes)
            self._reply_positions.clear()
        return taken

    def _take_some(self) -> list[bytes]:
        queue, replies = self._queue, self._reply_positions
        taken: list[bytes] = []
        size = answered = answered_bytes = 0
        while queue and size < WRITE_BYTES and not isinstance(queue[0], LargeReply):
            data = queue.popleft()
            taken.append(data)
            size += len(data)
            if replies and replies[0] == self._messages_taken:
                replies.popleft()
                answered += 1
                answered_bytes += len(data)
            self._messages_taken += 1
        self.size -= size
        if answered:
            self._release_replies(answered, answered_bytes)
        return taken

    def _release_replies(self, count: int, size: int) -> None:
        """So many replies are in the writer's hands."""
        self.replies_reserved -= count
        self._reply_bytes -= size
        self._replies_released.set()
