"""The log on disk: entries are durable before they are sent, in order, one batch at a time."""

import errno
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gateway.log import Proposal
from gateway.log.disk import Disk, File
from gateway.log.errors import DiskError
from gateway.log.file import FileLog
from gateway.log.recovery import recover
from gateway.log.segments import reader_after
from gateway.log.write_strategies import in_event_loop, in_thread
from gateway.sequencer.command_source import CommandSource
from risk.commands import CancelAll, Entry, Origin
from tests.gateway.harness import START, HandClock
from tests.gateway.log.log_fixtures import FailingDisk, LogDirectory, QuickDisk
from tests.gateway.server_fixtures import TrioClock


def one(request: int) -> list[Proposal]:
    """A list of one command."""
    return [Proposal(CancelAll(account=101), Origin(session=1, request=request))]


def open_log(book: LogDirectory, disk: Disk, **options: object) -> FileLog:
    """A log that goes on with a directory."""
    writer = recover(book.directory, disk).writer(disk)
    writer.open()
    given = {"clock": HandClock(), "write_strategy": in_thread, **options}
    return FileLog(writer=writer, **given)  # type: ignore[arg-type]


def stored(book: LogDirectory) -> list[Entry]:
    """All entries on the disk."""
    reader = reader_after(book.directory.log, 0, bytes(16))
    return [] if reader is None else [e for frame in reader.frames() for e in frame.entries()]


async def collect(log: FileLog, intake: CommandSource) -> list[Entry]:
    """What the log sends, to its end."""
    durable, entries = trio.open_memory_channel[Sequence[Entry]](0)
    found: list[Entry] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        async for batch in entries:
            found += batch
    return found


async def test_entries_are_durable_before_they_are_sent(tmp_path: Path) -> None:
    """The receiver of an entry may act on it at once."""
    book = LogDirectory(tmp_path)
    log, intake = open_log(book, Disk()), CommandSource()
    durable, entries = trio.open_memory_channel[Sequence[Entry]](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        for request in range(1, 4):
            await intake.inbox.put(one(request))
            (entry,) = await entries.receive()
            assert entry == stored(book)[-1]
            assert (request, request) == (entry.sequence, entry.origin.request)
        intake.close()


async def test_stamps_never_go_back_over_a_restart(tmp_path: Path) -> None:
    """The machine's clock was set back meanwhile."""
    book, clock = LogDirectory(tmp_path), HandClock()
    for moved in (0, -5_000, +1):
        clock.time = START + moved
        log = open_log(book, QuickDisk(), clock=clock)
        log.time = recover(book.directory, QuickDisk()).time
        intake = CommandSource()
        await intake.inbox.put(one(1))
        intake.close()
        await collect(log, intake)
    assert [START, START, START + 1] == [each.time for each in stored(book)]
    assert [1, 2, 3] == [each.sequence for each in stored(book)]


class SlowDisk(Disk):
    """Every sync takes a while."""

    def sync(self, file: File) -> None:
        """In the log's thread."""
        time.sleep(0.05)
        super().sync(file)


async def test_the_next_batch_collects_while_the_last_one_syncs(tmp_path: Path) -> None:
    """Group commit, and the loop is free meanwhile."""
    book = LogDirectory(tmp_path)
    seconds: list[float] = []
    log, intake = open_log(book, SlowDisk(), observe_write=seconds.append), CommandSource()
    durable, entries = trio.open_memory_channel[Sequence[Entry]](9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        await intake.inbox.put(one(1))
        await trio.sleep(0.01)
        began = trio.current_time()
        for request in (2, 3, 4):
            await intake.inbox.put(one(request))
        assert trio.current_time() - began < 0.03
        intake.close()
        batches = [[entry.origin.request for entry in batch] async for batch in entries]
    assert [[1], [2, 3, 4]] == batches
    assert 2 == len(seconds)
    assert min(seconds) >= 0.05


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_nothing_is_sent_after_the_disk_failed(tmp_path: Path, code: int) -> None:
    """Whichever step it was; the error names file and cause, and what was sent is there."""
    for step in range(4, 12):
        book = LogDirectory(tmp_path / str(step))
        log, intake = open_log(book, FailingDisk(step + 1, code)), CommandSource()
        durable, entries = trio.open_memory_channel[Sequence[Entry]](100)
        for request in range(1, 9):
            await intake.inbox.put(one(request))
        told = f"Errno {code}.*as the test wanted.*{book.path}/log/0{{19}}1.seg"
        with pytest.raises(DiskError, match=told):
            await log.run(_OneByOne(intake), durable)
        sent = [entry async for batch in entries for entry in batch]
        assert (step - 4) // 2 == len(sent)
        recover(book.directory, QuickDisk())
        assert sent == stored(book)[: len(sent)]
        assert len(stored(book)) <= len(sent) + 1


class _OneByOne:
    """A source that gives one proposal at a time."""

    def __init__(self, intake: CommandSource) -> None:
        self.batch = iter(intake.inbox.take())

    async def take(self) -> Sequence[Proposal]:
        """The next one."""
        await trio.lowlevel.checkpoint()
        return [each for each in [next(self.batch, None)] if each is not None]


async def test_a_log_can_write_in_the_event_loop(tmp_path: Path, autojump_clock: MockClock) -> None:
    """For tests whose clock jumps while a thread works."""
    book = LogDirectory(tmp_path)
    log, intake = (
        open_log(book, QuickDisk(), clock=TrioClock(), write_strategy=in_event_loop),
        CommandSource(),
    )
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(collect, log, intake))
            for request in range(1, 11):
                await intake.inbox.put(one(request))
                await trio.sleep(1)
            intake.close()
    assert [START + second * 1_000 for second in range(10)] == [e.time for e in stored(book)]


async def test_a_log_ends_quietly_when_the_matcher_has_failed(tmp_path: Path) -> None:
    """The matcher reports its failure itself."""
    log, intake = open_log(LogDirectory(tmp_path), QuickDisk()), CommandSource()
    durable, entries = trio.open_memory_channel[Sequence[Entry]](0)
    entries.close()
    await intake.inbox.put(one(1))
    with trio.fail_after(10):
        await log.run(intake, durable)


def test_real_errors_name_the_file() -> None:
    """The error of the kernel for a device that is always full."""
    disk, path = Disk(), Path("/dev/full")
    file = disk.open_for_append(path)
    with pytest.raises(DiskError) as caught:
        disk.write(file, b"x")
    disk.close(file)
    assert (errno.ENOSPC, "[Errno 28] No space left on device: '/dev/full'") == (
        caught.value.errno,
        str(caught.value),
    )
