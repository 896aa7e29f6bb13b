"""The past: public trades, an account's trades, its closed orders.

Trades come newest first, unless a beginning is given: then from there on. `sorting` overrides
either. All that is kept is served, `historical` or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum

from gateway.api.context import Call
from gateway.api.methods.order_lookup import order_number
from gateway.api.methods.parameters import Kind, Natural, PageSize, settled_in
from gateway.api.registry import Params, method
from gateway.history.archive import OwnTrade
from gateway.history.paging import TradeRange
from gateway.protocol import ids, jsonrpc, large_results, order_json
from gateway.protocol.errors import invalid
from gateway.protocol.large_results import Listing

NameFilter = Callable[[str], bool]


class Sorting(Enum):
    """In what order results come; `default` depends on the bounds given."""

    ASCENDING = "asc"
    DESCENDING = "desc"
    DEFAULT = "default"


class Page(Params, frozen=True):
    """What all queries for trades have in common."""

    start_timestamp: Natural | None = None
    end_timestamp: Natural | None = None
    count: PageSize = 10
    sorting: Sorting = Sorting.DEFAULT


class InstrumentTradesParams(Page, frozen=True, kw_only=True):
    """Parameters of trades by instrument."""

    instrument_name: str
    start_seq: Natural | None = None
    end_seq: Natural | None = None


class CurrencyTradesParams(Page, frozen=True, kw_only=True):
    """Parameters of trades by currency."""

    currency: str
    kind: Kind = Kind.ANY
    start_id: str | None = None
    end_id: str | None = None


class OrderTradesParams(Params, frozen=True):
    """Parameters of private/get_user_trades_by_order."""

    order_id: str
    sorting: Sorting = Sorting.DEFAULT


class OrdersPage(Params, frozen=True):
    """What both order histories have in common; `include_old` is served either way."""

    count: PageSize = 20
    offset: Natural = 0
    include_unfilled: bool = False
    with_continuation: bool = False
    continuation: str = ""


class InstrumentOrdersParams(OrdersPage, frozen=True, kw_only=True):
    """Parameters of private/get_order_history_by_instrument."""

    instrument_name: str


class CurrencyOrdersParams(OrdersPage, frozen=True, kw_only=True):
    """Parameters of private/get_order_history_by_currency."""

    currency: str
    kind: Kind = Kind.ANY


@method("public/get_last_trades_by_instrument", params=InstrumentTradesParams)
def get_last_trades_by_instrument(call: Call, params: InstrumentTradesParams) -> object:
    """Trades of an instrument. Raises ApiError 13020."""
    name = call.venue.market(params.instrument_name).name
    return _public_trades(call, [name], _instrument_range(params))


@method("public/get_last_trades_by_instrument_and_time", params=InstrumentTradesParams)
def get_last_trades_by_instrument_and_time(call: Call, params: InstrumentTradesParams) -> object:
    """Trades of an instrument in a time. Raises ApiError 13020, and -32602 without a time."""
    _require_time(params)
    return get_last_trades_by_instrument(call, params)


@method("public/get_last_trades_by_currency", params=CurrencyTradesParams)
def get_last_trades_by_currency(call: Call, params: CurrencyTradesParams) -> object:
    """Trades of all instruments settled in a currency."""
    fits = _settled_in(call, params)
    names = filter(fits, call.venue.archive.instruments)
    return _public_trades(call, names, _currency_range(params))


@method("public/get_last_trades_by_currency_and_time", params=CurrencyTradesParams)
def get_last_trades_by_currency_and_time(call: Call, params: CurrencyTradesParams) -> object:
    """Trades of all instruments settled in a currency, in a time."""
    _require_time(params)
    return get_last_trades_by_currency(call, params)


@method("private/get_user_trades_by_instrument", params=InstrumentTradesParams, scope="trade:read")
def get_user_trades_by_instrument(call: Call, params: InstrumentTradesParams) -> object:
    """The account's trades in an instrument. Raises ApiError 13020."""
    name = call.venue.market(params.instrument_name).name
    return _own_trades(call, lambda instrument: instrument == name, _instrument_range(params))


@method(
    "private/get_user_trades_by_instrument_and_time",
    params=InstrumentTradesParams,
    scope="trade:read",
)
def get_user_trades_by_instrument_and_time(call: Call, params: InstrumentTradesParams) -> object:
    """The account's trades in an instrument, in a time."""
    _require_time(params)
    return get_user_trades_by_instrument(call, params)


@method("private/get_user_trades_by_currency", params=CurrencyTradesParams, scope="trade:read")
def get_user_trades_by_currency(call: Call, params: CurrencyTradesParams) -> object:
    """The account's trades in all instruments settled in a currency."""
    fits = _settled_in(call, params)
    return _own_trades(call, fits, _currency_range(params))


@method(
    "private/get_user_trades_by_currency_and_time", params=CurrencyTradesParams, scope="trade:read"
)
def get_user_trades_by_currency_and_time(call: Call, params: CurrencyTradesParams) -> object:
    """The account's trades in all instruments settled in a currency, in a time."""
    _require_time(params)
    return get_user_trades_by_currency(call, params)


@method("private/get_user_trades_by_order", params=OrderTradesParams, scope="trade:read")
def get_user_trades_by_order(call: Call, params: OrderTradesParams) -> object:
    """The trades of one of the account's orders, as a bare list; newest first unless asked."""
    wanted = params.order_id
    own = [
        each
        for each in call.venue.archive.order_trades(call.account, order_number(wanted))
        if ids.order_id(each.trade.instrument, each.side.order_id) == wanted
    ]
    if params.sorting is not Sorting.ASCENDING:
        own.reverse()
    return _shown(call, own)


@method(
    "private/get_order_history_by_instrument", params=InstrumentOrdersParams, scope="trade:read"
)
def get_order_history_by_instrument(call: Call, params: InstrumentOrdersParams) -> object:
    """The account's closed orders in an instrument, latest first. Raises ApiError 13020."""
    name = call.venue.market(params.instrument_name).name
    return _orders(call, lambda instrument: instrument == name, params)


@method("private/get_order_history_by_currency", params=CurrencyOrdersParams, scope="trade:read")
def get_order_history_by_currency(call: Call, params: CurrencyOrdersParams) -> object:
    """The account's closed orders in all instruments settled in a currency, latest first."""
    return _orders(call, _settled_in(call, params), params)


def _settled_in(call: Call, params: CurrencyTradesParams | CurrencyOrdersParams) -> NameFilter:
    """Return a filter for instruments by name. Raises ApiError -32602."""
    archive, fits = call.venue.archive, settled_in(call.venue, params.currency, params.kind)

    def name_fits(name: str) -> bool:
        instrument = archive.instrument(name)
        return instrument is not None and fits(instrument)

    return name_fits


def _require_time(params: Page) -> None:
    if params.start_timestamp is None and params.end_timestamp is None:
        raise invalid("start_timestamp", "must not be null")


def _instrument_range(params: InstrumentTradesParams) -> TradeRange:
    return TradeRange(
        first_sequence=params.start_seq,
        last_sequence=params.end_seq,
        start=params.start_timestamp,
        end=params.end_timestamp,
        count=params.count,
        ascending=_ascending(params, params.start_seq is not None),
    )


def _currency_range(params: CurrencyTradesParams) -> TradeRange:
    return TradeRange(
        first_id=_trade_number("start_id", params.start_id),
        last_id=_trade_number("end_id", params.end_id),
        start=params.start_timestamp,
        end=params.end_timestamp,
        count=params.count,
        ascending=_ascending(params, params.start_id is not None),
    )


def _ascending(params: Page, begun: bool) -> bool:
    if params.sorting is Sorting.DEFAULT:
        return begun or params.start_timestamp is not None
    return params.sorting is Sorting.ASCENDING


def _trade_number(param: str, text: str | None) -> int | None:
    number = None if text is None else ids.number_of(text)
    if number is None and text is not None:
        raise invalid(param)
    return number


def _public_trades(call: Call, names: Iterable[str], wanted: TradeRange) -> Listing:
    archive = call.venue.archive
    trades, more = archive.trades(names, wanted)
    shown = []
    for trade in trades:
        instrument = archive.instrument(trade.instrument)
        if instrument is not None:
            shown.append((trade, instrument))
    return _page(
        large_results.array(shown, lambda each: order_json.public_trade_text(*each)), more=more
    )


def _own_trades(call: Call, fits: NameFilter, wanted: TradeRange) -> Listing:
    own, more = call.venue.archive.own_trades(call.account, wanted, fits)
    return _page(_shown(call, own), more=more)


def _page(trades: Listing, *, more: bool) -> Listing:
    return trades.within(b'{"trades":', b',"has_more":%b}' % jsonrpc.encode(more))


def _shown(call: Call, own: Iterable[OwnTrade]) -> Listing:
    shown = []
    for each in own:
        instrument = call.venue.archive.instrument(each.trade.instrument)
        if instrument is not None:
            shown.append((each.trade, each.side, instrument))
    return large_results.array(shown, lambda each: order_json.own_trade_text(*each))


def _orders(call: Call, fits: NameFilter, params: OrdersPage) -> object:
    """A page of closed orders. A continuation is the offset of the page that follows."""
    offset = params.offset
    if params.continuation:
        if not re.fullmatch(r"[0-9]{1,9}", params.continuation, re.ASCII):
            raise invalid("continuation")
        offset = int(params.continuation)
    archive = call.venue.archive
    records = archive.orders(
        call.account,
        fits,
        unfilled=params.include_unfilled,
        offset=offset,
        count=params.count,
    )
    shown = []
    for record in records:
        instrument = archive.instrument(record.instrument)
        if instrument is not None:
            shown.append((record, instrument))
    orders = large_results.array(shown, lambda each: order_json.order_text(*each))
    if not params.with_continuation:
        return orders
    following = str(offset + params.count) if len(records) == params.count else None
    return orders.within(b'{"orders":', b',"continuation":%b}' % jsonrpc.encode(following))
