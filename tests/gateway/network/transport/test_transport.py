"""One WebSocket connection over each library: receiving, sending and closing."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio_websocket
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from gateway.network.transport import (
    DisconnectedError,
    HandshakePolicy,
    Library,
    Transport,
    shake_hands,
)
from gateway.network.transport.frame_filter import FrameFilter
from gateway.network.transport.frames import MAX_DISCARD_BYTES, text_frame_head
from gateway.network.transport.handshake import LINGER_BYTES
from gateway.network.transport.meter import unmetered
from gateway.network.transport.trio_websocket_transport import BufferedStream
from gateway.network.transport.websockets_transport import MAX_QUEUED_PONGS

FRAME_BYTES = 1_000
REQUEST = (
    b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[trio.Nursery, trio.SocketStream, trio.SocketStream]]:
    """Open both ends of a real connection, and a nursery."""
    ours, theirs = (trio.socket.from_stdlib_socket(each) for each in socket.socketpair())
    async with (
        trio.SocketStream(ours) as server,
        trio.SocketStream(theirs) as client,
        trio.open_nursery() as nursery,
    ):
        yield nursery, server, client
        nursery.cancel_scope.cancel()


async def opened(
    nursery: trio.Nursery,
    library: Library,
    stream: trio.SocketStream,
    frame_bytes: int = FRAME_BYTES,
) -> Transport | None:
    """Run the server's side of a handshake."""
    return await shake_hands(
        nursery,
        stream,
        library=library,
        tls=None,
        frame_bytes=frame_bytes,
        seconds=1,
        refusal=None,
        policy=HandshakePolicy(),
        meter=unmetered(),
    )


@asynccontextmanager
async def opened_pair(
    library: Library,
) -> AsyncIterator[tuple[trio.Nursery, Transport, trio_websocket.WebSocketConnection]]:
    """Open a connection whose client uses trio-websocket."""
    async with streams() as (nursery, ours, theirs):
        transports: list[Transport | None] = []

        async def serve() -> None:
            transports.append(await opened(nursery, library, ours))

        async with trio.open_nursery() as meeting:
            meeting.start_soon(serve)
            client = await trio_websocket.wrap_client_stream(nursery, theirs, "test", "/ws/api/v2")
        (transport,) = transports
        assert transport is not None
        yield nursery, transport, client


@asynccontextmanager
async def opened_raw(
    library: Library, ahead: bytes = b"", frame_bytes: int = FRAME_BYTES
) -> AsyncIterator[tuple[trio.Nursery, Transport, trio.SocketStream]]:
    """Open a connection whose client sends bytes; `ahead` is sent together with its request."""
    async with streams() as (nursery, ours, theirs):
        await theirs.send_all(REQUEST + ahead)
        transport = await opened(nursery, library, ours, frame_bytes)
        assert transport is not None
        response = bytearray()
        while not response.endswith(b"\r\n\r\n"):
            response += await theirs.receive_some(1)
        assert response.startswith(b"HTTP/1.1 101 ")
        yield nursery, transport, theirs


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """Return a client's frame."""
    return Frame(opcode, data, fin).serialize(mask=masked)


async def send(transport: Transport, *messages: bytes) -> None:
    """Write messages and wait until they are sent."""
    transport.write(messages)
    while transport.unsent:
        await transport.drain()


async def received(transport: Transport, count: int) -> list[str | bytes]:
    """Receive this many messages; answer pings meanwhile."""
    messages: list[str | bytes] = []
    while len(messages) < count:
        messages += await transport.receive()
        if transport.unsent:
            await transport.drain()
    return messages


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """Return all bytes until the other side ends the stream."""
    with trio.fail_after(10):
        return b"".join([bytes(chunk) async for chunk in stream])


async def disconnected(transport: Transport) -> None:
    """Receive until DisconnectedError."""
    with trio.fail_after(10), pytest.raises(DisconnectedError):
        await received(transport, 1_000)


async def test_messages_go_both_ways_as_text(library: Library) -> None:
    """A batch is sent as one frame per message, in order."""
    async with opened_pair(library) as (_, transport, client):
        await send(transport, b"one", "zwei \u20ac".encode())
        assert ["one", "zwei \u20ac"] == [await client.get_message() for _ in range(2)]
        await client.send_message("three \u20ac")
        await client.send_message(b"\xff")
        assert ["three \u20ac", b"\xff"] == await received(transport, 2)


async def test_messages_of_every_length_arrive_complete(library: Library) -> None:
    """The peer's library reads all three forms of the length."""
    async with opened_pair(library) as (nursery, transport, client):
        for length in (0, 1, 125, 126, 65_535, 65_536, 300_000):
            message = b"x" * length
            nursery.start_soon(send, transport, message)
            assert message.decode() == await client.get_message()
            await wait_all_tasks_blocked()


def test_text_frame_heads_equal_those_of_the_library() -> None:
    """On both sides of each boundary between forms of the length."""
    for length in (0, 1, 125, 126, 127, 65_535, 65_536, 70_000):
        payload = b"x" * length
        whole = Frame(Opcode.TEXT, payload).serialize(mask=False)
        assert whole == text_frame_head(length) + payload


async def test_fragments_form_one_message_and_a_ping_between_them_is_answered(
    library: Library,
) -> None:
    """Fragments may split characters, and may be empty."""
    async with opened_raw(library) as (_, transport, client):
        euro = "\u20ac".encode()
        await client.send_all(
            frame(Opcode.TEXT, b"a" + euro[:1], fin=False)
            + frame(Opcode.PING, b"are you there?")
            + frame(Opcode.CONT, b"", fin=False)
            + frame(Opcode.CONT, euro[1:])
            + frame(Opcode.BINARY, b"\xff", fin=False)
            + frame(Opcode.CONT, b"\xfe")
        )
        assert ["a\u20ac", b"\xff\xfe"] == await received(transport, 2)
        pong = frame(Opcode.PONG, b"are you there?", masked=False)
        assert pong == await client.receive_some()


async def test_messages_do_not_depend_on_the_chunks_that_carry_them(library: Library) -> None:
    """Sent byte by byte, or in one chunk."""
    sent = (
        frame(Opcode.TEXT, b"short")
        + frame(Opcode.PING, b"")
        + frame(Opcode.TEXT, b"x" * 300)
        + frame(Opcode.BINARY, b"", fin=False)
        + frame(Opcode.CONT, b"y" * 130, fin=False)
        + frame(Opcode.CONT, b"z")
        + frame(Opcode.TEXT, b"")
    )
    expected = ["short", "x" * 300, b"y" * 130 + b"z", ""]
    for size in (1, 2, 3, 7, 100, len(sent)):
        async with opened_raw(library) as (nursery, transport, client):
            nursery.start_soon(in_pieces, client, sent, size)
            with trio.fail_after(5):
                assert expected == await received(transport, len(expected))


async def in_pieces(stream: trio.SocketStream, data: bytes, size: int) -> None:
    """Send this many bytes at a time."""
    for start in range(0, len(data), size):
        await stream.send_all(data[start : start + size])


async def test_frames_sent_together_with_the_request_are_received() -> None:
    """A client need not wait for the response to its handshake."""
    ahead = frame(Opcode.PING, b"p") + frame(Opcode.TEXT, b"early")
    async with opened_raw("websockets", ahead) as (_, transport, client):
        assert ["early"] == await received(transport, 1)
        assert frame(Opcode.PONG, b"p", masked=False) == await client.receive_some()


async def test_all_messages_of_a_chunk_are_received_together() -> None:
    """Pipelined requests do not take a turn of the event loop each."""
    async with opened_raw("websockets") as (_, transport, client):
        await client.send_all(b"".join(frame(Opcode.TEXT, b"%d" % n) for n in range(100)))
        assert [str(n) for n in range(100)] == list(await transport.receive())


async def test_a_plain_call_writes_a_batch_at_once() -> None:
    """While the kernel has room nothing is unsent."""
    async with opened_raw("websockets") as (_, transport, client):
        transport.write([b"one", b"two"])
        assert not transport.unsent
        assert b"\x81\x03one\x81\x03two" == await client.receive_some()


async def test_data_that_the_kernel_does_not_take_waits_in_order() -> None:
    """Messages and pongs written while the kernel's buffer is full arrive complete."""
    async with opened_raw("websockets") as (nursery, transport, client):
        large = b"x" * 2_000_000
        transport.write([large])
        assert transport.unsent
        nursery.start_soon(send, transport)
        await wait_all_tasks_blocked()
        transport.write([b"second"])
        await client.send_all(frame(Opcode.PING, b"p"))
        assert [] == list(await transport.receive())
        expected = (
            (text_frame_head(len(large)) + large + text_frame_head(6) + b"second"),
            frame(Opcode.PONG, b"p", masked=False),
        )
        got = bytearray()
        while len(got) < sum(map(len, expected)):
            got += await client.receive_some()
        assert b"".join(expected) == got
        # All data has arrived, but the draining task has not been scheduled yet.
        await wait_all_tasks_blocked()
        assert not transport.unsent


async def test_the_number_of_queued_pongs_is_bounded() -> None:
    """The protocol demands an answer to the latest ping only."""
    async with opened_raw("websockets") as (_, transport, client):
        await client.send_all(b"".join(frame(Opcode.PING, b"%d" % n) for n in range(100)))
        await transport.receive()
        await transport.drain()
        latest = [
            frame(Opcode.PONG, b"%d" % n, masked=False) for n in range(100 - MAX_QUEUED_PONGS, 100)
        ]
        assert b"".join(latest) == await client.receive_some()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
        (frame(Opcode.TEXT, b"\xe2\x82", fin=False) + frame(Opcode.CONT, b"x"), 1007),
        (frame(Opcode.TEXT, b"x" * (FRAME_BYTES + MAX_DISCARD_BYTES + 1))[:100], 1009),
        (frame(Opcode.BINARY, b"", fin=False) + b"\x80\xff" + b"\x7f" * 8 + bytes(100), 1009),
        (frame(Opcode.CONT, b"x"), 1002),
        (frame(Opcode.TEXT, b"x", fin=False) + frame(Opcode.TEXT, b"x"), 1002),
        (frame(Opcode.PING, b"x", masked=False), 1002),
        (bytes([0x80 | 0x3, 0x80]) + bytes(4), 1002),
        (bytes([0xC0 | 0x1, 0x80]) + bytes(4), 1002),
        (bytes([0x80 | 0x9, 0x80 | 126, 0, 200]) + bytes(204), 1002),
        (bytes([0x9, 0x80]) + bytes(4), 1002),
        (bytes([0xC0 | 0x1, 0x80 | 126]) + (FRAME_BYTES + 1).to_bytes(2), 1002),
    ],
    ids=[
        "not UTF-8",
        "not UTF-8 as a whole",
        "too large",
        "too large as a whole",
        "continues nothing",
        "begins in the midst",
        "not masked",
        "unknown opcode",
        "reserved bit",
        "large ping",
        "fragmented ping",
        "too large, with a reserved bit",
    ],
)
async def test_a_violation_is_answered_with_its_close_code(
    library: Library, sent: bytes, code: int
) -> None:
    """More data after the violation does not prevent the close frame.

    Earlier messages are received, and answered before the close frame.
    """
    async with opened_raw(library) as (nursery, transport, client):
        await client.send_all(frame(Opcode.TEXT, b"order") + sent + frame(Opcode.TEXT, b"more"))
        assert ["order"] == await received(transport, 1)
        await disconnected(transport)
        await send(transport, b"reply")
        nursery.start_soon(transport.close, 1000, "")
        end = await read_to_end(client)
        assert b"\x81\x05reply\x88" == end[:8]
        assert code == int.from_bytes(end[9:11])


async def test_the_server_ends_the_stream_first(library: Library) -> None:
    """After a closing handshake and after a violation; the client keeps its side open."""
    for sent in (frame(Opcode.CLOSE, b"\x03\xe8"), frame(Opcode.CONT, b"x")):
        async with opened_raw(library) as (nursery, transport, client):
            await client.send_all(frame(Opcode.TEXT, b"order") + sent)
            assert ["order"] == await received(transport, 1)
            await disconnected(transport)
            nursery.start_soon(transport.close, 1000, "")
            assert (await read_to_end(client)).startswith(b"\x88")


LONG = b"x" * (FRAME_BYTES + 1)
EURO = "\u20ac".encode()


@pytest.mark.parametrize(
    "sent",
    [
        frame(Opcode.TEXT, LONG),
        frame(Opcode.TEXT, b"\xff" * (FRAME_BYTES + 1)),
        frame(Opcode.BINARY, LONG),
        frame(Opcode.TEXT, b"x" * (FRAME_BYTES + MAX_DISCARD_BYTES)),
        frame(Opcode.TEXT, b"x" * 600, fin=False) + frame(Opcode.CONT, b"x" * 600),
        frame(Opcode.TEXT, b"x" + EURO[:1], fin=False) + frame(Opcode.CONT, LONG),
        frame(Opcode.TEXT, LONG, fin=False)
        + frame(Opcode.PING, b"p")
        + frame(Opcode.CONT, b"", fin=False)
        + frame(Opcode.CONT, LONG),
        frame(Opcode.BINARY, LONG, fin=False) + frame(Opcode.CONT, b""),
    ],
    ids=[
        "one frame",
        "not UTF-8",
        "binary",
        "the longest",
        "in two fragments",
        "characters cut in two",
        "in many",
        "empty at its end",
    ],
)
async def test_a_message_that_is_too_long_is_received_as_a_placeholder(
    library: Library, sent: bytes
) -> None:
    """It keeps its place among the messages, and the connection stays open."""
    before, after = frame(Opcode.TEXT, b"before"), frame(Opcode.TEXT, b"after")
    async with opened_raw(library) as (_, transport, client):
        for size in (len(sent) + 100, 700, 13):
            if len(sent) / size > 1_000:
                continue
            with trio.fail_after(10):
                async with trio.open_nursery() as sending:
                    sending.start_soon(in_pieces, client, before + sent + after, size)
                    first, too_long, last = await received(transport, 3)
            assert ("before", "after") == (first, last)
            assert FRAME_BYTES + 1 == len(too_long)


async def test_a_close_sends_code_and_reason_and_waits_for_the_answer(library: Library) -> None:
    """The client's library reports a clean close."""
    async with opened_pair(library) as (_, transport, client):
        await transport.close(1001, "server is stopping")
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await client.get_message()
        reason = caught.value.reason
        assert reason is not None
        assert (1001, "server is stopping") == (reason.code, reason.reason)


async def test_messages_during_the_closing_handshake_do_not_disturb_it() -> None:
    """Requests are dropped and a ping is answered; the close is clean."""
    async with opened_raw("websockets") as (nursery, transport, client):
        nursery.start_soon(transport.close, 1000, "")
        await client.send_all(frame(Opcode.TEXT, b"late") + frame(Opcode.PING, b"p"))
        await wait_all_tasks_blocked()
        await client.send_all(frame(Opcode.CLOSE, b"\x03\xe8"))
        close_frame = frame(Opcode.CLOSE, b"\x03\xe8", masked=False)
        assert close_frame + frame(Opcode.PONG, b"p", masked=False) == await read_to_end(client)


async def test_after_a_close_by_the_peer_nothing_is_received_or_sent(library: Library) -> None:
    """The close frame is answered, and later writes are dropped."""
    async with opened_pair(library) as (nursery, transport, client):
        nursery.start_soon(client.aclose, 1000, "bye")
        await disconnected(transport)
        await disconnected(transport)
        await transport.close(1000, "")
        closed = client.closed
        assert closed is not None
        assert (1000, "bye") == (closed.code, closed.reason)


async def test_a_lost_connection_is_reported_to_reader_and_writer(library: Library) -> None:
    """Receiving and sending raise DisconnectedError; closing does not wait."""
    async with opened_raw(library) as (_, transport, client):
        await client.aclose()
        await disconnected(transport)
        with trio.fail_after(10):
            await transport.close(1000, "")


async def test_a_write_to_a_lost_connection_raises_only_in_drain() -> None:
    """`write` is called by publishers and must not raise; the writer's task gets the error."""
    async with opened_raw("websockets") as (_, transport, client):
        await client.aclose()
        transport.write([b"x"])
        assert transport.unsent
        with pytest.raises(DisconnectedError):
            await transport.drain()


async def test_nothing_follows_a_frame_that_was_sent_in_part(library: Library) -> None:
    """The peer would read a close frame as content of the other frame."""
    async with opened_raw(library) as (_, transport, client):
        with trio.move_on_after(0.05) as scope:
            await send(transport, b"x" * 1_000_000)
        assert scope.cancelled_caught
        with trio.fail_after(10):
            await transport.close(1008, "connection_too_slow")
        rest = b"".join([bytes(chunk) async for chunk in client])
        assert b"x" * 1_000 in rest
        assert b"connection_too_slow" not in rest


async def test_large_messages_arrive_complete_where_they_are_allowed(library: Library) -> None:
    """In small chunks, in fragments and with more frames after them."""
    limit = 300_000
    sizes = (65_535, 65_536, 65_537, 200_000, limit, limit + 1, 5)
    sent = b"".join(
        frame(Opcode.TEXT, b"x" * size)
        + frame(Opcode.PING, b"p")
        + frame(Opcode.BINARY, b"y" * (size // 2), fin=False)
        + frame(Opcode.CONT, b"y" * (size - size // 2))
        for size in sizes
    )
    async with opened_raw(library, frame_bytes=limit) as (_, transport, client):
        found: list[int] = []
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(in_pieces, client, sent, 7_001)
                while len(found) < 2 * len(sizes):
                    found += map(len, await transport.receive())
                    assert len(getattr(transport, "_rest", b"")) <= 2**16 + 14
                    if transport.unsent:
                        await transport.drain()
    assert [size for size in sizes for _ in range(2)] == found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (REQUEST.replace(b"GET /ws/api/v2", b"GET /elsewhere"), 404),
        (b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (REQUEST.replace(b"Version: 13", b"Version: 8"), 400),
        (b"GET /ws/api/v2 HTTP/1.1\r\n" + b"X: " + b"x" * 20_000, 431),
    ],
    ids=["elsewhere", "no upgrade", "another version", "large head"],
)
async def test_a_refused_request_gets_an_http_status(request_: bytes, status: int) -> None:
    """The end of the stream follows, so that no client waits for more."""
    async with streams() as (nursery, ours, theirs):
        nursery.start_soon(theirs.send_all, request_)
        assert await opened(nursery, "websockets", ours) is None
        assert b"HTTP/1.1 %d " % status == (await read_to_end(theirs))[:13]


async def test_a_flood_during_the_closing_handshake_is_read_slowly() -> None:
    """The library parses all that it reads while it waits for a close frame."""
    ours, theirs = trio.testing.memory_stream_pair()
    stream: trio.SocketStream = ours  # type: ignore[assignment]
    gathering = BufferedStream(stream, FrameFilter(FRAME_BYTES, unmetered()))
    gathering.accepted.set()
    gathering.filter.passes_close = True
    await theirs.send_all(frame(Opcode.TEXT, b"x") * 100_000)
    read = 0
    with trio.move_on_after(1):
        while True:
            read += len(await gathering.receive_some(4_096))
    assert LINGER_BYTES <= read <= LINGER_BYTES + 12 * 4_096


async def test_a_batch_is_one_write_and_a_pong_keeps_its_place() -> None:
    """The library's pong is sent together with what was written before it, in order."""
    async with trio.open_nursery() as nursery:
        ours, _ = trio.testing.memory_stream_pair()
        stream: trio.SocketStream = ours  # type: ignore[assignment]
        gathering = BufferedStream(stream, FrameFilter(FRAME_BYTES, unmetered()))
        writes: list[bytes] = []

        async def note() -> None:
            await trio.lowlevel.checkpoint()
            writes.append(bytes(ours.send_stream.get_data_nowait()))

        ours.send_stream.send_all_hook = note
        gathering.start_buffering()
        await gathering.send_all(b"1")
        await gathering.send_all(b"2")
        assert [] == writes
        await gathering.flush()
        gathering.start_buffering()
        await gathering.send_all(b"3")
        nursery.start_soon(gathering.send_all, b"pong")
        await wait_all_tasks_blocked()
        await gathering.send_all(b"4")
        await gathering.flush()
        await gathering.send_all(b"5")
    assert [b"12", b"3pong", b"4", b"5"] == writes


async def test_a_large_message_is_sent_complete_between_small_ones(library: Library) -> None:
    """However little of it the kernel takes at a time, as bytes or as a bytearray."""
    rows = b"".join(b"%06d" % number for number in range(150_000))
    messages: list[Any] = [b"before", bytearray(rows), b"between", rows[:70_000], b"after"]
    async with opened_pair(library) as (nursery, transport, client):
        transport.write(messages)
        transport.write([b"later"])

        async def drain() -> None:
            while transport.unsent:
                await transport.drain()

        nursery.start_soon(drain)
        for message in (*messages, b"later"):
            assert message.decode() == await client.get_message()
