"""Clients that read too slowly are disconnected, even while the kernel buffers their data."""

from __future__ import annotations

import socket

import pytest
import trio

from gateway.network.outbox import WRITE_BYTES
from gateway.network.slow_readers import ReadProgress
from tests.gateway.network.test_connection_ends import Client, asking
from tests.gateway.network.test_websocket import connections
from tests.gateway.server.test_server import until
from tests.gateway.server_fixtures import credentials, running

SECONDS = 10.0


@pytest.mark.parametrize(
    ("rate", "queued", "disconnected"),
    [
        (0, 1, True),
        (0, 10 * WRITE_BYTES, True),
        (2, 100, True),
        (10, 100, False),
        (WRITE_BYTES // 10 - 1, 10 * WRITE_BYTES, True),
        (WRITE_BYTES // 10 + 1, 10 * WRITE_BYTES, False),
    ],
)
def test_queued_data_must_be_read_in_time(rate: int, queued: int, disconnected: bool) -> None:
    """All of it, or WRITE_BYTES per period, at some rate of reading."""
    progress = ReadProgress(SECONDS)
    results = []
    for second in range(1_000):
        done = min(rate * second, queued)
        if done == queued:
            progress.clear()
        else:
            results.append(progress.too_slow(float(second), done, queued - done))
    assert disconnected == any(results)
    assert not any(results[: int(SECONDS)]), "before the first deadline"


def test_a_client_that_reads_in_time_is_never_disconnected() -> None:
    """However much is unacknowledged at each check, because more follows."""
    progress = ReadProgress(SECONDS)
    sent = 0
    for second in range(0, 1_000, 2):
        sent += 10_000
        assert not progress.too_slow(float(second), sent - 10_000, 10_000)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("size", [0, 2])
async def test_a_client_that_reads_two_bytes_at_a_time_is_disconnected(size: int) -> None:
    """Or none at all; the writer does not wait, because the kernel has taken all data."""
    async with running("[limits]\nsend_seconds = 0.4\n") as venue:
        plain = trio.socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        await plain.connect(("127.0.0.1", venue.websocket.port))
        async with trio.SocketStream(plain) as stream:
            client = Client(venue, stream)
            await client.shake_hands()
            await client.call("public/auth", **credentials("alice"))
            await stream.send_all(asking("public/get_instruments", currency="any"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, stream, size)
                with trio.fail_after(10):
                    await until(lambda: not venue.venue.exchange.state.sessions)
                    await until(lambda: not connections(venue))
                nursery.cancel_scope.cancel()
        drops = venue.metrics.registry.get_sample_value(
            "tidegate_outbox_drops_total", {"kind": "unread"}
        )
        assert 1 == drops


async def drip(stream: trio.SocketStream, size: int) -> None:
    """Read this many bytes at a time, until the connection is reset."""
    try:
        received = b"x"
        while size and received:
            await trio.sleep(0.1)
            received = bytes(await stream.receive_some(size))
    except trio.BrokenResourceError:
        return
