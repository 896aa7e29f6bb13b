"""The watch: which accounts a price move can endanger.

A wallet is safe while each mark, funding index and index price that it depends on stays in an
interval, so that it need not be looked at. Its margin model makes these intervals of its slack
(margin balance - maintenance margin). The ends of all intervals on one side of a coordinate stand
in a heap; a coordinate that moves past an end puts that wallet up for an exact look, which gives
it new intervals or calls it endangered.

All of this is derived from the state and decides nothing: what the watch proposes is checked
again, exactly, where it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field
from sortedcontainers import SortedList

from book.units import RATE
from risk import margin
from risk.adl_rankings import LOOKS_PER_STEP, AdlRankings
from risk.market import Market
from risk.position import Wallet

if TYPE_CHECKING:
    from risk.state import State

Edge = tuple[str, str, int]
"""(instrument, "mark" | "funding" | "index", -1 for the low ends, +1 for the high ones)."""

Key = tuple[int, str]
"""(account, currency)."""

_STEPS_PER_LOOK = 3
"""An exact look takes 50 µs in a falling market, a cancelled order, which is a step, some 15."""

_ORDERS_PER_STEP = 10
"""To bring a wallet to new marks is to look at all its open orders."""

_BITS = 32
_LOW = (1 << _BITS) - 1
_MARK_BITS = 2 * _BITS
_MARK = (1 << _MARK_BITS) - 1


@define(eq=False)
class IntervalHeap:
    """One side's interval ends: heaps of them, the first to be crossed on top.

    An end is one integer: its place on the coordinate, whose interval it is, and which of theirs
    (`mark_of`). Whoever has a position has some, and each look at somebody makes new ones: as
    tuples they were what the garbage collector spent its time on. Low ends are negated.
    Ends that a later interval has replaced are dropped when they surface or when they are carried
    over: every `add` carries two from `older`, from its far end, where a heap can lose entries
    without disorder. So the ends stay in proportion to what is watched, and no step ever has all
    of them to tidy.
    """

    fresh: list[int] = field(factory=list)
    older: list[int] = field(factory=list)

    def add(self, end: int, mark: int, versions: Sequence[int]) -> None:
        """Put up an end of an interval that has that mark."""
        heappush(self.fresh, end << _MARK_BITS | mark)
        if not self.older:
            self.fresh, self.older = self.older, self.fresh
        for _ in range(min(2, len(self.older))):
            carried = self.older.pop()
            if versions[carried >> _BITS & _LOW] == carried & _LOW:
                heappush(self.fresh, carried)

    def take(self, reached: int) -> int | None:
        """Remove an end that lies before `reached`, if there is one; returns its mark."""
        bound = reached << _MARK_BITS
        for heap in (self.fresh, self.older):
            if heap and heap[0] < bound:
                return heappop(heap) & _MARK
        return None

    def every(self) -> Iterator[tuple[int, int]]:
        """All ends and their marks, in no order."""
        for heap in (self.fresh, self.older):
            for end in heap:
                yield end >> _MARK_BITS, end & _MARK


def mark_of(slot: int, version: int) -> int:
    """What an interval is known by: the slot of its wallet, and the version that it holds for."""
    return slot << _BITS | version


@define(eq=False)
class MarginWatch:
    """Intervals of all wallets with positions.

    `dirty` are wallets whose intervals no longer hold, and of whom nothing is known before the
    next look. `endangered` are those found below maintenance margin, with what they then had
    above it as a part of it, in 1e-12: the lowest is the worst, and `worst` ranks by it those who
    had no round of liquidation in the Tick in which they were looked at.
    `behind` tells that crossings may be left to do, or `standings` to work out.
    Every wallet that was ever looked at has a slot: `keys` says whose each is, and `versions`
    which of its intervals hold. None is ever taken out: a large dict whose keys come and go stops
    everything every now and then to tidy up. `looks` counts those that gave intervals.
    """

    ends: dict[Edge, IntervalHeap] = field(factory=dict)
    slots: dict[Key, int] = field(factory=dict)
    keys: list[Key] = field(factory=list)
    versions: list[int] = field(factory=list)
    unwatched: dict[Key, None] = field(factory=dict)
    endangered: dict[Key, int] = field(factory=dict)
    worst: SortedList[tuple[int, Key]] = field(factory=SortedList)
    standings: AdlRankings = field(factory=AdlRankings)
    looks: int = 0
    incomplete: bool = False

    def mark_dirty(self, wallet: Wallet) -> None:
        """The wallet's money or positions moved, other than by marks."""
        key = wallet.key
        self.unwatched[key] = None
        if self.endangered:
            self._not_endangered(key)
        if self.standings.kept:
            self.standings.changed(wallet)

    def retuned(self, market: Market) -> None:
        """The market's terms have changed, and with them the margin of all who hold it."""
        self.unwatched.update(((account, market.currency), None) for account in market.positions)

    def on_marks_changed(self) -> None:
        """Coordinates have moved: who is endangered is looked at again, and ends are crossed."""
        self.unwatched.update(dict.fromkeys(self.endangered))
        self.standings.on_marks_changed()
        self.incomplete = True

    def advance(self, state: State, budget: int) -> None:
        """Look at wallets for about `budget` steps; `behind` tells whether any are left."""
        # In one go: to find the first key of a dict means to step over all that were deleted.
        for key in list(islice(self.unwatched, max(0, budget))):
            if budget > 0:
                del self.unwatched[key]
                budget -= self._look(state, key)
        if self.incomplete:
            budget = self._cross(state, budget)
            self.standings.advance(state, max(0, budget) * LOOKS_PER_STEP)
            self.incomplete = budget <= 0 or self.standings.incomplete

    def _cross(self, state: State, budget: int) -> int:
        """Look at wallets whose ends are crossed; returns what is left of the budget."""
        for (name, kind, sign), ends in list(self.ends.items()):
            reached = sign * value_of(state.markets[name], kind)
            while budget > 0:
                crossed = ends.take(reached)
                if crossed is None:
                    break
                slot, version = crossed >> _BITS, crossed & _LOW
                holds = self.versions[slot] == version
                budget -= self._look(state, self.keys[slot]) if holds else 1
        return budget

    def _look(self, state: State, key: Key) -> int:
        """One exact look at a wallet: endangered, or safe within new intervals; returns steps."""
        wallet = state.wallet(*key)
        margin.refresh(state, wallet)
        slot = self.slots.get(key)
        if slot is None:
            slot = self.slots[key] = len(self.keys)
            self.keys.append(key)
            self.versions.append(0)
        self.versions[slot] += 1
        self._not_endangered(key)
        slack = wallet.margin_balance - wallet.maintenance
        if slack < 0:
            part = self.endangered[key] = slack * RATE // max(1, wallet.maintenance)
            if wallet.round != state.ticks:
                self.worst.add((part, key))
        held = [position for position in wallet.positions.values() if position.size]
        if held and slack >= 0:
            self.looks += 1
            mark = mark_of(slot, self.versions[slot])
            for name, kind, low, high in wallet.model.intervals(held, slack):
                self._add(mark, name, kind, low, high)
        orders = sum(len(position.orders) for position in wallet.positions.values())
        return _STEPS_PER_LOOK + orders // _ORDERS_PER_STEP

    def _not_endangered(self, key: Key) -> None:
        part = self.endangered.pop(key, None)
        if part is not None:
            self.worst.discard((part, key))

    def _add(self, mark: int, name: str, kind: str, low: int | None, high: int | None) -> None:
        for sign, end in ((-1, low), (1, high)):
            if end is not None:
                edge = (name, kind, sign)
                ends = self.ends.get(edge)
                if ends is None:
                    ends = self.ends[edge] = IntervalHeap()
                ends.add(sign * end, mark, self.versions)

    def forget_market(self, name: str) -> None:
        """A market is gone, and its coordinates with it."""
        for edge in [edge for edge in self.ends if edge[0] == name]:
            del self.ends[edge]
        self.standings.forget_market(name)


def value_of(market: Market, kind: str) -> int:
    """Where a coordinate of a market is now."""
    if kind == "mark":
        return market.mark
    return market.funding_index if kind == "funding" else market.index.price
