"""Encodes large replies, a slice of one of them in each turn of the event loop.

What all clients together ask for is bounded in each turn, and the clients take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio
from attrs import define, field

from gateway.protocol.large_results import EncodingJob, LargeReply
from tidegate.auto_reset_event import AutoResetEvent


@define(eq=False)
class ReplyEncoder:
    """Does jobs in turn while `run` runs, and after each piece of one calls `flush`.

    A job that raises is over, and `crashed` gets the exception: the others are other clients'.
    `pieces` counts what was done.
    """

    flush: Callable[[], None]
    on_crash: Callable[[Exception], None]
    slices_encoded: int = field(default=0, init=False)
    _jobs: deque[EncodingJob] = field(factory=deque, init=False)
    _added: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def add(self, job: EncodingJob) -> None:
        """Have a job done. A plain call."""
        self._jobs.append(job)
        self._added.set()

    async def run(self) -> None:
        """Do jobs until cancelled."""
        while True:
            await self._added.wait()
            while self._jobs:
                self._encode_slice()
                await trio.lowlevel.checkpoint()

    def _encode_slice(self) -> None:
        job = self._jobs.popleft()
        self.slices_encoded += 1
        try:
            if not job():
                self._jobs.append(job)
        except Exception as error:  # noqa: BLE001 - a boundary; it is logged and counted
            self.on_crash(error)
        self.flush()

    async def complete(self, reply: bytes | LargeReply) -> bytes:
        """The bytes of a reply, once they are there. Raises what encoding it raises."""
        if isinstance(reply, bytes):
            return reply
        waiting = _AwaitedReply(reply)
        self.add(waiting.encode_slice)
        try:
            await waiting.finished.wait()
        finally:
            waiting.awaited = False
        if waiting.error is not None:
            raise waiting.error
        return waiting.data


@define(eq=False)
class _AwaitedReply:
    """A reply that a task waits for, as long as it is `wanted`; an `error` is that task's."""

    reply: LargeReply
    awaited: bool = True
    data: bytes = b""
    error: Exception | None = None
    finished: trio.Event = field(factory=trio.Event)

    def encode_slice(self) -> bool:
        if not self.awaited:
            return True
        try:
            data = self.reply.advance()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.error = error
        else:
            if data is None:
                return False
            self.data = bytes(data)
        self.finished.set()
        return True
