"""Market data methods, as a client sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.harness import START, Harness

BTC = "BTC-PERPETUAL"
SOL = "SOL_USDC-PERPETUAL"
DAY = 86_400


def trade(harness: Harness, amount: float = 10, price: float = 65_000, name: str = BTC) -> None:
    """Alice rests a sell order and Bob takes it."""
    alice, bob = harness.connect("alice"), harness.connect("bob")
    alice.call("private/sell", instrument_name=name, amount=amount, price=price)
    bob.call("private/buy", instrument_name=name, amount=amount, price=price)


def test_get_instruments_needs_no_parameters() -> None:
    """ccxt sends none: all currencies, with every field that its parser requires."""
    harness = Harness()
    listed = harness.connect().call("public/get_instruments")
    assert set(harness.exchange.state.markets) == {each["instrument_name"] for each in listed}
    perpetual = next(each for each in listed if each["instrument_name"] == BTC)
    assert {
        "instrument_name": BTC,
        "instrument_id": perpetual["instrument_id"],
        "kind": "future",
        "instrument_type": "reversed",
        "future_type": "reversed",
        "base_currency": "BTC",
        "quote_currency": "USD",
        "counter_currency": "USD",
        "settlement_currency": "BTC",
        "price_index": "btc_usd",
        "underlying_type": "crypto",
        "settlement_period": "perpetual",
        "creation_timestamp": START,
        "expiration_timestamp": 32_503_708_800_000,
        "is_active": True,
        "state": "open",
        "tick_size": 0.5,
        "tick_size_steps": [],
        "contract_size": 10.0,
        "min_trade_amount": 10.0,
        "maker_commission": 0.0,
        "taker_commission": 0.0005,
        "max_liquidation_commission": 0.0075,
        "max_leverage": 50,
        "max_non_default_leverage": 50,
        "block_trade_commission": 0.00025,
        "block_trade_min_trade_amount": 200_000,
        "block_trade_tick_size": 0.01,
        "rfq": False,
    } == perpetual


@pytest.mark.parametrize(
    ("params", "families"),
    [
        ({"currency": "any"}, {"BTC", "ETH", "BTC_USDC", "ETH_USDC", "SOL_USDC"}),
        ({"currency": "BTC"}, {"BTC"}),
        ({"currency": "USDC", "kind": "future"}, {"BTC_USDC", "ETH_USDC", "SOL_USDC"}),
        ({"currency": "BTC", "kind": "option"}, set()),
        ({"currency": "SOL"}, set()),
        ({"currency": "EURR"}, set()),
    ],
)
def test_instruments_are_selected_by_settlement_currency(
    params: dict[str, Any], families: set[str]
) -> None:
    """A known currency that is not listed has none, without an error."""
    listed = Harness().connect().call("public/get_instruments", **params)
    assert families == {each["instrument_name"].partition("-")[0] for each in listed}


def test_an_expired_instrument_moves_to_the_other_list() -> None:
    """It is no longer active but is still found by name."""
    harness = Harness()
    client = harness.connect()
    name = next(name for name in harness.exchange.state.markets if "PERPETUAL" not in name)
    expiry = client.call("public/get_instrument", instrument_name=name)["expiration_timestamp"]
    harness.clock.time = expiry
    harness.tick()
    expired = client.call("public/get_instruments", currency="any", expired=True)
    assert (name, False, "delivered") in [
        (each["instrument_name"], each["is_active"], each["state"]) for each in expired
    ]
    listed = client.call("public/get_instruments", currency="any")
    assert name not in {each["instrument_name"] for each in listed}
    ticker = client.call("public/ticker", instrument_name=name)
    assert ("delivered", 65_000.0) == (ticker["state"], ticker["delivery_price"])
    prices = client.call("public/get_delivery_prices", index_name="btc_usd")
    assert (1, [65_000.0]) == (
        prices["records_total"],
        [each["delivery_price"] for each in prices["data"]],
    )


@pytest.mark.parametrize(
    "method",
    [
        "get_instrument",
        "get_contract_size",
        "ticker",
        "get_order_book",
        "get_book_summary_by_instrument",
        "get_last_trades_by_instrument",
    ],
)
def test_an_unknown_instrument_is_not_found(method: str) -> None:
    """13020, and a missing name is -32602."""
    client = Harness().connect()
    error = client.error(f"public/{method}", instrument_name="DOGE-PERPETUAL")
    assert (13020, "not_found") == (error["code"], error["message"])
    assert -32602 == client.error(f"public/{method}")["code"]


@pytest.mark.parametrize(("name", "size"), [(BTC, 10), ("ETH-PERPETUAL", 1), (SOL, 0.1)])
def test_a_whole_contract_size_is_an_integer(name: str, size: float) -> None:
    """Strict clients parse one; linear contracts have fractions."""
    result = Harness().connect().call("public/get_contract_size", instrument_name=name)
    assert {"contract_size": size} == result
    assert type(size) is type(result["contract_size"])


def test_currencies_are_the_settlement_currencies() -> None:
    """With the fields that ccxt and others read."""
    result = Harness().connect().call("public/get_currencies")
    assert ["BTC", "ETH", "USDC"] == sorted(each["currency"] for each in result)
    required = {
        "currency",
        "currency_long",
        "coin_type",
        "withdrawal_fee",
        "min_confirmations",
        "in_cross_collateral_pool",
        "fee_precision",
    }
    assert all(required <= set(each) for each in result)


def test_an_index_has_a_price() -> None:
    """Away from expiry the estimated delivery price is the index."""
    harness = Harness()
    client = harness.connect()
    names = ["btc_usd", "btc_usdc", "eth_usd", "eth_usdc", "sol_usdc"]
    assert names == client.call("public/get_index_price_names")
    extended = client.call("public/get_index_price_names", extended=True)
    assert names == [each["name"] for each in extended]
    harness.tick(sol_usdc=151.5)
    assert {
        "index_price": 151.5,
        "estimated_delivery_price": 151.5,
    } == client.call("public/get_index_price", index_name="sol_usdc")
    assert -32602 == client.error("public/get_index_price", index_name="doge_usd")["code"]


def test_a_ticker_without_trades_has_numbers_where_clients_parse_them() -> None:
    """Missing best prices are 0.0; other missing values are null."""
    result = Harness().connect().call("public/ticker", instrument_name=BTC)
    assert {
        "instrument_name": BTC,
        "timestamp": START + 1_000,
        "state": "open",
        "stats": {
            "volume": 0.0,
            "volume_usd": 0.0,
            "volume_notional": 0.0,
            "high": None,
            "low": None,
            "price_change": None,
        },
        "open_interest": 0.0,
        "best_bid_price": 0.0,
        "best_bid_amount": 0.0,
        "best_ask_price": 0.0,
        "best_ask_amount": 0.0,
        "index_price": 65_000.0,
        "mark_price": 65_000.0,
        "min_price": 64_025.0,
        "max_price": 65_975.0,
        "last_price": None,
        "settlement_price": 0.0,
        "estimated_delivery_price": 65_000.0,
        "current_funding": 0.0,
        "funding_8h": 0.0,
        "interest_value": 0.0,
    } == result


def test_a_ticker_shows_trades_and_volume() -> None:
    """Volume in coins and dollars, the extremes of the day, the change from its first trade."""
    harness = Harness()
    trade(harness, 65_000, 65_000)
    trade(harness, 32_500, 65_650)
    result = harness.connect().call("public/ticker", instrument_name=BTC)
    assert {
        "volume": 1.4950495,
        "volume_usd": 97_500.0,
        "volume_notional": 97_500.0,
        "high": 65_650.0,
        "low": 65_000.0,
        "price_change": 1.0,
    } == result["stats"]
    assert (65_650.0, 97_500.0) == (result["last_price"], result["open_interest"])


def test_a_book_has_the_requested_depth() -> None:
    """Best first on both sides, five levels by default, with the ticker and the change id."""
    harness = Harness()
    alice = harness.connect("alice")
    for step in range(7):
        alice.call("private/buy", instrument_name=BTC, amount=10, price=64_900 - step)
        alice.call("private/sell", instrument_name=BTC, amount=20, price=65_100 + step)
    book = alice.call("public/get_order_book", instrument_name=BTC)
    assert [[64_900.0 - step, 10.0] for step in range(5)] == book["bids"]
    assert [[65_100.0 + step, 20.0] for step in range(5)] == book["asks"]
    assert (64_900.0, 65_100.0) == (book["best_bid_price"], book["best_ask_price"])
    assert harness.exchange.state.sequence == book["change_id"]
    shallow = alice.call("public/get_order_book", instrument_name=BTC, depth=1)
    assert [[64_900.0, 10.0]] == shallow["bids"]
    assert 7 == len(alice.call("public/get_order_book", instrument_name=BTC, depth=20)["asks"])
    assert -32602 == alice.error("public/get_order_book", instrument_name=BTC, depth=0)["code"]


def test_summaries_have_null_for_missing_prices() -> None:
    """Unlike tickers: bid, ask, middle, last and extremes are null in an empty market."""
    harness = Harness()
    client = harness.connect("alice")
    (summary,) = client.call("public/get_book_summary_by_instrument", instrument_name=BTC)
    nothing = ("bid_price", "ask_price", "mid_price", "last", "high", "low", "price_change")
    assert dict.fromkeys(nothing) == {name: summary[name] for name in nothing}
    client.call("private/buy", instrument_name=BTC, amount=10, price=64_900)
    client.call("private/sell", instrument_name=BTC, amount=10, price=65_001)
    (summary,) = client.call("public/get_book_summary_by_instrument", instrument_name=BTC)
    assert (64_900.0, 65_001.0, 64_950.5) == (
        summary["bid_price"],
        summary["ask_price"],
        summary["mid_price"],
    )
    assert ("BTC", "USD", START + 1_000) == (
        summary["base_currency"],
        summary["quote_currency"],
        summary["creation_timestamp"],
    )


def test_summaries_of_a_currency_cover_its_markets() -> None:
    """USDC has the three linear perpetuals; a kind that is not listed has none."""
    client = Harness().connect()
    result = client.call("public/get_book_summary_by_currency", currency="USDC")
    assert 3 == len(result)
    assert [] == client.call("public/get_book_summary_by_currency", currency="USDC", kind="option")
    error = client.error("public/get_book_summary_by_currency", currency="shells")
    assert (-32602, "currency") == (error["code"], error["data"]["param"])


def test_expirations_are_grouped_by_currency_and_kind() -> None:
    """`any` maps kinds to expirations; a currency has one more level."""
    client = Harness().connect()
    everything = client.call("public/get_expirations", currency="any", kind="any")
    assert ("PERPETUAL", []) == (everything["future"][-1], everything["option"])
    assert {"usdc": {"future": ["PERPETUAL"]}} == client.call(
        "public/get_expirations", currency="USDC", kind="future"
    )
    grouped = client.call("public/get_expirations", currency="grouped", kind="option")
    assert {"btc": {"option": []}, "eth": {"option": []}, "usdc": {"option": []}} == grouped
