"""A cache: the margin requirements of each wallet, and what its open orders reserve.

The wallet's margin model (see risk.margin_model) calculates them. It measures all positions again
when a mark or a funding index has changed (`State.marks`), and otherwise only the positions that
are marked as stale: in a calm market an order costs O(1), whatever else the account holds.
Whatever changes a position or its orders marks it here; `refresh` brings the sums up to date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from book.order import BUY, Order
from risk.order_costs import reserve

if TYPE_CHECKING:
    from risk.position import Position, Wallet
    from risk.state import State


def refresh(state: State, wallet: Wallet) -> None:
    """Update the wallet's requirements for the present marks, positions and orders."""
    wallet.model.measure(state, wallet)
    for position in wallet.stale_positions:
        position.initial_stale = position.margin_stale = False
    wallet.stale_positions.clear()
    wallet.stale = False


def mark_stale(position: Position) -> None:
    """Have the next refresh measure a position whose size or carry has changed.

    It is not measured at once: makers are filled more often than their margin is needed, and the
    margin of a taker that fills several makers is needed once.
    """
    position.margin_stale = position.wallet.stale = True
    if not position.initial_stale:
        mark_initial_stale(position)


def mark_initial_stale(position: Position) -> None:
    """Have the next refresh measure the initial margin of a position whose orders have changed."""
    if not position.initial_stale:
        position.initial_stale = True
        position.wallet.stale_positions.append(position)


def reserves(state: State, position: Position) -> int:
    """Return the sum of what the position's open orders reserve at the present mark, in Money."""
    if position.reserves_at != state.marks:
        position.reserves_at = state.marks
        market, mark = position.market, position.market.mark
        charged = market.maker_rate > 0
        # The condition repeats that of `loss_at_mark`: most orders reserve nothing, and a call for
        # each of them took most of the time of an account's first order after a Tick.
        position.reserves = {
            order_id: reserve(market, order)
            for order_id, order in position.orders.items()
            if charged or (order.price > mark if order.side is BUY else order.price < mark)
        }
        position.reserved = sum(position.reserves.values())
    return position.reserved


def update_reserve(state: State, position: Position, order: Order) -> None:
    """Replace what one open order reserves, after it was added or shrank."""
    if position.reserves_at == state.marks:
        if position.reserves:
            release_reserve(position, order)
        market, price = position.market, order.price
        # The condition repeats that of `loss_at_mark`: most orders reserve nothing.
        worse = price > market.mark if order.side is BUY else price < market.mark
        if worse or market.maker_rate > 0:
            amount = position.reserves[order.order_id] = reserve(market, order)
            position.reserved += amount


def release_reserve(position: Position, order: Order) -> None:
    """Remove what an order reserved that is no longer open."""
    if position.reserves:
        position.reserved -= position.reserves.pop(order.order_id, 0)
