"""Match a taker against the makers: best price first, and oldest first at one price."""

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
    """Settles each fill before the next maker is chosen, and limits the work of one taker.

    It may shrink or remove any resting order, as a reduce-only order must when a position shrinks
    under it. It must not add one.
    """

    def allowed_amount(self, maker: Order, amount: int) -> int:
        """Return how much of `amount` may trade with the maker; 0 ends the matching."""

    def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
        """Settle a fill of `amount` at the maker's price; both orders already show it."""

    def on_self_trade(self, maker: Order) -> bool:
        """Cancel the maker, which belongs to the taker's account; False ends the matching."""


def match(
    book: OrderBook, taker: Order, limit: int, self_trading: SelfTrading, handler: FillHandler
) -> MatchEnd:
    """Trade `taker` against the book up to the price `limit`, one maker at a time."""
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
            if not handler.on_self_trade(maker):
                return _LIMIT
            continue
        amount = maker.amount - maker.filled
        amount = handler.allowed_amount(maker, min(left, amount))
        if not amount:
            return _LIMIT
        left -= amount
        taker.filled += amount
        book.fill(maker, amount)
        handler.on_fill(maker, taker, amount)
    return _FILLED


class Holding(NamedTuple):
    """An account's signed position and its resting reduce-only orders.

    `reduced` is the total amount for which these orders are open; `newest` yields them newest
    first.
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
    max_steps: int,
) -> bool:
    """Return whether `match` would fill the whole taker. Nothing is changed.

    A fill may cut resting reduce-only orders of either account before the taker reaches them, so
    the walk tracks positions and reduce-only orders as a fill handler would. `max_steps` limits
    its work as it limits that of the handler: one step for each fill, for each own order cancelled
    and for each reduce-only order cut; and no fill may cut more than `max_steps` orders of one
    account.
    """
    sign, left, steps = taker.side.sign, taker.remaining, 0
    capacities: dict[int, _ReduceOnlyCapacity] = {}
    own = _ReduceOnlyCapacity(holding(taker.account))
    for level in book.side(taker.side.opposite):
        if sign * (limit - level.price) < 0:
            return False
        for maker in level:
            if maker.account == taker.account:
                if self_trading is SelfTrading.REJECT_TAKER or steps >= max_steps:
                    return False
                steps += 1
                continue
            capacity = capacities.get(maker.account)
            if capacity is None:
                capacity = capacities[maker.account] = _ReduceOnlyCapacity(holding(maker.account))
            amount = min(left, capacity.remaining(maker))
            if not amount:
                continue
            if steps >= max_steps:
                return False
            left -= amount
            maker_cuts = capacity.fill(-sign * amount, maker, max_steps)
            taker_cuts = own.fill(sign * amount, None, max_steps)
            if max(maker_cuts, taker_cuts) > max_steps:
                return False
            if not left:
                return True
            steps += 1 + maker_cuts + taker_cuts
    return False


class _ReduceOnlyCapacity:
    """The position and the reduce-only orders of one account in the course of a walk.

    `cut` has what each order has lost to fills and cuts so far, by order id.
    """

    def __init__(self, holding: Holding) -> None:
        self.size, self.reduced, newest = holding
        self.newest: Iterator[Order] = iter(newest)
        self.current: Order | None = None
        self.cut: dict[int, int] = {}

    def remaining(self, order: Order) -> int:
        """Return the amount for which a resting order would still be open."""
        return order.remaining - self.cut.get(order.order_id, 0)

    def fill(self, amount: int, maker: Order | None, max_cuts: int) -> int:
        """Trade a signed amount; return how many orders that cuts, at most `max_cuts` + 1."""
        reduces = self.size * amount < 0
        self.size += amount
        if maker is not None and maker.reduce_only:
            self._take(maker, abs(amount))
        if not reduces:
            return 0
        reducible = abs(self.size) if self.size * amount < 0 else 0
        cuts = 0
        while self.reduced > reducible and cuts <= max_cuts:
            while self.current is None or not self.remaining(self.current):
                self.current = next(self.newest)
            self._take(self.current, min(self.remaining(self.current), self.reduced - reducible))
            cuts += 1
        return cuts

    def _take(self, order: Order, amount: int) -> None:
        self.cut[order.order_id] = self.cut.get(order.order_id, 0) + amount
        self.reduced -= amount


def post_only_price(book: OrderBook, instrument: Instrument, side: Side, price: int) -> int:
    """Return the limit of a post-only order: `price`, or one tick off the best opposite price.

    Zero or less means that there is no price left to rest at.
    """
    best = book.best_price(side.opposite)
    if best is None or side.sign * (price - best) < 0:
        return price
    if side is Side.BUY:
        return instrument.floor_to_tick(best - 1)
    return instrument.ceil_to_tick(best + 1)
