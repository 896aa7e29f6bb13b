"""Writes outboxes to their connections.

Waking a task for each message costs more than writing it. Code that fills outboxes calls `flush()`
before its next await; each connection's queue then leaves in one write. A connection's writer task
runs only while the kernel's buffer is full.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio
from attrs import define, field

from gateway.network.outbox import Outbox
from gateway.network.transport import DisconnectedError, Transport
from gateway.protocol.close_codes import TOO_SLOW

# Connections written to without a checkpoint. A write takes 8 us, most of it in the kernel, so
# these hold the event loop for two or three milliseconds.
WRITERS_PER_TURN: Final = 256


@define(eq=False)
class Writer:
    """Empties one connection's outbox into its transport.

    What the kernel does not take at a `flush` stays in the outbox, as far as possible, where the
    outbox's bounds apply to it. The task in `run` continues when there is room. Until then `flush`
    does nothing, so that messages keep their order.
    """

    outbox: Outbox
    transport: Transport
    send_seconds: float
    close_deadline: float = field(default=float("inf"), init=False)
    _drain_scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    def flush(self) -> None:
        """Write what the kernel takes at once; leave the rest to the task."""
        if self.outbox.size:
            self._write()
        if self.transport.unsent:
            self.outbox.wake()

    def set_close_deadline(self, deadline: float) -> None:
        """Give up writing at `deadline`, on trio's clock."""
        self.close_deadline = deadline
        self._drain_scope.deadline = min(self._drain_scope.deadline, deadline)

    async def run(self) -> None:
        """Write until the peer is gone, or until a disconnect is requested and all is written."""
        outbox = self.outbox
        while True:
            if not self.transport.unsent:
                await outbox.wait()
                self._write()
            if not self.transport.unsent:
                if outbox.close_reason is not None:
                    return
                continue
            # Each part has its own deadline, so that a large reply has enough time.
            deadline = min(trio.current_time() + self.send_seconds, self.close_deadline)
            with trio.CancelScope(deadline=deadline) as self._drain_scope:
                try:
                    await self.transport.drain()
                except DisconnectedError:
                    return
            if self._drain_scope.cancelled_caught:
                # Part of a frame may have been sent, so not even a close frame may follow.
                outbox.on_drop("unread")
                outbox.disconnect(*TOO_SLOW)
                return

    def _write(self) -> None:
        outbox, transport = self.outbox, self.transport
        while outbox.size and not transport.unsent:
            messages = outbox.take()
            if not messages:
                # The queue waits for a reply that is being encoded.
                return
            transport.write(messages)


@define(eq=False)
class FlushScheduler:
    """The writers whose outboxes were filled since the last flush.

    Code that fills outboxes must flush before it awaits: after a batch of entries, a flush of the
    feed, or a chunk of requests.
    """

    _scheduled: deque[Writer] = field(factory=deque, init=False)

    def schedule(self, writer: Writer) -> None:
        """Include a writer in the next flush."""
        self._scheduled.append(writer)

    def flush(self) -> None:
        """Write as much as the kernel takes. A plain call that does not raise."""
        scheduled, self._scheduled = self._scheduled, deque()
        for writer in scheduled:
            writer.flush()

    async def flush_in_turns(self) -> None:
        """Flush with a checkpoint after every WRITERS_PER_TURN connections.

        For notifications that go to thousands of connections at the same time. A writer whose
        outbox is filled again before its turn writes all of it then. If cancelled, the remaining
        writers are left to the next flush.
        """
        scheduled, self._scheduled = self._scheduled, deque()
        try:
            while scheduled:
                for _ in range(min(WRITERS_PER_TURN, len(scheduled))):
                    scheduled.popleft().flush()
                await trio.lowlevel.checkpoint()
        finally:
            self._scheduled += scheduled
