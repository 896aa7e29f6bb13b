"""How a batch reaches the disk: by another process, by a thread, or in the event loop.

A thread needs the GIL before and after each system call, and a busy event loop releases it only
when it waits. Batches were then written when the loop had nothing else to do, and it stood still
for that time. A separate process writes while the event loop applies the previous batch.
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
"""Makes a batch durable and returns the seconds that the disk took. Raises DiskError."""

WriteStrategy = Callable[[SegmentWriter], AbstractAsyncContextManager[Append]]
"""Opens an Append that uses a writer, for the duration of a block."""

# Without site packages, and without the program's directory, whose modules would shadow standard
# ones.
_PROGRAM: Final = (sys.executable, "-P", "-S", str(Path(writer_process.__file__)))


@asynccontextmanager
async def in_event_loop(writer: SegmentWriter) -> AsyncIterator[Append]:
    """Write in the event loop, for tests whose clock jumps ahead while a thread is awaited."""

    async def append(batch: EncodedBatch) -> float:
        await trio.lowlevel.checkpoint()
        return _timed(writer, batch)

    yield append


@asynccontextmanager
async def in_thread(writer: SegmentWriter) -> AsyncIterator[Append]:
    """Write in a thread, with the writer's own Disk."""

    async def append(batch: EncodedBatch) -> float:
        # Not abandoned when cancelled: nothing may be written after the log's task has ended.
        return await trio.to_thread.run_sync(_timed, writer, batch, limiter=single)

    single = trio.CapacityLimiter(1)
    yield append


def _timed(writer: SegmentWriter, batch: EncodedBatch) -> float:
    began = perf_counter()
    writer.write(batch)
    return perf_counter() - began


@asynccontextmanager
async def in_process(writer: SegmentWriter, *, lock: int) -> AsyncIterator[Append]:
    """Write in another process. Raises DiskError if it cannot be started.

    The process inherits the descriptor `lock`, so that the lock is held until its last write is
    over. It ends with this block, or when this process ends in whatever way.
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
                # A Ctrl-C must reach only the venue, which ends this process after its last write.
                process_group=0,
            )
        try:
            yield WriterProcess(writer, ours, process)
        finally:
            ours.close()
            # It has confirmed all writes or failed. It would end by itself unless it is suspended.
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@define(eq=False)
class WriterProcess:
    """An Append that sends batches to another process.

    It calls the non-blocking socket directly, since a batch needs only a few calls, and lets trio
    wait when the socket is not ready.
    """

    writer: SegmentWriter
    socket: socket.socket
    process: trio.Process
    _file: File | None = field(default=None, init=False)

    async def __call__(self, batch: EncodedBatch) -> float:
        # Shielded for the same reason as in a thread.
        with trio.CancelScope(shield=True):
            if self.writer.is_full(batch):
                await trio.to_thread.run_sync(self.writer.begin_segment)
            file = self.writer.file
            try:
                await self._send(file, batch.data)
                reply = await self._receive_reply()
            except ConnectionError as lost:
                raise DiskError(
                    errno.EPIPE, "the process that writes the log has ended", str(file.path)
                ) from lost
        error, micros = map(int, writer_process.DONE.unpack(reply))
        if error:
            raise DiskError(error, os.strerror(error), str(file.path))
        self.writer.confirm(batch)
        return micros / 1e6

    async def _send(self, file: File, data: bytes) -> None:
        head = writer_process.LENGTH.pack(len(data))
        if file is not self._file:
            # A message of this size is never sent in parts.
            socket.send_fds(self.socket, [head], [file.descriptor])
            head, self._file = b"", file
        left = memoryview(head + data)
        while left:
            try:
                left = left[self.socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.socket)

    async def _receive_reply(self) -> bytes:
        reply = b""
        while len(reply) < writer_process.DONE.size:
            await trio.lowlevel.wait_readable(self.socket)
            part = self.socket.recv(writer_process.DONE.size - len(reply))
            if not part:
                raise ConnectionResetError
            reply += part
        return reply
