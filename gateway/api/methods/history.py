"""History: public trades, an account's trades and its closed orders.

Trades are sorted newest first, or oldest first if the query has a start; `sorting` overrides both.
All kept records are returned, whatever `historical` says.
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
    """The order of the results; `default` depends on the bounds of the query."""

    ASCENDING = "asc"
    DESCENDING = "desc"
    DEFAULT = "default"


class Page(Params, frozen=True):
    """Base of the parameters of queries for trades."""

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
    """Base of the parameters of order histories; `include_old` has no effect."""

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
    """Return trades of an instrument. Raises ApiError 13020."""
    name = call.venue.market(params.instrument_name).name
    return _public_trades(call, [name], _instrument_range(params))


@method("public/get_last_trades_by_instrument_and_time", params=InstrumentTradesParams)
def get_last_trades_by_instrument_and_time(call: Call, params: InstrumentTradesParams) -> object:
    """Return trades of an instrument in a period. Raises ApiError 13020, -32602 without one."""
    _require_time(params)
    return get_last_trades_by_instrument(call, params)


@method("public/get_last_trades_by_currency", params=CurrencyTradesParams)
def get_last_trades_by_currency(call: Call, params: CurrencyTradesParams) -> object:
    """Return trades of all instruments settled in a currency."""
    fits = _settled_in(call, params)
    names = filter(fits, call.venue.archive.instruments)
    return _public_trades(call, names, _currency_range(params))


@method("public/get_last_trades_by_currency_and_time", params=CurrencyTradesParams)
def get_last_trades_by_currency_and_time(call: Call, params: CurrencyTradesParams) -> object:
    """Return trades of all instruments settled in a currency, in a period."""
    _require_time(params)
    return get_last_trades_by_currency(call, params)


@method("private/get_user_trades_by_instrument", params=InstrumentTradesParams, scope="trade:read")
def get_user_trades_by_instrument(call: Call, params: InstrumentTradesParams) -> object:
    """Return the account's trades in an instrument. Raises ApiError 13020."""
    name = call.venue.market(params.instrument_name).name
    return _own_trades(call, lambda instrument: instrument == name, _instrument_range(params))


@method(
    "private/get_user_trades_by_instrument_and_time",
    params=InstrumentTradesParams,
    scope="trade:read",
)
def get_user_trades_by_instrument_and_time(call: Call, params: InstrumentTradesParams) -> object:
    """Return the account's trades in an instrument, in a period."""
    _require_time(params)
    return get_user_trades_by_instrument(call, params)


@method("private/get_user_trades_by_currency", params=CurrencyTradesParams, scope="trade:read")
def get_user_trades_by_currency(call: Call, params: CurrencyTradesParams) -> object:
    """Return the account's trades in all instruments settled in a currency."""
    fits = _settled_in(call, params)
    return _own_trades(call, fits, _currency_range(params))


@method(
    "private/get_user_trades_by_currency_and_time", params=CurrencyTradesParams, scope="trade:read"
)
def get_user_trades_by_currency_and_time(call: Call, params: CurrencyTradesParams) -> object:
    """Return the account's trades in a currency's instruments, in a period."""
    _require_time(params)
    return get_user_trades_by_currency(call, params)


@method("private/get_user_trades_by_order", params=OrderTradesParams, scope="trade:read")
def get_user_trades_by_order(call: Call, params: OrderTradesParams) -> object:
    """Return the trades of an order of the account as a list, newest first by default."""
    order_id = params.order_id
    own = [
        each
        for each in call.venue.archive.order_trades(call.account, order_number(order_id))
        if ids.order_id(each.trade.instrument, each.side.order_id) == order_id
    ]
    if params.sorting is not Sorting.ASCENDING:
        own.reverse()
    return _trades_json(call, own)


@method(
    "private/get_order_history_by_instrument", params=InstrumentOrdersParams, scope="trade:read"
)
def get_order_history_by_instrument(call: Call, params: InstrumentOrdersParams) -> object:
    """Return the account's closed orders in an instrument, newest first. Raises ApiError 13020."""
    name = call.venue.market(params.instrument_name).name
    return _orders(call, lambda instrument: instrument == name, params)


@method("private/get_order_history_by_currency", params=CurrencyOrdersParams, scope="trade:read")
def get_order_history_by_currency(call: Call, params: CurrencyOrdersParams) -> object:
    """Return the account's closed orders in a currency's instruments, newest first."""
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


def _ascending(params: Page, has_start: bool) -> bool:
    if params.sorting is Sorting.DEFAULT:
        return has_start or params.start_timestamp is not None
    return params.sorting is Sorting.ASCENDING


def _trade_number(param: str, text: str | None) -> int | None:
    number = None if text is None else ids.number_of(text)
    if number is None and text is not None:
        raise invalid(param)
    return number


def _public_trades(call: Call, names: Iterable[str], page: TradeRange) -> Listing:
    archive = call.venue.archive
    trades, more = archive.trades(names, page)
    rows = []
    for trade in trades:
        instrument = archive.instrument(trade.instrument)
        if instrument is not None:
            rows.append((trade, instrument))
    return _page(
        large_results.array(rows, lambda row: order_json.public_trade_text(*row)), more=more
    )


def _own_trades(call: Call, fits: NameFilter, page: TradeRange) -> Listing:
    own, more = call.venue.archive.own_trades(call.account, page, fits)
    return _page(_trades_json(call, own), more=more)


def _page(trades: Listing, *, more: bool) -> Listing:
    return trades.within(b'{"trades":', b',"has_more":%b}' % jsonrpc.encode(more))


def _trades_json(call: Call, own: Iterable[OwnTrade]) -> Listing:
    rows = []
    for each in own:
        instrument = call.venue.archive.instrument(each.trade.instrument)
        if instrument is not None:
            rows.append((each.trade, each.side, instrument))
    return large_results.array(rows, lambda row: order_json.own_trade_text(*row))


def _orders(call: Call, fits: NameFilter, params: OrdersPage) -> object:
    """Return a page of closed orders. The continuation is the offset of the next page."""
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
    rows = []
    for record in records:
        instrument = archive.instrument(record.instrument)
        if instrument is not None:
            rows.append((record, instrument))
    orders = large_results.array(rows, lambda row: order_json.order_text(*row))
    if not params.with_continuation:
        return orders
    continuation = str(offset + params.count) if len(records) == params.count else None
    return orders.within(b'{"orders":', b',"continuation":%b}' % jsonrpc.encode(continuation))
