"""Scheduled events: expiries, daily settlements, listings, averaging windows.

`advance` handles all that are due, ordered by (time, kind, name). Marks, funding index and
delivery price are fixed at the time of a settlement or delivery. The work on the accounts
follows in phases, during which the markets concerned are in settlement.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from book.calendar import next_settlement
from book.units import DAY
from risk import funding, listing, marks
from risk.delivery import Delivery
from risk.events import MarketChanged, MarketState
from risk.funding import LATE
from risk.market import Market
from risk.settlement import Settlement, SettlementPrices
from risk.state import Due

if TYPE_CHECKING:
    from risk.state import State

DAYS_AT_ONCE: Final = 30
"""Days at the end of a jump of the clock that are settled one by one. Starting a settlement takes
some 100 µs, and each settlement then processes all accounts."""


def advance(state: State, time: int) -> None:
    """Advance venue time to `time`, never back, and start everything due by then."""
    while state.due and state.due[0][0] <= time:
        due, kind, name = heappop(state.due)
        state.time = max(state.time, due)
        if kind is Due.EXPIRY:
            _expire(state, state.markets[name], due)
        elif kind is Due.SETTLEMENT:
            heappush(state.due, (_settlement_after(state, due, time), Due.SETTLEMENT, ""))
            _settle(state, due)
        elif kind is Due.LISTING:
            for product in state.products.values():
                listing.list_due(state, product)
        else:
            market = state.markets[name]
            market.averaging = market.index.averaging_from(due)
    if time > state.time:
        state.time = time
    if state.time - state.heartbeat >= LATE:
        funding.carry(state)


def _expire(state: State, market: Market, due: int) -> None:
    market.delivery_price = market.mark = marks.delivery_price(market, due)
    state.marks += 1
    _close(state, market)
    rate = market.terms.delivery_rate
    index, interest = market.index.price, market.open_interest
    state.phases.append(Delivery(market.name, due, index, interest, fee_rate=rate))


def _settlement_after(state: State, due: int, time: int) -> int:
    """Return the time of the settlement after `due`, when the clock jumps to `time`.

    Where the clock jumps over more days than one entry should settle, days on which no market
    with positions expires are skipped: the marks are constant, so the next settlement has the
    same result.
    """
    following: int = next_settlement(due)
    latest: int = next_settlement(time - DAYS_AT_ONCE * DAY)
    if following >= latest:
        return following
    for market in state.markets.values():
        expiry = market.instrument.expiry
        if expiry is not None and due < expiry < latest and market.positions:
            latest = expiry
    return latest


def _settle(state: State, due: int) -> None:
    heappush(state.due, (due, Due.LISTING, ""))
    for currency in state.currencies():
        prices = {}
        for market in state.markets.values():
            if market.currency == currency and not market.ended(due):
                funding.accrue(market, due)
                _close(state, market)
                prices[market.name] = SettlementPrices(
                    market.mark, market.index.price, market.funding_index
                )
        deficit = -state.deficit(currency).balance
        state.phases.append(Settlement(currency, due, prices, deficit))
    state.marks += 1


def _close(state: State, market: Market) -> None:
    market.state = MarketState.SETTLEMENT
    state.emit(MarketChanged(market.name, market.state))
