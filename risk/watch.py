"""The watch: which accounts a price move can endanger.

A wallet is safe while each mark, funding index and index price that it depends on stays in an
interval, so that it need not be looked at. Its slack (margin balance - maintenance margin) is
shared over its positions by notional, and each position turns its share into intervals. The
ends of all intervals on one coordinate stand in two heaps; a coordinate that moves past an end
puts that wallet up for an exact look, which gives it new intervals or calls it endangered.

All of this is derived from the state and decides nothing: what the watch proposes is checked
again, exactly, where it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from attrs import define, field

from book.units import FUNDING, MONEY, RATE, SCALE, ceil_div
from risk import margin
from risk.market import Market
from risk.position import Position, Wallet

if TYPE_CHECKING:
    from risk.state import State

Coordinate = tuple[str, str]
"""(instrument, "mark" | "funding" | "index")."""

Key = tuple[int, str]
"""(account, currency)."""

_PAD = 16
"""Money units kept back per interval for the rounding of values and requirements."""

_FUNDING_PART = 16
_INDEX_PART = 8
"""Which part of a position's share is for funding, and (linear) for its index."""


@define(eq=False)
class Ends:
    """Interval ends on one coordinate: a heap of (end, wallet, generation) per direction.

    Low ends are stored negated, so that the first to be crossed is on top of both heaps.
    Ends of earlier generations are dropped when they surface, or all together once they
    may be more than half; so the heaps stay in proportion to what is watched.
    """

    low: list[tuple[int, Key, int]] = field(factory=list)
    high: list[tuple[int, Key, int]] = field(factory=list)
    room: int = 1024

    def crossed(self, value: int, generations: dict[Key, int]) -> Key | None:
        """Remove and return a wallet whose interval `value` has left, if there is one."""
        for heap, reached in ((self.low, -value), (self.high, value)):
            while heap and heap[0][0] < reached:
                _, key, generation = heappop(heap)
                if generations.get(key) == generation:
                    return key
        return None

    def tidy(self, generations: dict[Key, int]) -> None:
        """Drop what is out of date, if there may be much of it."""
        if len(self.low) + len(self.high) <= self.room:
            return
        for heap in (self.low, self.high):
            heap[:] = [end for end in heap if generations.get(end[1]) == end[2]]
            heapify(heap)
        self.room = max(1024, 2 * (len(self.low) + len(self.high)))


@define(eq=False)
class Watch:
    """Intervals of all wallets with positions.

    `dirty` are wallets whose intervals no longer hold, `endangered` those found below
    maintenance margin when last looked at. `behind` tells that crossings may be left to do.
    """

    ends: dict[Coordinate, Ends] = field(factory=dict)
    generations: dict[Key, int] = field(factory=dict)
    dirty: dict[Key, None] = field(factory=dict)
    endangered: dict[Key, None] = field(factory=dict)
    generation: int = 0
    behind: bool = False

    def mark_dirty(self, wallet: Wallet) -> None:
        """The wallet's money or positions moved, other than by marks."""
        self.dirty[wallet.account, wallet.currency] = None

    def moved(self) -> None:
        """Coordinates have moved: who is endangered is looked at again, and ends are crossed."""
        self.dirty.update(self.endangered)
        self.behind = True

    def advance(self, state: State, budget: int) -> None:
        """Look at no more than `budget` wallets; `behind` says whether that was all."""
        while self.dirty and budget > 0:
            key = next(iter(self.dirty))
            del self.dirty[key]
            self._look(state, key)
            budget -= 1
        if budget > 0 and self.behind:
            budget = self._cross(state, budget)
        self.behind = self.behind and budget <= 0

    def _cross(self, state: State, budget: int) -> int:
        for (name, kind), ends in list(self.ends.items()):
            market = state.markets.get(name)
            if market is None:
                continue
            value = _value(market, kind)
            while budget > 0:
                key = ends.crossed(value, self.generations)
                if key is None:
                    break
                self._look(state, key)
                budget -= 1
        return budget

    def _look(self, state: State, key: Key) -> None:
        """One exact look at a wallet: endangered, or safe within new intervals."""
        account, currency = key
        wallet = state.wallet(account, currency)
        margin.refresh(state, wallet)
        self.generations.pop(key, None)
        self.endangered.pop(key, None)
        slack = wallet.margin_balance - wallet.maintenance
        if slack < 0:
            self.endangered[key] = None
            return
        self._place(key, wallet, slack)

    def _place(self, key: Key, wallet: Wallet, slack: int) -> None:
        held = [position for position in wallet.positions.values() if position.size]
        if not held:
            return
        self.generation += 1
        self.generations[key] = self.generation
        weights = [
            position.market.instrument.notional(position.size, position.market.mark)
            for position in held
        ]
        total = sum(weights) or 1
        for position, weight in zip(held, weights, strict=True):
            for kind, low, high in intervals(position, slack * weight // total):
                self._add((position.market.name, kind), key, low, high)

    def _add(self, coordinate: Coordinate, key: Key, low: int | None, high: int | None) -> None:
        ends = self.ends.get(coordinate)
        if ends is None:
            ends = self.ends[coordinate] = Ends()
        if low is not None:
            heappush(ends.low, (-low, key, self.generation))
        if high is not None:
            heappush(ends.high, (high, key, self.generation))
        ends.tidy(self.generations)

    def forget_market(self, name: str) -> None:
        """A market is gone, and its coordinates with it."""
        for kind in ("mark", "funding", "index"):
            self.ends.pop((name, kind), None)


def _value(market: Market, kind: str) -> int:
    if kind == "mark":
        return market.mark
    return market.funding_index if kind == "funding" else market.index.price


def intervals(position: Position, share: int) -> Iterator[tuple[str, int | None, int | None]]:
    """(coordinate kind, low, high) within which this position loses at most `share`.

    Inclusive ends, None where there is none. "Loses" is fall of profit plus rise of
    maintenance margin, in Money.
    """
    market, size = position.market, position.size
    if market.instrument.perpetual:
        part = share // _FUNDING_PART
        share -= part
        reach = max(0, part - _PAD) * (SCALE * FUNDING // MONEY) // abs(size)
        now = market.funding_index
        yield ("funding", None, now + reach) if size > 0 else ("funding", now - reach, None)
    if market.instrument.contract.inverse:
        yield ("mark", *_inverse(market, size, max(0, share - _PAD)))
        return
    part = share // _INDEX_PART
    coins = margin.base_size(market, size)
    rate = market.terms.maintenance_base * MONEY + market.terms.maintenance_slope * coins
    reach = max(0, part - _PAD) * RATE * MONEY * SCALE // (coins * rate)
    yield "index", None, market.index.price + reach
    reach = max(0, share - part - _PAD) * (SCALE * SCALE // MONEY) // abs(size)
    yield (("mark", market.mark - reach, None) if size > 0 else ("mark", None, market.mark + reach))


def _inverse(market: Market, size: int, share: int) -> tuple[int | None, int | None]:
    """Mark interval of an inverse position, by way of its size n in base coins, n = |S| / M.

    A long loses n' - n as n rises, and maintenance a*n + b*n*n rises with it; while n at most
    doubles, one coin more costs at most 1 + a + 3*b*n. A short loses n - n' as n falls,
    maintenance falling too; and as n rises it gains 1 a coin against a + 3*b*n.
    """
    terms = market.terms
    coins = margin.base_size(market, size)
    rate = terms.maintenance_base + ceil_div(3 * terms.maintenance_slope * coins, MONEY)
    if size > 0:
        most = min(2 * coins, coins + share * RATE // (RATE + rate))
        return min(ceil_div(size * MONEY, most), market.mark), None
    low = market.mark // 2 + 1 if rate < RATE else market.mark
    least = coins - share
    high = max(-size * MONEY // least, market.mark) if least > 0 else None
    return low, high
