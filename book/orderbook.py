"""The order book: two sides of price levels, each a queue, best price first.

Finding a level is a dict lookup and leaving a queue is unlinking, so adding, cancelling and
filling cost the same whether a hundred or a million orders rest. Only the first order at a
new price and the last at an old one touch the sorted list of prices.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field
from sortedcontainers import SortedList

from book.events import LevelChange
from book.order import BUY, SELL, Order, OrderState, Side


@define(eq=False)
class Level:
    """All orders at one price, oldest first, as a doubly linked queue."""

    price: int
    amount: int = 0
    head: Order | None = None
    tail: Order | None = None

    def __iter__(self) -> Iterator[Order]:
        order = self.head
        while order is not None:
            following = order.after
            yield order
            order = following

    def append(self, order: Order) -> None:
        """Put an order at the end of the queue."""
        order.level = self
        order.before = self.tail
        if self.tail is None:
            self.head = order
        else:
            self.tail.after = order
        self.tail = order
        self.amount += order.amount - order.filled

    def unlink(self, order: Order) -> None:
        """Take an order out of the queue, wherever it stands."""
        if order.before is None:
            self.head = order.after
        else:
            order.before.after = order.after
        if order.after is None:
            self.tail = order.before
        else:
            order.after.before = order.before
        order.level = order.before = order.after = None
        self.amount -= order.amount - order.filled


@define(eq=False)
class BookSide:
    """The levels of one side. `keys` sorts best first: ascending asks, negated bids.

    `best` is the level that trades first; it is kept, since every fill and every check of a
    price asks for it. `touched` remembers what each changed level held when its changes were
    last taken.
    """

    side: Side
    best: Level | None = None
    levels: dict[int, Level] = field(factory=dict)
    keys: SortedList = field(factory=SortedList)
    touched: dict[int, int] = field(factory=dict)

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first. Do not change the side meanwhile."""
        sign = -self.side.sign
        for key in self.keys:
            yield self.levels[sign * key]

    def within(self, lowest: int, highest: int) -> Iterator[Level]:
        """Levels between two prices, both included, best first. Change nothing meanwhile."""
        sign = -self.side.sign
        first, last = sorted((sign * lowest, sign * highest))
        for key in self.keys.irange(first, last):
            yield self.levels[sign * key]

    def level_for(self, price: int) -> Level:
        """The level at a price, made if there is none; its change is noted."""
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level(price)
            self.keys.add(-self.side.sign * price)
            if self.best is None or self.side.sign * (price - self.best.price) > 0:
                self.best = level
        self.touched.setdefault(price, level.amount)
        return level

    def drop(self, level: Level) -> None:
        """Forget a level that has no orders left."""
        sign = -self.side.sign
        del self.levels[level.price]
        self.keys.remove(sign * level.price)
        if level is self.best:
            self.best = self.levels[sign * self.keys[0]] if self.levels else None

    def take_changes(self) -> list[LevelChange]:
        """What changed since the last call, net, in the order it was first touched."""
        changes = []
        for price, before in self.touched.items():
            level = self.levels.get(price)
            after = level.amount if level is not None else 0
            if after != before:
                changes.append(LevelChange(self.side, price, before, after))
        self.touched.clear()
        return changes


@define(eq=False)
class OrderBook:
    """The resting orders of one instrument."""

    instrument: str
    bids: BookSide = field(factory=lambda: BookSide(BUY))
    asks: BookSide = field(factory=lambda: BookSide(SELL))
    orders: dict[int, Order] = field(factory=dict)

    def side(self, side: Side) -> BookSide:
        """The side on which such orders rest."""
        return self.bids if side is BUY else self.asks

    def add(self, order: Order) -> None:
        """Rest an order behind all others at its price."""
        assert order.level is None, "the order rests already"
        self.side(order.side).level_for(order.price).append(order)
        self.orders[order.order_id] = order

    def remove(self, order: Order) -> None:
        """Take a resting order out of the book."""
        self._leave(order, self._touch(order))

    def shrink(self, order: Order, amount: int) -> None:
        """Lower a resting order's total by `amount`; it keeps its place. Something must be left."""
        assert 0 < amount < order.remaining
        self._touch(order).amount -= amount
        order.amount -= amount

    def fill(self, order: Order, amount: int) -> None:
        """Execute part or all of a resting order; it leaves when nothing is left."""
        assert 0 < amount <= order.remaining
        level = self._touch(order)
        level.amount -= amount
        order.filled += amount
        if order.filled == order.amount:
            self._leave(order, level)

    def best(self, side: Side) -> Order | None:
        """The order that trades first on a side."""
        level = self.side(side).best
        return level.head if level is not None else None

    def best_price(self, side: Side) -> int | None:
        """The best price of a side, or None where it is empty."""
        level = self.side(side).best
        return level.price if level is not None else None

    def crosses(self, side: Side, price: int) -> bool:
        """Whether a limit order of that side and price would trade at once."""
        best = (self.asks if side is BUY else self.bids).best
        return best is not None and side.sign * (price - best.price) >= 0

    def take_changes(self) -> tuple[LevelChange, ...]:
        """The net changes of all levels since the last call, bids first."""
        changes = self.bids.take_changes() if self.bids.touched else []
        if self.asks.touched:
            changes += self.asks.take_changes()
        return tuple(changes)

    def check(self) -> None:
        """Prove the invariants; AssertionError names the first that does not hold."""
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
        orders = list(level)
        assert orders, "no level is empty"
        assert level.tail is orders[-1], "tail"
        assert level.amount == sum(order.remaining for order in orders), "level amount"
        previous = None
        for order in orders:
            assert order.before is previous, "links"
            assert order.level is level, "level link"
            assert order.side is side.side, "side"
            assert order.price == level.price, "price"
            assert order.remaining > 0, "remaining"
            assert order.state is OrderState.OPEN, "state"
            assert self.orders.get(order.order_id) is order, "index"
            previous = order
        return len(orders)

    def _touch(self, order: Order) -> Level:
        level = order.level
        assert level is not None, "the order does not rest"
        self.side(order.side).touched.setdefault(level.price, level.amount)
        return level

    def _leave(self, order: Order, level: Level) -> None:
        level.unlink(order)
        del self.orders[order.order_id]
        if level.head is None:
            self.side(order.side).drop(level)
