"""The templates of orders and trades give the same text as plain encoding."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from book.order import OrderRecord
from gateway.protocol import ids, jsonrpc, order_json
from risk.events import Traded, TradeSide
from tests.gateway.feed_fixture import BTC, SOL, Desk

MARKETS = {name: Desk().market(name).instrument for name in (BTC, SOL)}

counts = st.integers(0, 2**53)
units = st.integers(0, 10**18)
funds = st.integers(-(10**18), 10**18)
labels = st.text(max_size=64)


def number(units: int) -> object:
    """A price or an amount as a client reads it."""
    return msgspec.json.decode(jsonrpc.encode(jsonrpc.price(units)))


def hundredth(units: int, instrument: str) -> int:
    """A price in 1e-8 with the decimals of an average."""
    decimals = 4 if instrument.startswith("SOL") else 2
    place = Decimal(10) ** -decimals
    return int((Decimal(units) / 10**8).quantize(place, ROUND_HALF_EVEN) * 10**8)


def money(units: int) -> object:
    """Fees and profits."""
    return msgspec.json.decode(jsonrpc.encode(jsonrpc.money(units)))


orders = st.builds(
    OrderRecord,
    order_id=counts,
    account=counts,
    instrument=st.sampled_from([*MARKETS]),
    price=units,
    amount=units,
    filled=units,
    average_price=units,
    label=labels,
    created=counts,
    updated=counts,
)


def order_fields(order: OrderRecord) -> dict[str, Any]:
    """What the API promises of an order, field by field."""
    average = number(hundredth(order.average_price, order.instrument))
    size = MARKETS[order.instrument].contract.contract_size
    result = {
        "order_id": ids.order_id(order.instrument, order.order_id),
        "order_state": order.state.value,
        "order_type": order.type.value,
        "time_in_force": order.time_in_force.value,
        "instrument_name": order.instrument,
        "direction": order.side.value,
        "label": order.label,
        "price": number(order.price) if order.price else average,
        "amount": number(order.amount),
        "contracts": number(order.amount * 10**8 // size),
        "filled_amount": number(order.filled),
        "average_price": average,
        "max_show": number(order.amount),
        "creation_timestamp": order.created,
        "last_update_timestamp": order.updated,
        "post_only": order.post_only,
        "reject_post_only": order.reject_post_only,
        "reduce_only": order.reduce_only,
        "risk_reducing": order.risk_reducing,
        "replaced": order.replaced,
        "is_liquidation": order.liquidation,
        "mmp": False,
        "api": True,
        "web": False,
        "user_id": order.account,
    }
    if order.original_type:
        result["original_order_type"] = order.original_type.value
    if order.cancel_reason:
        result["cancel_reason"] = order.cancel_reason.value
    return result


@given(orders)
def test_order_text_equals_plainly_encoded_json(order: OrderRecord) -> None:
    """For all terms and numbers, and for any label."""
    text = order_json.order_text(order, MARKETS[order.instrument])
    assert order_fields(order) == msgspec.json.decode(text)


sides = st.builds(TradeSide, account=counts, order_id=counts, label=labels, fee=funds, profit=funds)
trades = st.builds(
    Traded,
    trade_id=counts,
    sequence=counts,
    instrument=st.sampled_from([*MARKETS]),
    time=counts,
    price=units,
    amount=units,
    tick=st.integers(0, 3),
    index=units,
    mark=units,
    maker=sides,
    taker=sides,
)


def trade_fields(trade: Traded, side: TradeSide) -> dict[str, Any]:
    """What the API promises of a trade, seen from a side."""
    size = MARKETS[trade.instrument].contract.contract_size
    liquidated = "M" * trade.maker.liquidation + "T" * trade.taker.liquidation
    result = {
        "trade_id": ids.trade_id(trade.instrument, trade.trade_id),
        "trade_seq": trade.sequence,
        "instrument_name": trade.instrument,
        "timestamp": trade.time,
        "direction": side.side.value,
        "tick_direction": trade.tick,
        "price": number(trade.price),
        "amount": number(trade.amount),
        "contracts": number(trade.amount * 10**8 // size),
        "index_price": number(trade.index),
        "mark_price": number(trade.mark),
    }
    return result | ({"liquidation": liquidated} if liquidated else {})


@given(trades)
def test_public_trade_text_equals_plainly_encoded_json(trade: Traded) -> None:
    """It has the taker's direction and no account."""
    text = order_json.public_trade_text(trade, MARKETS[trade.instrument])
    assert trade_fields(trade, trade.taker) == msgspec.json.decode(text)


@given(trades, st.booleans())
def test_own_trade_text_equals_plainly_encoded_json(trade: Traded, taking: bool) -> None:
    """Each party has its own side of it, with its order, fee and profit."""
    side = trade.taker if taking else trade.maker
    passed = side.liquidation or not side.order_id
    result = trade_fields(trade, side) | {
        "order_id": ids.order_id(trade.instrument, side.order_id),
        "order_type": "liquidation" if passed else side.type.value,
        "state": side.state.value,
        "liquidity": "T" if taking else "M",
        "fee": money(side.fee),
        "fee_currency": MARKETS[trade.instrument].currency,
        "profit_loss": money(side.profit),
        "matching_id": None,
        "label": side.label,
        "post_only": side.post_only,
        "reduce_only": side.reduce_only,
        "risk_reducing": False,
        "mmp": False,
        "api": True,
        "self_trade": False,
        "user_id": side.account,
    }
    text = order_json.own_trade_text(trade, side, MARKETS[trade.instrument])
    assert result == msgspec.json.decode(text)
