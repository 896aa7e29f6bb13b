"""How a batch reaches the disk: in a process of its own, in a thread, or at once.

A thread has to have the interpreter before it can ask the kernel for anything and when it has been
answered, and while the loop is busy it gets it only once the loop waits: a batch went to the disk
when there was nothing else to do, so that the loop stood still for as long as that took. A process
writes while the loop decides what was written before.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import trio
from attrs import define, field

from gateway.log import writer_process
from gateway.log.disk import File, disk_errors
from gateway.log.errors import DiskError
from gateway.log.writer import EncodedBatch, SegmentWriter

Append = Callable[[EncodedBatch], Awaitable[float]]
"""Makes a batch durable; returns the seconds that the disk took. Raises DiskError."""

WriteStrategy = Callable[[SegmentWriter], AbstractAsyncContextManager[Append]]
"""What appends with a writer for as long as its block lasts."""

# Without what a site might add to it, and with no module of ours in the way of the standard ones.
_PROGRAM: Final = (sys.executable, "-P", "-S", str(Path(writer_process.__file__)))


@asynccontextmanager
async def in_event_loop(writer: SegmentWriter) -> AsyncIterator[Append]:
    """Hold the loop: for tests whose clock takes whoever waits for another thread for idle."""

    async def append(framed: EncodedBatch) -> float:
        await trio.lowlevel.checkpoint()
        return _timed(writer, framed)

    yield append


@asynccontextmanager
async def in_thread(writer: SegmentWriter) -> AsyncIterator[Append]:
    """Have a thread do it, with the writer's own disk, whatever that is."""

    async def append(framed: EncodedBatch) -> float:
        # Not abandoned when cancelled: nobody may write behind the back of who believes that the
        # log has ended.
        return await trio.to_thread.run_sync(_timed, writer, framed, limiter=alone)

    alone = trio.CapacityLimiter(1)
    yield append


def _timed(writer: SegmentWriter, framed: EncodedBatch) -> float:
    began = perf_counter()
    writer.write(framed)
    return perf_counter() - began


@asynccontextmanager
async def in_process(writer: SegmentWriter, *, lock: int) -> AsyncIterator[Append]:
    """Have a process do it. Raises DiskError where none can be started.

    It has the descriptor `lock` as well: whoever waits for the lock waits for what it still
    writes. It ends with this block, or with this process, however that ends.
    """
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(0)
        with theirs, disk_errors(Path(sys.executable)):
            process = await trio.lowlevel.open_process(
                [*_PROGRAM, str(theirs.fileno()), str(lock)],
                pass_fds=(theirs.fileno(), lock),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # A Ctrl-C is for the venue, which ends this when it has nothing more to write.
                process_group=0,
            )
        try:
            yield WriterProcess(writer, ours, process)
        finally:
            ours.close()
            # What it was sent it has confirmed, or failed in. It would end by itself, unless it was
            # stopped.
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@define(eq=False)
class WriterProcess:
    """An Append whose work another process does.

    Its socket is spoken to with plain calls, of which a batch needs few; waiting is trio's.
    """

    writer: SegmentWriter
    socket: socket.socket
    process: trio.Process
    _file: File | None = field(default=None, init=False)

    async def __call__(self, framed: EncodedBatch) -> float:
        # Not left alone when cancelled, as in a thread.
        with trio.CancelScope(shield=True):
            if self.writer.is_full(framed):
                await trio.to_thread.run_sync(self.writer.begin_segment)
            file = self.writer.file
            try:
                await self._send(file, framed.data)
                answer = await self._answer()
            except ConnectionError as lost:
                raise DiskError(
                    errno.EPIPE, "the process that writes the log has ended", str(file.path)
                ) from lost
        error, micros = map(int, writer_process.DONE.unpack(answer))
        if error:
            raise DiskError(error, os.strerror(error), str(file.path))
        self.writer.confirm(framed)
        return micros / 1e6

    async def _send(self, file: File, data: bytes) -> None:
        head = writer_process.LENGTH.pack(len(data))
        if file is not self._file:
            # So few bytes go at once.
            socket.send_fds(self.socket, [head], [file.descriptor])
            head, self._file = b"", file
        left = memoryview(head + data)
        while left:
            try:
                left = left[self.socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.socket)

    async def _answer(self) -> bytes:
        answer = b""
        while len(answer) < writer_process.DONE.size:
            await trio.lowlevel.wait_readable(self.socket)
            part = self.socket.recv(writer_process.DONE.size - len(answer))
            if not part:
                raise ConnectionResetError
            answer += part
        return answer
