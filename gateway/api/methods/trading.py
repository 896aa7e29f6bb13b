"""Placing and editing orders, closing a position."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Final

from msgspec import Meta

from book.instrument import Instrument
from book.order import Order, OrderType, SelfTrading, Side, TimeInForce
from gateway.api.context import Call
from gateway.api.methods import reply_formats
from gateway.api.methods.order_lookup import edit_error, find_by_label, find_order
from gateway.api.methods.parameters import Natural
from gateway.api.registry import IdempotentParams, Submission, method, trading_method
from gateway.protocol import jsonrpc
from gateway.protocol.amounts import amount_of, no_price, price_of
from gateway.protocol.errors import ApiError, Code, invalid, not_implemented
from gateway.protocol.jsonrpc import Exact
from risk.commands import ClosePosition, Edit, Place, SetSelfTrading

Label = Annotated[str, Meta(max_length=64)]


class Type(StrEnum):
    """The API's order types; the venue has the first three."""

    LIMIT = "limit"
    MARKET = "market"
    MARKET_LIMIT = "market_limit"
    STOP_LIMIT = "stop_limit"
    STOP_MARKET = "stop_market"
    TAKE_LIMIT = "take_limit"
    TAKE_MARKET = "take_market"
    TRAILING_STOP = "trailing_stop"


_TYPES: Final[Mapping[Type, OrderType]] = {Type(kind.value): kind for kind in OrderType}
# Looking up an enumeration's member costs as much as a call.
_LIMIT: Final = OrderType.LIMIT
_BUY, _SELL = Side.BUY, Side.SELL


class CloseType(Enum):
    """The type of the order that closes a position."""

    LIMIT = "limit"
    MARKET = "market"


class OrderTerms(IdempotentParams, frozen=True):
    """Base of the parameters of orders and edits; `max_show` is an old name of `display_amount`."""

    amount: Exact | None = None
    contracts: Exact | None = None
    price: Exact | None = None
    valid_until: Natural = 0
    display_amount: Exact | None = None
    max_show: Exact | None = None
    advanced: str = ""


class OrderParams(OrderTerms, frozen=True, kw_only=True):
    """Parameters of private/buy and private/sell."""

    instrument_name: str
    type: Type = Type.LIMIT
    label: Label = ""
    time_in_force: TimeInForce = TimeInForce.GOOD_TIL_CANCELLED
    post_only: bool = False
    reject_post_only: bool = False
    reduce_only: bool = False
    mmp: bool = False
    linked_order_type: str = ""


class EditTerms(OrderTerms, frozen=True):
    """Base of the parameters of edits; None leaves a value as it is."""

    post_only: bool | None = None
    reject_post_only: bool | None = None
    reduce_only: bool | None = None
    mmp: bool | None = None


class EditParams(EditTerms, frozen=True, kw_only=True):
    """Parameters of private/edit."""

    order_id: str


class EditByLabelParams(EditTerms, frozen=True, kw_only=True):
    """Parameters of private/edit_by_label."""

    instrument_name: str
    label: Label


class CloseParams(IdempotentParams, frozen=True):
    """Parameters of private/close_position; `price` is for limit orders."""

    instrument_name: str
    type: CloseType
    price: Exact | None = None


class SelfTradingParams(IdempotentParams, frozen=True):
    """Parameters of private/set_self_trading_config."""

    mode: SelfTrading
    extended_to_subaccounts: bool


@trading_method(
    "private/buy", params=OrderParams, reply_format=reply_formats.ordered, cacheable=True
)
def buy(call: Call, params: OrderParams) -> Submission:
    """Place a buy order."""
    return _place(call, params, _BUY)


@trading_method(
    "private/sell", params=OrderParams, reply_format=reply_formats.ordered, cacheable=True
)
def sell(call: Call, params: OrderParams) -> Submission:
    """Place a sell order."""
    return _place(call, params, _SELL)


def _place(call: Call, params: OrderParams, side: Side) -> Submission:
    instrument = _instrument(call, params.instrument_name)
    if params.linked_order_type:
        raise not_implemented("param", "linked_order_type")
    if params.mmp:
        raise ApiError(Code.MMP_REQUIRED)
    kind = _TYPES.get(params.type)
    if kind is None:
        raise not_implemented("param", "type")
    amount = amount_of(instrument.contract, params.amount, params.contracts)
    if amount is None:
        raise invalid("amount", "must not be null")
    if params.advanced or params.display_amount is not None or params.max_show is not None:
        _require_plain(params, amount)
    command = Place(
        account=call.account,
        instrument=instrument.name,
        side=side,
        amount=amount,
        type=kind,
        price=price_of(params.price) if kind is _LIMIT else no_price(params.price),
        time_in_force=params.time_in_force,
        label=params.label,
        post_only=params.post_only,
        reject_post_only=params.post_only and params.reject_post_only,
        reduce_only=params.reduce_only,
        valid_until=params.valid_until,
    )
    return Submission(command)


@trading_method(
    "private/edit", params=EditParams, reply_format=reply_formats.edited, cacheable=True
)
def edit(call: Call, params: EditParams) -> Submission:
    """Change an open order; `amount` is its new total, including what is filled."""
    return _edit(call, params, find_order(call, params.order_id, edit_error))


@trading_method(
    "private/edit_by_label",
    params=EditByLabelParams,
    reply_format=reply_formats.edited,
    cacheable=True,
)
def edit_by_label(call: Call, params: EditByLabelParams) -> Submission:
    """Change the open order with a label."""
    return _edit(call, params, find_by_label(call, params.instrument_name, params.label))


def _edit(call: Call, params: EditTerms, order: Order) -> Submission:
    instrument = call.venue.exchange.state.markets[order.instrument].instrument
    if params.mmp is not None:
        raise invalid("mmp", "editing mmp flag is not supported")
    amount = amount_of(instrument.contract, params.amount, params.contracts)
    _require_plain(params, order.amount if amount is None else amount)
    command = Edit(
        account=call.account,
        order_id=order.order_id,
        amount=amount,
        price=None if params.price is None else price_of(params.price),
        post_only=params.post_only,
        reject_post_only=params.reject_post_only,
        reduce_only=params.reduce_only,
        valid_until=params.valid_until,
    )
    return Submission(command)


@trading_method(
    "private/close_position", params=CloseParams, reply_format=reply_formats.ordered, cacheable=True
)
def close_position(call: Call, params: CloseParams) -> Submission:
    """Place a reduce-only order for the whole position."""
    instrument = _instrument(call, params.instrument_name)
    price = price_of if params.type is CloseType.LIMIT else no_price
    command = ClosePosition(
        account=call.account, instrument=instrument.name, price=price(params.price)
    )
    return Submission(command)


@method(
    "private/set_self_trading_config",
    params=SelfTradingParams,
    scope="account:read_write",
    reply_format=reply_formats.done,
)
def set_self_trading_config(call: Call, params: SelfTradingParams) -> Submission:
    """Choose what happens when an order of the account meets another one of it."""
    if params.extended_to_subaccounts:
        raise not_implemented("param", "extended_to_subaccounts")
    return Submission(SetSelfTrading(account=call.account, mode=params.mode))


def _instrument(call: Call, name: str) -> Instrument:
    market = call.venue.exchange.state.markets.get(name)
    if market is None:
        raise ApiError(Code.INVALID_OR_UNSUPPORTED_INSTRUMENT)
    return market.instrument


def _require_plain(params: OrderTerms, amount: int) -> None:
    """Raise ApiError for option orders and iceberg orders, which the venue does not have."""
    if params.advanced:
        raise ApiError(Code.NO_ADV_FOR_FUTURES)
    for name, value in (
        ("display_amount", params.display_amount),
        ("max_show", params.max_show),
    ):
        # Compared unscaled: scaling could overflow the exponent of a huge number.
        shown = None if value is None else Decimal(jsonrpc.exact(value, name))
        if shown is not None and shown.is_finite() and shown < Decimal(amount).scaleb(-8):
            raise not_implemented("param", name)
