"""All commands proposed to the log: the inbox of client commands and the system queue."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from gateway.log import Proposal
from gateway.sequencer.inbox import Inbox
from gateway.sequencer.system_queue import SystemCommand, SystemQueue
from risk.commands import Origin
from tidegate.auto_reset_event import AutoResetEvent


def _ignore(_seconds: float) -> None:
    """Do nothing, for a source that is not measured."""


@define(eq=False)
class CommandSource:
    """The source of the log: in each batch, system commands precede those of clients.

    `origin` is the origin of system commands. A batch takes everything from the inbox, so that the
    inbox holds no command of a session whose end was taken: a log-in cannot follow the disconnect
    that came after it.
    """

    origin: Origin = field(factory=Origin)
    observe_wait: Callable[[float], None] = _ignore
    inbox: Inbox = field(init=False)
    system_queue: SystemQueue = field(init=False)
    _wakeup: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Create both queues; each wakes the same log."""
        self.inbox = Inbox(self._wakeup.set, self.observe_wait)
        self.system_queue = SystemQueue(self._wakeup.set)

    def propose(self, command: SystemCommand) -> None:
        """Put a command into the system queue."""
        self.system_queue.put(command)

    async def take(self) -> list[Proposal]:
        """Return the next batch; it is empty once the source is closed and drained.

        Queued commands of a session that ended are dropped: no client would get the reply, and no
        order may rest for a disconnected client. A log-out does not drop commands, which it
        follows.
        """
        while not (self.system_queue or self.inbox.depth):
            if self._closed:
                return []
            await self._wakeup.wait()
        proposals = self.inbox.take()
        if self.system_queue.has_ended_sessions:
            dropped = self.system_queue.drops_commands_of
            proposals = [each for each in proposals if not dropped(each.origin.session)]
        return [
            *(Proposal(command, self.origin) for command in self.system_queue.take()),
            *proposals,
            *(Proposal(command, self.origin) for command in self.system_queue.take_ends()),
        ]

    def close(self) -> None:
        """Accept no further commands from clients; those in the inbox are still taken."""
        self._closed = True
        self.inbox.close()

    def abort(self) -> None:
        """Accept nothing more at all, because the log has ended."""
        self.close()
        self.system_queue.close()
