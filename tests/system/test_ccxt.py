"""ccxt, unchanged but for its addresses, trades on a real venue over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import ccxt
import ccxt.pro
import pytest

from tests.system.process import Addresses, venue

SYMBOL = "BTC/USD:BTC"
PATIENCE = 20


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """One venue for the module; each test uses prices or contracts of its own."""
    with venue(tmp_path_factory.mktemp("ccxt")) as running:
        yield running


def client(addresses: Addresses, name: str) -> Any:
    """A ccxt client of one account."""
    exchange = ccxt.deribit(
        {"apiKey": f"{name}-key", "secret": f"{name}-secret", "enableRateLimit": False}
    )
    exchange.urls["api"]["rest"] = addresses.http
    return exchange


@pytest.fixture
def alice(addresses: Addresses) -> Any:
    """A funded account."""
    return client(addresses, "alice")


@pytest.fixture
def bob(addresses: Addresses) -> Any:
    """Another funded account."""
    return client(addresses, "bob")


def test_markets_load(alice: Any) -> None:
    """Perpetuals and dated futures, inverse and linear, come out as ccxt's unified markets."""
    markets = alice.load_markets()
    assert {"BTC/USD:BTC", "ETH/USD:ETH", "BTC/USDC:USDC", "SOL/USDC:USDC"} <= set(markets)
    perpetual = markets[SYMBOL]
    assert perpetual["inverse"]
    assert perpetual["swap"]
    assert perpetual["contractSize"] == 10
    assert perpetual["precision"]["price"] == 0.5
    assert markets["SOL/USDC:USDC"]["linear"]
    assert sum(market["future"] for market in markets.values()) >= 4


def test_an_order_is_created_edited_and_cancelled(alice: Any) -> None:
    """A resting order keeps its id through an edit and is found closed after its cancel."""
    order = alice.create_order(SYMBOL, "limit", "buy", 1000, 64_100)
    assert order["status"] == "open"
    edited = alice.edit_order(order["id"], SYMBOL, "limit", "buy", 2000, 64_200)
    assert (edited["id"], edited["amount"], edited["price"]) == (order["id"], 2000, 64_200)
    assert order["id"] in [open_order["id"] for open_order in alice.fetch_open_orders(SYMBOL)]
    assert alice.cancel_order(order["id"])["status"] == "canceled"
    assert alice.fetch_order(order["id"])["status"] == "canceled"
    history = alice.fetch_closed_orders(SYMBOL, params={"include_unfilled": True})
    assert order["id"] in [closed["id"] for closed in history]


def test_a_trade_shows_on_both_sides(alice: Any, bob: Any) -> None:
    """Maker and taker see the same trade, with opposite sides and their own fees."""
    symbol = "ETH/USD:ETH"
    mark = alice.fetch_ticker(symbol)["info"]["mark_price"]
    price = alice.price_to_precision(symbol, float(mark) * 0.999)
    order = alice.create_order(symbol, "limit", "buy", 100, price)
    assert bob.create_order(symbol, "market", "sell", 100)["status"] == "closed"
    (maker,) = alice.fetch_my_trades(symbol)
    (taker,) = bob.fetch_my_trades(symbol)
    assert maker["id"] == taker["id"]
    assert (maker["side"], taker["side"]) == ("buy", "sell")
    assert (maker["takerOrMaker"], taker["takerOrMaker"]) == ("maker", "taker")
    assert maker["fee"]["cost"] == 0
    assert taker["fee"]["cost"] == pytest.approx(100 / float(price) * 0.0005, abs=1e-8)
    assert alice.fetch_order_trades(order["id"])[0]["id"] == maker["id"]
    assert alice.fetch_trades(symbol)[-1]["id"] == maker["id"]
    (position,) = alice.fetch_positions([symbol])
    assert (position["side"], position["contracts"]) == ("long", 100)
    assert bob.fetch_position(symbol)["side"] == "short"


def test_balances_and_status(alice: Any) -> None:
    """Equity is the total, the venue is open, and its clock is ours."""
    balance = alice.fetch_balance()
    assert balance["USDC"]["total"] == 1_000_000
    assert alice.fetch_status()["status"] == "ok"
    assert abs(alice.fetch_time() - alice.milliseconds()) < 5_000


def test_refusals_are_ccxt_errors(alice: Any) -> None:
    """Out of the band, out of funds: ccxt raises what its users catch, and nothing rests."""
    with pytest.raises(ccxt.InvalidOrder):
        alice.create_order(SYMBOL, "limit", "buy", 1000, 90_000)
    symbol = "SOL/USDC:USDC"
    price = alice.price_to_precision(symbol, alice.fetch_ticker(symbol)["info"]["mark_price"])
    with pytest.raises(ccxt.InsufficientFunds):
        alice.create_order(symbol, "limit", "buy", 150_000, price)
    assert alice.fetch_open_orders(SYMBOL) == []
    assert alice.fetch_open_orders(symbol) == []


def test_unknown_orders_and_bad_secrets_are_named(alice: Any, addresses: Addresses) -> None:
    """ccxt tells an unknown order and a wrong secret apart."""
    with pytest.raises(ccxt.OrderNotFound):
        alice.cancel_order("987654")
    alice.secret = "wrong"
    with pytest.raises(ccxt.AuthenticationError):
        alice.fetch_balance()


def test_post_only_is_rejected_rather_than_filled(alice: Any, bob: Any) -> None:
    """ccxt's postOnly asks for a rejection, and gets the code that bots wait for."""
    symbol = "SOL/USDC:USDC"
    mark = float(bob.fetch_ticker(symbol)["info"]["mark_price"])
    price = bob.price_to_precision(symbol, mark)
    order = bob.create_order(symbol, "limit", "sell", 1, price)
    with pytest.raises(ccxt.BaseError, match="11054"):
        alice.create_order(symbol, "limit", "buy", 1, price, {"postOnly": True})
    bob.cancel_order(order["id"])


def test_a_socket_client_watches_what_it_does(addresses: Addresses) -> None:
    """ccxt.pro sees book, trades, its orders, its trades and its balance, pushed."""
    asyncio.run(_watch(addresses))


async def _watch(addresses: Addresses) -> None:
    exchanges = []
    for name in ("alice", "bob"):
        exchange = ccxt.pro.deribit(
            {"apiKey": f"{name}-key", "secret": f"{name}-secret", "enableRateLimit": False}
        )
        exchange.urls["api"]["rest"] = addresses.http
        exchange.urls["api"]["ws"] = addresses.websocket
        exchanges.append(exchange)
    alice, bob = exchanges
    symbol = "BTC/USDC:USDC"
    try:
        await alice.load_markets()
        mark = float((await alice.fetch_ticker(symbol))["info"]["mark_price"])
        price = float(alice.price_to_precision(symbol, mark * 0.999))
        seen = await _while(
            {
                "orders": lambda: alice.watch_orders(symbol),
                "book": lambda: alice.watch_order_book(symbol),
            },
            lambda: alice.create_order(symbol, "limit", "buy", 0.1, price),
        )
        assert seen["orders"][0]["status"] == "open"
        assert seen["book"]["bids"][0][:2] == [price, 0.1]
        seen = await _while(
            {
                "trades": lambda: bob.watch_trades(symbol),
                "mine": lambda: alice.watch_my_trades(symbol),
                "balance": alice.watch_balance,
            },
            lambda: bob.create_order(symbol, "limit", "sell", 0.1, price),
        )
        assert seen["trades"][-1]["price"] == price
        assert seen["mine"][-1]["takerOrMaker"] == "maker"
        assert seen["balance"]["info"]["equity"] > 0
    finally:
        for exchange in exchanges:
            await exchange.close()


async def _while(
    watches: dict[str, Callable[[], Awaitable[Any]]], act: Callable[[], Awaitable[Any]]
) -> dict[str, Any]:
    """Start watching, act until every watch has seen something, and return what each saw."""

    async def settled(watch: Callable[[], Awaitable[Any]]) -> Any:
        seen = await watch()
        while isinstance(seen, dict) and seen.get("bids") == []:
            seen = await watch()
        return seen

    tasks = {name: asyncio.create_task(settled(watch)) for name, watch in watches.items()}
    await asyncio.sleep(0.5)
    await act()
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*tasks.values())
    return dict(zip(tasks, results, strict=True))
