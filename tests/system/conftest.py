"""A strict venue for each module, and clients of it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.system.process import Addresses
from tests.system.strict import Socket, Web, socket, strict_venue, web


@pytest.fixture(scope="session", autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C reaches what the tests start, also where a shell in the background made us deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """One venue for the module."""
    with strict_venue(tmp_path_factory.mktemp("venue")) as running:
        yield running


@pytest.fixture(scope="module")
def http(addresses: Addresses) -> Iterator[Web]:
    """An HTTP client."""
    with web(addresses) as client:
        yield client


@pytest.fixture
async def alice(addresses: Addresses) -> AsyncIterator[Socket]:
    """A WebSocket client that is logged in; its account's orders end with the test."""
    async with socket(addresses.websocket, "alice") as client:
        yield client
        await client.call("private/cancel_all")


@pytest.fixture
async def bob(addresses: Addresses) -> AsyncIterator[Socket]:
    """Another account's."""
    async with socket(addresses.websocket, "bob") as client:
        yield client
        await client.call("private/cancel_all")
