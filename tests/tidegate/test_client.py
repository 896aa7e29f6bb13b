"""The client: ids, ends, feeds and heartbeats, against a scripted peer and against the venue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from gateway.config.schema import parse
from gateway.server.server import Running, serve
from tidegate.client import ApiError, Client, ConnectionEndedError, FellBehindError, connect

# A test of sockets that hangs fails.
SECONDS = 5
Script = Callable[[WebSocketConnection], Awaitable[None]]

VENUE = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"
strict = true
[[index]]
name = "btc_usd"
source = "fixed"
price = 65000
[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 10 }
"""


@asynccontextmanager
async def peer(script: Script) -> AsyncIterator[str]:
    """A WebSocket server that runs a script for each client; its URL."""

    async def welcome(request: WebSocketRequest) -> None:
        connection = await request.accept()
        with suppress(ConnectionClosed):
            await script(connection)

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, welcome, "127.0.0.1", 0, None)
            yield f"ws://127.0.0.1:{server.port}/ws/api/v2"
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def client_of(script: Script) -> AsyncIterator[Client]:
    async with peer(script) as url, connect(url, heartbeat_seconds=0) as client:
        yield client


@asynccontextmanager
async def venue() -> AsyncIterator[Running]:
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            running: Running = await nursery.start(serve, parse(VENUE))
            yield running
            running.stop()


async def receive(connection: WebSocketConnection) -> dict[str, object]:
    request: dict[str, object] = json.loads(await connection.get_message())
    return request


async def reply(
    connection: WebSocketConnection, request: dict[str, object], result: object
) -> None:
    await connection.send_message(
        json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result, "usIn": 1})
    )


async def notify(connection: WebSocketConnection, channel: str, data: object) -> None:
    await connection.send_message(
        json.dumps({"method": "subscription", "params": {"channel": channel, "data": data}})
    )


async def echo(connection: WebSocketConnection) -> None:
    """Answer every request with its method; every subscription with its channels."""
    while True:
        request = await receive(connection)
        params = request["params"]
        assert isinstance(params, dict)
        await reply(connection, request, params.get("channels", request["method"]))


async def silence(connection: WebSocketConnection) -> None:
    """Answer nothing."""
    while True:
        await connection.get_message()


async def test_replies_find_their_callers_in_whatever_order_they_come() -> None:
    """Two calls in flight, answered the wrong way round, get their own results."""

    async def backwards(connection: WebSocketConnection) -> None:
        requests = [await receive(connection), await receive(connection)]
        for request in reversed(requests):
            await reply(connection, request, request["method"])

    results = {}

    async def call(client: Client, method: str) -> None:
        results[method] = await client.call(method)

    async with client_of(backwards) as client, trio.open_nursery() as nursery:
        nursery.start_soon(call, client, "public/one")
        nursery.start_soon(call, client, "public/two")
    assert {"public/one": "public/one", "public/two": "public/two"} == results


async def test_a_refusal_is_raised_with_code_message_and_data() -> None:
    """An error in the reply becomes an ApiError of the caller."""

    async def refuse(connection: WebSocketConnection) -> None:
        request = await receive(connection)
        error = {"code": -32602, "message": "Invalid params", "data": {"param": "amount"}}
        await connection.send_message(json.dumps({"id": request["id"], "error": error}))

    async with client_of(refuse) as client:
        with pytest.raises(ApiError) as caught:
            await client.call("private/buy")
    refusal = caught.value
    assert (-32602, "Invalid params", {"param": "amount"}) == (
        refusal.code,
        refusal.message,
        refusal.data,
    )


async def test_a_cancelled_call_forgets_its_id_and_its_late_reply_harms_nobody() -> None:
    """The reply to a call that was given up is dropped; the next call works."""
    arrived = trio.Event()

    async def late(connection: WebSocketConnection) -> None:
        first = await receive(connection)
        arrived.set()
        second = await receive(connection)
        await reply(connection, first, "late")
        await reply(connection, second, "in time")

    async with client_of(late) as client:
        with trio.CancelScope() as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when, arrived, patience)
                await client.call("public/slow")
        assert patience.cancelled_caught
        assert 0 == client.in_flight
        assert "in time" == await client.call("public/quick")


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def test_a_test_request_is_answered_without_the_caller() -> None:
    """The venue hears public/test although nobody calls anything."""
    answered = trio.Event()

    async def probe(connection: WebSocketConnection) -> None:
        beat = {"method": "heartbeat", "params": {"type": "test_request"}}
        await connection.send_message(json.dumps(beat))
        assert "public/test" == (await receive(connection))["method"]
        answered.set()
        await silence(connection)

    async with client_of(probe):
        await answered.wait()


async def test_the_end_of_the_connection_reaches_every_waiter() -> None:
    """A call and a feed in waiting both raise the close code and reason; so does the next call."""

    async def hang_up(connection: WebSocketConnection) -> None:
        await reply(connection, await receive(connection), ["ticker"])
        await receive(connection)
        await connection.aclose(1008, "connection_too_slow")

    ends: list[tuple[int, str]] = []

    async def note(wait: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(ConnectionEndedError) as caught:
            await wait()
        ends.append((caught.value.code, caught.value.reason))

    async with client_of(hang_up) as client, client.subscribe("ticker") as feed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, feed.__anext__)
            nursery.start_soon(note, lambda: client.call("public/test"))
        await note(lambda: client.call("public/test"))
    assert [(1008, "connection_too_slow")] * 3 == ends


async def test_a_feed_that_is_not_read_ends_and_the_connection_goes_on() -> None:
    """What fitted can be read; then FellBehindError; calls are answered all the while."""

    async def flood(connection: WebSocketConnection) -> None:
        await reply(connection, await receive(connection), ["trades"])
        for number in range(10):
            await notify(connection, "trades", number)
        await echo(connection)

    async with client_of(flood) as client, client.subscribe("trades", capacity=3) as feed:
        assert "public/test" == await client.call("public/test")
        assert [0, 1, 2] == [await anext(feed) for _ in range(3)]
        with pytest.raises(FellBehindError):
            await anext(feed)


async def test_leaving_a_feed_unsubscribes_unless_another_still_listens() -> None:
    """The venue hears of the last listener's leaving only."""
    methods: list[object] = []

    async def record(connection: WebSocketConnection) -> None:
        while True:
            request = await receive(connection)
            methods.append(request["method"])
            await reply(connection, request, ["book"])

    async with client_of(record) as client:
        async with client.subscribe("book"):
            async with client.subscribe("book"):
                pass
            await client.call("public/test")
        await client.call("public/test")
    assert [
        "public/subscribe",
        "public/subscribe",
        "public/test",
        "public/unsubscribe",
        "public/test",
    ] == methods


async def test_a_channel_that_the_venue_does_not_accept_is_an_error() -> None:
    """A subscription to less than what was asked for raises, naming what is missing."""

    async def accept_one(connection: WebSocketConnection) -> None:
        await reply(connection, await receive(connection), ["known"])
        await silence(connection)

    async with client_of(accept_one) as client:
        with pytest.raises(ApiError) as caught:
            async with client.subscribe("known", "unknown"):
                pass
    assert {"channels": ["unknown"]} == caught.value.data


async def test_an_exception_of_the_block_comes_out_as_it_is() -> None:
    """No group around it, so that `except` works as it reads."""
    async with peer(silence) as url:
        with pytest.raises(LookupError, match="mine"):
            async with connect(url, heartbeat_seconds=0):
                raise LookupError("mine")


async def test_a_venue_that_refuses_the_handshake_is_a_clear_end() -> None:
    """The HTTP status is in the message."""

    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(429)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, refuse, "127.0.0.1", 0, None)
        with pytest.raises(ConnectionEndedError, match="429"):
            async with connect(f"ws://127.0.0.1:{server.port}/"):
                pass
        nursery.cancel_scope.cancel()


async def test_an_address_where_nobody_listens_is_an_os_error() -> None:
    """As from any socket."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(OSError, match="connect"):
            async with connect(f"ws://127.0.0.1:{port}/"):
                pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "ws:///ws/api/v2", "127.0.0.1:8081"])
async def test_what_is_no_websocket_url_is_a_value_error(url: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(ValueError, match="expected ws://HOST:PORT/PATH"):
        async with connect(url):
            pass


async def test_callers_wait_when_the_peer_reads_nothing_and_can_be_cancelled() -> None:
    """Requests that the socket does not take are bounded: later callers wait without queueing."""
    stuck = trio.Event()

    async def deaf(connection: WebSocketConnection) -> None:
        await stuck.wait()

    text = "x" * 20_000

    async def call(client: Client) -> None:
        with pytest.raises(ConnectionEndedError):
            await client.call("public/test", {"text": text})

    async with client_of(deaf) as client, trio.open_nursery() as nursery:
        for _ in range(2_000):
            nursery.start_soon(call, client)
        with trio.move_on_after(0.3) as patience:
            await client.call("public/test")
        assert patience.cancelled_caught
        assert client.in_flight < 2_000
        stuck.set()


async def test_the_venue_takes_the_log_in_and_tells_of_an_order_on_its_channel() -> None:
    """Logged in by signature; the order in the reply is the one on user.orders."""
    async with (
        venue() as running,
        connect(running.websocket_url, "alice-key", "alice-secret") as client,
        client.subscribe("user.orders.BTC-PERPETUAL.raw") as orders,
    ):
        bought = await client.call(
            "private/buy",
            {"instrument_name": "BTC-PERPETUAL", "amount": 100, "price": 64_990.5},
        )
        assert bought["order"] == await anext(orders)


async def test_a_wrong_secret_is_refused_by_the_venue() -> None:
    """13004, raised where the connection was to be opened."""
    async with venue() as running:
        with pytest.raises(ApiError, match="13004"):
            async with connect(running.websocket_url, "alice-key", "wrong"):
                pass


async def test_the_venue_s_goodbye_is_heard() -> None:
    """A shutdown ends a waiting feed with 1001."""
    async with (
        venue() as running,
        connect(running.websocket_url) as client,
        client.subscribe("trades.BTC-PERPETUAL.100ms") as trades,
    ):
        running.stop()
        with pytest.raises(ConnectionEndedError) as caught:
            await anext(trades)
    assert 1001 == caught.value.code
