"""Everything that is proposed to the log: the inbox of the clients and the lane of the venue."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from gateway.log import Proposal
from gateway.sequencer.inbox import Inbox
from gateway.sequencer.system_queue import SystemCommand, SystemQueue
from risk.commands import Origin
from tidegate.auto_reset_event import AutoResetEvent


def _ignore(_seconds: float) -> None:
    """For intakes that nobody measures."""


@define(eq=False)
class CommandSource:
    """The log's source: what the venue proposes comes first in each batch, then the clients.

    `origin` is the origin of the venue's own proposals. A batch takes all that the inbox holds,
    so that nothing of a session is left in it once the session's end was taken: a log-in cannot
    come after the hang-up that followed it.
    """

    origin: Origin = field(factory=Origin)
    observe_wait: Callable[[float], None] = _ignore
    inbox: Inbox = field(init=False)
    system_queue: SystemQueue = field(init=False)
    _wakeup: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Both wake the same log."""
        self.inbox = Inbox(self._wakeup.set, self.observe_wait)
        self.system_queue = SystemQueue(self._wakeup.set)

    def propose(self, command: SystemCommand) -> None:
        """Put into the lane."""
        self.system_queue.put(command)

    async def take(self) -> list[Proposal]:
        """The next batch; empty when closed and drained.

        What a session sent before it ended, and what is not in the log yet, is left out: nobody
        is there to hear the answer, and nothing shall rest for the dead. A log-out is no such
        end, it follows what was sent before it.
        """
        while not (self.system_queue or self.inbox.depth):
            if self._closed:
                return []
            await self._wakeup.wait()
        asked = self.inbox.take()
        if self.system_queue.has_ended_sessions:
            gone = self.system_queue.drops_commands_of
            asked = [each for each in asked if not gone(each.origin.session)]
        return [
            *(Proposal(command, self.origin) for command in self.system_queue.take()),
            *asked,
            *(Proposal(command, self.origin) for command in self.system_queue.take_ends()),
        ]

    def close(self) -> None:
        """There will be nothing more; what is in is still taken."""
        self._closed = True
        self.inbox.close()

    def abort(self) -> None:
        """The log is gone: proposals from now on are for nobody."""
        self.close()
        self.system_queue.close()
