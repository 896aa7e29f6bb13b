"""Supervision is state: the heartbeat with its prices, and what holds when it is late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from risk import funding, marks
from risk.commands import Tick
from risk.events import Done, MarksChanged
from risk.market import Index
from risk.position import Wallet

if TYPE_CHECKING:
    from risk.state import State


def tick(state: State, command: Tick) -> None:
    """Take the index prices, move every mark, and put up whom that endangers."""
    state.ticks += 1
    state.marks += 1
    state.heartbeat = state.time
    for market in state.markets.values():
        funding.fix(market, state.time)
    for name, price in command.prices:
        if price > 0:
            state.indices.setdefault(name, Index(name)).set(price, state.time)
    for market in state.markets.values():
        marks.update(market, state.time)
        market.funding_rate = funding.rate(market)
    state.watch.on_marks_changed()
    state.emit(MarksChanged())
    state.emit(Done(state.origin))


def prices_fresh(state: State, wallet: Wallet) -> bool:
    """Whether heartbeat and indices are fresh enough to take on risk.

    All that the wallet's margin depends on must be: a stale mark elsewhere may hide a loss.
    """
    oldest = state.time - state.parameters.supervision
    if state.heartbeat < oldest:
        return False
    for position in wallet.positions.values():
        market = position.market
        if market.mark <= 0 or market.index.updated < oldest:
            return False
    return True
