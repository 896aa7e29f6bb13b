"""Large answers of a real server, over both ports."""

from __future__ import annotations

from typing import Any, Final

import httpx2

from gateway.protocol.large_results import ROWS
from tests.gateway.server_fixtures import Caller, connect, running

ORDERS: Final = 3 * ROWS + 1
ALICE: Final = ("alice-key", "alice-secret")
BOOK: Final = {"instrument_name": "BTC-PERPETUAL", "depth": 10_000}


async def rest(caller: Caller) -> list[str]:
    """Place ORDERS orders, a price each; returns their ids, oldest first."""
    ids: list[str] = []
    for begin in range(0, ORDERS, 64):
        numbers = range(begin, min(begin + 64, ORDERS))
        for number in numbers:
            await caller.ask(
                "private/buy",
                instrument_name="BTC-PERPETUAL",
                amount=10,
                price=64_900 - number / 2,
            )
        ids += [(await caller.read())["result"]["order"]["order_id"] for _ in numbers]
    return ids


async def test_a_large_answer_is_whole_over_either_port() -> None:
    """The same orders, in the same order; and the last answer, to cancel them all, has them too."""
    index = '[[index]]\nname = "btc_usd"\nsource = "fixed"\nprice = 65000\n'
    async with running(index) as venue, connect(venue, "alice") as alice:
        ids = await rest(alice)
        shown = await alice.call("private/get_open_orders")
        assert ids == [order["order_id"] for order in shown]
        levels: dict[str, Any] = await alice.call("public/get_order_book", **BOOK)
        assert [64_900 - number / 2 for number in range(ORDERS)] == [
            price for price, _ in levels["bids"]
        ]
        async with httpx2.AsyncClient(base_url=venue.http_url, auth=ALICE) as web:
            reply = await web.get("/api/v2/private/get_open_orders")
            assert shown == reply.json()["result"]
            query = "&".join(f"{name}={value}" for name, value in BOOK.items())
            reply = await web.get(f"/api/v2/public/get_order_book?{query}")
            assert levels["bids"] == reply.json()["result"]["bids"]
            reply = await web.get("/api/v2/private/cancel_all?detailed=true")
            (report,) = reply.json()["result"]
        assert ids == [order["order_id"] for order in report["result"]]
        assert [] == await alice.call("private/get_open_orders")
