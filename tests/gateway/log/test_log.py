"""The log in memory: sequence numbers, and one timestamp per batch."""

from collections.abc import Sequence

import trio
from trio.testing import wait_all_tasks_blocked

from gateway.log import Proposal
from gateway.log.memory import MemoryLog
from gateway.sequencer.command_source import CommandSource
from risk.commands import CancelAll, Continue, Entry, Origin, Tick
from tests.gateway.harness import START, HandClock


def one(request: int) -> list[Proposal]:
    """A list of one command."""
    return [Proposal(CancelAll(account=101), Origin(session=1, request=request))]


async def test_entries_are_numbered_and_stamped_by_the_venues_clock() -> None:
    """Numbers go on from batch to batch; a batch has one time."""
    clock = HandClock()
    log, intake = MemoryLog(clock), CommandSource(Origin(start=3))
    durable, entries = trio.open_memory_channel[Sequence[Entry]](2)
    await intake.inbox.put(one(1) + one(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        first = await entries.receive()
        clock.time += 5
        intake.propose(Tick(prices=()))
        second = await entries.receive()
        intake.close()
    assert [1, 2] == [each.sequence for each in first]
    assert [START, START] == [each.time for each in first]
    assert [Entry(3, START + 5, Origin(start=3), Tick(prices=()))] == list(second)


async def test_the_end_of_the_source_is_the_end_of_the_stream() -> None:
    """The reader of the log needs no other signal."""
    log, intake = MemoryLog(HandClock()), CommandSource()
    durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
    await intake.inbox.put(one(1))
    intake.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        batches = [batch async for batch in entries]
    assert [1] == [len(batch) for batch in batches]


async def test_the_next_batch_collects_while_the_last_one_is_pending() -> None:
    """Group commit: commands that arrive while the log is busy form one batch."""
    log, intake = MemoryLog(HandClock()), CommandSource()
    durable, entries = trio.open_memory_channel[Sequence[Entry]](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        await intake.inbox.put(one(1))
        await wait_all_tasks_blocked()
        for request in (2, 3, 4):
            await intake.inbox.put(one(request))
        intake.propose(Continue())
        assert [1] == [each.origin.request for each in await entries.receive()]
        assert [0, 2, 3, 4] == [each.origin.request for each in await entries.receive()]
        intake.close()


async def test_a_memory_log_stores_the_requested_number_of_entries() -> None:
    """A server that runs for months stores none."""
    for keep, kept in ((0, []), (2, [2, 3])):
        log, intake = MemoryLog(HandClock(), keep=keep), CommandSource()
        durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
        for request in (1, 2, 3):
            await intake.inbox.put(one(request))
        intake.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.run, intake, durable)
            assert 3 == sum([len(batch) async for batch in entries])
        assert kept == [each.sequence for each in log.entries]
