"""HTTP connections: their limits, their deadlines, and the containment of their exceptions."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from gateway.log.memory import MemoryLog
from gateway.network import http_connection
from gateway.network.descriptors import ConnectionQuotas
from gateway.network.http_connection import HttpConnection
from gateway.network.http_protocol import HttpProtocol
from gateway.network.websocket_acceptor import WebSocketAcceptor
from gateway.server import assembly
from gateway.server.server import Running
from tests.gateway.network.raw_http import (
    answer,
    answers,
    exchange,
    failures,
    opened,
    read_to_end,
    request,
)
from tests.gateway.network.test_http_requests import BASIC, ORDER, TEST
from tests.gateway.server_fixtures import GatedLog, TrioClock, running

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 10)]
# A POST whose body never comes.
SLOW = b"POST /api/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"


async def until(true: object) -> None:
    """Poll a condition that has no event."""
    assert callable(true)
    with trio.fail_after(10):
        while not true():
            await wait_all_tasks_blocked(0.005)


def connections(venue: Running) -> int:
    """Return how many HTTP connections are counted."""
    return int(venue.metrics.registry.get_sample_value("tidegate_http_connections") or 0)


@asynccontextmanager
async def occupied(
    venue: Running, addresses: list[str], each: int, sent: bytes
) -> AsyncIterator[dict[str, list[trio.SocketStream]]]:
    """Open connections of each address, oldest first, that have sent only this."""
    async with AsyncExitStack() as stack:
        held: dict[str, list[trio.SocketStream]] = {}
        for address in addresses:
            for _ in range(each):
                stream = await stack.enter_async_context(opened(venue, address))
                if sent:
                    await stream.send_all(sent)
                held.setdefault(address, []).append(stream)
                before = sum(map(len, held.values()))
                await until(lambda most=before: connections(venue) >= most)
        yield held


def set_quotas(monkeypatch: pytest.MonkeyPatch, http: int, refusals: int = 8) -> None:
    """Set the quotas of HTTP connections and refusals."""
    monkeypatch.setattr(
        assembly, "connection_quotas", lambda: ConnectionQuotas(100, http, refusals)
    )


async def test_an_address_has_its_own_limit_of_connections() -> None:
    """It gets 429 beyond it; a place is free again when its connection ends."""
    settings = "[limits]\nconnections_per_address = 3\n"
    async with running(settings) as venue:
        async with occupied(venue, ADDRESSES[:1], 3, b"GET"):
            (refused,) = await exchange(venue, request(TEST), address=ADDRESSES[0])
            assert (429, 10028) == (refused.status, refused.json["error"]["code"])
            assert "close" == refused.headers["connection"]
            assert 200 == (await answer(venue, TEST)).status
        await until(lambda: connections(venue) == 0)
        (served,) = await exchange(venue, request(TEST), address=ADDRESSES[0])
        assert 200 == served.status
        assert 1 == failures(venue, "address_limit")


@pytest.mark.parametrize("sent", [b"", b"GET", SLOW], ids=["silent", "head", "body"])
async def test_the_address_with_most_connections_loses_its_oldest(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """At the limit, a new connection displaces it."""
    set_quotas(monkeypatch, 7)
    async with (
        running() as venue,
        occupied(venue, ADDRESSES[:1], 2, sent),
        occupied(venue, ADDRESSES[1:2], 5, sent) as held,
    ):
        assert 200 == (await answer(venue, TEST)).status
        oldest, *others = held[ADDRESSES[1]]
        assert b"" == await read_to_end(oldest)
        assert 1 == failures(venue, "displaced")
        for each in others:
            with trio.move_on_after(0.01):
                pytest.fail(f"the server sent {await each.receive_some()!r}")


@pytest.mark.parametrize(
    "sent", [b"", b"GET", SLOW, request(TEST)], ids=["silent", "head", "body", "idle"]
)
async def test_the_oldest_connection_is_displaced_where_all_addresses_have_one(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Otherwise idle connections of many addresses would lock out all others."""
    set_quotas(monkeypatch, 4)
    async with running() as venue, occupied(venue, ADDRESSES[:4], 1, sent) as held:
        (served,) = await exchange(venue, request(TEST), address="127.0.0.99")
        assert 200 == served.status
        oldest, *others = (stream for (stream,) in held.values())
        assert (200 if sent == request(TEST) else b"") == _status(await read_to_end(oldest))
        assert 1 == failures(venue, "displaced")
        for each in others:
            await each.send_all(b"\r\n\r\n" if sent == b"GET" else b" " * 99)
        assert 1 == failures(venue, "displaced")


def _status(received: bytes) -> int | bytes:
    found = answers(received)
    return found[0].status if found else b""


async def test_a_new_connection_is_refused_where_all_others_are_being_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets 503, and the earlier requests are answered."""
    set_quotas(monkeypatch, 2)
    log = GatedLog.open(MemoryLog(TrioClock()))
    buy = request(f"/api/v2/private/buy?{ORDER}", "GET", BASIC)
    async with running(log=log) as venue:
        log.shut()
        async with occupied(venue, ADDRESSES[:2], 1, buy) as held:
            waiting = venue.venue.feed._requests
            await until(lambda: sum(map(len, waiting.values())) == 2)
            (refused,) = await exchange(venue, request(TEST), address="127.0.0.99")
            assert (503, 13028) == (refused.status, refused.json["error"]["code"])
            assert 1 == failures(venue, "venue_limit")
            log.gate.set()
            for (stream,) in held.values():
                assert 200 == answers(await stream.receive_some())[0].status


async def test_connections_beyond_the_limit_of_refusals_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each refusal takes a descriptor too."""
    set_quotas(monkeypatch, 4, refusals=2)
    settings = "[limits]\nconnections_per_address = 1\n"
    async with (
        running(settings) as venue,
        occupied(venue, ADDRESSES[:1], 1, SLOW),
        opened(venue, ADDRESSES[0]),
        opened(venue, ADDRESSES[0]),
    ):
        await until(lambda: failures(venue, "address_limit") == 2)
        assert [] == await exchange(venue, request(TEST), address=ADDRESSES[0])
        assert 200 == (await answer(venue, TEST)).status


async def test_slow_bodies_do_not_occupy_request_places() -> None:
    """128 from four addresses, as many as requests can be served at the same time."""
    async with running() as venue, occupied(venue, ADDRESSES[:4], 32, SLOW):
        for address in ADDRESSES[4:]:
            (served,) = await exchange(venue, request(TEST), address=address)
            assert 200 == served.status


PACED = "http_requests_per_second = 0.001\nhttp_requests_burst = 4\n"


@pytest.mark.parametrize("kind", ["one connection", "many connections"])
async def test_requests_beyond_the_rate_of_an_address_are_delayed(kind: str) -> None:
    """Pipelined or on a connection each; other addresses are served, and a stop ends the delay."""
    async with running(f"[limits]\nenabled = true\n{PACED}") as venue:
        served = 0
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:

            async def count(stream: trio.SocketStream) -> None:
                nonlocal served
                async for data in stream:
                    served += data.count(b"HTTP/1.1 200")

            for _ in range(1 if kind == "one connection" else 8):
                stream = await stack.enter_async_context(opened(venue, ADDRESSES[0]))
                await stream.send_all(request(TEST) * (8 if kind == "one connection" else 1))
                nursery.start_soon(count, stream)
            # A connection counts as much as a request.
            most = 3 if kind == "one connection" else 2
            await until(lambda: served >= min(most, 1))
            for address in ADDRESSES[1:]:
                (other,) = await exchange(venue, request(TEST), address=address)
                assert 200 == other.status
            assert 0 < served <= most
            nursery.cancel_scope.cancel()
        venue.stop()
        with trio.fail_after(5):
            await venue.log_closed.wait()


async def test_a_delay_by_the_rate_limit_does_not_count_as_a_slow_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts neither as a slow head nor as a slow body."""
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.1)
    settings = (
        "[limits]\nenabled = true\nbody_seconds = 0.1\n"
        "http_requests_per_second = 4\nhttp_requests_burst = 1\n"
    )
    body = '{"jsonrpc":"2.0","id":1,"method":"public/test","params":{}}'
    async with running(settings) as venue:
        for sent in (request(TEST), request("/api/v2", "POST", body=body)):
            (served,) = await exchange(venue, sent)
            assert 200 == served.status
        assert 0 == failures(venue, "slow_request")


async def test_requests_are_not_delayed_where_they_are_not_limited() -> None:
    """As in a venue that serves only its operator's programs."""
    async with running(f"[limits]\nenabled = false\n{PACED}") as venue:
        assert 100 == len(await exchange(venue, request(TEST) * 100))


@pytest.mark.parametrize("sent", [b"", b"GET / HT", SLOW], ids=["silent", "head", "body"])
async def test_a_slow_request_is_ended_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Further bytes do not extend it; silence between requests is no failure."""
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.3)
    async with running("[limits]\nbody_seconds = 0.3\n") as venue:
        async with opened(venue) as stream, trio.open_nursery() as nursery:

            async def drip() -> None:
                try:
                    await stream.send_all(sent)
                    while sent:
                        await trio.sleep(0.02)
                        await stream.send_all(b" ")
                except trio.BrokenResourceError:
                    return

            nursery.start_soon(drip)
            received = await read_to_end(stream)
            nursery.cancel_scope.cancel()
        assert (b"HTTP/1.1 408" if sent == SLOW else b"") == received[:12]
        assert bool(sent) == failures(venue, "slow_request")


@pytest.mark.parametrize("pause", [0.02, 10.0], ids=["drips", "stands"])
async def test_a_client_that_reads_a_response_too_slowly_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    """At 2 bytes at a time, a response would take hours."""
    monkeypatch.setattr(http_connection, "MIN_BYTES_PER_SECOND", 10**7)
    async with running("[limits]\nsend_seconds = 0.3\n") as venue:
        async with opened(venue) as stream, trio.open_nursery() as nursery:

            async def read() -> None:
                while await stream.receive_some(2):  # noqa: ASYNC110 - a slow reader
                    await trio.sleep(pause)

            async def ask() -> None:
                try:
                    while True:
                        await stream.send_all(request("/api/v2/public/get_instruments"))
                except trio.BrokenResourceError:
                    return

            nursery.start_soon(ask)
            nursery.start_soon(read)
            await until(lambda: failures(venue, "slow_reader") == 1)
            nursery.cancel_scope.cancel()
        await until(lambda: connections(venue) == 0)


@asynccontextmanager
async def encrypted(
    folder: Path, more: str = "", *, strict: bool = True
) -> AsyncIterator[tuple[Running, ssl.SSLContext]]:
    """Run a venue over TLS; yield it with a client's context."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = folder / "key.pem", folder / "chain.pem"
    certificate.private_key_pem.write_to_path(str(key))
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    settings = f'certificate = "{chain}"\nkey = "{key}"\n{more}'
    async with running(settings, strict=strict) as venue:
        yield venue, trust


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 99])
async def test_a_tls_handshake_has_a_deadline(tmp_path: Path, sent: bytes) -> None:
    """It is `handshake_seconds`; bytes that are not TLS end the handshake at once."""
    async with encrypted(tmp_path, "[limits]\nhandshake_seconds = 0.3\n") as (venue, trust):
        async with opened(venue) as stream:
            await stream.send_all(sent)
            await read_to_end(stream)
        assert 1 == failures(venue, "tls_handshake")
        (served,) = await exchange(venue, request(TEST, "GET", "Connection: close"), tls=trust)
        assert 200 == served.status


async def test_http_2_is_not_offered(tmp_path: Path) -> None:
    """A client that offers both agrees on HTTP/1.1 in the handshake."""
    async with encrypted(tmp_path) as (venue, trust):
        trust.set_alpn_protocols(["h2", "http/1.1"])
        async with opened(venue) as socket:
            stream = trio.SSLStream(
                socket, trust, server_hostname="127.0.0.1", https_compatible=True
            )
            await stream.do_handshake()
            assert "http/1.1" == stream.selected_alpn_protocol()


async def test_an_exception_ends_only_its_own_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it is raised, it is counted, and other connections are served."""
    real = HttpProtocol.handle
    raised: list[BaseException] = [
        ValueError("x"),
        OSError("x"),
        RuntimeError("x"),
        ExceptionGroup("x", [KeyError("x")]),
        trio.BusyResourceError("x"),
        UnboundLocalError("x"),
    ]

    async def handle(self: HttpProtocol, event: object) -> None:
        if b"raise" in getattr(event, "data", b""):
            raise raised.pop()
        await real(self, event)  # type: ignore[arg-type]

    monkeypatch.setattr(HttpProtocol, "handle", handle)
    async with running(strict=False) as venue, opened(venue) as honest:
        for number in range(1, len(raised) + 1):
            assert [] == await exchange(venue, b"raise")
            assert number == failures(venue, "crash")
            await honest.send_all(request(TEST))
            (served,) = answers(await honest.receive_some())
            assert 200 == served.status
        assert 0 == connections(venue) - 1


@pytest.mark.parametrize("port", ["http", "websocket"])
async def test_an_exception_during_a_shutdown_ends_only_its_own_connection(
    monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """It is caught although its group also holds a cancellation, which continues."""
    running_now = 0

    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("a bug")

    async def run(*_: object) -> None:
        nonlocal running_now
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail_at_the_end)
            running_now += 1

    monkeypatch.setattr(HttpConnection, "run", run)
    monkeypatch.setattr(WebSocketAcceptor, "_serve", run)
    boundary = "http" if port == "http" else "connection"
    with trio.CancelScope() as scope:
        async with running(strict=False) as venue:
            where = venue.http if port == "http" else venue.websocket
            async with await trio.open_tcp_stream(where.host, where.port):
                await until(lambda: running_now == 1)
                scope.cancel()
    crashes = venue.metrics.registry.get_sample_value(
        "tidegate_crashes_total", {"boundary": boundary}
    )
    assert 1 == crashes


async def test_in_strict_mode_an_exception_ends_the_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run in strict mode."""

    async def handle(self: HttpProtocol, event: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(HttpProtocol, "handle", handle)
    bug = pytest.RaisesExc(ValueError, match="a bug")
    with pytest.RaisesGroup(bug, flatten_subgroups=True):
        async with running() as venue:
            await exchange(venue, request(TEST))
            await trio.sleep(10)


async def test_an_exception_in_a_handler_is_answered_with_500(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is counted as a crash; the connection stays open."""
    async with running(strict=False) as venue:

        def explode() -> bytes:
            raise ValueError("a bug")

        monkeypatch.setattr(venue.metrics, "exposition", explode)
        found = await exchange(venue, request("/metrics") + request(TEST))
        assert [500, 200] == [each.status for each in found]
        crashes = venue.metrics.registry.get_sample_value(
            "tidegate_crashes_total", {"boundary": "http"}
        )
        assert 1 == crashes


async def test_a_stop_answers_complete_requests_and_waits_for_no_others() -> None:
    """Idle connections and incomplete requests do not delay it."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(log=log) as venue:
        log.shut()
        async with (
            occupied(venue, ADDRESSES[:1], 2, b""),
            occupied(venue, ADDRESSES[1:2], 2, b"GET"),
            occupied(venue, ADDRESSES[2:3], 2, SLOW),
            opened(venue) as stream,
        ):
            await stream.send_all(request(f"/api/v2/private/buy?{ORDER}", "GET", BASIC))
            await until(lambda: venue.venue.feed._requests)
            venue.stop()
            await wait_all_tasks_blocked(0.005)
            assert not venue.log_closed.is_set()
            log.gate.set()
            (found,) = answers(await read_to_end(stream))
            assert (200, "close") == (found.status, found.headers["connection"])
            with trio.fail_after(5):
                await venue.log_closed.wait()


async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    """A close with unread data would reset the connection before the answer is read."""
    async with running() as venue:
        body = b"x" * 500_000
        head = b"POST /api/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        (found,) = await exchange(venue, head + body)
        assert 413 == found.status
