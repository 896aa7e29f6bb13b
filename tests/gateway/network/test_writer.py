"""What is said is written by plain calls, in order, and a task waits only for the kernel."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio
from attrs import define
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from gateway.network import connection, writer
from gateway.network.outbox import Outbox
from gateway.network.transport import DisconnectedError
from gateway.network.transport.meter import unmetered
from gateway.network.transport.websockets_transport import WebSocketTransport, shake_hands
from gateway.network.writer import FlushScheduler, Writer
from gateway.protocol.large_results import run_to_end
from gateway.sequencer import matcher
from tests.gateway.server_fixtures import ORDER, Wire, floor

SECONDS = 10.0


@define(eq=False)
class Line:
    """A writer with a real socket, and the client's end of it."""

    nursery: trio.Nursery
    outbox: Outbox
    transport: WebSocketTransport
    writer: Writer
    writers: FlushScheduler
    client: socket.socket
    dropped: list[str]

    def say(self, *numbers: int) -> None:
        """Queue messages, which are numbers, padded so that few fill the kernel's buffer."""
        for number in numbers:
            self.outbox.send_private(b"%d " % number + b"x" * 10_000)

    async def heard(self, count: int) -> list[int]:
        """The next so many numbers that arrive."""
        numbers: list[int] = []
        async with trio.SocketStream(trio.socket.from_stdlib_socket(self.client.dup())) as stream:
            while len(numbers) < count:
                head = await exactly(stream, 4)
                message = await exactly(stream, int.from_bytes(head[2:], "big"))
                numbers.append(int(message.split()[0]))
        return numbers

    @staticmethod
    def framed(message: bytes) -> bytes:
        """As it goes over the line."""
        return Frame(Opcode.TEXT, message).serialize(mask=False)


async def exactly(stream: trio.SocketStream, size: int) -> bytes:
    """So many bytes."""
    got = b""
    while len(got) < size:
        got += await stream.receive_some(size - len(got))
    return got


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """Ready to write; nobody reads, and no task waits."""
    ours, theirs = socket.socketpair()
    with theirs:
        request = (
            b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            transport = await shake_hands(stream, request, b"", 1_000, unmetered())
            assert transport is not None
            theirs.settimeout(0)
            assert theirs.recv(4_096).startswith(b"HTTP/1.1 101 ")
            dropped: list[str] = []
            outbox, writers = Outbox(1, dropped.append, run_to_end), FlushScheduler()
            writer = Writer(outbox, transport, SECONDS)
            outbox.on_filled = partial(writers.schedule, writer)
            async with trio.open_nursery() as nursery:
                yield Line(nursery, outbox, transport, writer, writers, theirs, dropped)
                nursery.cancel_scope.cancel()


async def test_what_is_said_in_a_step_is_in_the_kernel_at_its_end() -> None:
    """No task is there to write it."""
    async with line() as it:
        it.outbox.send_private(b"one")
        it.outbox.send_private(b"two")
        with pytest.raises(BlockingIOError):
            it.client.recv(100)
        it.writers.flush()
        assert it.framed(b"one") + it.framed(b"two") == it.client.recv(100)
        assert 0 == len(it.outbox)


async def test_behind_a_full_kernel_the_outbox_fills_and_nothing_is_reordered() -> None:
    """Its bounds then hold for what waits; flushes do nothing until the task has caught up."""
    async with line() as it:
        it.nursery.start_soon(it.writer.run)
        for number in range(200):
            it.say(number)
            it.writers.flush()
            if number % 50 == 0:
                await wait_all_tasks_blocked()
        assert len(it.outbox) > 100
        numbers = await it.heard(200)
        it.say(200)
        it.writers.flush()
        assert list(range(201)) == numbers + await it.heard(1)
        assert 0 == len(it.outbox)


async def test_a_client_that_does_not_read_is_cut_also_when_others_write_for_it(
    autojump_clock: MockClock,
) -> None:
    """The send deadline counts from when the kernel is full, whoever found that out."""
    async with line() as it:
        it.say(*range(200))
        it.writers.flush()
        began = trio.current_time()
        await it.writer.run()
        assert SECONDS == pytest.approx(trio.current_time() - began)
        assert ["unread"] == it.dropped
        assert it.outbox.close_reason is not None
        assert (1008, "connection_too_slow") == (
            it.outbox.close_reason.code,
            it.outbox.close_reason.reason,
        )


async def test_after_the_goodbye_nothing_is_written() -> None:
    """Whoever still publishes to a connection that is being closed does no harm."""
    async with line() as it:
        it.nursery.start_soon(it.transport.close, 1000, "")
        await wait_all_tasks_blocked()
        it.outbox.send_private(b"late")
        it.writers.flush()
        assert Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False) == it.client.recv(100)
        with pytest.raises(BlockingIOError):
            it.client.recv(100)


async def test_a_flush_to_a_peer_that_is_gone_neither_raises_nor_piles_up() -> None:
    """The task hears of it."""
    async with line() as it:
        it.client.close()
        it.outbox.send_private(b"x")
        it.writers.flush()
        with pytest.raises(DisconnectedError):
            await it.transport.drain()


@asynccontextmanager
async def crowd(size: int) -> AsyncIterator[list[Line]]:
    """Lines whose writers share one list, as those of a venue do."""
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line()) for _ in range(size)]
        for each in lines:
            each.outbox.on_filled = partial(lines[0].writers.schedule, each.writer)
        yield lines


def served(lines: list[Line]) -> int:
    """How many have nothing left to be written."""
    return sum(not len(each.outbox) for each in lines)


async def test_a_round_of_many_lets_others_have_the_loop_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And who is told something before its turn is written to once, in order."""
    monkeypatch.setattr(writer, "WRITERS_PER_TURN", 2)
    async with crowd(5) as lines:
        seen: list[int] = []

        async def interrupt() -> None:
            seen.append(served(lines))
            lines[4].outbox.send_private(b"more")
            lines[0].writers.flush()

        for each in lines:
            each.outbox.send_private(b"one")
        lines[0].nursery.start_soon(interrupt)
        await lines[0].writers.flush_in_turns()
        assert seen in ([2], [4]), "which, is up to the scheduler"
        assert 5 == served(lines)
        assert Line.framed(b"one") == lines[3].client.recv(100)
        assert Line.framed(b"one") + Line.framed(b"more") == lines[4].client.recv(100)


async def test_who_was_left_out_of_a_cancelled_round_is_written_to_by_the_next_flush(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that was said waits for more to be said."""
    monkeypatch.setattr(writer, "WRITERS_PER_TURN", 2)
    async with crowd(5) as lines:
        for each in lines:
            each.outbox.send_private(b"one")
        with trio.CancelScope() as scope:
            scope.cancel()
            await lines[0].writers.flush_in_turns()
        assert 2 == served(lines)
        lines[0].writers.flush()
        assert 5 == served(lines)


async def test_a_batch_of_the_log_is_one_write_to_each_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many replies and events it has for them."""
    writes: list[tuple[Wire, int]] = []
    write = Wire.write

    def note(wire: Wire, messages: list[bytes]) -> None:
        writes.append((wire, len(messages)))
        write(wire, messages)

    async with floor() as venue:
        alice, bob = await venue.client("alice"), await venue.client("bob")
        venue.log.shut()
        # The log has taken the first already, and the rest comes in one batch.
        await alice.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        for wire in (alice, bob, alice, bob):
            await wire.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        monkeypatch.setattr(Wire, "write", note)
        # Also where the machine is busy.
        monkeypatch.setattr(matcher, "SLICE_SECONDS", 10.0)
        venue.log.gate.set()
        await wait_all_tasks_blocked()
        assert (alice, 1) == writes.pop(0)
        assert {alice: 2, bob: 2} == dict(writes)
        assert 2 == len(writes)


async def test_a_chunk_of_requests_is_answered_by_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reads are decided at once, and so are their replies written."""
    written: list[int] = []
    write = Wire.write

    def note(wire: Wire, messages: list[bytes]) -> None:
        written.append(len(messages))
        write(wire, messages)

    monkeypatch.setattr(Wire, "write", note)
    request = b'{"jsonrpc":"2.0","id":1,"method":"public/test"}'

    async def chunk(wire: Wire) -> list[bytes]:
        if not written:
            await trio.lowlevel.checkpoint()
            return [request] * 5
        return await trio.sleep_forever()

    monkeypatch.setattr(Wire, "receive", chunk)
    monkeypatch.setattr(connection, "SLICE_SECONDS", 10.0)
    async with floor() as venue:
        venue.connect()
        await wait_all_tasks_blocked()
        assert [5] == written
