"""How many decimals the API writes a number with, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest

from book.units import MONEY, SCALE
from gateway.protocol import jsonrpc
from gateway.protocol.outcome import Reply
from tests.gateway.harness import Client, Harness, whole

BTC: Final = "BTC-PERPETUAL"

# Of recorded payloads: most decimals that a field has there.
POSITION: Final = {
    "average_price": 2,
    "mark_price": 2,
    "settlement_price": 2,
    "estimated_liquidation_price": 2,
    "size_currency": 9,
    "delta": 9,
    "initial_margin": 9,
    "maintenance_margin": 9,
    "open_orders_margin": 9,
    "floating_profit_loss": 9,
    "realized_profit_loss": 9,
    "total_profit_loss": 9,
    "realized_funding": 8,
    "interest_value": 16,
}
SUMMARY: Final = {
    "balance": 8,
    "equity": 8,
    "margin_balance": 8,
    "available_funds": 8,
    "available_withdrawal_funds": 8,
    "initial_margin": 8,
    "maintenance_margin": 8,
    "projected_initial_margin": 8,
    "projected_maintenance_margin": 8,
    "total_pl": 8,
    "session_rpl": 8,
    "session_upl": 8,
    "futures_pl": 8,
    "futures_session_rpl": 8,
    "futures_session_upl": 8,
    "delta_total": 6,
    "projected_delta_total": 6,
    "delta_total_map": 9,
    "estimated_liquidation_ratio": 16,
    "estimated_liquidation_ratio_map": 16,
}
ORDER: Final = {"average_price": 2, "price": 2}
TRADE: Final = {"fee": 8, "profit_loss": 8, "mark_price": 2, "price": 2}
# What a trade at odd prices fills to the last decimal: without these the table would prove little.
FULL: Final = {
    "position": {"average_price", "size_currency", "initial_margin", "total_profit_loss"},
    "summary": {"initial_margin", "session_upl", "delta_total", "delta_total_map"},
    "order": {"average_price"},
    "trade": {"fee", "profit_loss"},
}


@pytest.fixture(scope="module")
def texts() -> dict[str, list[bytes]]:
    """Return replies and notifications of each kind for an account with many decimals."""
    harness = Harness()
    harness.tick(btc_usd=65_003.37)
    alice, bob = harness.connect("alice"), harness.connect("bob")
    alice.call("private/subscribe", channels=["user.changes.any.any.raw", "user.portfolio.btc"])
    orders = []
    for amount, price in ((70, 64_987.5), (130, 65_011.5), (30, 65_090)):
        bob.call("private/sell", instrument_name=BTC, amount=amount, price=price)
    orders.append(_text(alice, "private/buy", instrument_name=BTC, amount=230, price=65_500))
    bob.call("private/buy", instrument_name=BTC, amount=50, price=65_500)
    orders.append(_text(alice, "private/sell", instrument_name=BTC, amount=30, price=65_400))
    alice.call("private/buy", instrument_name=BTC, amount=7_770, price=64_321.5)
    for step in range(40):
        harness.tick(btc_usd=65_100 + step)
    return {
        "position": [
            _text(alice, "private/get_position", instrument_name=BTC),
            _text(alice, "private/get_positions"),
            *_pushed(alice, "user.changes", "positions"),
        ],
        "summary": [
            _text(alice, "private/get_account_summary", currency="BTC"),
            _text(alice, "private/get_account_summaries"),
            *_pushed(alice, "user.portfolio"),
        ],
        "order": [*orders, _text(alice, "private/get_open_orders")],
        "trade": [_text(alice, "private/get_user_trades_by_currency", currency="BTC")],
    }


def _text(client: Client, method: str, **params: object) -> bytes:
    outcomes = client.send(client.frame(method, params))
    if isinstance(outcomes[0], Reply):
        return whole(outcomes[0].data)
    client.carry_out(outcomes)
    return msgspec.json.encode(client.sink.replies[-1]["result"].get("order"))


def _pushed(client: Client, channel: str, part: str = "") -> Iterator[bytes]:
    for push in client.sink.pushes:
        if push["params"]["channel"].startswith(channel):
            data = push["params"]["data"]
            yield msgspec.json.encode(data[part] if part else data)


def numbers(value: Any, of: str = "") -> Iterator[tuple[str, Decimal]]:
    """Yield every number of a JSON value with its name, or the name of its map."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, Decimal):
                yield of or name, inner
            else:
                yield from numbers(inner, name if name.endswith("_map") else "")
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)


def decimals(number: Decimal) -> int:
    """Return the number of decimals without trailing zeros."""
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


@pytest.mark.parametrize(
    ("kind", "table"),
    [("position", POSITION), ("summary", SUMMARY), ("order", ORDER), ("trade", TRADE)],
)
def test_every_field_has_at_most_the_decimals_of_the_api(
    texts: dict[str, list[bytes]], kind: str, table: dict[str, int]
) -> None:
    """In replies and channels; some values use all of the decimals."""
    most: dict[str, int] = {}
    for text in texts[kind]:
        decoded = msgspec.json.Decoder(float_hook=Decimal).decode(text)
        for name, number in numbers(decoded):
            most[name] = max(most.get(name, 0), decimals(number))
    assert table.keys() <= most.keys()
    wrong = {name: most[name] for name, limit in table.items() if most[name] > limit}
    assert {} == wrong
    assert {name: table[name] for name in FULL[kind]} == {name: most[name] for name in FULL[kind]}


@pytest.mark.parametrize(
    ("tick", "units", "shown"),
    [
        ("0.5", 6_500_012_345_678, 65_000.12),
        ("2.5", 6_500_012_500_000, 65_000.12),
        ("0.05", 350_012_500_001, 3_500.13),
        ("0.01", 15_001_234_500, 150.0123),
        ("0.0001", 62_512_345, 0.625123),
        ("0.00000001", 1, 0.00000001),
    ],
)
def test_an_average_has_two_decimals_and_more_for_a_fine_tick(
    tick: str, units: int, shown: float
) -> None:
    """Ties are rounded to even."""
    assert shown == jsonrpc.average(units, int(Decimal(tick) * SCALE))


@pytest.mark.parametrize(
    ("write", "units", "shown"),
    [
        (jsonrpc.margin, 197_283_500, 0.000197284),
        (jsonrpc.margin, 197_282_500, 0.000197282),
        (jsonrpc.margin, -9_000, -9e-9),
        (jsonrpc.margin, 0, 0.0),
        (jsonrpc.coins, 31_602_957_699_000, 31.602958),
        (jsonrpc.coins, -MONEY // 3, -0.333333),
    ],
)
def test_margins_have_nine_decimals_and_sums_of_deltas_six(
    write: Any, units: int, shown: float
) -> None:
    """Rounded half-even."""
    assert shown == write(units)
    large = write(10**30 + units)
    assert isinstance(large, msgspec.Raw)
