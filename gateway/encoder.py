"""Encodes large replies, a slice of one of them in each turn of the event loop.

What all clients together ask for is bounded in each turn, and the clients take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio
from attrs import define, field

from gateway.api.listing import LargeReply
from gateway.wakeup import Wakeup

Job = Callable[[], bool]
"""Does a bounded piece of work, and returns whether that was the last."""


def at_once(job: Job) -> None:
    """Do a job, where there is no loop that could be held."""
    while not job():
        pass


@define(eq=False)
class Encoder:
    """Does jobs in turn while `run` runs, and after each piece of one calls `flush`.

    `pieces` counts what was done.
    """

    flush: Callable[[], None]
    pieces: int = field(default=0, init=False)
    _jobs: deque[Job] = field(factory=deque, init=False)
    _added: Wakeup = field(factory=Wakeup, init=False)

    def add(self, job: Job) -> None:
        """Have a job done. A plain call."""
        self._jobs.append(job)
        self._added.set()

    async def run(self) -> None:
        """Do jobs until cancelled."""
        while True:
            await self._added.wait()
            while self._jobs:
                self._advance()
                await trio.lowlevel.checkpoint()

    def _advance(self) -> None:
        job = self._jobs.popleft()
        self.pieces += 1
        if not job():
            self._jobs.append(job)
        self.flush()

    async def complete(self, reply: bytes | LargeReply) -> bytes:
        """The bytes of a reply, once they are there."""
        if isinstance(reply, bytes):
            return reply
        waiting = _Waiting(reply)
        self.add(waiting.advance)
        try:
            await waiting.finished.wait()
        finally:
            waiting.wanted = False
        return waiting.data


@define(eq=False)
class _Waiting:
    """A reply that a task waits for, as long as it is `wanted`."""

    reply: LargeReply
    wanted: bool = True
    data: bytes = b""
    finished: trio.Event = field(factory=trio.Event)

    def advance(self) -> bool:
        if not self.wanted:
            return True
        data = self.reply.advance()
        if data is None:
            return False
        self.data = bytes(data)
        self.finished.set()
        return True
