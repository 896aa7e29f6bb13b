"""The queue of messages to one WebSocket client, bounded in messages and in bytes.

Each kind of message has an answer to a full queue. A reply's place is reserved before its request
is read. A private notification that does not fit ends the connection. Public data that does not fit
is refused, and its publisher sends a new snapshot later.
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

# Requests of one connection that are read and not reply_count. Further requests stay in the socket.
# 256 is the size of a batch of the log.
MAX_REPLIES: Final = 256
# An account may cancel all its 10,000 orders at once and be subscribed to them on four channels.
# The venue cancels faster than a connection sends, so all these notifications fit: cancelling
# everything must not end the connection.
MAX_PRIVATE_MESSAGES: Final = 40_960
MAX_PRIVATE_BYTES: Final = 32 * 2**20
# More than a second of a busy market. A client that is further behind is better served by a new
# snapshot.
MAX_PUBLIC_MESSAGES: Final = 1_024
MAX_PUBLIC_BYTES: Final = 2**20
# One reply may be larger than this; beyond it, the next request is not read.
MAX_REPLY_BYTES: Final = 4 * 2**20
# The size of one write: large enough to fill several packets, small enough to be sent within one
# send deadline.
WRITE_BYTES: Final = 64 * 2**10


@define(eq=False)
class Outbox:
    """A gateway.protocol.message_sink.MessageSink that a writer empties.

    `on_filled` is called when the empty queue gets a message; by default it wakes the writer.
    `on_drop` is called with "private" or "public" for each message that did not fit, and by the
    writer with "unread" if the client does not read. `size` is the number of bytes queued.
    `disconnect_requested` is set together with `close_reason`; messages queued by then are still
    written. `start_encoding` runs a job in slices: a large reply takes its place in the queue
    before it is encoded, so that later events follow it.
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
    # Messages; a large reply stands in its place until it is encoded.
    _queue: deque[Any] = field(factory=deque, init=False)
    # The positions of large replies that are not encoded yet.
    _unfinished: dict[LargeReply, int] = field(factory=dict, init=False)
    # The positions of queued replies, and how many messages were taken. Positions count from the
    # last time that the whole queue was taken.
    _reply_positions: deque[int] = field(factory=deque, init=False)
    _messages_taken: int = field(default=0, init=False)
    _reply_bytes: int = field(default=0, init=False)
    _wakeup: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _replies_released: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def __len__(self) -> int:
        """The number of messages queued."""
        return len(self._queue)

    # Called by the reader.

    @property
    def replies_full(self) -> bool:
        """Whether the reply queue has no room for one more reply."""
        return (
            self.replies_reserved >= MAX_REPLIES
            or self._reply_bytes >= MAX_REPLY_BYTES
            or bool(self._unfinished)
        )

    async def wait_for_reply_capacity(self) -> None:
        """Wait until the reply queue has room for one more reply."""
        while self.replies_full:
            await self._replies_released.wait()

    def reserve(self) -> None:
        """Reserve the place of a reply, which is free again once `reply` was called and sent."""
        self.replies_reserved += 1

    async def wait_replies_sent(self) -> None:
        """Wait until every reserved reply was taken by the writer."""
        while self.replies_reserved:
            await self._replies_released.wait()

    # Called by publishers.

    def reply(self, data: bytes | LargeReply) -> None:
        """Queue the reply to a request whose place was reserved."""
        assert self.replies_reserved, "a reply's place is reserved before its request is read"
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
        """Queue a private notification; disconnect the client if it does not fit."""
        if self.close_reason is not None:
            return
        queue = self._queue
        if len(queue) >= MAX_PRIVATE_MESSAGES or self.size >= MAX_PRIVATE_BYTES:
            self.on_drop("private")
            # A client this far behind does not read the queue before the close deadline either.
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
        """Queue public data; return False if it does not fit."""
        if self.close_reason is not None:
            return True
        queue = self._queue
        # Replies do not count: a client that asked for a large one is not slow.
        if len(queue) >= MAX_PUBLIC_MESSAGES or self.size - self._reply_bytes >= MAX_PUBLIC_BYTES:
            self.on_drop("public")
            return False
        if not queue:
            self.on_filled()
        queue.append(data)
        self.size += len(data)
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """End the connection once the queue is written, or at the close deadline."""
        if self.close_reason is None:
            self.close_reason = CloseReason(code, reason)
            self.drop_unfinished_replies()
            self.disconnect_requested.set()
            self.wake()

    def drop_unfinished_replies(self) -> None:
        """Drop replies that are not encoded yet, and all messages after the first of them.

        The order of messages must be kept, and the closing handshake does not wait for encoding.
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
        """Queue a reply in its place and start to encode it."""
        place = self._messages_taken + len(self._queue)
        self._reply_positions.append(place)
        self._queue.append(reply)
        self._unfinished[reply] = place
        self.start_encoding(partial(self._encode_slice, reply))

    def _encode_slice(self, reply: LargeReply) -> bool:
        """Encode a slice of a reply unless it was dropped; return whether that was the last."""
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

    # Called by the writer.

    def wake(self) -> None:
        """Make the next `wait` return, whatever is queued."""
        self._wakeup.set()

    async def wait(self) -> None:
        """Wait until a message can be taken, or a disconnect is requested."""
        if self.close_reason is None and (
            not self._queue or isinstance(self._queue[0], LargeReply)
        ):
            await self._wakeup.wait()

    def take(self) -> list[bytes]:
        """Take the next messages, about WRITE_BYTES of them; none if nothing can be written yet."""
        if self.size > WRITE_BYTES or self._unfinished:
            return self._take_some()
        messages = list(self._queue)
        self._queue.clear()
        self.size = self._messages_taken = 0
        if self._reply_positions:
            self._release_replies(len(self._reply_positions), self._reply_bytes)
            self._reply_positions.clear()
        return messages

    def _take_some(self) -> list[bytes]:
        queue, replies = self._queue, self._reply_positions
        messages: list[bytes] = []
        size = reply_count = reply_bytes = 0
        while queue and size < WRITE_BYTES and not isinstance(queue[0], LargeReply):
            data = queue.popleft()
            messages.append(data)
            size += len(data)
            if replies and replies[0] == self._messages_taken:
                replies.popleft()
                reply_count += 1
                reply_bytes += len(data)
            self._messages_taken += 1
        self.size -= size
        if reply_count:
            self._release_replies(reply_count, reply_bytes)
        return messages

    def _release_replies(self, count: int, size: int) -> None:
        """Free the places of replies that the writer has taken."""
        self.replies_reserved -= count
        self._reply_bytes -= size
        self._replies_released.set()
