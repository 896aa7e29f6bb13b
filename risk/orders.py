"""Open orders: every index of open orders is changed together, by these functions only.

The book, the account, the session, the position and its margin all refer to an open order.
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
    """Add the unfilled rest of an order to the book."""
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
    """Update a resting order after a fill of `amount`, which the book already reflects."""
    position.expose(order, -amount)
    if order.amount != order.filled:
        margin_cache.update_reserve(state, position, order)
    else:
        order.state = FILLED
        _remove(state, market, position, order)
    order.updated = state.time
    state.report.orders[order.order_id] = order


def cancel(state: State, order: Order, reason: CancelReason | None) -> None:
    """Cancel an open order."""
    market = state.markets[order.instrument]
    end(state, market, market.positions[order.account], order, reason)


def end(
    state: State, market: Market, position: Position, order: Order, reason: CancelReason | None
) -> None:
    """Cancel an open order whose market and position are given."""
    position.expose(order, order.filled - order.amount)
    market.book.remove(order)
    _remove(state, market, position, order)
    order.state = CANCELLED
    order.cancel_reason = reason
    order.updated = state.time
    if not position.initial_stale:
        margin_cache.mark_initial_stale(position)
    state.report.add_order(order, position)


def cancel_first(
    state: State, which: Iterable[Order], limit: int, reason: CancelReason | None
) -> int:
    """Cancel the first `limit` of some open orders and return how many there were.

    The order of iteration of `which` must be one that a snapshot preserves.
    """
    # One iterator for all: finding the first key of a dict steps over deleted ones.
    cancelled = list(islice(which, limit))
    for order in cancelled:
        cancel(state, order, reason)
    return len(cancelled)


def withdraw(state: State, market: Market, position: Position, order: Order) -> None:
    """Remove an open order from the book, to be replaced by its edited version."""
    position.expose(order, order.filled - order.amount)
    market.book.remove(order)
    _remove(state, market, position, order)
    margin_cache.mark_initial_stale(position)
    state.report.markets[market.name] = market
    state.report.wallets[position.wallet] = None


def shrink(state: State, order: Order, amount: int) -> None:
    """Reduce an open order's total by less than its rest; it keeps its queue position."""
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
    """Fit reduce-only orders to the position, newest first; return how many were changed.

    The cost is proportional to the orders changed, since one entry may call this for a thousand
    fills while thousands of orders remain.
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
    """Return the part of a signed amount whose fill changes at most `most` reduce-only orders.

    It is positive where `most` is.
    """
    requested = abs(amount)
    if position.size * amount >= 0:
        return requested
    room = abs(position.size) - position.reduced
    if requested <= room:
        return requested
    for count, order in enumerate(reversed(position.reducing.values())):
        if count == most:
            return room
        room += order.amount - order.filled
        if requested <= room:
            return requested
    return requested


def _remove(state: State, market: Market, position: Position, order: Order) -> None:
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
