"""From the outbox to the socket: written by a plain call, waited for by a task.

A task that is woken for each message costs more than the message. So whoever has said all that it
has to say, and is about to wait, has it written, each connection's part in one call of the kernel;
and the task of a connection is for the time when the kernel's buffer is full.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio
from attrs import define, field

from gateway.network.outbox import Outbox
from gateway.network.transport import DisconnectedError, Transport
from gateway.protocol.close_codes import TOO_SLOW

# Most of a write is the kernel's, 8 us; so many hold the loop for two or three milliseconds.
WRITERS_PER_TURN: Final = 256


@define(eq=False)
class Writer:
    """Empties one connection's outbox into its transport.

    What the kernel does not take at a `flush` stays behind, in the outbox as far as possible,
    whose bounds hold for it. The task in `run` goes on when there is room; until then `flush`
    does nothing, so that nothing is reordered.
    """

    outbox: Outbox
    transport: Transport
    send_seconds: float
    close_deadline: float = field(default=float("inf"), init=False)
    _drain_scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    def flush(self) -> None:
        """Write what the kernel takes at once; the task does the rest."""
        if self.outbox.size:
            self._write()
        if self.transport.unsent:
            self.outbox.wake()

    def set_close_deadline(self, part_by: float) -> None:
        """Have everything written by then, or give it up."""
        self.close_deadline = part_by
        self._drain_scope.deadline = min(self._drain_scope.deadline, part_by)

    async def run(self) -> None:
        """Write until the peer is gone, or all that came before a farewell is written."""
        outbox = self.outbox
        while True:
            if not self.transport.unsent:
                await outbox.wait()
                self._write()
            if not self.transport.unsent:
                if outbox.close_reason is not None:
                    return
                continue
            # For each part that is sent, so that a large reply has time.
            deadline = min(trio.current_time() + self.send_seconds, self.close_deadline)
            with trio.CancelScope(deadline=deadline) as self._drain_scope:
                try:
                    await self.transport.drain()
                except DisconnectedError:
                    return
            if self._drain_scope.cancelled_caught:
                # Half a frame is out: no other may follow, not even a close frame.
                outbox.on_drop("unread")
                outbox.disconnect(*TOO_SLOW)
                return

    def _write(self) -> None:
        outbox, transport = self.outbox, self.transport
        while outbox.size and not transport.unsent:
            taken = outbox.take()
            if not taken:
                # What is queued waits for a reply that is being encoded.
                return
            transport.write(taken)


@define(eq=False)
class FlushScheduler:
    """Those with something to write since the last flush. Whoever fills outboxes has them flushed.

    It must do so before it waits: after a batch of entries, a round of the feed, a chunk of
    requests.
    """

    _scheduled: deque[Writer] = field(factory=deque, init=False)

    def schedule(self, writer: Writer) -> None:
        """This one has something to write."""
        self._scheduled.append(writer)

    def flush(self) -> None:
        """Write everything, as far as the kernel takes it. A plain call; it does not raise."""
        noted, self._scheduled = self._scheduled, deque()
        for writer in noted:
            writer.flush()

    async def flush_in_turns(self) -> None:
        """The same for what thousands are told at once, with turns for others in between.

        What anybody is told before its turn is written then. Cancelled, it leaves the rest to the
        next flush.
        """
        noted, self._scheduled = self._scheduled, deque()
        try:
            while noted:
                for _ in range(min(WRITERS_PER_TURN, len(noted))):
                    noted.popleft().flush()
                await trio.lowlevel.checkpoint()
        finally:
            self._scheduled += noted
