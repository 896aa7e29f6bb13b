"""Open orders: everywhere one is known, it is known here at once or nowhere.

The book, the account, the session, the position and its margin all hold an open order. These
functions are the only ones that add it, shrink it or take it away.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from book.order import CANCELLED, FILLED, GOOD_TIL_DAY, CancelReason, Order
from risk import margin_cache
from risk.market import Market
from risk.position import Position

if TYPE_CHECKING:
    from risk.state import State


def rest(state: State, market: Market, position: Position, order: Order) -> None:
    """Put what is left of an order into the book."""
    order_id = order.order_id
    market.book.add(order)
    position.orders[order_id] = state.accounts[order.account].orders[order_id] = order
    session = state.sessions.get(order.session)
    if session is not None:
        session.orders[order_id] = order
    if order.time_in_force is GOOD_TIL_DAY:
        market.good_til_day[order_id] = order
    if order.reduce_only:
        position.reduce_by(order)
    position.expose(order, order.amount - order.filled)
    margin_cache.update_reserve(state, position, order)
    if not position.initial_stale:
        margin_cache.mark_initial_stale(position)
    state.report.add_order(order, position)


def executed(state: State, market: Market, position: Position, order: Order, amount: int) -> None:
    """A resting order has been filled by `amount`; the book already shows it."""
    position.expose(order, -amount)
    if order.amount != order.filled:
        margin_cache.update_reserve(state, position, order)
    else:
        order.state = FILLED
        _forget(state, market, position, order)
    order.updated = state.time
    state.report.orders[order.order_id] = order


def cancel(state: State, order: Order, reason: CancelReason | None) -> None:
    """End an open order."""
    market = state.markets[order.instrument]
    end(state, market, market.positions[order.account], order, reason)


def end(
    state: State, market: Market, position: Position, order: Order, reason: CancelReason | None
) -> None:
    """The same, for whoever has looked up where the order is."""
    position.expose(order, order.filled - order.amount)
    market.book.remove(order)
    _forget(state, market, position, order)
    order.state = CANCELLED
    order.cancel_reason = reason
    order.updated = state.time
    if not position.initial_stale:
        margin_cache.mark_initial_stale(position)
    state.report.add_order(order, position)


def cancel_first(
    state: State, which: Iterable[Order], limit: int, reason: CancelReason | None
) -> int:
    """End the first `limit` of some open orders; returns how many there were.

    `which` has an order that a snapshot keeps.
    """
    # In one go: to find the first of a dict means to step over all that left it before.
    found = list(islice(which, limit))
    for order in found:
        cancel(state, order, reason)
    return len(found)


def withdraw(state: State, market: Market, position: Position, order: Order) -> None:
    """Take an open order out of the book without ending it: it is about to come back."""
    position.expose(order, order.filled - order.amount)
    market.book.remove(order)
    _forget(state, market, position, order)
    margin_cache.mark_initial_stale(position)
    state.report.markets[market.name] = market
    state.report.wallets[position.wallet] = None


def shrink(state: State, order: Order, amount: int) -> None:
    """Lower an open order's total by `amount`, less than what is left; it keeps its place."""
    market = state.markets[order.instrument]
    position = market.positions[order.account]
    position.expose(order, -amount)
    market.book.shrink(order, amount)
    margin_cache.update_reserve(state, position, order)
    order.updated = state.time
    if not position.initial_stale:
        margin_cache.mark_initial_stale(position)
    state.report.add_order(order, position)


def fit_reduce_only(state: State, position: Position) -> int:
    """Cut reduce-only orders, newest first, to what there is still to reduce; returns how many.

    Costs no more than what it cuts: a fill may come to it a thousand times in one entry, with
    thousands of orders that have room.
    """
    excess, reducing = position.reduced - abs(position.size), position.reducing
    if reducing and next(iter(reducing.values())).side.sign * position.size >= 0:
        excess = position.reduced
    cut = 0
    while excess > 0:
        order = next(reversed(reducing.values()))
        amount = order.amount - order.filled
        if amount <= excess:
            cancel(state, order, CancelReason.REDUCE_ONLY)
        else:
            shrink(state, order, excess)
        excess -= amount
        cut += 1
    return cut


def room_to_trade(position: Position, amount: int, most: int) -> int:
    """How much of a signed amount can trade and cut no more than `most` reduce-only orders.

    It is always some of it where `most` is positive.
    """
    wanted = abs(amount)
    if position.size * amount >= 0:
        return wanted
    room = abs(position.size) - position.reduced
    if wanted <= room:
        return wanted
    for count, order in enumerate(reversed(position.reducing.values())):
        if count == most:
            return room
        room += order.amount - order.filled
        if wanted <= room:
            return wanted
    return wanted


def _forget(state: State, market: Market, position: Position, order: Order) -> None:
    order_id = order.order_id
    del position.orders[order_id], state.accounts[order.account].orders[order_id]
    if order.reduce_only:
        position.reducing.pop(order_id, None)
    if position.reserves:
        margin_cache.release_reserve(position, order)
    if order.time_in_force is GOOD_TIL_DAY:
        market.good_til_day.pop(order_id, None)
    session = state.sessions.get(order.session)
    if session is not None:
        session.orders.pop(order_id, None)
