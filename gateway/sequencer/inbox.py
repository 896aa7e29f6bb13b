"""Where the commands of clients wait for the log, each client in its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import define, field

from gateway.log import Proposal

# Bounded in commands, not in lists alone: whoever has much to say gets as many as whoever has
# little, one list in turn, as many as an account may have undecided. 32 x 8 is one batch, some ten
# milliseconds of work: deep enough that the log never starves, shallow enough that nobody waits
# long behind what is already in: four batches, one in here, one on its way to the disk and two on
# their way to the matcher.
COMMANDS_PER_LIST: Final = 8
MAX_LISTS: Final = 32
# Clients with nothing else undecided go first, one command of each and so many in a batch. A flood
# never has nothing undecided, however many it comes from, and loses a ninth of its batch to them.
PRIORITY_PLACES: Final = 32

QueuedCommands = tuple[Sequence[Proposal], float]


@define(eq=False)
class Inbox:
    """Lists of at most LIST commands, LISTS of them; further senders wait, first come first served.

    Beside these there are FIRST places for single commands of who has nothing else undecided.
    A client has one list waiting at a time, which is what makes the turns fair.
    `observe` is told the seconds that each list waited.
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
        """How many lists are in it, waiting senders not counted."""
        return self._send.statistics().current_buffer_used + len(self._priority)

    def put_priority(self, proposal: Proposal) -> bool:
        """Put the one command of a client that has no other undecided, if there is a place."""
        if self._closed or len(self._priority) >= PRIORITY_PLACES:
            return False
        self._priority.append((proposal, trio.current_time()))
        self._wake()
        return True

    def put_nowait(self, proposals: Sequence[Proposal]) -> None:
        """Put a list where there is room; from the return on the log decides.

        Raises trio.WouldBlock where others are waiting, and trio.ClosedResourceError.
        """
        assert 0 < len(proposals) <= COMMANDS_PER_LIST, "a client's turn is one list"
        self._send.send_nowait((proposals, trio.current_time()))
        self._wake()

    async def put(self, proposals: Sequence[Proposal]) -> None:
        """Wait for a turn; from the return on the log decides. Cancelled, nothing was sent.

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
        """All that is in, in order; whoever waited moves up."""
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
        """Take nothing more; what is in stays to be taken."""
        self._closed = True
        self._send.close()
        self._wake()
