"""The whole server over a WebSocket, with each transport library."""

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
    """Return a request as a client's frame."""
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return Frame(Opcode.TEXT, msgspec.json.encode(request)).serialize(mask=True)


async def replies(client: Caller, count: int) -> list[int]:
    """Return the ids of the next replies, each of which must have a result."""
    numbers: list[int] = []
    with trio.fail_after(5):
        while len(numbers) < count:
            reply = await client.read()
            assert "result" in reply, reply
            numbers.append(reply["id"])
    return numbers


async def test_pings_are_answered_while_orders_wait() -> None:
    """A log that is blocked must not look like a lost connection."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(log=log) as venue, connect(venue, "alice") as alice:
        log.shut()
        orders = [await alice.ask("private/buy", **ORDER) for _ in range(5)]
        with trio.fail_after(10):
            await alice.websocket.ping(b"there?")
        log.gate.set()
        assert orders == await replies(alice, len(orders))


async def test_a_burst_of_requests_is_answered_in_order() -> None:
    """One write holds more requests than there are places for replies."""
    async with running() as venue, connect(venue) as client:
        count = 2 * MAX_REPLIES
        burst = b"".join(asking(n, "public/test") for n in range(count))
        stream = client.websocket._stream
        await stream.send_all(burst)
        assert list(range(count)) == await replies(client, count)


async def test_reads_and_orders_of_one_burst_are_all_answered_once() -> None:
    """Orders wait for the log, and reads do not."""
    async with running() as venue, connect(venue, "alice") as alice:
        methods = ["private/buy", "public/test", "private/get_positions"] * 2
        burst = b"".join(
            asking(n, method, **(ORDER if method == "private/buy" else {}))
            for n, method in enumerate(methods)
        )
        await alice.websocket._stream.send_all(burst)
        assert list(range(len(methods))) == sorted(await replies(alice, len(methods)))


async def test_a_client_that_half_closes_loses_its_session() -> None:
    """Its session ends although it could still read."""
    async with running() as venue, connect(venue, "alice") as alice:
        stream = alice.websocket._stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_eof()
        with trio.fail_after(10):
            while venue.venue.exchange.state.sessions:  # noqa: ASYNC110 - the state has no event
                await trio.sleep(0.01)


async def test_hundreds_of_connections_come_and_go() -> None:
    """All slots are free afterwards, however the connections end."""
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
    """Return how many slots are taken."""
    return venue.metrics.registry.get_sample_value("tidegate_connections")


async def come_and_go(port: int, number: int) -> None:
    """Connect and disconnect: with a close frame, without one, or in the middle of a frame."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(nursery, stream, "x", "/ws/api/v2")
        if number % 3 == 0:
            await socket.aclose()
        elif number % 3 == 1:
            await stream.send_all(asking(1, "public/test")[:20])
        nursery.cancel_scope.cancel()


def certified(folder: Path) -> tuple[str, ssl.SSLContext]:
    """Return settings with a certificate, and a client's context that trusts it."""
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
    """Trading, a large reply, a ping and a close work; the URLs have the right scheme."""
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


async def test_over_tls_a_stop_closes_with_1001(tmp_path: Path) -> None:
    """It does not wait for a close alert of TLS."""
    settings, trusting = certified(tmp_path)
    async with running(settings) as venue, connect(venue, tls=trusting) as client:
        await client.call("public/test")
        venue.stop()
        with trio.fail_after(10):
            assert (1001, "server is stopping") == await client.closed()


async def test_a_client_that_does_not_speak_tls_is_closed_at_the_handshake_deadline(
    tmp_path: Path,
) -> None:
    """Other clients are served."""
    settings, trusting = certified(tmp_path)
    async with running(settings + "[limits]\nhandshake_seconds = 0.3\n") as venue:
        for words in (b"GET /ws/api/v2 HTTP/1.1\r\n\r\n", b""):
            stream = await trio.open_tcp_stream("127.0.0.1", venue.websocket.port)
            async with stream:
                await stream.send_all(words)
                with trio.fail_after(10):
                    # Nothing, or a TLS alert.
                    assert b"HTTP" not in b"".join([bytes(chunk) async for chunk in stream])
        async with connect(venue, tls=trusting) as client:
            assert "version" in await client.call("public/test")


async def test_the_error_names_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """It is raised before anything runs."""
    settings = f'certificate = "{tmp_path}/none.pem"\nkey = "{tmp_path}/key.pem"\n'
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=r"none\.pem")):
        async with running(settings):
            pass
