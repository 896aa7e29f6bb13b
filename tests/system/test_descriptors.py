"""A real venue that may open few files, and clients that open as many connections as they can."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from gateway.network.connection_limiter import MAX_CONNECTIONS
from gateway.network.descriptors import RESERVED_DESCRIPTORS, WANTED_DESCRIPTORS, quotas_of
from gateway.network.http_acceptor import MAX_HTTP_CONNECTIONS
from tests.system.process import ACCOUNTS, venue

# What a service manager or a shell may allow; most allow 1,024.
DESCRIPTORS = 160
ORDERS = 250
SETTINGS = "[log]\nsegment_bytes = 65536\nfollower = false\n[limits]\nenabled = false\n"
SILENT = [f"127.0.0.{number}" for number in range(10, 35)] * 6


def test_connections_leave_the_log_its_descriptors(tmp_path: Path) -> None:
    """On either port; the log goes on in new segments, and an honest client is served."""
    config = ACCOUNTS.replace("[server]", '[server]\ndata_dir = "data"', 1) + SETTINGS
    errors = tmp_path / "errors.txt"
    with (
        errors.open("w") as stderr,
        venue(tmp_path, config, stderr=stderr, ulimit=f"-n {DESCRIPTORS}") as addresses,
        httpx2.Client(base_url=addresses.http, auth=("alice-key", "alice-secret")) as honest,
        ExitStack() as stack,
    ):
        assert 200 == honest.get("/health").status_code
        for address, url in product(SILENT, (addresses.http, addresses.websocket)):
            silent = stack.enter_context(socket.socket())
            silent.settimeout(5)
            silent.bind((address, 0))
            silent.connect(("127.0.0.1", urlsplit(url).port))
            silent.send(b"G")
        for number in range(ORDERS):
            reply = honest.get(
                "/api/v2/private/buy",
                params={
                    "instrument_name": "BTC-PERPETUAL",
                    "amount": 10,
                    "type": "limit",
                    "price": 60_000,
                    "label": f"{number:064}",
                },
            )
            assert 200 == reply.status_code, reply.text
        assert len(list((tmp_path / "data" / "log").iterdir())) > 1
        assert addresses.process.poll() is None
    said = errors.read_text()
    assert f"the system allows {DESCRIPTORS} open files" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("descriptors", [WANTED_DESCRIPTORS, 4_096, 1_024, 512, 160])
def test_shares_leave_what_is_reserved(descriptors: int) -> None:
    """Also counting those that are being refused."""
    found = quotas_of(descriptors)
    taken = found.websocket + found.http + 2 * found.rejections
    assert taken <= descriptors - RESERVED_DESCRIPTORS
    assert taken >= 0.9 * (descriptors - RESERVED_DESCRIPTORS)
    assert found.websocket > found.http > 0


def test_with_enough_of_them_connections_have_their_own_bounds() -> None:
    """More descriptors do not mean more connections."""
    for descriptors in (WANTED_DESCRIPTORS, 10 * WANTED_DESCRIPTORS):
        found = quotas_of(descriptors)
        assert (MAX_CONNECTIONS, MAX_HTTP_CONNECTIONS) == (found.websocket, found.http)


def test_the_soft_limit_is_raised_as_far_as_the_system_allows(tmp_path: Path) -> None:
    """Which costs nothing, and is all that most machines need."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < WANTED_DESCRIPTORS:
        pytest.skip("this machine does not allow that many")
    with venue(tmp_path, ulimit="-Sn 256") as addresses:
        limits = Path(f"/proc/{addresses.process.pid}/limits").read_text()
        (line,) = [each for each in limits.splitlines() if each.startswith("Max open files")]
        assert str(WANTED_DESCRIPTORS) == line.split()[3]
