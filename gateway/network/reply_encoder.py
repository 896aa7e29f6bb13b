"""Encodes large replies, one slice per turn of the event loop, round-robin over all replies.

This bounds the time per turn, however many large replies clients request.
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
    """Runs encoding jobs in turn while `run` runs, and calls `flush` after each slice.

    A job that raises is dropped and its exception passed to `on_crash`; the jobs of other clients
    continue. `slices_encoded` counts the slices.
    """

    flush: Callable[[], None]
    on_crash: Callable[[Exception], None]
    slices_encoded: int = field(default=0, init=False)
    _jobs: deque[EncodingJob] = field(factory=deque, init=False)
    _added: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def add(self, job: EncodingJob) -> None:
        """Queue a job. A plain call."""
        self._jobs.append(job)
        self._added.set()

    async def run(self) -> None:
        """Run jobs until cancelled."""
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
        except Exception as error:  # noqa: BLE001 - logged and counted by `on_crash`
            self.on_crash(error)
        self.flush()

    async def complete(self, reply: bytes | LargeReply) -> bytes:
        """Wait until a reply is encoded; return its bytes. Raises what encoding it raises."""
        if isinstance(reply, bytes):
            return reply
        pending = _AwaitedReply(reply)
        self.add(pending.encode_slice)
        try:
            await pending.finished.wait()
        finally:
            pending.awaited = False
        if pending.error is not None:
            raise pending.error
        return pending.data


@define(eq=False)
class _AwaitedReply:
    """A reply that a task waits for, which stops its encoding by clearing `awaited`."""

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
        except Exception as error:  # noqa: BLE001 - raised again in the waiting task
            self.error = error
        else:
            if data is None:
                return False
            self.data = bytes(data)
        self.finished.set()
        return True
