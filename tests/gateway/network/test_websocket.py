"""A conversation with the whole server over a WebSocket, whichever library speaks it."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2
import msgspec
import pytest
import trio
import trio_websocket
import trustme
from websockets.frames import Frame, Opcode

from gateway.config.toml_reader import ConfigError
from gateway.log.memory import MemoryLog
from gateway.network.outbox import MAX_REPLIES
from gateway.server.server import Running
from tests.gateway.server_fixtures import ORDER, Caller, GatedLog, TrioClock, connect, running

pytestmark = pytest.mark.usefixtures("library")


def asking(number: int, method: str, **params: object) -> bytes:
    """A request as a client's frame."""
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return Frame(Opcode.TEXT, msgspec.json.encode(request)).serialize(mask=True)


async def replies(client: Caller, count: int) -> list[int]:
    """The numbers of the requests that are answered next, each with a result."""
    numbers: list[int] = []
    with trio.fail_after(5):
        while len(numbers) < count:
            reply = await client.read()
            assert "result" in reply, reply
            numbers.append(reply["id"])
    return numbers


async def test_pings_are_answered_while_orders_wait() -> None:
    """A log that stands still must not look like a dead connection."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(log=log) as venue, connect(venue, "alice") as alice:
        log.shut()
        orders = [await alice.ask("private/buy", **ORDER) for _ in range(5)]
        with trio.fail_after(10):
            await alice.websocket.ping(b"there?")
        log.gate.set()
        assert orders == await replies(alice, len(orders))


async def test_a_burst_of_requests_is_answered_in_order() -> None:
    """More in one write than there are places for replies: the rest waits its turn."""
    async with running() as venue, connect(venue) as client:
        count = 2 * MAX_REPLIES
        burst = b"".join(asking(n, "public/test") for n in range(count))
        stream = client.websocket._stream
        await stream.send_all(burst)
        assert list(range(count)) == await replies(client, count)


async def test_reads_and_orders_of_one_burst_are_all_answered_once() -> None:
    """Orders wait for the log, and reads do not; nobody is answered twice or forgotten."""
    async with running() as venue, connect(venue, "alice") as alice:
        methods = ["private/buy", "public/test", "private/get_positions"] * 2
        burst = b"".join(
            asking(n, method, **(ORDER if method == "private/buy" else {}))
            for n, method in enumerate(methods)
        )
        await alice.websocket._stream.send_all(burst)
        assert list(range(len(methods))) == sorted(await replies(alice, len(methods)))


async def test_a_client_that_half_closes_is_parted_with() -> None:
    """Its session ends; what it was owed is written if it still reads."""
    async with running() as venue, connect(venue, "alice") as alice:
        stream = alice.websocket._stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_eof()
        with trio.fail_after(10):
            while venue.venue.exchange.state.sessions:  # noqa: ASYNC110 - the state has no event
                await trio.sleep(0.01)


async def test_hundreds_of_connections_come_and_go() -> None:
    """Every slot is free again, however they end."""
    limits = "[limits]\nconnections_per_address = 400\n"
    async with running(limits) as venue:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(come_and_go, venue.websocket.port, number)
        with trio.fail_after(5):
            while connections(venue):  # noqa: ASYNC110 - a metric has no event
                await trio.sleep(0.01)


def connections(venue: Running) -> float | None:
    """How many slots are taken."""
    return venue.metrics.registry.get_sample_value("tidegate_connections")


async def come_and_go(port: int, number: int) -> None:
    """Shake hands and leave: with a goodbye, without one, or in the midst of a frame."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(nursery, stream, "x", "/ws/api/v2")
        if number % 3 == 0:
            await socket.aclose()
        elif number % 3 == 1:
            await stream.send_all(asking(1, "public/test")[:20])
        nursery.cancel_scope.cancel()


def certified(folder: Path) -> tuple[str, ssl.SSLContext]:
    """Settings of a server with a certificate, and what a client trusts."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(certificate), append=True)
    issued.private_key_pem.write_to_path(str(key))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return f'certificate = "{certificate}"\nkey = "{key}"\n', trusting


async def test_with_a_certificate_both_ports_speak_tls(tmp_path: Path) -> None:
    """Trading, a large reply, a ping and a goodbye; the URLs say so."""
    settings, trusting = certified(tmp_path)
    async with running(settings) as venue, connect(venue, "alice", tls=trusting) as alice:
        assert venue.websocket_url.startswith("wss://127.0.0.1:")
        placed = await alice.call("private/buy", **ORDER)
        assert "open" == placed["order"]["order_state"]
        assert len(await alice.call("public/get_instruments", currency="any")) > 1
        with trio.fail_after(10):
            await alice.websocket.ping(b"there?")
        async with httpx2.AsyncClient(verify=trusting) as http:
            answer = await http.get(f"{venue.http_url}/api/v2/public/test")
        assert 200 == answer.status_code
        with trio.fail_after(10):
            await alice.websocket.aclose(1000, "bye")


async def test_over_tls_a_stop_says_goodbye(tmp_path: Path) -> None:
    """1001 like anywhere, and nobody waits for a goodbye of TLS."""
    settings, trusting = certified(tmp_path)
    async with running(settings) as venue, connect(venue, tls=trusting) as client:
        await client.call("public/test")
        venue.stop()
        with trio.fail_after(10):
            assert (1001, "server is stopping") == await client.closed()


async def test_who_does_not_speak_tls_is_left_standing(tmp_path: Path) -> None:
    """It costs nobody else anything."""
    settings, trusting = certified(tmp_path)
    async with running(settings + "[limits]\nhandshake_seconds = 0.3\n") as venue:
        for words in (b"GET /ws/api/v2 HTTP/1.1\r\n\r\n", b""):
            stream = await trio.open_tcp_stream("127.0.0.1", venue.websocket.port)
            async with stream:
                await stream.send_all(words)
                with trio.fail_after(10):
                    # Nothing, or an alert of TLS.
                    assert b"HTTP" not in b"".join([bytes(chunk) async for chunk in stream])
        async with connect(venue, tls=trusting) as client:
            assert "version" in await client.call("public/test")


async def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Before anything runs."""
    settings = f'certificate = "{tmp_path}/none.pem"\nkey = "{tmp_path}/key.pem"\n'
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=r"none\.pem")):
        async with running(settings):
            pass
