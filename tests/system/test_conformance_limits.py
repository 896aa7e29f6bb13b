"""Rate limits and safety limits as a client meets them, where the configuration has them on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected

from tests.system.process import ACCOUNTS, Addresses, venue
from tests.system.strict import Socket, Web, limit, socket, strict_venue, web

LIMITS = """
[limits]
enabled = true
connections_per_address = 6
login_attempts = 3
"""


@pytest.fixture
def addresses(tmp_path: Path) -> Iterator[Addresses]:
    """A venue for each test, since all of them come from one address."""
    with strict_venue(tmp_path, LIMITS) as running:
        yield running


@pytest.fixture
def http(addresses: Addresses) -> Iterator[Web]:
    """An HTTP client."""
    with web(addresses) as client:
        yield client


@pytest.fixture
async def client(addresses: Addresses) -> AsyncIterator[Socket]:
    """A stranger's WebSocket connection."""
    async with socket(addresses.websocket) as opened:
        yield opened


async def test_who_asks_too_much_is_refused_and_hung_up_on(client: Socket) -> None:
    """A hundred at once go; then comes 10028, and the connection ends with 1008."""
    with suppress(ConnectionClosed):
        for number in range(200):
            await client.send({"id": number, "method": "public/get_time"})
    replies = [await client.reply()]
    while "result" in replies[-1]:
        replies.append(await client.reply())
    with trio.fail_after(5), pytest.raises(ConnectionClosed, match="1008"):
        await client.connection.get_message()
    assert [reply["id"] for reply in replies] == list(range(len(replies)))
    assert 100 <= len(replies) < 200
    assert replies[-1]["error"] == {"code": 10028, "message": "too_many_requests"}


@pytest.mark.parametrize("settings", ["", "[limits]\nenabled = false\n"])
def test_a_venue_limits_requests_unless_it_is_told_not_to(tmp_path: Path, settings: str) -> None:
    """Where the file says nothing, requests beyond a hundred at once are refused with 10028."""
    with venue(tmp_path, ACCOUNTS + settings) as running, web(running) as client:
        codes = [client.get("public/get_time").get("error", {}).get("code") for _ in range(150)]
    assert (10028 in codes) is (not settings)
    assert codes[:100] == [None] * 100


async def test_orders_over_the_limit_are_refused_without_hanging_up(addresses: Addresses) -> None:
    """Also those are 10028; in flight, more than eight are 10047; who waits may go on."""
    async with socket(addresses.websocket, "alice") as client:
        for number in range(130):
            await client.send({"id": number, "method": "private/buy", "params": limit()})
        replies = [await client.reply() for _ in range(130)]
        codes = {reply["error"]["code"] for reply in replies if "error" in reply}
        assert {10028} <= codes <= {10028, 10047}
        assert sum("result" in reply for reply in replies) <= 110
        assert await client.call("private/cancel_all") > 0


def test_http_is_told_by_its_status_as_well(http: Web) -> None:
    """429, with the same body."""
    codes = set()
    for _ in range(130):
        reply = http.get("public/get_time")
        codes.add((http.status, reply.get("error", {}).get("code")))
    assert codes == {(200, None), (429, 10028)}


def test_guesses_are_counted(http: Web) -> None:
    """After some wrong secrets an address gets 12003; the right secret still logs in."""
    key = {"grant_type": "client_credentials", "client_id": "alice-key"}
    guess = {**key, "client_secret": "?"}
    assert [http.code("public/auth", **guess) for _ in range(4)] == [13004, 13004, 13004, 12003]
    assert http.status == 429
    right = http.get("public/auth", None, **key, client_secret="alice-secret")
    assert "access_token" in right["result"]


async def test_connections_are_counted(addresses: Addresses) -> None:
    """One too many is refused with 429 while the others go on; a place that is left is free."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(socket(addresses.websocket)) for _ in range(5)]
        async with socket(addresses.websocket):
            with pytest.RaisesGroup(pytest.RaisesExc(ConnectionRejected, match="429")):
                async with socket(addresses.websocket):
                    pass
        for client in opened:
            assert "version" in await client.call("public/test")
        with trio.fail_after(5):
            async with socket(addresses.websocket, "alice"):
                pass
