"""Public market data: instruments, prices, order books, book summaries."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import islice
from typing import Annotated, Final

from msgspec import Meta

from book.calendar import date_code, day_of
from book.order import Side
from gateway.access.rate_limits import Cost
from gateway.api.context import Call
from gateway.api.methods.parameters import (
    ANY,
    InstrumentParams,
    Kind,
    Natural,
    PageSize,
    settled_in,
)
from gateway.api.registry import NoParams, Params, method
from gateway.protocol import jsonrpc, large_results, market_json
from gateway.protocol.account_json import Json
from gateway.protocol.errors import invalid
from gateway.protocol.large_results import Listing
from risk import marks
from risk.market import Index, Market
from risk.state import State

Depth = Annotated[int, Meta(ge=1, le=10_000)]


class InstrumentsParams(Params, frozen=True):
    """Parameters of public/get_instruments; the default is all currencies."""

    currency: str = ANY
    kind: Kind = Kind.ANY
    expired: bool = False


class BookParams(Params, frozen=True):
    """Parameters of public/get_order_book; depths that the API does not list are valid too."""

    instrument_name: str
    depth: Depth = 5


class CurrencyParams(Params, frozen=True):
    """Parameters of public/get_book_summary_by_currency."""

    currency: str
    kind: Kind = Kind.ANY


class IndexParams(Params, frozen=True):
    """Parameters of public/get_index_price."""

    index_name: str


class IndexNamesParams(Params, frozen=True):
    """Parameters of public/get_index_price_names."""

    extended: bool = False


class DeliveryParams(Params, frozen=True):
    """Parameters of public/get_delivery_prices."""

    index_name: str
    offset: Natural = 0
    count: PageSize = 10


class ExpirationKind(Enum):
    """The kinds of instruments of public/get_expirations."""

    FUTURE = "future"
    OPTION = "option"
    ANY = "any"


class ExpirationsParams(Params, frozen=True):
    """Parameters of public/get_expirations; the currency `grouped` lists each one separately."""

    currency: str
    kind: ExpirationKind = ExpirationKind.ANY


@method("public/get_instruments", params=InstrumentsParams, cost=Cost.GET_INSTRUMENTS)
def get_instruments(call: Call, params: InstrumentsParams) -> object:
    """Return the listed instruments, or those that expired recently."""
    state = call.venue.exchange.state
    markets = state.expired if params.expired else state.markets.values()
    rows = [
        (market.instrument, market.terms, market.state)
        for market in filter(settled_in(call.venue, params.currency, params.kind), markets)
    ]
    return large_results.array(rows, lambda row: jsonrpc.encode(market_json.instrument_json(*row)))


@method("public/get_instrument", params=InstrumentParams)
def get_instrument(call: Call, params: InstrumentParams) -> object:
    """Return one instrument. Raises ApiError 13020."""
    market = call.venue.market(params.instrument_name)
    return market_json.instrument_json(market.instrument, market.terms, market.state)


@method("public/get_contract_size", params=InstrumentParams)
def get_contract_size(call: Call, params: InstrumentParams) -> object:
    """Return the size of one contract. Raises ApiError 13020."""
    instrument = call.venue.market(params.instrument_name).instrument
    return {"contract_size": market_json.contract_size(instrument)}


@method("public/get_currencies", params=NoParams)
def get_currencies(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Return the settlement currencies. Fees are 0: the venue has no withdrawals."""
    return [
        {
            "currency": currency,
            "currency_long": _LONG_NAMES.get(currency, (currency, currency))[0],
            "coin_type": _LONG_NAMES.get(currency, (currency, currency))[1],
            "decimals": 8,
            "fee_precision": 8,
            "min_confirmations": 0,
            "withdrawal_fee": 0.0,
            "min_withdrawal_fee": 0.0,
            "withdrawal_priorities": [],
            "network_fee": 0.0,
            "network_currency": currency,
            "in_cross_collateral_pool": False,
        }
        for currency in call.venue.exchange.state.currencies()
    ]


_LONG_NAMES: Final = {
    "BTC": ("Bitcoin", "BITCOIN"),
    "ETH": ("Ethereum", "ETHER"),
    "USDC": ("USD Coin", "USDC"),
}


@method("public/get_index_price", params=IndexParams)
def get_index_price(call: Call, params: IndexParams) -> object:
    """Return an index price and the estimated delivery price. Raises ApiError -32602."""
    state = call.venue.exchange.state
    index = _index(state, params.index_name)
    return {
        "index_price": jsonrpc.price(index.price),
        "estimated_delivery_price": jsonrpc.price(_estimated_delivery(state, index)),
    }


def _index(state: State, name: str) -> Index:
    index = state.indices.get(name)
    if index is None:
        raise invalid("index_name")
    return index


def _estimated_delivery(state: State, index: Index) -> int:
    """Return the current average while a delivery price is averaged, otherwise the index price."""
    for market in state.markets.values():
        if market.index is index and market.averaging is not None:
            return marks.estimated_delivery(market, state.time)
    return index.price


@method("public/get_index_price_names", params=IndexNamesParams)
def get_index_price_names(call: Call, params: IndexNamesParams) -> object:
    """Return the names of all indices."""
    names = sorted(call.venue.exchange.state.indices)
    if not params.extended:
        return names
    return [
        {
            "name": name,
            "future_combo_creation_enabled": False,
            "option_combo_creation_enabled": False,
        }
        for name in names
    ]


@method("public/ticker", params=InstrumentParams)
def ticker(call: Call, params: InstrumentParams) -> object:
    """Return a market's ticker. Raises ApiError 13020."""
    return _ticker(call, call.venue.market(params.instrument_name))


def _ticker(call: Call, market: Market) -> Json:
    now = call.venue.exchange.state.time
    return {**market_json.ticker_json(market, call.venue.archive, now), "timestamp": now}


@method("public/get_order_book", params=BookParams)
def get_order_book(call: Call, params: BookParams) -> object:
    """Return the best levels of an order book, with the ticker. Raises ApiError 13020."""
    market = call.venue.market(params.instrument_name)
    top = {**_ticker(call, market), "change_id": call.venue.feed.change_id(market.name)}
    bids, asks = (_levels(market, side, params.depth) for side in (Side.BUY, Side.SELL))
    head = jsonrpc.encode(top).removesuffix(b"}")
    return large_results.joined((head, b',"bids":', bids, b',"asks":', asks, b"}"))


def _levels(market: Market, side: Side, depth: int) -> Listing:
    """Return the best levels of a side, copied as integers, which are not tracked by the GC."""
    levels = list(islice(market.book.side(side), depth))
    prices, amounts = [level.price for level in levels], [level.amount for level in levels]

    def level(index: int) -> bytes:
        return jsonrpc.encode((jsonrpc.price(prices[index]), jsonrpc.amount(amounts[index])))

    return large_results.array(range(len(levels)), level)


@method("public/get_book_summary_by_currency", params=CurrencyParams)
def get_book_summary_by_currency(call: Call, params: CurrencyParams) -> object:
    """Return the summaries of all markets settled in a currency."""
    markets = call.venue.exchange.state.markets.values()
    summaries = [
        _summary(call, market)
        for market in filter(settled_in(call.venue, params.currency, params.kind), markets)
    ]
    return large_results.array(summaries, jsonrpc.encode)


@method("public/get_book_summary_by_instrument", params=InstrumentParams)
def get_book_summary_by_instrument(call: Call, params: InstrumentParams) -> object:
    """Return a list with the summary of one market. Raises ApiError 13020."""
    return [_summary(call, call.venue.market(params.instrument_name))]


def _summary(call: Call, market: Market) -> Json:
    return market_json.summary_json(market, call.venue.archive, call.venue.exchange.state.time)


@method("public/get_expirations", params=ExpirationsParams)
def get_expirations(call: Call, params: ExpirationsParams) -> object:
    """Return the expirations of listed instruments, soonest first, perpetuals last."""
    if params.currency == ANY:
        return _expirations(call, (ANY,), params.kind)[ANY]
    if params.currency == "grouped":
        return _expirations(call, call.venue.exchange.state.currencies(), params.kind)
    return _expirations(call, (params.currency,), params.kind)


def _expirations(
    call: Call, currencies: Iterable[str], kind: ExpirationKind
) -> dict[str, dict[str, list[str]]]:
    markets = call.venue.exchange.state.markets.values()
    grouped: dict[str, dict[str, list[str]]] = {}
    for currency in currencies:
        kinds: dict[str, list[str]] = {}
        if kind is not ExpirationKind.OPTION:
            futures = filter(settled_in(call.venue, currency), markets)
            expiries = {market.instrument.expiry or market_json.NEVER for market in futures}
            kinds["future"] = [
                "PERPETUAL" if expiry == market_json.NEVER else date_code(expiry)
                for expiry in sorted(expiries)
            ]
        if kind is not ExpirationKind.FUTURE:
            kinds["option"] = []
        grouped[currency.lower()] = kinds
    return grouped


@method("public/get_delivery_prices", params=DeliveryParams)
def get_delivery_prices(call: Call, params: DeliveryParams) -> object:
    """Return the delivery prices of an index, one a day, newest first.

    Raises ApiError -32602 for an unknown index.
    """
    _index(call.venue.exchange.state, params.index_name)
    days = {
        day_of(event.time).isoformat(): event.price
        for event in call.venue.archive.delivered(params.index_name)
    }
    newest = list(reversed(days.items()))
    page = newest[params.offset : params.offset + params.count]
    data = large_results.array(page, _delivery)
    return data.within(b'{"records_total":%d,"data":' % len(days), b"}")


def _delivery(day: tuple[str, int]) -> bytes:
    date, price = day
    return jsonrpc.encode({"date": date, "delivery_price": jsonrpc.price(price)})
