"""The queue of client commands on their way to the log, served in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import define, field

from gateway.log import Proposal

# The bound counts commands, not only lists, so that a client with many commands gets no more than
# one with few: one list in turn, of as many commands as an account may have in flight. 32 lists of
# 8 make one batch, about ten milliseconds of work. That is deep enough to keep the log busy, and
# shallow enough that a new command waits for four batches at most: one in here, one on its way to
# the disk, and two on their way to the matcher.
COMMANDS_PER_LIST: Final = 8
MAX_LISTS: Final = 32
# Clients with nothing else in flight go first, with one command each. A flood always has something
# in flight, from however many connections it comes, and loses a ninth of its batch to them.
PRIORITY_PLACES: Final = 32

QueuedCommands = tuple[Sequence[Proposal], float]


@define(eq=False)
class Inbox:
    """Up to MAX_LISTS lists of up to COMMANDS_PER_LIST commands; further senders wait in order.

    Besides, there are PRIORITY_PLACES for single commands of clients with nothing else in flight. A
    client has one list waiting at a time, which makes the turns fair. `observe` is called with the
    seconds that each list waited.
    """

    _wake: Callable[[], None]
    _observe: Callable[[float], None]
    _send: trio.MemorySendChannel[QueuedCommands] = field(init=False)
    _receive: trio.MemoryReceiveChannel[QueuedCommands] = field(init=False)
    _priority: deque[tuple[Proposal, float]] = field(factory=deque, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Open the channel."""
        self._send, self._receive = trio.open_memory_channel[QueuedCommands](MAX_LISTS)

    @property
    def depth(self) -> int:
        """The number of lists in the queue, without those of waiting senders."""
        return self._send.statistics().current_buffer_used + len(self._priority)

    def put_priority(self, proposal: Proposal) -> bool:
        """Queue the only command in flight of a client; return False where no place is left."""
        if self._closed or len(self._priority) >= PRIORITY_PLACES:
            return False
        self._priority.append((proposal, trio.current_time()))
        self._wake()
        return True

    def put_nowait(self, proposals: Sequence[Proposal]) -> None:
        """Queue a list if there is room. After the return, only the log decides about it.

        Raises trio.WouldBlock where other senders wait, and trio.ClosedResourceError.
        """
        assert 0 < len(proposals) <= COMMANDS_PER_LIST, "a client's turn is one list"
        self._send.send_nowait((proposals, trio.current_time()))
        self._wake()

    async def put(self, proposals: Sequence[Proposal]) -> None:
        """Wait for a turn to queue a list. If cancelled, nothing was queued.

        Raises trio.ClosedResourceError once the inbox is closed.
        """
        since = trio.current_time()
        try:
            self.put_nowait(proposals)
        except trio.WouldBlock:
            await self._send.send((proposals, since))
            self._wake()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def take(self) -> list[Proposal]:
        """Return everything queued, in order, and let waiting senders queue theirs."""
        now = trio.current_time()
        taken: list[Proposal] = []
        while self._priority:
            proposal, since = self._priority.popleft()
            self._observe(now - since)
            taken.append(proposal)
        for _ in range(self._send.statistics().current_buffer_used):
            proposals, since = self._receive.receive_nowait()
            self._observe(now - since)
            taken += proposals
        return taken

    def close(self) -> None:
        """Accept nothing more; what is queued can still be taken."""
        self._closed = True
        self._send.close()
        self._wake()
