"""What time brings: expiries, daily settlements, listings, averaging windows.

`advance` takes everything that is due in the order (time, kind, name). What a settlement or
delivery needs is fixed at its moment — marks, funding index, delivery price — and the work on
all accounts then goes on in phases, while the markets concerned are in settlement.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from book.calendar import next_settlement
from risk import funding, listing, marks
from risk.delivery import Delivery
from risk.events import MarketChanged, MarketState
from risk.market import Market
from risk.settlement import Marked, Settlement
from risk.state import Due

if TYPE_CHECKING:
    from risk.state import State


def advance(state: State, time: int) -> None:
    """Set venue time to `time` (never back) and begin everything that has come due by then."""
    while state.due and state.due[0][0] <= time:
        due, kind, name = heappop(state.due)
        state.time = max(state.time, due)
        if kind is Due.EXPIRY:
            _expire(state, state.markets[name], due)
        elif kind is Due.SETTLEMENT:
            _settle(state, due)
        elif kind is Due.LISTING:
            for product in state.products.values():
                listing.list_due(state, product)
        else:
            market = state.markets[name]
            market.averaging = market.index.averaging_from(due)
    if time > state.time:
        state.time = time
    if state.time - state.heartbeat >= funding.LATE:
        funding.carry(state)


def _expire(state: State, market: Market, due: int) -> None:
    market.delivery_price = market.mark = marks.delivery_price(market, due)
    state.marks += 1
    _close(state, market)
    state.phases.append(Delivery(market.name, due, market.index.price, market.open_interest))


def _settle(state: State, due: int) -> None:
    heappush(state.due, (next_settlement(due), Due.SETTLEMENT, ""))
    heappush(state.due, (due, Due.LISTING, ""))
    for currency in state.currencies():
        marked = {}
        for market in state.markets.values():
            if market.currency == currency and not market.ended(due):
                funding.accrue(market, due)
                _close(state, market)
                marked[market.name] = Marked(market.mark, market.index.price, market.funding_index)
        deficit = -state.deficit(currency).balance
        state.phases.append(Settlement(currency, due, marked, deficit))
    state.marks += 1


def _close(state: State, market: Market) -> None:
    market.state = MarketState.SETTLEMENT
    state.emit(MarketChanged(market.name, market.state))
