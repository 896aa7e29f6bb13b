"""Matching: a taker against the makers, best price first and oldest first within a price."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple, Protocol

from book.instrument import Instrument
from book.order import Order, SelfTrading, Side
from book.orderbook import OrderBook


class MatchEnd(Enum):
    """Why a taker stopped trading."""

    FILLED = "filled"
    NO_PRICE = "no price"
    SELF_TRADE = "self-trade"
    LIMIT = "limit"


_FILLED: Final = MatchEnd.FILLED
_NO_PRICE: Final = MatchEnd.NO_PRICE
_LIMIT: Final = MatchEnd.LIMIT
_REJECT_TAKER: Final = SelfTrading.REJECT_TAKER


class FillHandler(Protocol):
    """Settles each step before the next maker is chosen, and limits the work of one taker.

    It may shrink or remove any resting order, as reduce-only orders require when a position
    shrinks under them; it must not add one.
    """

    def room(self, maker: Order, amount: int) -> int:
        """How much of `amount` may trade with the maker; 0 ends the matching at the limit."""

    def filled(self, maker: Order, taker: Order, amount: int) -> None:
        """`amount` traded at the maker's price; both orders already show it."""

    def self_trade(self, maker: Order) -> bool:
        """Cancel the maker, which is of the taker's account; False ends the matching instead."""


def match(
    book: OrderBook, taker: Order, limit: int, self_trading: SelfTrading, settler: FillHandler
) -> MatchEnd:
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
                return MatchEnd.SELF_TRADE
            if not settler.self_trade(maker):
                return _LIMIT
            continue
        amount = maker.amount - maker.filled
        amount = settler.room(maker, min(left, amount))
        if not amount:
            return _LIMIT
        left -= amount
        taker.filled += amount
        book.fill(maker, amount)
        settler.filled(maker, taker, amount)
    return _FILLED


class Holding(NamedTuple):
    """An account's signed position, and its resting reduce-only orders.

    `reduced` is the sum of what these are open for; `newest` lists them, newest first.
    """

    size: int
    reduced: int
    newest: Iterable[Order]


def fillable(
    book: OrderBook,
    taker: Order,
    limit: int,
    self_trading: SelfTrading,
    holding: Callable[[int], Holding],
    most: int,
) -> bool:
    """Whether `match` would fill the whole taker, without touching anything.

    A fill may cut resting reduce-only orders of either account before the taker reaches them, so
    the walk keeps their books as `match` and its settler would. `most` limits its steps as it
    limits those of the settler: one for each fill, for each own order cancelled and for each
    reduce-only order cut; and no fill may cut more than `most` orders of one account.
    """
    sign, left, steps = taker.side.sign, taker.remaining, 0
    rooms: dict[int, _ReduceOnlyCapacity] = {}
    own = _ReduceOnlyCapacity(holding(taker.account))
    for level in book.side(taker.side.opposite):
        if sign * (limit - level.price) < 0:
            return False
        for maker in level:
            if maker.account == taker.account:
                if self_trading is SelfTrading.REJECT_TAKER or steps >= most:
                    return False
                steps += 1
                continue
            room = rooms.get(maker.account)
            if room is None:
                room = rooms[maker.account] = _ReduceOnlyCapacity(holding(maker.account))
            amount = min(left, room.left(maker))
            if not amount:
                continue
            if steps >= most:
                return False
            left -= amount
            made = room.fill(-sign * amount, maker, most)
            taken = own.fill(sign * amount, None, most)
            if max(made, taken) > most:
                return False
            if not left:
                return True
            steps += 1 + made + taken
    return False


class _ReduceOnlyCapacity:
    """What one account's reduce-only orders would still hold in the course of a walk."""

    def __init__(self, holding: Holding) -> None:
        self.size, self.reduced, newest = holding
        self.newest: Iterator[Order] = iter(newest)
        self.last: Order | None = None
        self.gone: dict[int, int] = {}

    def left(self, order: Order) -> int:
        """What a resting order is still open for."""
        return order.remaining - self.gone.get(order.order_id, 0)

    def fill(self, amount: int, maker: Order | None, most: int) -> int:
        """Trade a signed amount; returns how many orders that cuts, not counting beyond `most`."""
        reduce_only_cuts = self.size * amount < 0
        self.size += amount
        if maker is not None and maker.reduce_only:
            self._take(maker, abs(amount))
        if not reduce_only_cuts:
            return 0
        reducible = abs(self.size) if self.size * amount < 0 else 0
        cut = 0
        while self.reduced > reducible and cut <= most:
            while self.last is None or not self.left(self.last):
                self.last = next(self.newest)
            self._take(self.last, min(self.left(self.last), self.reduced - reducible))
            cut += 1
        return cut

    def _take(self, order: Order, amount: int) -> None:
        self.gone[order.order_id] = self.gone.get(order.order_id, 0) + amount
        self.reduced -= amount


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
