"""Orders and trades as JSON text.

Most of such a text is the same for all orders of the same terms, or for all trades between the same
kinds of parties: so much is a form, which is made once and kept, with a place for each number.
Nothing is written more often. To encode a struct anew each time takes twice as long.
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

# Terms come in some hundreds of combinations where everything is traded in every way, at 1 KB each;
# sizes and prices in as many as a few busy books have levels.
_FORMS: Final = 2_048
_NUMBERS: Final = 8_192


def order_text(order: OrderRecord, instrument: Instrument) -> bytes:
    """An order; the optional fields are there when they say something.

    A market order has no limit: its `price` is what it was filled at on average, because
    clients want a number there.
    """
    original, reason, label = order.original_type, order.cancel_reason, order.label
    # `_value_` for `value`, which is a call, and an enumeration's hash is another.
    form = _order_form(
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
    return form % (
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


@lru_cache(_FORMS)
def _order_form(
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
    """An order of these terms; its places are in the order in which `order_text` fills them."""
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
        # Market maker protection, which nobody has.
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
    """A trade as everybody sees it; `direction` is the taker's."""
    form = _trade_form(trade.instrument, trade.taker.side._value_, _liquidated(trade))
    return form % _numbers(trade, instrument)


def own_trade_text(trade: Traded, side: TradeSide, instrument: Instrument) -> bytes:
    """A trade as one of its parties sees it; `direction` is the party's own side.

    A position that passed outside the book (order 0) was liquidated as well.
    """
    label = side.label
    form = _own_trade_form(
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
    return form % (
        *_numbers(trade, instrument),
        side.order_id,
        jsonrpc.encode(jsonrpc.money(side.fee)) if side.fee else _ZERO,
        jsonrpc.encode(jsonrpc.money(side.profit)) if side.profit else _ZERO,
        jsonrpc.encode(label) if label else _EMPTY,
        side.account,
    )


def own_sides(trades: Iterable[Traded], account: int) -> Iterator[tuple[Traded, TradeSide]]:
    """An account's side of each trade; both sides where it traded with itself."""
    for trade in trades:
        for side in (trade.taker, trade.maker):
            if side.account == account:
                yield trade, side


def _numbers(
    trade: Traded, instrument: Instrument
) -> tuple[int, int, int, int, bytes, bytes, bytes, bytes, bytes]:
    """What fills the places of a trade's form, in their order."""
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


@lru_cache(_FORMS)
def _trade_form(instrument: str, side: str, liquidated: str) -> bytes:
    return jsonrpc.encode(_trade_shape(instrument, side, liquidated))


@lru_cache(_FORMS)
def _own_trade_form(
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
    """A trade of one of its parties; its places are filled by `_numbers` and `own_trade_text`."""
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
    """A place for the id of an order or a trade."""
    return Raw(f'"{ids.prefix(instrument)}%d"'.encode())


@lru_cache(_NUMBERS)
def _number(units: int) -> bytes:
    """A price or an amount in 1e-8."""
    return jsonrpc.encode(jsonrpc.price(units))


@lru_cache(_NUMBERS)
def _size(amount: int, contract_size: int) -> tuple[bytes, bytes]:
    """An amount, and how many contracts it is."""
    return _number(amount), _number(amount * SCALE // contract_size)
