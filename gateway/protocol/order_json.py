"""The hot path of encoding: orders and trades as JSON text, made from cached templates.

Most of the text is the same for all orders of the same terms, and for all trades between the same
kinds of parties. That part is a template, encoded once and cached, with a placeholder for each
number. Filling it takes half as long as encoding a struct. A test compares the text with plainly
encoded JSON.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from book.units import SCALE
from gateway.protocol import ids, jsonrpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.protocol.account_json import Json
    from risk.events import Traded, TradeSide

_COUNT: Final = Raw(b"%d")
_TEXT: Final = Raw(b"%b")
_ZERO: Final = b"0.0"
_EMPTY: Final = b'""'

# Some hundreds of combinations of terms occur, at 1 KB each. Sizes and prices are as many as the
# levels of a few busy books.
_TEMPLATES: Final = 2_048
_NUMBERS: Final = 8_192


def order_text(order: OrderRecord, instrument: Instrument) -> bytes:
    """Return an order's JSON; optional fields are present only with a value.

    The `price` of a market order is its average price, because clients expect a number.
    """
    original, reason, label = order.original_type, order.cancel_reason, order.label
    # `_value_`, because `value` is a property; and an enumeration as the cache's key costs a call.
    template = _order_template(
        order.instrument,
        order.state._value_,
        order.type._value_,
        None if original is None else original._value_,
        order.time_in_force._value_,
        order.side._value_,
        order.post_only,
        order.reject_post_only,
        order.reduce_only,
        order.risk_reducing,
        order.replaced,
        order.liquidation,
        None if reason is None else reason._value_,
    )
    amount, contracts = _size(order.amount, instrument.contract.contract_size)
    average = _ZERO
    if order.average_price:
        average = _number(jsonrpc.rounded(order.average_price, instrument.contract.tick))
    return template % (
        order.order_id,
        jsonrpc.encode(label) if label else _EMPTY,
        _number(order.price) if order.price else average,
        amount,
        contracts,
        _number(order.filled) if order.filled else _ZERO,
        average,
        amount,
        order.created,
        order.updated,
        order.account,
    )


@lru_cache(_TEMPLATES)
def _order_template(
    instrument: str,
    state: str,
    type: str,  # noqa: A002 - the field's own name
    original_type: str | None,
    time_in_force: str,
    side: str,
    post_only: bool,
    reject_post_only: bool,
    reduce_only: bool,
    risk_reducing: bool,
    replaced: bool,
    liquidation: bool,
    cancel_reason: str | None,
) -> bytes:
    """Return the template of orders of these terms; `order_text` fills it in this order."""
    shape: Json = {
        "order_id": _id(instrument),
        "order_state": state,
        "order_type": type,
        "time_in_force": time_in_force,
        "instrument_name": instrument,
        "direction": side,
        "label": _TEXT,
        "price": _TEXT,
        "amount": _TEXT,
        "contracts": _TEXT,
        "filled_amount": _TEXT,
        "average_price": _TEXT,
        "max_show": _TEXT,
        "creation_timestamp": _COUNT,
        "last_update_timestamp": _COUNT,
        "post_only": post_only,
        "reject_post_only": reject_post_only,
        "reduce_only": reduce_only,
        "risk_reducing": risk_reducing,
        "replaced": replaced,
        "is_liquidation": liquidation,
        # Market maker protection, which the venue does not have.
        "mmp": False,
        "api": True,
        "web": False,
        "user_id": _COUNT,
    }
    if original_type is not None:
        shape["original_order_type"] = original_type
    if cancel_reason is not None:
        shape["cancel_reason"] = cancel_reason
    return jsonrpc.encode(shape)


def public_trade_text(trade: Traded, instrument: Instrument) -> bytes:
    """Return a public trade's JSON; `direction` is the taker's."""
    template = _trade_template(trade.instrument, trade.taker.side._value_, _liquidated(trade))
    return template % _numbers(trade, instrument)


def own_trade_text(trade: Traded, side: TradeSide, instrument: Instrument) -> bytes:
    """Return the JSON of a trade for one of its parties; `direction` is the party's own side.

    A position that was transferred outside the book (order 0) counts as a liquidation.
    """
    label = side.label
    template = _own_trade_template(
        trade.instrument,
        side.side._value_,
        _liquidated(trade),
        "liquidation" if side.liquidation or not side.order_id else side.type._value_,
        side.state._value_,
        "T" if side is trade.taker else "M",
        instrument.contract.currency,
        side.post_only,
        side.reduce_only,
    )
    return template % (
        *_numbers(trade, instrument),
        side.order_id,
        jsonrpc.encode(jsonrpc.money(side.fee)) if side.fee else _ZERO,
        jsonrpc.encode(jsonrpc.money(side.profit)) if side.profit else _ZERO,
        jsonrpc.encode(label) if label else _EMPTY,
        side.account,
    )


def own_sides(trades: Iterable[Traded], account: int) -> Iterator[tuple[Traded, TradeSide]]:
    """Yield an account's side of each trade; both sides if it traded with itself."""
    for trade in trades:
        for side in (trade.taker, trade.maker):
            if side.account == account:
                yield trade, side


def _numbers(
    trade: Traded, instrument: Instrument
) -> tuple[int, int, int, int, bytes, bytes, bytes, bytes, bytes]:
    """Return the values of a trade's placeholders, in their order."""
    amount, contracts = _size(trade.amount, instrument.contract.contract_size)
    return (
        trade.trade_id,
        trade.sequence,
        trade.time,
        trade.tick,
        _number(trade.price),
        amount,
        contracts,
        _number(trade.index),
        _number(trade.mark),
    )


def _liquidated(trade: Traded) -> str:
    return "M" * trade.maker.liquidation + "T" * trade.taker.liquidation


def _trade_shape(instrument: str, side: str, liquidated: str) -> Json:
    shape: Json = {
        "trade_id": _id(instrument),
        "trade_seq": _COUNT,
        "instrument_name": instrument,
        "timestamp": _COUNT,
        "direction": side,
        "tick_direction": _COUNT,
        "price": _TEXT,
        "amount": _TEXT,
        "contracts": _TEXT,
        "index_price": _TEXT,
        "mark_price": _TEXT,
    }
    if liquidated:
        shape["liquidation"] = liquidated
    return shape


@lru_cache(_TEMPLATES)
def _trade_template(instrument: str, side: str, liquidated: str) -> bytes:
    return jsonrpc.encode(_trade_shape(instrument, side, liquidated))


@lru_cache(_TEMPLATES)
def _own_trade_template(
    instrument: str,
    side: str,
    liquidated: str,
    order_type: str,
    state: str,
    liquidity: str,
    fee_currency: str,
    post_only: bool,
    reduce_only: bool,
) -> bytes:
    """Return the template of a party's trade; `_numbers` and `own_trade_text` fill it."""
    shape = _trade_shape(instrument, side, liquidated) | {
        "order_id": _id(instrument),
        "order_type": order_type,
        "state": state,
        "liquidity": liquidity,
        "fee": _TEXT,
        "fee_currency": fee_currency,
        "profit_loss": _TEXT,
        "matching_id": None,
        "label": _TEXT,
        "post_only": post_only,
        "reduce_only": reduce_only,
        "risk_reducing": False,
        "mmp": False,
        "api": True,
        "self_trade": False,
        "user_id": _COUNT,
    }
    return jsonrpc.encode(shape)


def _id(instrument: str) -> Raw:
    """Return the placeholder for the id of an order or a trade."""
    return Raw(f'"{ids.prefix(instrument)}%d"'.encode())


@lru_cache(_NUMBERS)
def _number(units: int) -> bytes:
    """Return a price or an amount in 1e-8 as JSON."""
    return jsonrpc.encode(jsonrpc.price(units))


@lru_cache(_NUMBERS)
def _size(amount: int, contract_size: int) -> tuple[bytes, bytes]:
    """Return an amount and its number of contracts as JSON."""
    return _number(amount), _number(amount * SCALE // contract_size)
