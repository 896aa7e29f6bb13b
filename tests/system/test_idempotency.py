"""Requests that are sent again because nobody heard what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.system.process import ACCOUNTS, Addresses, venue
from tests.system.strict import INDICES, Web, limit, socket, web

BUY: Final = limit(64_100, idempotency_key="first")


async def test_a_client_that_lost_its_connection_repeats_its_order(
    addresses: Addresses, http: Web
) -> None:
    """On a new one, and over HTTP, it has the reply that it may not have heard."""
    async with socket(addresses.websocket, "alice") as before:
        first = await before.call("private/buy", **BUY)
        before.cut()
    async with socket(addresses.websocket, "alice") as after:
        assert first == await after.call("private/buy", **BUY)
        assert first == http.call("private/buy", "alice", **BUY)
        order_id = first["order"]["order_id"]
        cancelling = {"order_id": order_id, "idempotency_key": "second"}
        cancelled = await after.call("private/cancel", **cancelling)
        assert "cancelled" == cancelled["order_state"]
        # The order is gone, and to any other request that is what there is to say.
        assert 11044 == await after.code("private/cancel", order_id=order_id)
        assert cancelled == await after.call("private/cancel", **cancelling)
        assert cancelled == http.call("private/cancel", "alice", **cancelling)
        assert first == await after.call("private/buy", **BUY)
        assert [] == await after.call("private/get_open_orders")


async def test_a_venue_that_was_started_again_knows_what_it_did(tmp_path: Path) -> None:
    """Its log kept the outcome with the order."""
    kept = f'[server]\nstrict = true\ndata_dir = "{tmp_path / "data"}"'
    config = ACCOUNTS.replace("[server]", kept) + INDICES
    with venue(tmp_path, config) as running, web(running) as client:
        first = client.call("private/buy", "alice", **BUY)
    with venue(tmp_path, config) as running, web(running) as client:
        assert first == client.call("private/buy", "alice", **BUY)
        orders = client.call("private/get_open_orders", "alice")
        assert [first["order"]["order_id"]] == [order["order_id"] for order in orders]
