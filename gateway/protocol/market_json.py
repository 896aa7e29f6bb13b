"""Tickers, quotes, book summaries and instruments in the API's JSON.

A missing best price is 0.0 in tickers and quotes, because clients parse a number there, and null
in book summaries.
"""

from __future__ import annotations

from typing import Final

from book.instrument import Instrument
from book.order import Side
from book.units import RATE, SCALE, round_half_even
from gateway.history.archive import Archive
from gateway.history.rolling_stats import DaySummary
from gateway.protocol import jsonrpc
from gateway.protocol.account_json import Json
from risk import marks
from risk.events import MarketState
from risk.market import Market
from risk.risk_terms import Terms

NEVER = 32_503_708_800_000
"""The expiry of a perpetual in the API: the year 3000."""

_BLOCK_CONTRACTS: Final = 20_000

Top = tuple[int, int, int, int]


def top(market: Market) -> Top:
    """Return best bid price and amount, best ask price and amount; zeros for an empty side."""
    bid, ask = market.book.side(Side.BUY).best, market.book.side(Side.SELL).best
    return (
        bid.price if bid is not None else 0,
        bid.amount if bid is not None else 0,
        ask.price if ask is not None else 0,
        ask.amount if ask is not None else 0,
    )


def _best(market: Market) -> Json:
    bid, bid_amount, ask, ask_amount = top(market)
    return {
        "best_bid_price": jsonrpc.price(bid),
        "best_bid_amount": jsonrpc.amount(bid_amount),
        "best_ask_price": jsonrpc.price(ask),
        "best_ask_amount": jsonrpc.amount(ask_amount),
    }


def quote_json(market: Market) -> Json:
    """Return a quote's JSON, without its timestamp."""
    return {"instrument_name": market.name, **_best(market)}


def _price_or_null(price: int | None) -> jsonrpc.Number | None:
    return jsonrpc.price(price) if price else None


def _volumes(figures: DaySummary) -> Json:
    change = figures.change
    return {
        "volume": jsonrpc.money(figures.base),
        "volume_usd": jsonrpc.money(figures.quote),
        "volume_notional": jsonrpc.money(figures.quote),
        "high": _price_or_null(figures.high),
        "low": _price_or_null(figures.low),
        "price_change": None if change is None else change / 10_000,
    }


def ticker_json(market: Market, archive: Archive, now: int) -> Json:
    """Return a ticker's JSON, without its timestamp."""
    shape: Json = {
        "instrument_name": market.name,
        "state": market.state.value,
        "stats": _volumes(archive.day(market.instrument).summary(now)),
        "open_interest": jsonrpc.amount(market.open_interest),
        **_best(market),
        "index_price": jsonrpc.price(market.index.price),
        "min_price": jsonrpc.price(market.low),
        "max_price": jsonrpc.price(market.high),
        "mark_price": jsonrpc.price(market.mark),
        "last_price": _price_or_null(market.last_price),
        "settlement_price": jsonrpc.price(market.settlement_price),
        "estimated_delivery_price": jsonrpc.price(marks.estimated_delivery(market, now)),
    }
    if market.state is MarketState.DELIVERED:
        shape["delivery_price"] = jsonrpc.price(market.delivery_price)
    if market.instrument.perpetual:
        shape["current_funding"] = jsonrpc.rate(market.funding_rate)
        shape["funding_8h"] = jsonrpc.rate(archive.funding(market))
        shape["interest_value"] = interest(market)
    return shape


def interest(market: Market) -> jsonrpc.Number:
    """Return the funding paid per unit of size since listing, in the settlement currency."""
    return jsonrpc.rate(round_half_even(market.funding_index, RATE))


def perpetual_json(market: Market) -> Json:
    """Return the JSON of a perpetual's current funding rate, without its timestamp."""
    return {
        "interest": jsonrpc.rate(market.funding_rate),
        "index_price": jsonrpc.price(market.index.price),
    }


def summary_json(market: Market, archive: Archive, now: int) -> Json:
    """Return a book summary's JSON."""
    contract = market.instrument.contract
    bid, _, ask, _ = top(market)
    shape: Json = {
        "instrument_name": market.name,
        "base_currency": contract.base,
        "quote_currency": contract.quote,
        **_volumes(archive.day(market.instrument).summary(now)),
        "last": _price_or_null(market.last_price),
        "bid_price": _price_or_null(bid),
        "ask_price": _price_or_null(ask),
        "mid_price": jsonrpc.price(round_half_even(bid + ask, 2)) if bid and ask else None,
        "mark_price": jsonrpc.price(market.mark),
        "open_interest": jsonrpc.amount(market.open_interest),
        "estimated_delivery_price": jsonrpc.price(marks.estimated_delivery(market, now)),
        "creation_timestamp": now,
    }
    if market.instrument.perpetual:
        shape["current_funding"] = jsonrpc.rate(market.funding_rate)
        shape["funding_8h"] = jsonrpc.rate(archive.funding(market))
    return shape


def contract_size(instrument: Instrument) -> int | jsonrpc.Number:
    """Return the size of one contract, as an integer if it is whole."""
    return whole(instrument.contract.contract_size)


def whole(amount: int) -> int | jsonrpc.Number:
    """Return an amount as a JSON number, as an integer if it is whole."""
    return jsonrpc.amount(amount) if amount % SCALE else amount // SCALE


def instrument_json(instrument: Instrument, terms: Terms, state: MarketState) -> Json:
    """Return an instrument's JSON."""
    contract = instrument.contract
    kind = "reversed" if contract.inverse else "linear"
    return {
        "instrument_name": instrument.name,
        "instrument_id": instrument.number,
        "kind": "future",
        "instrument_type": kind,
        "future_type": kind,
        "base_currency": contract.base,
        "quote_currency": contract.quote,
        "counter_currency": contract.quote,
        "settlement_currency": contract.currency,
        "price_index": contract.index,
        "underlying_type": "crypto",
        "settlement_period": instrument.period.value,
        "creation_timestamp": instrument.created,
        "expiration_timestamp": NEVER if instrument.expiry is None else instrument.expiry,
        "is_active": state is not MarketState.DELIVERED,
        "state": state.value,
        "tick_size": jsonrpc.price(contract.tick),
        "tick_size_steps": [
            {"above_price": jsonrpc.price(above), "tick_size": jsonrpc.price(tick)}
            for above, tick in contract.tick_steps
        ],
        "contract_size": contract_size(instrument),
        "min_trade_amount": jsonrpc.amount(contract.minimum),
        "maker_commission": jsonrpc.rate(instrument.maker_rate),
        "taker_commission": jsonrpc.rate(instrument.taker_rate),
        "max_liquidation_commission": jsonrpc.rate(terms.liquidation_rate),
        "max_leverage": RATE // terms.initial_base,
        "max_non_default_leverage": RATE // terms.initial_base,
        # The venue has no block trades, but typed clients require their terms: half the taker fee,
        # 20,000 contracts and a finer tick, as for BTC-PERPETUAL in the API.
        "block_trade_commission": jsonrpc.rate(instrument.taker_rate // 2),
        "block_trade_min_trade_amount": whole(_BLOCK_CONTRACTS * contract.contract_size),
        "block_trade_tick_size": jsonrpc.price(min(contract.tick, SCALE // 100)),
        "rfq": False,
    }
