"""Hearing: who has something to say is heard in turn, and a turn of the loop is bounded."""

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
class Ticking:
    """A clock on which each look takes a second."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time, and a second passes."""
        self.now += 1.0
        return self.now


@define(eq=False)
class Client:
    """Two ends of a connection; whoever hears it takes a byte, and says `answers` of it."""

    theirs: socket.socket
    ours: socket.socket
    answers: Callable[[bytes], ReadResult] = lambda _: ReadResult.DRAINED
    heard: list[bytes] = field(factory=list)
    news: trio.Event = field(factory=trio.Event)

    @classmethod
    def open(
        cls, answers: Callable[[bytes], ReadResult] = lambda _: ReadResult.DRAINED
    ) -> "Client":
        """A connection that nobody hears yet."""
        theirs, ours = socket.socketpair()
        ours.settimeout(0)
        return cls(theirs, ours, answers)

    def hear(self) -> ReadResult:
        """Take a byte if there is one."""
        try:
            said = self.ours.recv(1)
        except BlockingIOError:
            return ReadResult.DRAINED
        self.heard.append(said)
        self.news.set()
        return self.answers(said)

    async def say(self, what: bytes) -> None:
        """Say it, and wait until it is heard."""
        self.news = trio.Event()
        self.theirs.send(what)
        await self.news.wait()

    def close(self) -> None:
        """Both ends."""
        self.theirs.close()
        self.ours.close()


@asynccontextmanager
async def running(hearing: ReadScheduler) -> AsyncIterator[trio.Nursery]:
    """Hear whoever is started in the nursery."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hearing.run)
        yield nursery
        nursery.cancel_scope.cancel()


async def poll_sockets(hearing: ReadScheduler) -> None:
    """Let the scheduler read a socket that is ready later than all others."""
    last = Client.open(lambda _: ReadResult.BLOCKED)
    last.theirs.send(b"x")
    await hearing.serve_reads(last.hear, last.ours.fileno())
    assert [b"x"] == last.heard
    last.close()


async def test_a_client_is_heard_whenever_it_says_something() -> None:
    """Without its task, which stays where it is."""
    hearing, client = ReadScheduler(), Client.open()
    async with running(hearing) as nursery:
        nursery.start_soon(hearing.serve_reads, client.hear, client.ours.fileno())
        await client.say(b"a")
        await client.say(b"b")
    assert [b"a", b"b"] == client.heard
    client.close()


async def test_who_is_stuck_goes_on_in_its_own_task_and_is_not_heard() -> None:
    """What it says meanwhile waits in the socket."""
    hearing, client = ReadScheduler(), Client.open(lambda _: ReadResult.BLOCKED)
    client.theirs.send(b"ab")
    async with running(hearing):
        await hearing.serve_reads(client.hear, client.ours.fileno())
        await poll_sockets(hearing)
        assert [b"a"] == client.heard
        await hearing.serve_reads(client.hear, client.ours.fileno())
        assert [b"a", b"b"] == client.heard
    client.close()


async def test_what_hearing_raises_is_raised_in_the_client_s_task() -> None:
    """And nobody else hears of it."""

    def broken(_: bytes) -> ReadResult:
        raise ZeroDivisionError

    hearing, client, other = ReadScheduler(), Client.open(broken), Client.open()
    async with running(hearing) as nursery:
        nursery.start_soon(hearing.serve_reads, other.hear, other.ours.fileno())
        client.theirs.send(b"a")
        with pytest.raises(ZeroDivisionError):
            await hearing.serve_reads(client.hear, client.ours.fileno())
        await other.say(b"b")
    assert [b"b"] == other.heard
    client.close()
    other.close()


async def test_whoever_is_cancelled_is_not_heard_any_more() -> None:
    """Nor is its socket looked at, which may be another's by then."""
    hearing, client = ReadScheduler(), Client.open()
    async with running(hearing):
        with trio.move_on_after(0):
            await hearing.serve_reads(client.hear, client.ours.fileno())
        client.theirs.send(b"a")
        await poll_sockets(hearing)
        assert [] == client.heard
    client.close()


async def test_floods_are_heard_in_turn_and_a_turn_of_the_loop_is_bounded() -> None:
    """However many they are: here a round is two looks at the clock."""
    hearing = ReadScheduler(round_seconds=2.0, clock=Ticking())
    heard: list[int] = []
    floods, slices, turns = 6, 4, 0
    left = [slices] * floods

    def hear(flood: int) -> ReadResult:
        heard.append(flood)
        left[flood] -= 1
        return ReadResult.MORE if left[flood] else ReadResult.DRAINED

    async with running(hearing), trio.open_nursery() as waiting:
        for flood in range(floods):
            waiting.start_soon(hearing.serve_reads, lambda flood=flood: hear(flood))
        while waiting.child_tasks:
            before = len(heard)
            await trio.lowlevel.checkpoint()
            # Who runs first in a turn is drawn by lot: two rounds may be next to each other.
            assert len(heard) - before <= 4
            turns += 1
    first = sorted(heard[:floods])
    assert list(range(floods)) == first
    assert heard == heard[:floods] * slices
    assert turns >= floods * slices // 4


async def test_without_a_socket_a_client_is_heard_out() -> None:
    """That is for transports that read by themselves."""
    hearing, chunks = ReadScheduler(), [ReadResult.MORE, ReadResult.MORE, ReadResult.DRAINED]
    async with running(hearing):
        await hearing.serve_reads(lambda: chunks.pop(0))
    assert [] == chunks


async def test_whoever_would_be_refused_is_asked_again_after_a_while() -> None:
    """Nobody looks at its socket meanwhile, though it says more."""
    came: list[float] = []

    def later(said: bytes) -> ReadResult:
        came.append(trio.current_time())
        return ReadResult.THROTTLED if said in b"ab" else ReadResult.BLOCKED

    hearing, client = ReadScheduler(), Client.open(later)
    client.theirs.send(b"abc")
    async with running(hearing):
        await hearing.serve_reads(client.hear, client.ours.fileno())
    assert [b"a", b"b", b"c"] == client.heard
    assert all(after - before >= RETRY_SECONDS for before, after in pairwise(came))
    client.close()


async def test_whoever_would_be_refused_is_asked_again_once_there_may_be_room(
    autojump_clock: MockClock,
) -> None:
    """At once, and then its socket is looked at again as before."""
    answers = [ReadResult.THROTTLED, ReadResult.THROTTLED, ReadResult.DRAINED]
    hearing, client = (
        ReadScheduler(),
        Client.open(lambda _: answers.pop(0) if answers else ReadResult.BLOCKED),
    )
    client.theirs.send(b"abcd")

    async def decide() -> None:
        for _ in range(3):
            await client.news.wait()
            client.news = trio.Event()
            hearing.retry_throttled()

    async with running(hearing) as nursery:
        nursery.start_soon(decide)
        await hearing.serve_reads(client.hear, client.ours.fileno())
    assert [b"a", b"b", b"c", b"d"] == client.heard
    assert 0 == trio.current_time()
    client.close()


async def test_whoever_leaves_meanwhile_is_not_asked_again(autojump_clock: MockClock) -> None:
    """Its socket may be another's by then."""
    hearing, client = ReadScheduler(), Client.open(lambda _: ReadResult.THROTTLED)
    client.theirs.send(b"ab")
    async with running(hearing):
        with trio.move_on_after(RETRY_SECONDS / 2):
            await hearing.serve_reads(client.hear, client.ours.fileno())
        client.close()
        await trio.sleep(2 * RETRY_SECONDS)
        await poll_sockets(hearing)
    assert [b"a"] == client.heard


async def test_whoever_hangs_up_while_it_is_to_wait_is_heard_after_that() -> None:
    """The kernel tells of the end of a connection whether it was asked to or not."""
    came: list[float] = []

    def later(_: bytes) -> ReadResult:
        came.append(trio.current_time())
        return ReadResult.THROTTLED if len(came) < 3 else ReadResult.BLOCKED

    hearing, client = ReadScheduler(), Client.open(later)
    client.theirs.send(b"abc")
    client.theirs.close()
    async with running(hearing):
        await hearing.serve_reads(client.hear, client.ours.fileno())
    assert 3 == len(came)
    assert all(after - before >= RETRY_SECONDS for before, after in pairwise(came))
    client.close()
