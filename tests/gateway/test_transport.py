"""The transport over trio-websocket: batches out, messages in, and how it ends."""

import pytest
import trio
import trio_websocket
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from gateway.transport import DisconnectedError, Gathering, WebSocketTransport, shake_hands

Pair = tuple[WebSocketTransport, trio_websocket.WebSocketConnection]


async def shaken(nursery: trio.Nursery, path: str = "/ws/api/v2") -> Pair:
    """Both ends of a connection in memory; a write waits until it is read."""
    ours, theirs = lockstep_stream_pair()
    transports: list[WebSocketTransport | None] = []

    async def serve() -> None:
        # A socket stream has no more that the transport would use.
        stream: trio.SocketStream = ours  # type: ignore[assignment]
        transports.append(
            await shake_hands(nursery, stream, frame_bytes=1_000, seconds=1, refusal=None)
        )

    nursery.start_soon(serve)
    their_stream: trio.SocketStream = theirs  # type: ignore[assignment]
    client = await trio_websocket.wrap_client_stream(nursery, their_stream, "test", path)
    await wait_all_tasks_blocked()
    (transport,) = transports
    assert transport is not None
    return transport, client


async def test_messages_go_both_ways_as_text() -> None:
    """A batch is as many frames as it has messages, in order."""
    async with trio.open_nursery() as nursery:
        transport, client = await shaken(nursery)
        nursery.start_soon(transport.send, [b"one", "zwei \u20ac".encode()])
        assert ["one", "zwei \u20ac"] == [await client.get_message() for _ in range(2)]
        nursery.start_soon(client.send_message, "three")
        assert ["three"] == list(await transport.receive())
        nursery.cancel_scope.cancel()


async def test_a_batch_is_one_write_and_others_keep_their_place() -> None:
    """The library's answer to a ping goes out with what was written before it, and in order."""
    async with trio.open_nursery() as nursery:
        ours, _ = trio.testing.memory_stream_pair()
        stream: trio.SocketStream = ours  # type: ignore[assignment]
        gathering = Gathering(stream)
        writes: list[bytes] = []

        async def note() -> None:
            await trio.lowlevel.checkpoint()
            writes.append(bytes(ours.send_stream.get_data_nowait()))

        ours.send_stream.send_all_hook = note
        gathering.gather()
        await gathering.send_all(b"1")
        await gathering.send_all(b"2")
        assert [] == writes
        await gathering.flush()
        gathering.gather()
        await gathering.send_all(b"3")
        nursery.start_soon(gathering.send_all, b"pong")
        await wait_all_tasks_blocked()
        await gathering.send_all(b"4")
        await gathering.flush()
        await gathering.send_all(b"5")
    assert [b"12", b"3pong", b"4", b"5"] == writes


async def test_a_close_tells_code_and_reason_and_waits_for_the_answer() -> None:
    """The client's own library sees a clean end."""
    async with trio.open_nursery() as nursery:
        transport, client = await shaken(nursery)
        await transport.close(1001, "server is stopping")
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await client.get_message()
        reason = caught.value.reason
        assert reason is not None
        assert (1001, "server is stopping") == (reason.code, reason.reason)


async def test_a_peer_that_leaves_is_reported_once_and_for_all() -> None:
    """To whoever receives, and to whoever sends."""
    async with trio.open_nursery() as nursery:
        transport, client = await shaken(nursery)
        await client.aclose()
        with pytest.raises(DisconnectedError):
            await transport.receive()
        with pytest.raises(DisconnectedError):
            await transport.send([b"x"])
        nursery.cancel_scope.cancel()


async def test_after_a_frame_was_broken_off_nothing_follows_it() -> None:
    """A close frame in the middle of another would be read as its content: it ends in silence."""
    async with trio.open_nursery() as nursery:
        ours, theirs = lockstep_stream_pair()
        stream: trio.SocketStream = ours  # type: ignore[assignment]
        received = bytearray()

        async def client() -> None:
            await theirs.send_all(
                b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await theirs.receive_some()

        nursery.start_soon(client)
        transport = await shake_hands(nursery, stream, frame_bytes=1_000, seconds=1, refusal=None)
        assert transport is not None
        with trio.move_on_after(0.01) as scope:
            await transport.send([b"x" * 100])
        assert scope.cancelled_caught
        with trio.fail_after(1):
            await transport.close(1008, "connection_too_slow")
            while some := await theirs.receive_some():
                received += some
        assert b"connection_too_slow" not in received
        nursery.cancel_scope.cancel()
