"""The read scheduler reads ready connections round-robin, in bounded rounds."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from gateway.network.read_scheduler import RETRY_SECONDS, ReadResult, ReadScheduler

pytestmark = pytest.mark.skipif(not ReadScheduler().has_epoll, reason="needs epoll")


@define
class TickingClock:
    """A clock that advances by a second each time it is read."""

    now: float = 0.0

    def __call__(self) -> float:
        """Advance by a second and return the time."""
        self.now += 1.0
        return self.now


@define(eq=False)
class Client:
    """Both ends of a connection; a read takes one byte and returns `result` of it."""

    theirs: socket.socket
    ours: socket.socket
    result: Callable[[bytes], ReadResult] = lambda _: ReadResult.DRAINED
    reads: list[bytes] = field(factory=list)
    received: trio.Event = field(factory=trio.Event)

    @classmethod
    def open(cls, result: Callable[[bytes], ReadResult] = lambda _: ReadResult.DRAINED) -> "Client":
        """Open a connection that is not read yet."""
        theirs, ours = socket.socketpair()
        ours.settimeout(0)
        return cls(theirs, ours, result)

    def read(self) -> ReadResult:
        """Take one byte, if there is one."""
        try:
            data = self.ours.recv(1)
        except BlockingIOError:
            return ReadResult.DRAINED
        self.reads.append(data)
        self.received.set()
        return self.result(data)

    async def send(self, data: bytes) -> None:
        """Send data and wait until it was read."""
        self.received = trio.Event()
        self.theirs.send(data)
        await self.received.wait()

    def close(self) -> None:
        """Close both ends."""
        self.theirs.close()
        self.ours.close()


@asynccontextmanager
async def running(scheduler: ReadScheduler) -> AsyncIterator[trio.Nursery]:
    """Run the scheduler beside the tasks of a nursery."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run)
        yield nursery
        nursery.cancel_scope.cancel()


async def poll_sockets(scheduler: ReadScheduler) -> None:
    """Let the scheduler read a socket that is ready later than all others."""
    last = Client.open(lambda _: ReadResult.BLOCKED)
    last.theirs.send(b"x")
    await scheduler.serve_reads(last.read, last.ours.fileno())
    assert [b"x"] == last.reads
    last.close()


async def test_a_connection_is_read_whenever_data_arrives() -> None:
    """Its own task is not woken."""
    scheduler, client = ReadScheduler(), Client.open()
    async with running(scheduler) as nursery:
        nursery.start_soon(scheduler.serve_reads, client.read, client.ours.fileno())
        await client.send(b"a")
        await client.send(b"b")
    assert [b"a", b"b"] == client.reads
    client.close()


async def test_a_blocked_connection_continues_in_its_own_task_and_is_not_read() -> None:
    """Data that arrives meanwhile stays in the socket."""
    scheduler, client = ReadScheduler(), Client.open(lambda _: ReadResult.BLOCKED)
    client.theirs.send(b"ab")
    async with running(scheduler):
        await scheduler.serve_reads(client.read, client.ours.fileno())
        await poll_sockets(scheduler)
        assert [b"a"] == client.reads
        await scheduler.serve_reads(client.read, client.ours.fileno())
        assert [b"a", b"b"] == client.reads
    client.close()


async def test_an_exception_while_reading_is_raised_in_the_connection_s_task() -> None:
    """Other connections are not affected."""

    def broken(_: bytes) -> ReadResult:
        raise ZeroDivisionError

    scheduler, client, other = ReadScheduler(), Client.open(broken), Client.open()
    async with running(scheduler) as nursery:
        nursery.start_soon(scheduler.serve_reads, other.read, other.ours.fileno())
        client.theirs.send(b"a")
        with pytest.raises(ZeroDivisionError):
            await scheduler.serve_reads(client.read, client.ours.fileno())
        await other.send(b"b")
    assert [b"b"] == other.reads
    client.close()
    other.close()


async def test_a_cancelled_connection_is_not_read() -> None:
    """Nor is its socket watched: its descriptor may have been reused."""
    scheduler, client = ReadScheduler(), Client.open()
    async with running(scheduler):
        with trio.move_on_after(0):
            await scheduler.serve_reads(client.read, client.ours.fileno())
        client.theirs.send(b"a")
        await poll_sockets(scheduler)
        assert [] == client.reads
    client.close()


async def test_floods_are_read_round_robin_and_a_round_is_bounded() -> None:
    """Here a round lasts for two readings of the clock."""
    scheduler = ReadScheduler(round_seconds=2.0, clock=TickingClock())
    reads: list[int] = []
    floods, slices, turns = 6, 4, 0
    left = [slices] * floods

    def read(flood: int) -> ReadResult:
        reads.append(flood)
        left[flood] -= 1
        return ReadResult.MORE if left[flood] else ReadResult.DRAINED

    async with running(scheduler), trio.open_nursery() as waiting:
        for flood in range(floods):
            waiting.start_soon(scheduler.serve_reads, lambda flood=flood: read(flood))
        while waiting.child_tasks:
            before = len(reads)
            await trio.lowlevel.checkpoint()
            # Trio runs the tasks of a turn in random order, so two rounds may follow each other.
            assert len(reads) - before <= 4
            turns += 1
    first = sorted(reads[:floods])
    assert list(range(floods)) == first
    assert reads == reads[:floods] * slices
    assert turns >= floods * slices // 4


async def test_without_a_descriptor_a_connection_is_read_until_drained() -> None:
    """For transports that read by themselves."""
    scheduler, chunks = ReadScheduler(), [ReadResult.MORE, ReadResult.MORE, ReadResult.DRAINED]
    async with running(scheduler):
        await scheduler.serve_reads(lambda: chunks.pop(0))
    assert [] == chunks


async def test_a_throttled_connection_is_read_again_after_a_pause() -> None:
    """Its socket is not watched meanwhile, though more data arrives."""
    times: list[float] = []

    def throttle(data: bytes) -> ReadResult:
        times.append(trio.current_time())
        return ReadResult.THROTTLED if data in b"ab" else ReadResult.BLOCKED

    scheduler, client = ReadScheduler(), Client.open(throttle)
    client.theirs.send(b"abc")
    async with running(scheduler):
        await scheduler.serve_reads(client.read, client.ours.fileno())
    assert [b"a", b"b", b"c"] == client.reads
    assert all(after - before >= RETRY_SECONDS for before, after in pairwise(times))
    client.close()


async def test_a_throttled_connection_is_read_again_at_a_retry(
    autojump_clock: MockClock,
) -> None:
    """It is read at once, and then its socket is watched again."""
    results = [ReadResult.THROTTLED, ReadResult.THROTTLED, ReadResult.DRAINED]
    scheduler, client = (
        ReadScheduler(),
        Client.open(lambda _: results.pop(0) if results else ReadResult.BLOCKED),
    )
    client.theirs.send(b"abcd")

    async def decide() -> None:
        for _ in range(3):
            await client.received.wait()
            client.received = trio.Event()
            scheduler.retry_throttled()

    async with running(scheduler) as nursery:
        nursery.start_soon(decide)
        await scheduler.serve_reads(client.read, client.ours.fileno())
    assert [b"a", b"b", b"c", b"d"] == client.reads
    assert 0 == trio.current_time()
    client.close()


async def test_a_throttled_connection_that_is_cancelled_is_not_read_again(
    autojump_clock: MockClock,
) -> None:
    """Its descriptor may have been reused."""
    scheduler, client = ReadScheduler(), Client.open(lambda _: ReadResult.THROTTLED)
    client.theirs.send(b"ab")
    async with running(scheduler):
        with trio.move_on_after(RETRY_SECONDS / 2):
            await scheduler.serve_reads(client.read, client.ours.fileno())
        client.close()
        await trio.sleep(2 * RETRY_SECONDS)
        await poll_sockets(scheduler)
    assert [b"a"] == client.reads


async def test_a_throttled_connection_that_hangs_up_is_read_after_its_pause() -> None:
    """epoll reports a hang-up even where no events are asked for."""
    times: list[float] = []

    def throttle(_: bytes) -> ReadResult:
        times.append(trio.current_time())
        return ReadResult.THROTTLED if len(times) < 3 else ReadResult.BLOCKED

    scheduler, client = ReadScheduler(), Client.open(throttle)
    client.theirs.send(b"abc")
    client.theirs.close()
    async with running(scheduler):
        await scheduler.serve_reads(client.read, client.ours.fileno())
    assert 3 == len(times)
    assert all(after - before >= RETRY_SECONDS for before, after in pairwise(times))
    client.close()
