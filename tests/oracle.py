"""A naive order book, a list and a sort: slow and obviously correct, the reference for `book/`.

It shares only enumerations with the real book. It has no levels, links or running totals:
everything is calculated from one list each time.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import NamedTuple

from attrs import define, field

from book.order import SelfTrading, Side, TimeInForce


class Fill(NamedTuple):
    """`amount` of a maker's order traded against a taker's at the maker's price."""

    maker: int
    taker: int
    price: int
    amount: int


@define
class NaiveOrder:
    """An order with `left` still to be traded."""

    order_id: int
    account: int
    side: Side
    price: int
    left: int
    reduce_only: bool = False


@define
class NaiveBook:
    """Resting orders in the order of their arrival, and each account's position.

    `most` limits the work of one taker; `step` is the smallest amount that trades.
    """

    tick: int
    positions: Counter[int]
    orders: list[NaiveOrder] = field(factory=list)
    most: int = 1_000
    step: int = 1

    def ranked(self, side: Side) -> list[NaiveOrder]:
        """Return the orders of a side by price, then by arrival (sorting is stable)."""
        ours = [order for order in self.orders if order.side is side]
        return sorted(ours, key=lambda order: order.price, reverse=side is Side.BUY)

    def depth(self, side: Side) -> list[tuple[int, int]]:
        """Return (price, total) of each price of a side, best first."""
        totals: dict[int, int] = {}
        for order in self.ranked(side):
            totals[order.price] = totals.get(order.price, 0) + order.left
        return list(totals.items())

    def exposed(self, account: int, side: Side) -> int:
        """Return the part of the account's position that orders of that side can reduce."""
        position = self.positions[account]
        return max(-position, 0) if side is Side.BUY else max(position, 0)

    def room(self, account: int, side: Side) -> int:
        """Return the part of it that resting reduce-only orders leave to another one."""
        return self.exposed(account, side) - sum(
            order.left
            for order in self.orders
            if order.account == account and order.side is side and order.reduce_only
        )

    def crosses(self, order: NaiveOrder) -> bool:
        """Return whether any resting order would trade with this one."""
        return any(_acceptable(order, maker) for maker in self.ranked(order.side.opposite))

    def slide(self, order: NaiveOrder) -> None:
        """Move the price of a post-only order away, tick by tick, until nothing crosses."""
        while self.crosses(order):
            order.price -= self.tick if order.side is Side.BUY else -self.tick

    def place(
        self, order: NaiveOrder, time_in_force: TimeInForce, self_trading: SelfTrading
    ) -> list[Fill]:
        """Trade an order as far as possible; the remainder rests if its terms allow it."""
        if time_in_force is TimeInForce.FILL_OR_KILL and not self.fills_whole(order, self_trading):
            return []
        fills, refused = self.trade(order, self_trading)
        if order.left and time_in_force.rests and not refused:
            self.orders.append(order)
        return fills

    def fills_whole(self, taker: NaiveOrder, self_trading: SelfTrading) -> bool:
        """Return whether a taker would be filled completely, by trying it on a copy."""
        trial, order = deepcopy((self, taker))
        trial.trade(order, self_trading)
        return not order.left

    def trade(self, taker: NaiveOrder, self_trading: SelfTrading) -> tuple[list[Fill], bool]:
        """Return the fills of a taker, and whether an own order or the limit ended it."""
        fills: list[Fill] = []
        steps = 0
        while taker.left:
            makers = [m for m in self.ranked(taker.side.opposite) if _acceptable(taker, m)]
            if not makers:
                break
            maker = makers[0]
            own = maker.account == taker.account
            if (own and self_trading is SelfTrading.REJECT_TAKER) or steps >= self.most:
                return fills, True
            if own:
                self.orders.remove(maker)
                steps += 1
                continue
            wanted = amount = min(taker.left, maker.left)
            while max(self.cuts(taker, maker, amount)) > self.most:
                amount -= self.step
            fills.append(Fill(maker.order_id, taker.order_id, maker.price, amount))
            steps += 1 + sum(self.cuts(taker, maker, amount))
            self.fill(taker, maker, amount)
            self.orders = [order for order in self.orders if order.left]
            if amount < wanted:
                return fills, True
        return fills, False

    def fill(self, taker: NaiveOrder, maker: NaiveOrder, amount: int) -> None:
        """Execute one fill and cut reduce-only orders."""
        buyer, seller = (taker, maker) if taker.side is Side.BUY else (maker, taker)
        self.positions[buyer.account] += amount
        self.positions[seller.account] -= amount
        maker.left -= amount
        taker.left -= amount
        self.trim_reduce_only()

    def cuts(self, taker: NaiveOrder, maker: NaiveOrder, amount: int) -> list[int]:
        """Return how many other orders of each account a fill would cut, by trying it on a copy."""
        trial, buying, selling = deepcopy((self, taker, maker))
        trial.fill(buying, selling, amount)
        return [
            sum(
                before.account == account and before is not maker and after.left < before.left
                for before, after in zip(self.orders, trial.orders, strict=True)
            )
            for account in (taker.account, maker.account)
        ]

    def trim_reduce_only(self) -> None:
        """Cut reduce-only orders, newest first, to what the account's position leaves to reduce."""
        granted: Counter[tuple[int, Side]] = Counter()
        for order in self.orders:
            if order.reduce_only:
                position = self.positions[order.account]
                exposed = -position if order.side is Side.BUY else position
                free = max(exposed, 0) - granted[order.account, order.side]
                order.left = min(order.left, free)
                granted[order.account, order.side] += order.left


def _acceptable(taker: NaiveOrder, maker: NaiveOrder) -> bool:
    if taker.side is Side.BUY:
        return maker.price <= taker.price
    return maker.price >= taker.price
