"""Flushes write by plain calls and in order; the writer task waits only for the kernel."""

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
class WriterFixture:
    """A writer with a real socket, and the client's end of its connection."""

    nursery: trio.Nursery
    outbox: Outbox
    transport: WebSocketTransport
    writer: Writer
    scheduler: FlushScheduler
    client: socket.socket
    dropped: list[str]

    def queue(self, *numbers: int) -> None:
        """Queue messages, which are numbers, padded so that few fill the kernel's buffer."""
        for number in numbers:
            self.outbox.send_private(b"%d " % number + b"x" * 10_000)

    async def read_numbers(self, count: int) -> list[int]:
        """Read this many numbers."""
        numbers: list[int] = []
        async with trio.SocketStream(trio.socket.from_stdlib_socket(self.client.dup())) as stream:
            while len(numbers) < count:
                head = await read_exactly(stream, 4)
                message = await read_exactly(stream, int.from_bytes(head[2:], "big"))
                numbers.append(int(message.split()[0]))
        return numbers

    @staticmethod
    def framed(message: bytes) -> bytes:
        """Return the frame of a message."""
        return Frame(Opcode.TEXT, message).serialize(mask=False)


async def read_exactly(stream: trio.SocketStream, size: int) -> bytes:
    """Read this many bytes."""
    received = b""
    while len(received) < size:
        received += await stream.receive_some(size - len(received))
    return received


@asynccontextmanager
async def open_writer() -> AsyncIterator[WriterFixture]:
    """Open a connection; the client does not read, and the writer's task does not run."""
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
            outbox, scheduler = Outbox(1, dropped.append, run_to_end), FlushScheduler()
            writer = Writer(outbox, transport, SECONDS)
            outbox.on_filled = partial(scheduler.schedule, writer)
            async with trio.open_nursery() as nursery:
                yield WriterFixture(nursery, outbox, transport, writer, scheduler, theirs, dropped)
                nursery.cancel_scope.cancel()


async def test_a_flush_hands_queued_messages_to_the_kernel() -> None:
    """The writer's task does not run."""
    async with open_writer() as fixture:
        fixture.outbox.send_private(b"one")
        fixture.outbox.send_private(b"two")
        with pytest.raises(BlockingIOError):
            fixture.client.recv(100)
        fixture.scheduler.flush()
        assert fixture.framed(b"one") + fixture.framed(b"two") == fixture.client.recv(100)
        assert 0 == len(fixture.outbox)


async def test_messages_wait_in_order_in_the_outbox_while_the_kernel_is_full() -> None:
    """The outbox's bounds apply to them; flushes do nothing until the task has sent the rest."""
    async with open_writer() as fixture:
        fixture.nursery.start_soon(fixture.writer.run)
        for number in range(200):
            fixture.queue(number)
            fixture.scheduler.flush()
            if number % 50 == 0:
                await wait_all_tasks_blocked()
        assert len(fixture.outbox) > 100
        numbers = await fixture.read_numbers(200)
        fixture.queue(200)
        fixture.scheduler.flush()
        assert list(range(201)) == numbers + await fixture.read_numbers(1)
        assert 0 == len(fixture.outbox)


async def test_a_client_that_does_not_read_is_disconnected_at_the_send_deadline(
    autojump_clock: MockClock,
) -> None:
    """The deadline counts from the moment at which the kernel's buffer is full."""
    async with open_writer() as fixture:
        fixture.queue(*range(200))
        fixture.scheduler.flush()
        began = trio.current_time()
        await fixture.writer.run()
        assert SECONDS == pytest.approx(trio.current_time() - began)
        assert ["unread"] == fixture.dropped
        assert fixture.outbox.close_reason is not None
        assert (1008, "connection_too_slow") == (
            fixture.outbox.close_reason.code,
            fixture.outbox.close_reason.reason,
        )


async def test_nothing_is_written_after_the_close_frame() -> None:
    """Messages queued while the connection closes are dropped."""
    async with open_writer() as fixture:
        fixture.nursery.start_soon(fixture.transport.close, 1000, "")
        await wait_all_tasks_blocked()
        fixture.outbox.send_private(b"late")
        fixture.scheduler.flush()
        assert Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False) == fixture.client.recv(100)
        with pytest.raises(BlockingIOError):
            fixture.client.recv(100)


async def test_a_flush_to_a_disconnected_peer_does_not_raise() -> None:
    """The writer's task gets the error."""
    async with open_writer() as fixture:
        fixture.client.close()
        fixture.outbox.send_private(b"x")
        fixture.scheduler.flush()
        with pytest.raises(DisconnectedError):
            await fixture.transport.drain()


@asynccontextmanager
async def open_writers(size: int) -> AsyncIterator[list[WriterFixture]]:
    """Open connections whose writers share one scheduler, as those of a venue do."""
    async with AsyncExitStack() as stack:
        fixtures = [await stack.enter_async_context(open_writer()) for _ in range(size)]
        for each in fixtures:
            each.outbox.on_filled = partial(fixtures[0].scheduler.schedule, each.writer)
        yield fixtures


def empty_outboxes(fixtures: list[WriterFixture]) -> int:
    """Return how many outboxes are empty."""
    return sum(not len(each.outbox) for each in fixtures)


async def test_a_flush_of_many_writers_yields_to_other_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outbox that is filled before its turn is written once, in order."""
    monkeypatch.setattr(writer, "WRITERS_PER_TURN", 2)
    async with open_writers(5) as fixtures:
        seen: list[int] = []

        async def interrupt() -> None:
            seen.append(empty_outboxes(fixtures))
            fixtures[4].outbox.send_private(b"more")
            fixtures[0].scheduler.flush()

        for each in fixtures:
            each.outbox.send_private(b"one")
        fixtures[0].nursery.start_soon(interrupt)
        await fixtures[0].scheduler.flush_in_turns()
        assert seen in ([2], [4]), "trio chooses the order of tasks"
        assert 5 == empty_outboxes(fixtures)
        assert WriterFixture.framed(b"one") == fixtures[3].client.recv(100)
        one, more = WriterFixture.framed(b"one"), WriterFixture.framed(b"more")
        assert one + more == fixtures[4].client.recv(100)


async def test_writers_left_out_of_a_cancelled_flush_are_flushed_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No message waits for a later one."""
    monkeypatch.setattr(writer, "WRITERS_PER_TURN", 2)
    async with open_writers(5) as fixtures:
        for each in fixtures:
            each.outbox.send_private(b"one")
        with trio.CancelScope() as scope:
            scope.cancel()
            await fixtures[0].scheduler.flush_in_turns()
        assert 2 == empty_outboxes(fixtures)
        fixtures[0].scheduler.flush()
        assert 5 == empty_outboxes(fixtures)


async def test_a_batch_of_the_log_causes_one_write_per_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many replies and notifications it causes."""
    writes: list[tuple[Wire, int]] = []
    write = Wire.write

    def note(wire: Wire, messages: list[bytes]) -> None:
        writes.append((wire, len(messages)))
        write(wire, messages)

    async with floor() as venue:
        alice, bob = await venue.client("alice"), await venue.client("bob")
        venue.log.shut()
        # The log takes the first order at once; the others form one batch.
        await alice.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        for wire in (alice, bob, alice, bob):
            await wire.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        monkeypatch.setattr(Wire, "write", note)
        # Otherwise a busy machine would cut the batch into slices.
        monkeypatch.setattr(matcher, "SLICE_SECONDS", 10.0)
        venue.log.gate.set()
        await wait_all_tasks_blocked()
        assert (alice, 1) == writes.pop(0)
        assert {alice: 2, bob: 2} == dict(writes)
        assert 2 == len(writes)


async def test_the_replies_to_a_chunk_of_requests_are_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests answered from the state are answered in the same step."""
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
