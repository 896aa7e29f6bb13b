"""Matching: a taker against the makers, best price first and oldest first within a price."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final, Protocol

from book.instrument import Instrument
from book.order import Order, SelfTrading, Side
from book.orderbook import OrderBook


class Stop(Enum):
    """Why a taker stopped trading."""

    FILLED = "filled"
    NO_PRICE = "no price"
    SELF_TRADE = "self-trade"


_FILLED: Final = Stop.FILLED
_NO_PRICE: Final = Stop.NO_PRICE
_REJECT_TAKER: Final = SelfTrading.REJECT_TAKER


class Settler(Protocol):
    """Who is told of each step at once, before the next maker is chosen.

    It may shrink or remove any resting order, as reduce-only orders require when a position
    shrinks under them; it must not add one.
    """

    def filled(self, maker: Order, taker: Order, amount: int) -> None:
        """`amount` traded at the maker's price; both orders already show it."""

    def self_trade(self, maker: Order) -> None:
        """The maker belongs to the taker's account and must be cancelled."""


def match(
    book: OrderBook, taker: Order, limit: int, self_trading: SelfTrading, settler: Settler
) -> Stop:
    """Trade `taker` against the book up to `limit`, one maker at a time."""
    sign = taker.side.sign
    makers = book.side(taker.side.opposite)
    left = taker.remaining
    while left > 0:
        level = makers.best
        if level is None or sign * (limit - level.price) < 0:
            return _NO_PRICE
        maker = level.head
        assert maker is not None, "no level is empty"
        if maker.account == taker.account:
            if self_trading is _REJECT_TAKER:
                return Stop.SELF_TRADE
            settler.self_trade(maker)
            continue
        amount = maker.amount - maker.filled
        if amount > left:
            amount = left
        left -= amount
        taker.filled += amount
        book.fill(maker, amount)
        settler.filled(maker, taker, amount)
    return _FILLED


def fillable(
    book: OrderBook,
    taker: Order,
    limit: int,
    self_trading: SelfTrading,
    reducing: Callable[[int], tuple[int, Iterable[Order]]],
) -> bool:
    """Whether `match` would fill the whole taker, without touching anything.

    `reducing(account)` gives the unsigned size of the account's position and its resting
    reduce-only orders, oldest first: a fill of another of its orders may shrink those before the
    taker reaches them, so the walk keeps their books as `match` would.
    """
    left = taker.remaining
    rooms: dict[int, _Room] = {}
    for level in book.side(taker.side.opposite):
        if taker.side.sign * (limit - level.price) < 0:
            return False
        for maker in level:
            if maker.account == taker.account:
                if self_trading is SelfTrading.REJECT_TAKER:
                    return False
                continue
            room = rooms.get(maker.account)
            if room is None:
                room = rooms[maker.account] = _Room(*reducing(maker.account))
            left -= room.take(maker, left)
            if left <= 0:
                return True
    return False


class _Room:
    """What one account's reduce-only orders would still hold in the course of a walk."""

    def __init__(self, position: int, orders: Iterable[Order]) -> None:
        self.position = position
        self.left: dict[int, int] = {order.order_id: order.remaining for order in orders}
        self.total = sum(self.left.values())

    def take(self, maker: Order, wanted: int) -> int:
        """Fill up to `wanted` from a maker of this account; returns how much."""
        reduce_only = maker.order_id in self.left
        amount = min(wanted, self.left[maker.order_id] if reduce_only else maker.remaining)
        if self.left:
            self.position -= amount
            if reduce_only:
                self.left[maker.order_id] -= amount
                self.total -= amount
            for order_id, taken in shrinks(self.left, self.total - max(self.position, 0)):
                self.left[order_id] -= taken
                self.total -= taken
        return amount


def shrinks(remaining: Mapping[int, int], excess: int) -> list[tuple[int, int]]:
    """Which orders give up how much of an excess: newest (last in the mapping) first."""
    result = []
    for order_id in reversed(remaining):
        if excess <= 0:
            break
        taken = min(excess, remaining[order_id])
        if taken:
            result.append((order_id, taken))
            excess -= taken
    return result


def passive_price(book: OrderBook, instrument: Instrument, side: Side, price: int) -> int:
    """The limit of a post-only order: `price`, or one tick off the best opposite price.

    The result may be zero or below where a slide leaves no price to rest at.
    """
    best = book.best_price(side.opposite)
    if best is None or side.sign * (price - best) < 0:
        return price
    if side is Side.BUY:
        return instrument.floor_to_tick(best - 1)
    return instrument.ceil_to_tick(best + 1)
