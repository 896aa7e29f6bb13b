"""Queries about orders, open and closed."""

import pytest

from tests.gateway.harness import Client, Harness, Json

BTC, ETH, SOL = "BTC-PERPETUAL", "ETH-PERPETUAL", "SOL_USDC-PERPETUAL"


@pytest.fixture
def alice() -> Client:
    """With orders 1 (BTC, label a), ETH-2 (label b) and SOL_USDC-3 (label a)."""
    client = Harness().connect("alice")
    for name, amount, price, label in (
        (BTC, 10, 64_500, "a"),
        (ETH, 1, 3_480, "b"),
        (SOL, 1, 149, "a"),
    ):
        client.call("private/buy", instrument_name=name, amount=amount, price=price, label=label)
    return client


def ids(orders: list[Json]) -> list[str]:
    return [order["order_id"] for order in orders]


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("get_open_orders", {}, ["1", "ETH-2", "SOL_USDC-3"]),
        ("get_open_orders", {"kind": "future", "type": "limit"}, ["1", "ETH-2", "SOL_USDC-3"]),
        ("get_open_orders", {"kind": "option"}, []),
        ("get_open_orders", {"type": "trailing_all"}, []),
        ("get_open_orders_by_currency", {"currency": "BTC"}, ["1"]),
        ("get_open_orders_by_currency", {"currency": "USDC"}, ["SOL_USDC-3"]),
        ("get_open_orders_by_currency", {"currency": "EURR"}, []),
        ("get_open_orders_by_currency", {"currency": "ETH", "type": "stop_all"}, []),
        ("get_open_orders_by_instrument", {"instrument_name": ETH}, ["ETH-2"]),
        ("get_open_orders_by_instrument", {"instrument_name": ETH, "type": "take_all"}, []),
        ("get_open_orders_by_instrument", {"instrument_name": "BTC_USDC-PERPETUAL"}, []),
        ("get_open_orders_by_label", {"currency": "any", "label": "a"}, ["1", "SOL_USDC-3"]),
        ("get_open_orders_by_label", {"currency": "BTC", "label": "a"}, ["1"]),
        ("get_open_orders_by_label", {"currency": "BTC", "label": "b"}, []),
    ],
)
def test_open_orders_are_filtered_by_currency_instrument_and_label(
    alice: Client, method: str, params: Json, expected: list[str]
) -> None:
    """Oldest first; no match is an empty list, not an error."""
    assert expected == ids(alice.call(f"private/{method}", **params))


def test_an_unknown_instrument_or_currency_is_an_error(alice: Client) -> None:
    """13020 for an unknown instrument, -32602 for an unknown currency."""
    instrument = alice.error("private/get_open_orders_by_instrument", instrument_name="X")
    currency = alice.error("private/get_open_orders_by_currency", currency="SHELLS")
    assert 13020 == instrument["code"]
    assert {"reason": "invalid currency", "param": "currency"} == currency["data"]


def test_an_order_is_found_while_open_and_after_it_closed(alice: Client) -> None:
    """With its final state; orders of other accounts and unknown ids are not found."""
    assert "open" == alice.call("private/get_order_state", order_id="ETH-2")["order_state"]
    alice.call("private/cancel", order_id="ETH-2")
    assert "cancelled" == alice.call("private/get_order_state", order_id="ETH-2")["order_state"]
    for wrong, code in (("2", 10004), ("99", 10004), ("ETH", 10025)):
        assert code == alice.error("private/get_order_state", order_id=wrong)["code"]
    bob = alice.harness.connect("bob")
    codes = [bob.error("private/get_order_state", order_id=each)["code"] for each in ("1", "ETH-2")]
    assert [10004, 10004] == codes


def test_orders_with_a_label_include_closed_orders(alice: Client) -> None:
    """The open ones first."""
    alice.call("private/cancel", order_id="1")
    found = alice.call("private/get_order_state_by_label", currency="any", label="a")
    assert ["SOL_USDC-3", "1"] == ids(found)
    in_bitcoin = alice.call("private/get_order_state_by_label", currency="BTC", label="a")
    assert ["1"] == ids(in_bitcoin)


def test_get_order_margin_by_ids_returns_the_margin_of_each_order(alice: Client) -> None:
    """For each open order of the account, in its settlement currency; other ids are omitted."""
    margins = alice.call("private/get_order_margin_by_ids", ids=["1", "SOL_USDC-3", "77", "ETH-1"])
    shown = [(each["order_id"], each["initial_margin_currency"]) for each in margins]
    assert [("1", "BTC"), ("SOL_USDC-3", "USDC")] == shown
    # 2 % of 10 USD and the taker fee of 0.05 %, in coins at 65,000.
    assert pytest.approx(10 * (0.02 + 0.0005) / 65_000, rel=0.02) == margins[0]["initial_margin"]
    assert 10025 == alice.error("private/get_order_margin_by_ids", ids=["x"])["code"]
