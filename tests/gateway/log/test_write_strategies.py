"""What writes the log: the same file in each way, and a process that ends when it has to."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from select import select

import pytest
import trio

from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import DiskError, LockedError
from gateway.log.frames import HEADER_BYTES
from gateway.log.segments import list_segments, reader_after
from gateway.log.write_strategies import Append, WriteStrategy, in_event_loop, in_process, in_thread
from gateway.log.writer import SegmentWriter
from risk.commands import CancelAll, Entry, Origin

WAYS = [in_event_loop, in_thread, partial(in_process, lock=2)]

# A process that has its appender write to a pipe that nobody reads, and is killed.
VENUE = """
import sys, trio
from pathlib import Path
from gateway.log.write_strategies import in_process
from gateway.log.disk import Disk
from gateway.log.data_directory import DataDirectory
from gateway.log.writer import SegmentWriter
from tests.gateway.log.test_write_strategies import entry

async def main():
    directory = DataDirectory(Path(sys.argv[1]))
    with directory.locked(Disk()) as lock:
        writer = SegmentWriter(directory.log)
        writer.open()
        async with in_process(writer, lock=lock) as append:
            await append(writer.encode([entry(1)]))
            writer._file = Disk().open_for_append(Path(sys.argv[2]))
            print("writing", flush=True)
            await append(writer.encode([entry(number) for number in range(2, 20_001)]))

trio.run(main)
"""


def entry(number: int) -> Entry:
    """One command in its place."""
    return Entry(number, 1_000, Origin(session=1, request=number), CancelAll(account=101))


def appender() -> int:
    """The only process that this one has started, from whatever thread."""
    told = [file.read_text().split() for file in Path("/proc/self/task").glob("*/children")]
    (pid,) = (pid for started in told for pid in started)
    return int(pid)


def stored(folder: Path) -> list[Entry]:
    """All entries on the disk."""
    reader = reader_after(folder, 0, bytes(16))
    return [] if reader is None else [e for frame in reader.frames() for e in frame.entries()]


@asynccontextmanager
async def appending(writer: SegmentWriter) -> AsyncIterator[Append]:
    """An appender process for a writer that is ready."""
    writer.open()
    async with in_process(writer, lock=2) as append:
        yield append
    writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_all_write_strategies_write_the_same_bytes(
    tmp_path: Path, way: WriteStrategy
) -> None:
    """Segment after segment, each batch before its append returns."""
    writer = SegmentWriter(tmp_path, segment_bytes=HEADER_BYTES + 600)
    writer.open()
    async with way(writer) as append:
        for number in range(1, 40):
            seconds = await append(writer.encode([entry(number)]))
            assert 0 <= seconds < 10
            assert number == writer.sequence == len(stored(tmp_path))
    writer.close()
    assert [entry(number) for number in range(1, 40)] == stored(tmp_path)
    assert len(list_segments(tmp_path)) > 5


async def test_a_large_batch_goes_through_whole(tmp_path: Path) -> None:
    """Larger than what a socket holds, several times."""
    writer = SegmentWriter(tmp_path)
    batch = [entry(number) for number in range(1, 20_001)]
    async with appending(writer) as append:
        framed = writer.encode(batch)
        assert len(framed.data) > 1_000_000
        await append(framed)
    assert batch == stored(tmp_path)


async def test_the_error_of_the_kernel_is_raised(tmp_path: Path) -> None:
    """With the file's name, and the process has ended: nothing is written after an error."""
    writer = SegmentWriter(tmp_path)
    async with appending(writer) as append:
        await append(writer.encode([entry(1)]))
        writer.close()
        writer._file = Disk().open_for_append(Path("/dev/full"))
        with pytest.raises(DiskError) as caught:
            await append(writer.encode([entry(2)]))
        assert (errno.ENOSPC, "[Errno 28] No space left on device: '/dev/full'") == (
            caught.value.errno,
            str(caught.value),
        )
        assert 1 == writer.sequence
        with pytest.raises(DiskError, match="the process that writes the log has ended"):
            await append(writer.encode([entry(2)]))


async def test_a_killed_writer_process_counts_as_a_disk_failure(tmp_path: Path) -> None:
    """It says so of the next batch, whether that has been sent or not."""
    writer = SegmentWriter(tmp_path)
    async with appending(writer) as append:
        await append(writer.encode([entry(1)]))
        os.kill(appender(), signal.SIGKILL)
        told = rf"the process that writes the log has ended: '{tmp_path}/0{{19}}1.seg"
        with trio.fail_after(10), pytest.raises(DiskError, match=told):
            await append(writer.encode([entry(2)]))
    assert [entry(1)] == stored(tmp_path)


async def test_the_writer_process_ignores_signals(tmp_path: Path) -> None:
    """Who stops a whole group of processes has the venue end this one."""
    writer = SegmentWriter(tmp_path)
    async with appending(writer) as append:
        await append(writer.encode([entry(1)]))
        pid = appender()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        await append(writer.encode([entry(2)]))
    assert [entry(1), entry(2)] == stored(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_idle_suspended_writer_process_is_killed(tmp_path: Path) -> None:
    """All that it was sent is on the disk, so that the end of the venue need not wait for it."""
    writer = SegmentWriter(tmp_path)
    resumed = []

    async def resume(pid: int) -> None:
        await trio.sleep(5)
        resumed.append(pid)
        os.kill(pid, signal.SIGCONT)

    async with trio.open_nursery() as nursery:
        async with appending(writer) as append:
            await append(writer.encode([entry(1)]))
            pid = appender()
            os.kill(pid, signal.SIGSTOP)
            nursery.start_soon(resume, pid)
        nursery.cancel_scope.cancel()
    assert not resumed
    assert [entry(1)] == stored(tmp_path)


async def test_cancellation_waits_for_the_write_in_progress(tmp_path: Path) -> None:
    """Nothing is written behind the back of who goes on."""
    writer = SegmentWriter(tmp_path)
    with trio.CancelScope() as scope:
        async with appending(writer) as append:
            scope.cancel()
            await append(writer.encode([entry(1)]))
            assert 1 == writer.sequence
            await trio.lowlevel.checkpoint()
            pytest.fail("it is cancelled")
    assert [entry(1)] == stored(tmp_path)


def test_the_lock_is_held_until_the_last_write_is_over(tmp_path: Path) -> None:
    """Of a venue that was killed; a start waits for that, and no longer than a second."""
    directory, pipe = DataDirectory(tmp_path / "data"), tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    command = [sys.executable, "-c", VENUE, str(directory.path), str(pipe)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as venue:
        assert venue.stdout is not None
        assert b"writing\n" == venue.stdout.readline()
        assert select([reading], [], [], 10)[0]
        venue.kill()
    used = re.escape(f"{directory.path}: in use by another process (pid {venue.pid})")
    with pytest.raises(LockedError, match=used), directory.locked(Disk()):
        pytest.fail("two processes hold it")
    os.close(reading)
    with directory.locked(Disk()):
        assert [entry(1)] == stored(directory.log)
