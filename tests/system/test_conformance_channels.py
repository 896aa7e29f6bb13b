"""Channels: what a subscription returns, what is pushed, and that a book can be kept from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import define, field

from tests.system.process import Addresses
from tests.system.schemas import (
    BEST,
    BOOK,
    CHANGES,
    INDEX,
    ORDER,
    PERPETUAL,
    PERPETUAL_TICKER,
    PORTFOLIO,
    TICKER,
    TRADE,
    USER_TRADE,
    mismatches,
)
from tests.system.strict import BTC, ETH, Json, Socket, Web, limit, socket

SOL = "SOL_USDC-PERPETUAL"


async def subscribe(client: Socket, *channels: str, side: str = "private") -> None:
    """Subscribe to channels that must all be accepted."""
    accepted = await client.call(f"{side}/subscribe", channels=channels)
    assert accepted == list(channels)


UNKNOWN = [
    "",
    ".",
    "user",
    "user.",
    "book",
    "ticker.BTC-PERPETUAL",
    "ticker.BTC-PERPETUAL.1s",
    "ticker.BTC-NOTHING.100ms",
    "ticker.btc-perpetual.100ms",
    "trades.future.XYZ.100ms",
    "trades.stock.BTC.100ms",
    "deribit_price_index.xyz_usd",
    "quote.BTC-NOTHING",
    "user.portfolio.XYZ",
    "user.orders.BTC-NOTHING.raw",
    "nothing.BTC-PERPETUAL.100ms",
    "ticker.BTC-PERPETUAL.100ms.",
    "é\u0000",
]


async def test_unknown_channels_are_left_out(alice: Socket) -> None:
    """The others are accepted, each once, in the order asked for and as they were spelled."""
    known = ["ticker.BTC-PERPETUAL.100ms", "user.portfolio.btc", "user.portfolio.BTC"]
    channels = [known[0], *UNKNOWN, known[1], known[0], known[2]]
    assert await alice.call("private/subscribe", channels=channels, label="x", scope="y") == known
    assert await alice.call("private/subscribe", channels=UNKNOWN) == []
    assert await alice.call("private/subscribe", channels=[]) == []
    assert await alice.call("private/unsubscribe", channels=UNKNOWN) == []
    assert await alice.call("private/unsubscribe", channels=[known[1], *UNKNOWN]) == known[1:2]
    assert await alice.call("private/unsubscribe", channels=known[:2]) == known[:1]
    assert await alice.call("private/unsubscribe_all") == "ok"
    assert await alice.call("private/unsubscribe", channels=known) == []


async def test_currencies_that_are_not_listed_do_no_harm(alice: Socket) -> None:
    """Clients subscribe to all that they know; what is not there is not returned."""
    names = ("BTC", "ETH", "SOL", "USDC", "USDT", "EURR", "any")
    accepted = await alice.call(
        "private/subscribe", channels=[f"user.portfolio.{name}" for name in names]
    )
    assert {"user.portfolio.BTC", "user.portfolio.ETH", "user.portfolio.USDC"} <= set(accepted)
    for name in ("BTC", "ETH", "USDC"):
        shown = await alice.push(f"user.portfolio.{name}")
        assert [] == mismatches(shown, PORTFOLIO)
        assert shown["currency"] == name


@pytest.mark.parametrize(
    ("channels", "code"),
    [("x", -32602), ([5], -32602), (None, -32602), ({}, -32602), (["x"] * 501, -32602)],
)
async def test_channels_are_a_list(alice: Socket, channels: Any, code: int) -> None:
    """Of up to 500 strings."""
    for side in ("public", "private"):
        assert await alice.code(f"{side}/subscribe", channels=channels) == code
    assert await alice.call("public/subscribe", channels=["x"] * 500) == []


async def test_strangers_hear_no_raw_and_no_private_channels(addresses: Addresses) -> None:
    """Raw ones are 13778, and nothing of that request holds; private ones are left out."""
    async with socket(addresses.websocket) as client:
        quote = "quote.BTC-PERPETUAL"
        raw = ["book", "ticker", "trades", "perpetual"]
        for topic in raw:
            error = await client.error(
                "public/subscribe", channels=[quote, f"{topic}.BTC-PERPETUAL.raw"]
            )
            assert error["code"] == 13778
            assert error["message"] == "raw_subscriptions_not_available_for_unauthorized"
        assert await client.call("public/unsubscribe", channels=[quote]) == []
        private = ["user.portfolio.BTC", "user.orders.any.any.raw", "user.trades.any.any.100ms"]
        assert await client.call("public/subscribe", channels=[quote, *private]) == [quote]
        assert await client.code("private/subscribe", channels=private) == 10000
        await client.log_in("alice", scope="trade:read account:none")
        wanted = [f"book.{BTC}.raw", *private]
        granted = [wanted[0], *private[1:]]
        assert await client.call("private/subscribe", channels=wanted) == granted


async def test_market_data_has_every_field(alice: Socket, bob: Socket) -> None:
    """Each public channel, in each interval, in the shape that clients parse."""
    shapes: dict[str, Any] = {
        f"quote.{BTC}": BEST,
        "deribit_price_index.btc_usd": INDEX,
        "trades.future.BTC.100ms": [TRADE],
        "trades.any.any.raw": [TRADE],
        "trades.future.btc.agg2": [TRADE],
    }
    for interval in ("raw", "100ms", "agg2"):
        shapes[f"ticker.{BTC}.{interval}"] = PERPETUAL_TICKER
        shapes[f"perpetual.{BTC}.{interval}"] = PERPETUAL
        shapes[f"trades.{BTC}.{interval}"] = [TRADE]
    await subscribe(alice, *shapes, side="public")
    await bob.call("private/sell", **limit(65_000))
    trade = (await alice.call("private/buy", **limit(65_000)))["trades"][0]
    for channel, schema in shapes.items():
        data = await alice.push(channel)
        assert [] == mismatches(data, schema, channel)
        if channel.startswith("trades"):
            assert [each["trade_id"] for each in data] == [trade["trade_id"]]
            assert (data[0]["direction"], data[0]["price"]) == ("buy", 65_000)
            assert "order_id" not in data[0]


async def test_quotes_and_tickers_of_an_empty_book_are_zero(alice: Socket) -> None:
    """Numbers, not nulls, because clients parse numbers."""
    name = "ETH_USDC-PERPETUAL"
    await subscribe(alice, f"quote.{name}", f"ticker.{name}.100ms")
    for channel, schema in ((f"quote.{name}", BEST), (f"ticker.{name}.100ms", TICKER)):
        shown = await alice.push(channel)
        assert [] == mismatches(shown, schema)
        assert shown["best_bid_price"] == shown["best_ask_amount"] == 0


@define(eq=False)
class Follower:
    """A book as a client keeps it, from one channel alone."""

    client: Socket
    channel: str
    change_id: int | None = None
    sides: dict[str, dict[float, float]] = field(factory=lambda: {"bids": {}, "asks": {}})

    async def step(self) -> None:
        """Take one push, and complain as the strictest client does."""
        data = await self.client.push(self.channel)
        assert [] == mismatches(data, BOOK)
        if data["type"] == "snapshot":
            assert "prev_change_id" not in data
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert data["prev_change_id"] == self.change_id, data
            assert data["bids"] or data["asks"], "an empty change crashes clients"
        assert self.change_id is None or data["change_id"] > self.change_id
        self.change_id = data["change_id"]
        for side, levels in self.sides.items():
            for action, price, amount in data[side]:
                assert (price in levels) is (action != "new"), (side, action, price)
                assert (amount == 0) is (action == "delete")
                if action == "delete":
                    del levels[price]
                else:
                    levels[price] = amount

    async def reach(self, bids: Mapping[float, float], asks: Mapping[float, float]) -> None:
        """Follow until the book is that."""
        while self.change_id is None or self.sides != {"bids": bids, "asks": asks}:
            await self.step()


@pytest.mark.parametrize("interval", ["raw", "100ms", "agg2"])
async def test_books_can_be_followed(addresses: Addresses, alice: Socket, interval: str) -> None:
    """Two followers, of whom one comes late and subscribes twice, end with the same book."""
    name = {"raw": BTC, "100ms": ETH, "agg2": SOL}[interval]
    tick, price, amount = {BTC: (0.5, 64_500, 10), ETH: (0.05, 3_480, 1), SOL: (0.01, 149, 1)}[name]
    at = [round(price - step * tick, 2) for step in range(4)]
    terms = {"instrument_name": name, "amount": amount}
    channel = f"book.{name}.{interval}"
    async with (
        socket(addresses.websocket, "bob") as early,
        socket(addresses.websocket, "bob") as late,
    ):
        first, second = Follower(early, channel), Follower(late, channel)
        await subscribe(early, channel)
        await first.reach({}, {})
        orders = [(await alice.call("private/buy", **terms, price=each))["order"] for each in at]
        await subscribe(late, channel)
        await alice.call("private/buy", **terms, price=at[0])
        await alice.call("private/cancel", order_id=orders[1]["order_id"])
        await alice.call("private/edit", order_id=orders[2]["order_id"], amount=3 * amount)
        book = {at[0]: 2 * amount, at[2]: 3 * amount, at[3]: amount}
        for follower in (first, second):
            await follower.reach(book, {})
        await subscribe(late, channel)
        second.change_id = None
        await alice.call("private/sell", **terms, price=round(price + 20 * tick, 2))
        for follower in (first, second):
            await follower.reach(book, {round(price + 20 * tick, 2): amount})
        shown = await alice.call("public/get_order_book", instrument_name=name, depth=10)
        assert dict(shown["bids"]) == book
        await alice.call("private/cancel_all")
        for follower in (first, second):
            await follower.reach({}, {})


async def test_a_change_that_undoes_itself_is_not_pushed(alice: Socket, bob: Socket) -> None:
    """Between two pushes an order came and went: there is nothing to tell."""
    channel = "book.BTC_USDC-PERPETUAL.100ms"
    await subscribe(bob, channel)
    follower = Follower(bob, channel)
    await follower.reach({}, {})
    terms = {"instrument_name": "BTC_USDC-PERPETUAL", "amount": 0.1, "price": 64_500}
    for _ in range(30):
        await alice.call("private/buy", **terms)
        await alice.call("private/cancel_all")
    await alice.call("private/buy", **terms)
    await follower.reach({64_500: 0.1}, {})


async def test_own_channels_tell_of_an_order(alice: Socket, http: Web) -> None:
    """raw has one order in each push, 100ms a list of them; trades are lists in both."""
    raw = ["user.orders.any.any.raw", "user.orders.future.btc.raw", f"user.orders.{BTC}.raw"]
    slow = [f"user.orders.{BTC}.100ms", "user.orders.any.BTC.agg2"]
    trades = [f"user.trades.{BTC}.raw", "user.trades.any.any.raw", "user.trades.any.any.100ms"]
    changes = [f"user.changes.{BTC}.raw", "user.changes.any.any.raw", "user.changes.any.any.100ms"]
    await subscribe(alice, *raw, *slow, *trades, *changes)
    placed = http.call("private/buy", "alice", **limit(label="mine"))["order"]
    http.call("private/sell", "bob", **limit())
    for channel in raw:
        states = []
        for _ in range(2):
            order = await alice.push(channel)
            assert [] == mismatches(order, ORDER)
            assert (order["order_id"], order["label"]) == (placed["order_id"], "mine")
            states.append(order["order_state"])
        assert states == ["open", "filled"]
    for channel in slow:
        orders = await alice.push(channel, lambda data: data[-1]["order_state"] == "filled")
        assert [] == mismatches(orders, [ORDER])
    public = http.call("public/get_last_trades_by_instrument", instrument_name=BTC, count=1)
    for channel in trades:
        (trade,) = await alice.push(channel)
        assert [] == mismatches(trade, USER_TRADE)
        assert trade["trade_id"] == public["trades"][0]["trade_id"]
        assert (trade["direction"], trade["liquidity"], trade["label"]) == ("buy", "M", "mine")
    position = http.call("private/get_position", "alice", instrument_name=BTC)
    for channel in changes:
        data = await alice.push(channel, lambda data: data["trades"])
        assert [] == mismatches(data, CHANGES)
        assert data["instrument_name"] == BTC
        assert [each["order_state"] for each in data["orders"]][-1] == "filled"
        assert data["positions"] == [position]
    http.call("private/sell", "alice", **limit(64_500))
    http.call("private/buy", "bob", **limit(64_500))


async def test_the_reply_comes_before_what_it_caused(alice: Socket) -> None:
    """Reply, user.orders, user.trades, user.changes, book and trades, user.portfolio."""
    channels = [
        "user.portfolio.btc",
        f"book.{BTC}.raw",
        f"trades.{BTC}.raw",
        "user.changes.any.any.raw",
        "user.orders.any.any.raw",
        "user.trades.any.any.raw",
    ]
    await subscribe(alice, *channels)
    await alice.quiet()
    await alice.send({"id": "first", "method": "private/buy", "params": limit(64_500)})
    first = await alice.read()
    assert first.get("id") == "first"
    order = first["result"]["order"]
    pushed = [each["channel"] for each in await alice.quiet()]
    assert order["order_state"] == "open"
    private = [channel for channel in pushed if channel.startswith("user.")]
    assert private[:2] == ["user.orders.any.any.raw", "user.changes.any.any.raw"]
    assert pushed.index(f"book.{BTC}.raw") > pushed.index("user.changes.any.any.raw")
    assert pushed.index("user.portfolio.btc") > pushed.index(f"book.{BTC}.raw")


async def test_portfolios_answer_to_both_spellings(alice: Socket, http: Web) -> None:
    """Each subscriber reads its own, at the start and on every change."""
    channels = ["user.portfolio.eth", "user.portfolio.ETH", "user.portfolio.any"]
    await subscribe(alice, *channels)

    def is_ether(data: Json) -> bool:
        return bool(data["currency"] == "ETH")

    before = [await alice.push(channel, is_ether) for channel in channels]
    assert before[0] == before[1] == before[2]
    order = {"instrument_name": ETH, "amount": 100, "price": 3_480}
    http.call("private/buy", "alice", **order)
    for channel in channels:
        after = await alice.push(
            channel, lambda data: is_ether(data) and data["initial_margin"] > 0
        )
        assert [] == mismatches(after, PORTFOLIO)
        assert after["available_funds"] < before[0]["available_funds"]


async def test_nothing_is_pushed_after_unsubscribing(alice: Socket) -> None:
    """public/unsubscribe_all leaves what is private; private/unsubscribe_all leaves nothing."""
    raw = f"ticker.{BTC}.raw"
    await subscribe(alice, raw, "user.orders.any.any.raw")
    assert await alice.call("public/unsubscribe_all") == "ok"
    await alice.quiet()
    await alice.call("private/buy", **limit())
    assert [each["channel"] for each in await alice.quiet()] == ["user.orders.any.any.raw"]
    assert await alice.call("private/unsubscribe_all") == "ok"
    await alice.call("private/cancel_all")
    assert await alice.quiet() == []
