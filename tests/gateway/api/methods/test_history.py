"""Trades and closed orders, as a client asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.harness import START, Client, Harness

BTC = "BTC-PERPETUAL"
ETH = "ETH-PERPETUAL"
SOL = "SOL_USDC-PERPETUAL"


def traded() -> tuple[Harness, Client, Client]:
    """Five trades, one a second from START + 2 s on: BTC, ETH, BTC, SOL, BTC; Alice sells."""
    harness = Harness()
    alice, bob = harness.connect("alice"), harness.connect("bob")
    for name, amount, price in (
        (BTC, 10, 65_000),
        (ETH, 1, 3_500),
        (BTC, 10, 65_000.5),
        (SOL, 0.1, 150),
        (BTC, 20, 65_000),
    ):
        harness.tick()
        alice.call("private/sell", instrument_name=name, amount=amount, price=price)
        bob.call("private/buy", instrument_name=name, amount=amount, price=price, label="b")
    return harness, alice, bob


def ids(result: Any) -> tuple[list[str], bool]:
    """Trade ids and has_more."""
    return [trade["trade_id"] for trade in result["trades"]], result["has_more"]


@pytest.mark.parametrize("scope", ["public/get_last_trades", "private/get_user_trades"])
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, (["5", "3", "1"], False)),
        ({"count": 2}, (["5", "3"], True)),
        ({"count": 3}, (["5", "3", "1"], False)),
        ({"start_seq": 1, "count": 2}, (["1", "3"], True)),
        ({"start_seq": 2, "end_seq": 2}, (["3"], False)),
        ({"start_timestamp": START + 4_000}, (["3", "5"], False)),
        ({"end_timestamp": START + 4_000}, (["3", "1"], False)),
        ({"start_timestamp": START, "sorting": "desc", "count": 1}, (["5"], True)),
        ({"sorting": "asc", "include_old": True}, (["1", "3", "5"], False)),
    ],
)
def test_trades_by_instrument(
    scope: str, params: dict[str, Any], expected: tuple[list[str], bool]
) -> None:
    """Newest first, or oldest first from a start; `count` and `has_more` make pages."""
    _, alice, _ = traded()
    assert expected == ids(alice.call(f"{scope}_by_instrument", instrument_name=BTC, **params))


@pytest.mark.parametrize("scope", ["public/get_last_trades", "private/get_user_trades"])
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"currency": "any"}, (["5", "SOL_USDC-4", "3", "ETH-2", "1"], False)),
        ({"currency": "USDC"}, (["SOL_USDC-4"], False)),
        ({"currency": "EURR"}, ([], False)),
        ({"currency": "any", "kind": "option"}, ([], False)),
        ({"currency": "any", "start_id": "ETH-2", "count": 2}, (["ETH-2", "3"], True)),
        ({"currency": "any", "start_id": "2", "end_id": "3"}, (["ETH-2", "3"], False)),
    ],
)
def test_trades_by_currency(
    scope: str, params: dict[str, Any], expected: tuple[list[str], bool]
) -> None:
    """All instruments settled in a currency, in the order in which they traded."""
    _, alice, _ = traded()
    assert expected == ids(alice.call(f"{scope}_by_currency", **params))


@pytest.mark.parametrize("scope", ["public/get_last_trades", "private/get_user_trades"])
def test_trades_by_time_need_a_period(scope: str) -> None:
    """One of start and end is enough; without either it is an error."""
    _, alice, _ = traded()
    by_instrument, by_currency = f"{scope}_by_instrument_and_time", f"{scope}_by_currency_and_time"
    assert (["3", "1"], False) == ids(
        alice.call(by_instrument, instrument_name=BTC, end_timestamp=START + 5_000)
    )
    assert (["SOL_USDC-4", "5"], False) == ids(
        alice.call(by_currency, currency="any", start_timestamp=START + 5_000)
    )
    assert -32602 == alice.error(by_instrument, instrument_name=BTC)["code"]
    assert -32602 == alice.error(by_currency, currency="BTC")["code"]


def test_a_public_trade_has_every_field() -> None:
    """The taker's direction, and the tick against the trade before."""
    _, alice, _ = traded()
    result = alice.call("public/get_last_trades_by_instrument", instrument_name=BTC, count=2)
    assert {
        "trade_id": "5",
        "trade_seq": 3,
        "instrument_name": BTC,
        "timestamp": START + 6_000,
        "direction": "buy",
        "tick_direction": 2,
        "price": 65_000.0,
        "amount": 20.0,
        "contracts": 2.0,
        "index_price": 65_000.0,
        "mark_price": 65_000.0,
    } == result["trades"][0]
    assert 0 == result["trades"][1]["tick_direction"]


def test_a_user_trade_has_every_field() -> None:
    """The party's direction, fee, role and order; matching_id is null."""
    harness, _, bob = traded()
    (trade,) = bob.call("private/get_user_trades_by_currency", currency="USDC")["trades"]
    order_id = trade.pop("order_id")
    assert order_id.startswith("SOL_USDC-")
    assert {
        "trade_id": "SOL_USDC-4",
        "trade_seq": 1,
        "instrument_name": SOL,
        "timestamp": START + 5_000,
        "direction": "buy",
        "tick_direction": 0,
        "price": 150.0,
        "amount": 0.1,
        "contracts": 1.0,
        "index_price": 150.0,
        "mark_price": 150.0,
        "order_type": "limit",
        "state": "filled",
        "liquidity": "T",
        "fee": 0.0075,
        "fee_currency": "USDC",
        "profit_loss": 0.0,
        "matching_id": None,
        "label": "b",
        "post_only": False,
        "reduce_only": False,
        "risk_reducing": False,
        "mmp": False,
        "api": True,
        "self_trade": False,
        "user_id": next(
            account.number
            for account in harness.exchange.state.accounts.values()
            if account.name == "bob"
        ),
    } == trade


def test_profit_is_reported_by_the_trade_that_realises_it() -> None:
    """Bought 65,000 USD at 65,000 and sold at 65,650: about a hundredth of a bitcoin."""
    harness = Harness()
    alice, bob = harness.connect("alice"), harness.connect("bob")
    for price, buyer, seller in ((65_000, bob, alice), (65_650, alice, bob)):
        seller.call("private/sell", instrument_name=BTC, amount=65_000, price=price)
        buyer.call("private/buy", instrument_name=BTC, amount=65_000, price=price)
    result = bob.call("private/get_user_trades_by_instrument", instrument_name=BTC)
    assert [0.00990099, 0.0] == [trade["profit_loss"] for trade in result["trades"]]


def test_trades_of_an_order_are_returned_as_a_list() -> None:
    """Newest first by default; an order of another account has no trades."""
    harness = Harness()
    alice, bob = harness.connect("alice"), harness.connect("bob")
    order = alice.call("private/sell", instrument_name=ETH, amount=3, price=3_500)["order"]
    for _ in range(2):
        bob.call("private/buy", instrument_name=ETH, amount=1, price=3_500)
    method = "private/get_user_trades_by_order"
    result = alice.call(method, order_id=order["order_id"])
    assert ["ETH-2", "ETH-1"] == [trade["trade_id"] for trade in result]
    result = alice.call(method, order_id=order["order_id"], sorting="asc")
    assert ["ETH-1", "ETH-2"] == [trade["trade_id"] for trade in result]
    assert [] == bob.call(method, order_id=order["order_id"])
    assert [] == alice.call(method, order_id=order["order_id"].removeprefix("ETH-"))


def test_an_account_sees_only_its_own_trades() -> None:
    """Private histories need a login and contain only the account's records."""
    harness, _, _ = traded()
    method = "private/get_user_trades_by_currency"
    assert ([], False) == ids(harness.connect("reader").call(method, currency="any"))
    assert 10000 == harness.connect().error(method, currency="any")["code"]


def history(client: Client, **params: object) -> list[str]:
    """Order ids of the history of a currency."""
    result = client.call("private/get_order_history_by_currency", **params)
    return [order["order_id"] for order in result]


def test_order_history_pages_by_count_and_offset() -> None:
    """Both apply; the order that closed last comes first."""
    _, alice, _ = traded()
    assert ["9", "SOL_USDC-7", "5", "ETH-3", "1"] == history(alice, currency="any")
    assert ["SOL_USDC-7", "5"] == history(alice, currency="any", count=2, offset=1)
    assert [] == history(alice, currency="any", offset=5)
    assert ["ETH-3"] == history(alice, currency="ETH")
    result = alice.call("private/get_order_history_by_instrument", instrument_name=BTC, count=1)
    assert [("9", "filled", 20.0)] == [
        (order["order_id"], order["order_state"], order["filled_amount"]) for order in result
    ]


def test_order_history_includes_unfilled_orders_only_on_request() -> None:
    """`include_unfilled` includes orders cancelled without a trade."""
    _, alice, _ = traded()
    order = alice.call("private/buy", instrument_name=BTC, amount=10, price=64_900)["order"]
    alice.call("private/cancel", order_id=order["order_id"])
    assert order["order_id"] not in history(alice, currency="BTC")
    assert [order["order_id"], "9"] == history(
        alice, currency="BTC", include_unfilled=True, count=2
    )


def test_order_history_can_be_continued() -> None:
    """A continuation leads to the next page, and null ends it."""
    _, alice, _ = traded()
    seen: list[str] = []
    continuation: object = ""
    while continuation is not None:
        page = alice.call(
            "private/get_order_history_by_currency",
            currency="any",
            count=2,
            with_continuation=True,
            continuation=continuation,
        )
        seen += [order["order_id"] for order in page["orders"]]
        continuation = page["continuation"]
    assert ["9", "SOL_USDC-7", "5", "ETH-3", "1"] == seen


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("public/get_last_trades_by_instrument", {"instrument_name": BTC, "count": 1_001}),
        ("public/get_last_trades_by_instrument", {"instrument_name": BTC, "sorting": "up"}),
        ("public/get_last_trades_by_currency", {"currency": "any", "start_id": "x"}),
        ("private/get_order_history_by_currency", {"currency": "any", "offset": -1}),
        ("private/get_order_history_by_currency", {"currency": "any", "continuation": "x"}),
    ],
)
def test_invalid_parameters_are_named(method: str, params: dict[str, Any]) -> None:
    """-32602 with the name of the invalid parameter."""
    error = Harness().connect("alice").error(method, **params)
    assert (-32602, list(params)[-1]) == (error["code"], error["data"]["param"])
