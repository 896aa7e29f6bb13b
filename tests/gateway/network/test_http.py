"""The API over HTTP: forms of requests, status codes, and slow clients."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.log.memory import MemoryLog
from gateway.network import http
from gateway.sequencer.inbox import MAX_LISTS
from gateway.server.server import Running
from tests.gateway.server_fixtures import COUNTED, GatedLog, TrioClock, connect, running

ALICE = ("alice-key", "alice-secret")
ORDER = "instrument_name=BTC-PERPETUAL&amount=10&type=limit&price=50000"


@asynccontextmanager
async def client(venue: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """Open an HTTP client of the venue."""
    async with httpx2.AsyncClient(base_url=venue.http_url) as opened:
        yield opened


async def test_every_form_of_a_request_reaches_its_method() -> None:
    """GET with a query, POST with the method in the path, in the body, with a leading slash."""
    async with running() as venue, client(venue) as web:
        body = {"jsonrpc": "2.0", "id": 7, "method": "public/test", "params": {}}
        slashed = {**body, "method": "/public/test"}
        replies = [
            await web.get("/api/v2/public/test"),
            await web.get("/api/v2//public/test"),
            await web.post("/api/v2/public/test", json={"jsonrpc": "2.0", "id": 7}),
            await web.post("/api/v2/public/test", json=body),
            await web.post("/api/v2", json=body),
            await web.post("/api/v2", json=slashed),
            await web.post("/api/v2", content=str(body).replace("'", '"').encode()),
            await web.post(
                "/api/v2",
                content=str(body).replace("'", '"').encode(),
                headers={"content-type": "text/plain"},
            ),
        ]
        assert [200] * len(replies) == [each.status_code for each in replies]
        versions = {each.json()["result"]["version"] for each in replies}
        assert 1 == len(versions)
        assert [None, None, *[7] * 6] == [each.json().get("id") for each in replies]
        assert {"application/json"} == {each.headers["content-type"] for each in replies}


async def test_an_order_is_answered_with_its_result() -> None:
    """By GET with Basic authentication and by POST with a bearer token."""
    async with running() as venue, client(venue) as web:
        placed = await web.get(f"/api/v2/private/buy?{ORDER}", auth=ALICE)
        assert 200 == placed.status_code
        order = placed.json()["result"]["order"]
        assert ("open", 10.0) == (order["order_state"], order["amount"])
        token = await web.get(
            "/api/v2/public/auth?grant_type=client_credentials"
            "&client_id=alice-key&client_secret=alice-secret"
        )
        bearer = {"authorization": f"bearer {token.json()['result']['access_token']}"}
        cancelled = await web.post(
            "/api/v2/private/cancel",
            json={"jsonrpc": "2.0", "id": 1, "params": {"order_id": order["order_id"]}},
            headers=bearer,
        )
        assert "cancelled" == cancelled.json()["result"]["order_state"]


async def test_errors_have_an_http_status_and_the_body_of_the_api() -> None:
    """Clients read the error code, proxies the status."""
    async with running() as venue, client(venue) as web:
        wrong = b64encode(b"alice-key:wrong").decode()
        found = [
            await web.get("/api/v2/private/get_positions"),
            await web.get(
                "/api/v2/private/get_positions", headers={"authorization": f"Basic {wrong}"}
            ),
            await web.get("/api/v2/public/no_such_method"),
            await web.get("/api/v2/public/set_heartbeat?interval=10"),
            await web.get("/api/v2/public/ticker"),
            await web.post("/api/v2", content=b"{", headers={"content-type": "application/json"}),
            await web.post("/api/v2", content=b"a=1", headers={"content-type": "text/csv"}),
        ]
        expected = [
            (401, 10000),
            (401, 13004),
            (400, -32601),
            (400, 10030),
            (400, -32602),
            (400, -32700),
            (400, 13018),
        ]
        assert expected == [(each.status_code, each.json()["error"]["code"]) for each in found]
        assert 404 == (await web.get("/elsewhere")).status_code
        assert 405 == (await web.delete("/api/v2/public/test")).status_code


async def test_a_body_that_is_too_large_is_rejected_before_it_is_read() -> None:
    """The limit is 32 kB by default; the answer is 413 with -32600."""
    async with running() as venue, client(venue) as web:
        reply = await web.post("/api/v2", content=b"{" + b" " * 40_000)
        assert (413, -32600) == (reply.status_code, reply.json()["error"]["code"])


async def test_a_slow_body_is_rejected_at_the_deadline() -> None:
    """There is one deadline for the whole body, which further bytes do not extend."""
    async with running("[limits]\nbody_seconds = 0.3\n") as venue:
        stream = await trio.open_tcp_stream(venue.http.host, venue.http.port)
        head = b"POST /api/v2 HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
        async with stream, trio.open_nursery() as nursery:
            await stream.send_all(head)

            async def drip() -> None:
                while True:
                    await stream.send_all(b"{")
                    await trio.sleep(0.02)

            nursery.start_soon(drip)
            with trio.fail_after(10):
                reply = await stream.receive_some()
            nursery.cancel_scope.cancel()
        assert reply.startswith(b"HTTP/1.1 408 ")


async def test_requests_beyond_the_limit_are_answered_with_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop stays free for the requests being served."""
    monkeypatch.setattr(http, "MAX_REQUESTS", 3)
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(log=log) as venue, client(venue) as web:
        log.shut()
        statuses: list[int] = []

        async def buy() -> None:
            reply = await web.get(f"/api/v2/private/buy?{ORDER}", auth=ALICE)
            statuses.append(reply.status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(buy)
            with trio.fail_after(10):
                await _until(lambda: len(statuses) == 2)
            assert [503, 503] == statuses
            log.gate.set()
        assert [503, 503, 200, 200, 200] == statuses


async def test_one_address_cannot_occupy_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets 429 beyond its limit of connections; other addresses are served."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    settings = "[limits]\nconnections_per_address = 3\n"
    async with running(settings, log=log) as venue, client(venue) as web:
        log.shut()
        statuses: list[int] = []

        async def buy() -> None:
            reply = await web.get(f"/api/v2/private/buy?{ORDER}", auth=ALICE)
            statuses.append(reply.status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(buy)
            await _until(lambda: len(statuses) == 2)
            assert [429, 429] == statuses
            log.gate.set()
        assert [429, 429, 200, 200, 200] == statuses
        assert 200 == (await web.get("/api/v2/public/test")).status_code


async def test_health_follows_the_supervisor_and_the_shutdown() -> None:
    """The status is 200 while the venue trades, else 503 with the reason."""
    async with running() as venue, client(venue) as web:
        healthy = await web.get("/health")
        assert (200, "ok") == (healthy.status_code, healthy.json()["status"])
        venue.venue.exchange.state.heartbeat -= 6_000
        blind = await web.get("/health")
        assert (503, "unsupervised") == (blind.status_code, blind.json()["status"])
        venue.venue.closing = True
        closing = await web.get("/health")
        assert (503, "closing") == (closing.status_code, closing.json()["status"])


async def test_metrics_count_connections_commands_and_fills() -> None:
    """In the text format of Prometheus, from this venue's own registry."""
    async with running() as venue, client(venue) as web, connect(venue, "bob"):
        await web.get(f"/api/v2/private/buy?{ORDER.replace('50000', '65000')}", auth=ALICE)
        await web.get(
            f"/api/v2/private/sell?{ORDER.replace('50000', '65000')}",
            auth=("bob-key", "bob-secret"),
        )
        reply = await web.get("/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = reply.text.splitlines()
        for line in (
            "tidegate_connections 1.0",
            'tidegate_commands_total{command="Place"} 2.0',
            "tidegate_fills_total 1.0",
            "tidegate_inbox_depth 0.0",
        ):
            assert line in lines
        names = ("inbox_wait_seconds", "liquidations", "outbox_drops", "loop_lag_seconds")
        for name in names:
            assert any(each.startswith(f"# TYPE tidegate_{name}") for each in lines)


async def test_an_order_of_a_client_that_disconnects_is_executed() -> None:
    """Nothing waits for the reply any more."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(COUNTED, log=log) as venue:
        state = venue.venue.exchange.state
        log.shut()
        async with client(venue) as web:
            with trio.move_on_after(0.2):
                await web.get(f"/api/v2/private/buy?{ORDER}", auth=ALICE)
        assert 0 == state.orders
        log.gate.set()
        with trio.fail_after(10):
            await _until(lambda: state.orders == 1 and not venue.venue.in_flight.counts)


# More orders than the log has taken and the inbox has places for.
REQUESTS = 2 * MAX_LISTS + 20
MANY_CONNECTIONS = f"{COUNTED}connections_per_address = {REQUESTS}\n"


async def test_an_order_that_waits_too_long_for_the_inbox_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error is 10047, and the request is unregistered from the feed."""
    monkeypatch.setattr(http, "INBOX_SECONDS", 0.1)
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(MANY_CONNECTIONS, log=log) as venue, client(venue) as web:
        log.shut()
        codes: list[int] = []

        async def buy() -> None:
            reply = await web.get(f"/api/v2/private/buy?{ORDER}", auth=ALICE)
            codes.append(reply.json().get("error", {}).get("code", 0))

        async with trio.open_nursery() as nursery:
            for _ in range(REQUESTS):
                nursery.start_soon(buy)
            await _until(lambda: 10047 in codes)
            log.gate.set()
        refused = codes.count(10047)
        assert REQUESTS == refused + codes.count(0)
        assert REQUESTS - refused == venue.venue.exchange.state.orders
        assert {} == venue.venue.feed._requests
        assert {} == venue.venue.in_flight.counts


async def test_a_stop_answers_requests_that_wait_for_the_inbox() -> None:
    """A request that was read before the stop is executed, even if the inbox is full."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(MANY_CONNECTIONS, log=log) as venue, client(venue) as web:
        log.shut()
        statuses: list[int] = []

        async def buy() -> None:
            reply = await web.get(f"/api/v2/private/buy?{ORDER}", auth=ALICE)
            statuses.append(reply.status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(REQUESTS):
                nursery.start_soon(buy)
            await _until(lambda: venue.venue.in_flight.counts.get(101) == REQUESTS)
            venue.stop()
            await wait_all_tasks_blocked(0.005)
            assert not venue.log_closed.is_set()
            log.gate.set()
        assert [200] * REQUESTS == statuses


async def _until(true: object) -> None:
    """Poll a condition that has no event."""
    assert callable(true)
    with trio.fail_after(5):
        while not true():
            await wait_all_tasks_blocked(0.005)
