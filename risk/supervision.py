"""Supervision: the heartbeat with index prices, and the check that it is recent."""

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
    """Set the index prices, update all marks, and queue the wallets this affects for the watch."""
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
    """Return whether the heartbeat and the wallet's index prices are recent.

    This covers every market in which the wallet has a position, since the stale mark of any of
    them can hide a loss.
    """
    oldest = state.time - state.parameters.supervision
    if state.heartbeat < oldest:
        return False
    for position in wallet.positions.values():
        market = position.market
        if market.mark <= 0 or market.index.updated < oldest:
            return False
    return True
