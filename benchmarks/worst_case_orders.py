"""Worst cases of orders, cancellations, withdrawals and the end of sessions."""

from __future__ import annotations

from typing import Any

from benchmarks.worst_case_venue import BTC, MAKER, TAKER, Venue, place
from book.order import OrderType, SelfTrading, Side
from book.units import MONEY, SCALE
from risk.commands import (
    Cancel,
    CancelAll,
    ClosePosition,
    Edit,
    EndSession,
    EndSessions,
    SetCancelOnDisconnect,
    SetSelfTrading,
    StartSession,
    Withdraw,
)


def sweep(size: int, **terms: Any) -> float:
    """Match one order against many makers, each of another account."""
    venue = Venue()
    for account in venue.crowd(size):
        venue.order(account, Side.SELL, 1, 50_000)
    price = 0 if terms.get("type") is OrderType.MARKET else 50_000
    return venue.longest(place(TAKER, Side.BUY, size, price, **terms))


def sweep_by_edit(size: int) -> float:
    """Edit a resting order to a price at which it matches many makers."""
    venue = Venue()
    for _ in range(size):
        venue.order(MAKER, Side.SELL, 1, 50_000)
    venue.order(TAKER, Side.BUY, size, 49_000)
    order = venue.exchange.state.orders
    return venue.longest(Edit(account=TAKER, order_id=order, price=50_000 * SCALE))


def close_by_sweep(size: int) -> float:
    """Close a position against many makers."""
    venue = Venue()
    venue.trade(TAKER, MAKER, size)
    for _ in range(size):
        venue.order(MAKER, Side.BUY, 1, 50_000)
    return venue.longest(ClosePosition(account=TAKER, instrument=BTC))


def own_orders(size: int) -> float:
    """Match an order that cancels many orders of its own account."""
    venue = Venue()
    venue.do(SetSelfTrading(account=TAKER, mode=SelfTrading.CANCEL_MAKER))
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_000)
    return venue.longest(place(TAKER, Side.BUY, size, 50_000))


def far_reduce_only(size: int) -> float:
    """Match many fills of an account with many reduce-only orders that need no cut."""
    venue = Venue()
    venue.trade(TAKER, MAKER, 2 * size)
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_700, reduce_only=True)
    for _ in range(size):
        venue.order(MAKER, Side.BUY, 1, 50_000)
    return venue.longest(place(TAKER, Side.SELL, size, 50_000))


def cut_reduce_only(size: int, **terms: Any) -> float:
    """Match fills each of which cuts many reduce-only orders, on both sides."""
    venue = Venue()
    makers = venue.crowd(3, 1_000)
    venue.trade(TAKER, makers[0], size)
    venue.trade(makers[1], makers[2], size)
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_700, reduce_only=True)
        venue.order(makers[0], Side.BUY, 1, 49_300, reduce_only=True)
    venue.order(makers[0], Side.BUY, size, 50_000)
    return venue.longest(place(TAKER, Side.SELL, size, 50_000, **terms))


def fill_reduce_only(size: int) -> float:
    """Fill many reduce-only orders of one account with one order."""
    venue = Venue()
    venue.trade(TAKER, MAKER, size)
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_000, reduce_only=True)
    return venue.longest(place(MAKER, Side.BUY, size, 50_000))


def many_orders(size: int) -> Venue:
    """Build an account with many open orders, half of them beyond the mark, and apply a Tick."""
    venue = Venue()
    for number in range(size):
        venue.order(TAKER, Side.BUY, 1, 49_500 + number % 900)
    venue.tick(btc_usd=50_001)
    return venue


def first_order_after_a_tick(size: int) -> float:
    """Place an order, which recalculates the reserves of all open orders of the account."""
    return many_orders(size).longest(place(TAKER, Side.BUY, 1, 49_400))


def cancel(size: int) -> float:
    """Cancel an order, which recalculates the reserves as well."""
    venue = many_orders(size)
    return venue.longest(Cancel(account=TAKER, order_id=venue.exchange.state.orders))


def withdraw(size: int) -> float:
    """Withdraw, which recalculates the reserves as well."""
    return many_orders(size).longest(Withdraw(account=TAKER, currency="BTC", amount=MONEY))


def cancel_all(size: int) -> float:
    """Cancel all orders of an account, each listed in the answer."""
    return many_orders(size).longest(CancelAll(account=TAKER, detailed=True))


def session_with_orders(venue: Venue, session: int, account: int, orders: int) -> None:
    """Start a session with orders that it cancels on disconnect."""
    venue.do(StartSession(session=session, account=account))
    venue.do(SetCancelOnDisconnect(account=account, session=session, enabled=True))
    for _ in range(orders):
        venue.order(account, Side.BUY, 1, 49_500, session=session)


def end_session(size: int) -> float:
    """End a session with many orders."""
    venue = Venue()
    session_with_orders(venue, 1, TAKER, size)
    return venue.longest(EndSession(session=1))


def end_sessions(size: int) -> float:
    """End many sessions with some orders each, as a restart does."""
    venue = Venue()
    for session, account in enumerate(venue.crowd(size), 1):
        session_with_orders(venue, session, account, 2)
    return venue.longest(EndSessions(before=2**32))
