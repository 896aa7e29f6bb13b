"""Hostile bytes on the HTTP port of a real venue, with an honest client beside them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest
import trio
import trustme

from tests.hostile_bytes import HTTP, http_stream, pieces
from tests.system.process import ACCOUNTS, venue

# Over TLS the protocol is the same, and each connection takes four times as long.
GENERATED = {False: 500, True: 100}
AT_ONCE = 16
# From another address than the honest client, which the limits per address would count with them.
HOSTILE_ADDRESS = "127.0.0.66"


class Target(NamedTuple):
    """A venue under attack."""

    host: str
    port: int
    tls: ssl.SSLContext | None


@contextmanager
def target(folder: Path, *, tls: bool) -> Iterator[Target]:
    """A venue as a process, which must end with status 0 and must not have logged a traceback."""
    config, trust = f"{ACCOUNTS}[limits]\nenabled = false\n", None
    if tls:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        for number, pem in enumerate(certificate.cert_chain_pems):
            pem.write_to_path(str(folder / "certificate.pem"), append=number > 0)
        config = config.replace(
            "[server]", '[server]\ncertificate = "certificate.pem"\nkey = "key.pem"', 1
        )
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
    errors = folder / "errors.txt"
    with errors.open("w") as stderr, venue(folder, config, stderr=stderr) as addresses:
        parts = urlsplit(addresses.http)
        assert parts.hostname is not None
        assert parts.port is not None
        yield Target(parts.hostname, parts.port, trust)
        assert addresses.process.poll() is None, errors.read_text()
    assert "Traceback" not in errors.read_text()


@asynccontextmanager
async def honest(aim: Target) -> AsyncIterator[None]:
    """A client that asks again and again meanwhile, and must always be answered."""
    scheme = "http" if aim.tls is None else "https"
    base = f"{scheme}://{aim.host}:{aim.port}"
    async with (
        httpx2.AsyncClient(base_url=base, verify=aim.tls or False) as web,
        trio.open_nursery() as nursery,
    ):
        served = 0

        async def ask() -> None:
            nonlocal served
            while True:
                with trio.fail_after(5):
                    reply = await web.get("/api/v2/public/test")
                assert 200 == reply.status_code
                served += 1
                await trio.sleep(0.01)

        nursery.start_soon(ask)
        yield
        nursery.cancel_scope.cancel()
        assert served > 10
        reply = await web.get("/metrics")
        assert 200 == reply.status_code
        assert 'reason="bad_request"' in reply.text
        assert 'reason="crash"' not in reply.text


async def attack(aim: Target, data: bytes, random: Random) -> None:
    """Send the bytes in pieces, then the end; read what comes until the venue hangs up."""
    socket = await trio.open_tcp_stream(aim.host, aim.port, local_address=HOSTILE_ADDRESS)
    stream: trio.abc.Stream = socket
    if aim.tls is not None:
        stream = trio.SSLStream(socket, aim.tls, server_hostname=aim.host, https_compatible=True)
    async with stream:
        try:
            for piece in pieces(random, data):
                await stream.send_all(piece)
            await socket.send_eof()
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return


async def attack_all(aim: Target, cases: list[bytes], random: Random) -> None:
    """All cases, a few at a time; those the venue leaves open are given up after a moment."""
    left = iter(cases)

    async def work() -> None:
        for data in left:
            with trio.move_on_after(0.1):
                await attack(aim, data, random)

    async with honest(aim), trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_hostile_bytes_reach_nothing_but_their_own_connection(
    tmp_path: Path, tls: bool
) -> None:
    """Every case of the table and some that are drawn; it serves on, and logs no traceback."""
    seed = 9 + tls
    random = Random(seed)
    cases = [*HTTP.values(), *(http_stream(random) for _ in range(GENERATED[tls]))]
    random.shuffle(cases)
    with target(tmp_path, tls=tls) as aim:
        await attack_all(aim, cases, random)
