"""Products and listings: contract families are data, their instruments follow the calendar."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING

from book.calendar import AVERAGING_WINDOW, expiries, next_settlement
from book.instrument import Instrument, dated, perpetual
from book.orderbook import OrderBook
from risk import marks, settlement
from risk.commands import SetParameters, SetProduct
from risk.events import Done, MarketChanged, MarketState
from risk.market import Index, Market
from risk.risk_terms import Terms
from risk.state import SYSTEM_ACCOUNTS, Account, Due

if TYPE_CHECKING:
    from risk.state import State


def set_parameters(state: State, command: SetParameters) -> None:
    """Replace the venue's parameters."""
    state.parameters = command.parameters
    state.emit(Done(state.origin))


def set_product(state: State, command: SetProduct) -> None:
    """Add a contract family and list its instruments, or change the risk terms of a family.

    Instruments that are already listed keep their contract; later ones get the new contract.
    """
    contract = command.contract
    state.products[contract.family, contract.dated] = command
    state.indices.setdefault(contract.index, Index(contract.index))
    for number, name in SYSTEM_ACCOUNTS.items():
        state.accounts.setdefault(number, Account(number, name, state.time))
        state.wallet(number, contract.currency)
    for market in state.markets.values():
        if market.instrument.contract.family == contract.family:
            _update_terms(state, market, command)
    state.marks += 1
    list_due(state, command)
    due = (next_settlement(state.time), Due.SETTLEMENT, "")
    if due not in state.due:
        heappush(state.due, due)
    state.emit(Done(state.origin))


def _update_terms(state: State, market: Market, command: SetProduct) -> None:
    if market.instrument.contract.dated == command.contract.dated:
        market.terms = command.terms
        market.initials.clear()
        state.watch.on_terms_changed(market)


def list_due(state: State, product: SetProduct) -> None:
    """List every instrument of a family that the calendar requires and that is not listed yet."""
    contract = product.contract
    if not contract.dated:
        _list(state, perpetual(contract, state.instruments + 1, state.time), product.terms)
        return
    for expiry, period in expiries(state.time):
        instrument = dated(contract, state.instruments + 1, state.time, expiry, period)
        _list(state, instrument, product.terms)


def _list(state: State, instrument: Instrument, terms: Terms) -> None:
    if instrument.name in state.markets:
        return
    state.instruments += 1
    market = Market(
        instrument, terms, state.indices[instrument.contract.index], OrderBook(instrument.name)
    )
    market.funding_time = state.time
    if any(settlement.in_progress(state, market.currency)):
        # It opens after the settlement: accounts that are not settled yet must not trade with
        # accounts that are.
        market.state = MarketState.SETTLEMENT
    state.markets[instrument.name] = market
    if instrument.expiry is not None:
        heappush(state.due, (instrument.expiry, Due.EXPIRY, instrument.name))
        opens = instrument.expiry - AVERAGING_WINDOW
        if opens > state.time:
            heappush(state.due, (opens, Due.AVERAGING, instrument.name))
        else:
            market.averaging = market.index.averaging_from(opens)
    marks.update(market, state.time)
    state.emit(MarketChanged(instrument.name, market.state))
