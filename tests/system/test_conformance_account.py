"""Positions and summaries, over HTTP and WebSocket: their fields and how they add up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.schemas import (
    ACCOUNT,
    EXTENDED,
    MONEY,
    PERPETUAL_POSITION,
    PROFILE,
    SUBACCOUNT,
    integer,
    mismatches,
    number,
    text,
)
from tests.system.strict import BTC, ETH, Json, Socket, Web, limit

EXACT = 1e-8


async def test_summaries_have_every_field(alice: Socket, http: Web) -> None:
    """One currency or all of them, plain or extended, by either transport alike."""
    for currency in ("BTC", "ETH", "USDC"):
        summary = await alice.call("private/get_account_summary", currency=currency)
        assert [] == mismatches(summary, ACCOUNT)
        assert summary["currency"] == currency
        assert "username" not in summary
        assert summary == http.call("private/get_account_summary", "alice", currency=currency)
        extended = {"currency": currency, "extended": "true"}
        summary = http.call("private/get_account_summary", "alice", **extended)
        assert [] == mismatches(summary, EXTENDED | PROFILE)
        assert summary["username"] == "alice"
    everything = await alice.call("private/get_account_summaries", extended=True)
    assert [] == mismatches(everything, PROFILE | {"summaries": [EXTENDED]})
    plain = http.call("private/get_account_summaries", "alice")
    schema = {"id": integer, "type": {"main"}, "username": text, "summaries": [ACCOUNT]}
    assert [] == mismatches(plain, schema)
    for short, long in zip(plain["summaries"], everything["summaries"], strict=True):
        assert short | {"fees": long["fees"]} == long
    assert {each["currency"] for each in plain["summaries"]} == {"BTC", "ETH", "USDC"}


@pytest.mark.parametrize("currency", ["USDT", "EURR", "SOL"])
async def test_a_currency_that_is_not_listed_is_empty(alice: Socket, currency: str) -> None:
    """Clients ask for all that they know."""
    summary = await alice.call("private/get_account_summary", currency=currency)
    assert [] == mismatches(summary, ACCOUNT | {"currency": {currency}})
    assert summary["equity"] == summary["balance"] == 0
    assert await alice.call("private/get_positions", currency=currency) == []


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("get_account_summary", {}, -32602),
        ("get_account_summary", {"currency": "XYZ"}, -32602),
        ("get_account_summary", {"currency": "btcx"}, -32602),
        ("get_account_summary", {"currency": 5}, -32602),
        ("get_position", {}, -32602),
        ("get_position", {"instrument_name": "BTC-NOTHING"}, 13020),
        ("get_positions", {"currency": "XYZ"}, -32602),
        ("get_positions", {"kind": "futures"}, -32602),
        ("get_margins", {"instrument_name": BTC}, -32602),
        ("close_position", {"instrument_name": BTC, "type": "market"}, 11030),
        ("close_position", {"instrument_name": BTC}, -32602),
        ("close_position", {"instrument_name": BTC, "type": "stop"}, -32602),
        ("close_position", {"instrument_name": BTC, "type": "limit"}, -32602),
        ("close_position", {"instrument_name": "X", "type": "market"}, 10020),
    ],
)
async def test_bad_questions_are_refused(
    alice: Socket, method: str, params: Json, code: int
) -> None:
    """By the code of the mistake."""
    assert await alice.code(f"private/{method}", **params) == code


async def test_a_flat_position_is_shown_when_asked_for(alice: Socket) -> None:
    """Direction zero, size 0; lists leave it out."""
    for name in (BTC, "SOL_USDC-PERPETUAL"):
        flat = await alice.call("private/get_position", instrument_name=name)
        assert [] == mismatches(flat, PERPETUAL_POSITION)
        assert (flat["direction"], flat["size"], flat["average_price"]) == ("zero", 0, 0)
        assert flat["estimated_liquidation_price"] is None
    for params in ({}, {"currency": "any"}, {"currency": "BTC", "kind": "future"}):
        assert await alice.call("private/get_positions", **params) == []


async def test_positions_of_both_sides_mirror_each_other(alice: Socket, bob: Socket) -> None:
    """Sizes signed, profits opposite, sums as the reference's identities have them."""
    await alice.call("private/buy", **limit(65_100, amount=65_000, label="in"))
    await bob.call("private/sell", **limit(65_100, amount=65_000))
    long = await alice.call("private/get_position", instrument_name=BTC)
    short = await bob.call("private/get_position", instrument_name=BTC)
    for position, direction, size in ((long, "buy", 65_000), (short, "sell", -65_000)):
        assert [] == mismatches(position, PERPETUAL_POSITION)
        assert (position["direction"], position["size"]) == (direction, size)
        assert position["average_price"] == 65_100
        assert position["size_currency"] == position["delta"]
        assert position["delta"] == pytest.approx(size / position["mark_price"], abs=EXACT)
        profit = size * (1 / 65_100 - 1 / position["mark_price"])
        assert position["total_profit_loss"] == pytest.approx(profit, abs=EXACT)
        assert position["floating_profit_loss"] == position["total_profit_loss"]
        assert position["initial_margin"] > position["maintenance_margin"] > 0
    assert long["floating_profit_loss"] == -short["floating_profit_loss"] != 0
    for client, position in ((alice, long), (bob, short)):
        for params in ({"currency": "BTC"}, {"currency": "any", "kind": "any"}, {}):
            assert [position] == await client.call("private/get_positions", **params)
        assert await client.call("private/get_positions", currency="ETH") == []
        summary = await client.call("private/get_account_summary", currency="BTC")
        _require_identities(summary)
        floating = position["floating_profit_loss"]
        assert summary["session_upl"] == pytest.approx(floating, abs=EXACT)
        assert summary["delta_total_map"] == {"btc_usd": position["delta"]}
        margin = position["maintenance_margin"]
        assert summary["maintenance_margin"] == pytest.approx(margin, abs=EXACT)
    closed = await alice.call(
        "private/close_position", instrument_name=BTC, type="limit", price=65_000
    )
    assert closed["order"]["reduce_only"]
    await bob.call("private/buy", **limit(65_000, amount=65_000, reduce_only=True))
    summary = await alice.call("private/get_account_summary", currency="BTC")
    _require_identities(summary)
    assert summary["session_upl"] == 0
    assert summary["session_rpl"] == pytest.approx(65_000 * (1 / 65_100 - 1 / 65_000), abs=EXACT)
    assert summary["delta_total"] == summary["maintenance_margin"] == 0


def _require_identities(summary: Json) -> None:
    """What adds up in every summary, to 8 decimals."""

    def close(left: Any, right: Any) -> None:
        assert left == pytest.approx(right, abs=2 * EXACT)

    close(
        summary["margin_balance"],
        summary["balance"] + summary["futures_session_rpl"] + summary["futures_session_upl"],
    )
    close(summary["equity"], summary["margin_balance"] + summary["options_value"])
    close(summary["available_funds"], summary["margin_balance"] - summary["initial_margin"])
    close(summary["session_rpl"], summary["futures_session_rpl"] + summary["options_session_rpl"])
    close(summary["session_upl"], summary["futures_session_upl"] + summary["options_session_upl"])
    close(summary["total_pl"], summary["futures_pl"] + summary["options_pl"])


async def test_margins_can_be_asked_for(alice: Socket, http: Web) -> None:
    """What an order would take, on either side, from numbers or strings."""
    margins = await alice.call("private/get_margins", **limit())
    schema = {"buy": number, "sell": number, "min_price": number, "max_price": number}
    assert [] == mismatches(margins, schema)
    asked = {"instrument_name": BTC, "amount": "10.0", "price": "64500"}
    assert margins == http.call("private/get_margins", "alice", **asked)


async def test_margins_of_orders_by_id(alice: Socket, http: Web) -> None:
    """Lists of ids in JSON, or in a query in any of three ways."""
    orders = [
        (await alice.call("private/buy", **limit(64_500 - step)))["order"]["order_id"]
        for step in range(2)
    ]
    margins = await alice.call("private/get_order_margin_by_ids", ids=orders)
    schema = {"order_id": text, "initial_margin": number, "initial_margin_currency": {"BTC"}}
    assert [] == mismatches(margins, [schema])
    assert [each["order_id"] for each in margins] == orders
    first, second = orders
    for query in (f'ids=["{first}","{second}"]', f"ids={first}&ids={second}"):
        shown = http.call(f"private/get_order_margin_by_ids?{query}", "alice")
        assert (shown, query) == (margins, query)


def test_subaccounts(http: Web) -> None:
    """The account itself, on request with its portfolio by lower-case currency."""
    (plain,) = http.call("private/get_subaccounts", "alice")
    assert [] == mismatches(plain, SUBACCOUNT)
    assert "portfolio" not in plain
    (full,) = http.call("private/get_subaccounts", "alice", with_portfolio="true")
    assert [] == mismatches(full, SUBACCOUNT | {"portfolio": {"btc": MONEY, "eth": MONEY}})


async def test_linear_contracts_settle_in_usdc(alice: Socket, bob: Socket) -> None:
    """Fees and profits in USDC, delta in the base."""
    terms = {"instrument_name": "SOL_USDC-PERPETUAL", "amount": 10, "price": 150}
    await alice.call("private/buy", **terms)
    (trade,) = (await bob.call("private/sell", **terms))["trades"]
    assert (trade["fee_currency"], trade["fee"]) == ("USDC", pytest.approx(0.75))
    position = await bob.call("private/get_position", instrument_name="SOL_USDC-PERPETUAL")
    assert (position["delta"], position["size"]) == (-10, -10)
    summary = await bob.call("private/get_account_summary", currency="USDC")
    _require_identities(summary)
    assert summary["delta_total_map"] == {"sol_usdc": -10}
    assert summary["balance"] == pytest.approx(1_000_000 - 0.75)


async def test_self_trading_is_configured_and_told(alice: Socket) -> None:
    """cancel_maker lets the taker through; the summary says which holds."""
    config = {"mode": "cancel_maker", "extended_to_subaccounts": False}
    assert await alice.call("private/set_self_trading_config", **config) == "ok"
    summary = await alice.call("private/get_account_summary", currency="ETH", extended=True)
    assert summary["self_trading_reject_mode"] == "cancel_maker"
    own = {"instrument_name": ETH, "price": 3_500, "amount": 1}
    maker = (await alice.call("private/buy", **own))["order"]
    taker = (await alice.call("private/sell", **own))["order"]
    assert taker["order_state"] == "open"
    state = await alice.call("private/get_order_state", order_id=maker["order_id"])
    assert state["order_state"] == "cancelled"
    config["mode"] = "reject_taker"
    assert await alice.call("private/set_self_trading_config", **config) == "ok"
