"""The order book: two sides of price levels, best price first, each level a queue of orders.

A level is found in a dict and an order is unlinked from its queue, so adding, cancelling and
filling take the same time however many orders rest. Only the first order at a price and the last
one change the sorted list of prices.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from attrs import define, field
from sortedcontainers import SortedList

from book.events import LevelChange
from book.order import BUY, SELL, Level, Order, OrderState, Side


@define(eq=False)
class BookSide:
    """The levels of one side. `keys` sorts best first: ascending asks, negated bids.

    `best` is the level that trades first, stored because every fill and every price check reads
    it. `touched` has the amount of each changed level at the time of the last `take_changes`.
    """

    side: Side
    best: Level | None = None
    levels: dict[int, Level] = field(factory=dict)
    keys: SortedList = field(factory=SortedList)
    touched: dict[int, int] = field(factory=dict)

    def __iter__(self) -> Iterator[Level]:
        """Iterate over the levels, best first. The side must not change meanwhile."""
        sign = -self.side.sign
        for key in self.keys:
            yield self.levels[sign * key]

    def within(self, lowest: int, highest: int) -> Iterator[Level]:
        """Iterate over the levels between two prices, both included, best first."""
        sign = -self.side.sign
        first, last = sorted((sign * lowest, sign * highest))
        for key in self.keys.irange(first, last):
            yield self.levels[sign * key]

    def append(self, order: Order) -> None:
        """Add an order at the end of the queue at its price."""
        price = order.price
        level = self.levels.get(price)
        if level is None:
            level = self._open(price)
        if price not in self.touched:
            self.touched[price] = level.amount
        tail = level.tail
        if tail is None:
            level.head = order
        else:
            tail.next = order
            order.previous = tail
        level.tail = order
        order.level = level
        level.amount += order.amount - order.filled

    def unlink(self, order: Order, level: Level) -> None:
        """Remove an order from its queue, and the level with the last one."""
        if level.price not in self.touched:
            self.touched[level.price] = level.amount
        before, after = order.previous, order.next
        if before is None:
            level.head = after
        else:
            before.next = after
            order.previous = None
        if after is None:
            level.tail = before
        else:
            after.previous = before
            order.next = None
        order.level = None
        level.amount -= order.amount - order.filled
        if level.head is None:
            self._drop(level)

    def take_changes(self) -> tuple[LevelChange, ...]:
        """Return the net changes of the levels since the last call."""
        touched, levels = self.touched, self.levels
        if len(touched) == 1:
            price, before = touched.popitem()
            level = levels.get(price)
            after = 0 if level is None else level.amount
            return () if after == before else (LevelChange(self.side, price, before, after),)
        changes = []
        for price, before in touched.items():
            after = levels[price].amount if price in levels else 0
            if after != before:
                changes.append(LevelChange(self.side, price, before, after))
        touched.clear()
        return tuple(changes)

    def _open(self, price: int) -> Level:
        level = self.levels[price] = Level(price)
        self.keys.add(-self.side.sign * price)
        if self.best is None or self.side.sign * (price - self.best.price) > 0:
            self.best = level
        return level

    def _drop(self, level: Level) -> None:
        """Remove a level that has no orders left."""
        sign = -self.side.sign
        del self.levels[level.price]
        self.keys.remove(sign * level.price)
        if level is self.best:
            self.best = self.levels[sign * self.keys[0]] if self.levels else None


@define(eq=False)
class OrderBook:
    """The resting orders of one instrument.

    `orders` holds them by id. Its iteration order is not part of the state: a snapshot does not
    keep it, so nothing may depend on it.
    """

    instrument: str
    bids: BookSide = field(factory=lambda: BookSide(BUY))
    asks: BookSide = field(factory=lambda: BookSide(SELL))
    orders: dict[int, Order] = field(factory=dict)

    def __iter__(self) -> Iterator[Order]:
        """Iterate over all orders: bids, then asks, each by price and then by age."""
        for side in (self.bids, self.asks):
            for level in side:
                yield from level

    def side(self, side: Side) -> BookSide:
        """Return the side of the book on which orders of that side rest."""
        return self.bids if side is BUY else self.asks

    def add(self, order: Order) -> None:
        """Add an order behind all others at its price."""
        assert order.level is None, "the order rests already"
        (self.bids if order.side is BUY else self.asks).append(order)
        self.orders[order.order_id] = order

    def remove(self, order: Order) -> None:
        """Remove a resting order."""
        level = order.level
        assert level is not None, "the order does not rest"
        (self.bids if order.side is BUY else self.asks).unlink(order, level)
        del self.orders[order.order_id]

    def shrink(self, order: Order, amount: int) -> None:
        """Lower the total of a resting order by less than what remains; it keeps its place."""
        level = order.level
        assert level is not None, "the order does not rest"
        assert 0 < amount < order.remaining
        self.side(order.side).touched.setdefault(level.price, level.amount)
        level.amount -= amount
        order.amount -= amount

    def fill(self, order: Order, amount: int) -> None:
        """Fill part or all of a resting order; a full fill removes it."""
        level, left = order.level, order.amount - order.filled
        assert level is not None, "the order does not rest"
        assert 0 < amount <= left
        side = self.bids if order.side is BUY else self.asks
        side.touched.setdefault(level.price, level.amount)
        level.amount -= amount
        order.filled += amount
        if amount == left:
            side.unlink(order, level)
            del self.orders[order.order_id]

    def best(self, side: Side) -> Order | None:
        """Return the order that trades first on a side, or None."""
        level = self.side(side).best
        return level.head if level is not None else None

    def best_price(self, side: Side) -> int | None:
        """Return the best price of a side, or None where it is empty."""
        level = self.side(side).best
        return level.price if level is not None else None

    def crosses(self, side: Side, price: int) -> bool:
        """Return whether a limit order of that side and price would trade at once."""
        best = (self.asks if side is BUY else self.bids).best
        return best is not None and side.sign * (price - best.price) >= 0

    def take_changes(self) -> tuple[LevelChange, ...]:
        """Return the net changes of all levels since the last call, bids first."""
        bids, asks = self.bids, self.asks
        if not asks.touched:
            return bids.take_changes()
        return bids.take_changes() + asks.take_changes() if bids.touched else asks.take_changes()

    def check(self) -> None:
        """Verify the invariants; AssertionError names the first that does not hold."""
        seen = 0
        for side in (self.bids, self.asks):
            sign = -side.side.sign
            assert list(side.keys) == sorted(sign * price for price in side.levels), "keys"
            assert side.best is next(iter(side), None), "best"
            for level in side:
                seen += self._check_level(side, level)
        assert seen == len(self.orders), "every order rests at one level"
        bid, ask = self.best_price(Side.BUY), self.best_price(Side.SELL)
        assert bid is None or ask is None or bid < ask, "the book is crossed"

    def _check_level(self, side: BookSide, level: Level) -> int:
        # Wrong links may form a cycle.
        orders = list(islice(level, len(self.orders) + 1))
        assert 0 < len(orders) <= len(self.orders), "no level is empty"
        assert level.tail is orders[-1], "tail"
        assert level.amount == sum(order.remaining for order in orders), "level amount"
        previous = None
        for order in orders:
            assert order.previous is previous, "links"
            assert order.level is level, "level link"
            assert order.side is side.side, "side"
            assert order.price == level.price, "price"
            assert order.remaining > 0, "remaining"
            assert order.state is OrderState.OPEN, "state"
            assert self.orders.get(order.order_id) is order, "index"
            previous = order
        return len(orders)
