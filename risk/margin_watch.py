"""The margin watch: finds the wallets that a price change may bring below maintenance margin.

A wallet is safe while each mark, funding index and index price that it depends on stays in an
interval. Its margin model derives these intervals from its slack (margin balance - maintenance
margin). For each coordinate and direction, a heap holds the interval ends. When a coordinate
passes an end, the wallet of that interval is measured exactly: it gets new intervals or is
recorded as endangered.

All of this is a cache derived from the state. What the watch proposes is checked again, exactly,
when the command is applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field
from sortedcontainers import SortedList

from book.units import RATE
from risk import margin_cache
from risk.adl_rankings import SCORES_PER_STEP, AdlRankings
from risk.market import Market
from risk.position import Wallet

if TYPE_CHECKING:
    from risk.state import State

Edge = tuple[str, str, int]
"""(instrument, "mark" | "funding" | "index", -1 for the low ends, +1 for the high ones)."""

Key = tuple[int, str]
"""(account, currency)."""

_STEPS_PER_MEASUREMENT = 3
"""Measuring a wallet takes 50 µs in a falling market; a step, one cancelled order, some 15 µs."""

_ORDERS_PER_STEP = 10
"""Open orders that count as one step: measuring a wallet at new marks visits all of them."""

_BITS = 32
_LOW = (1 << _BITS) - 1
_ID_BITS = 2 * _BITS
_ID = (1 << _ID_BITS) - 1


@define(eq=False)
class IntervalHeap:
    """The interval ends of one coordinate and direction, the first to be crossed on top.

    Each end is one integer that packs its value, the slot of its wallet and the version of the
    interval (`interval_id`). Integers, unlike tuples, cost the garbage collector nothing, and
    every measurement of a wallet adds some. Low ends are negated.
    An end is obsolete once a later interval has replaced its own. Obsolete ends are dropped when
    they reach the top or when they are carried over: each `add` carries two ends from `older`,
    taken from the end of its list, where removal keeps a heap valid. The number of ends thus
    stays proportional to the number of watched wallets without a clean-up of all ends in one step.
    """

    fresh: list[int] = field(factory=list)
    older: list[int] = field(factory=list)

    def add(self, end: int, interval: int, versions: Sequence[int]) -> None:
        """Add an end of the interval with that id."""
        heappush(self.fresh, end << _ID_BITS | interval)
        if not self.older:
            self.fresh, self.older = self.older, self.fresh
        for _ in range(min(2, len(self.older))):
            carried = self.older.pop()
            if versions[carried >> _BITS & _LOW] == carried & _LOW:
                heappush(self.fresh, carried)

    def take(self, reached: int) -> int | None:
        """Remove an end below `reached` and return its interval id, or None if there is none."""
        bound = reached << _ID_BITS
        for heap in (self.fresh, self.older):
            if heap and heap[0] < bound:
                return heappop(heap) & _ID
        return None

    def every(self) -> Iterator[tuple[int, int]]:
        """Yield all ends with their interval ids, in no particular order."""
        for heap in (self.fresh, self.older):
            for end in heap:
                yield end >> _ID_BITS, end & _ID


def interval_id(slot: int, version: int) -> int:
    """Return the id of an interval: the slot of its wallet and its version."""
    return slot << _BITS | version


@define(eq=False)
class MarginWatch:
    """The intervals of all wallets with positions, and the wallets that need liquidation.

    `unwatched` holds wallets whose intervals are no longer valid; they wait for a measurement.
    `endangered` holds wallets measured below maintenance margin, with slack / maintenance margin
    in 1e-12, so the lowest value is the worst. `worst` orders those of them that had no
    liquidation round in the Tick of their measurement.
    `incomplete` is set while ends may be left to cross or `rankings` to compute.
    Every wallet that was ever measured has a slot: `keys` holds its wallet and `versions` the
    version of its valid intervals. Slots are never removed, because a large dict with frequent
    deletions occasionally rehashes all its keys. `measurements` counts those that gave intervals.
    """

    ends: dict[Edge, IntervalHeap] = field(factory=dict)
    slots: dict[Key, int] = field(factory=dict)
    keys: list[Key] = field(factory=list)
    versions: list[int] = field(factory=list)
    unwatched: dict[Key, None] = field(factory=dict)
    endangered: dict[Key, int] = field(factory=dict)
    worst: SortedList[tuple[int, Key]] = field(factory=SortedList)
    rankings: AdlRankings = field(factory=AdlRankings)
    measurements: int = 0
    incomplete: bool = False

    def mark_dirty(self, wallet: Wallet) -> None:
        """Note that the wallet's money or positions changed, other than by the marks."""
        key = wallet.key
        self.unwatched[key] = None
        if self.endangered:
            self._not_endangered(key)
        if self.rankings.by_side:
            self.rankings.mark_changed(wallet)

    def on_terms_changed(self, market: Market) -> None:
        """Note that the market's terms changed, and with them the margin of every position."""
        self.unwatched.update(((account, market.currency), None) for account in market.positions)

    def on_marks_changed(self) -> None:
        """Note that coordinates changed: endangered wallets are measured again, ends crossed."""
        self.unwatched.update(dict.fromkeys(self.endangered))
        self.rankings.on_marks_changed()
        self.incomplete = True

    def advance(self, state: State, budget: int) -> None:
        """Measure wallets for about `budget` steps; `incomplete` tells whether any are left."""
        # One iterator for all keys: finding the first key of a dict steps over deleted ones.
        for key in list(islice(self.unwatched, max(0, budget))):
            if budget > 0:
                del self.unwatched[key]
                budget -= self._measure(state, key)
        if self.incomplete:
            budget = self._cross(state, budget)
            self.rankings.advance(state, max(0, budget) * SCORES_PER_STEP)
            self.incomplete = budget <= 0 or self.rankings.incomplete

    def _cross(self, state: State, budget: int) -> int:
        """Measure wallets whose interval ends are crossed and return the rest of the budget."""
        for (name, kind, sign), ends in list(self.ends.items()):
            reached = sign * value_of(state.markets[name], kind)
            while budget > 0:
                crossed = ends.take(reached)
                if crossed is None:
                    break
                slot, version = crossed >> _BITS, crossed & _LOW
                holds = self.versions[slot] == version
                budget -= self._measure(state, self.keys[slot]) if holds else 1
        return budget

    def _measure(self, state: State, key: Key) -> int:
        """Measure a wallet, which is endangered or safe within new intervals; return the steps."""
        wallet = state.wallet(*key)
        margin_cache.refresh(state, wallet)
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
            self.measurements += 1
            interval = interval_id(slot, self.versions[slot])
            for name, kind, low, high in wallet.model.intervals(held, slack):
                self._add(interval, name, kind, low, high)
        orders = sum(len(position.orders) for position in wallet.positions.values())
        return _STEPS_PER_MEASUREMENT + orders // _ORDERS_PER_STEP

    def _not_endangered(self, key: Key) -> None:
        part = self.endangered.pop(key, None)
        if part is not None:
            self.worst.discard((part, key))

    def _add(self, interval: int, name: str, kind: str, low: int | None, high: int | None) -> None:
        for sign, end in ((-1, low), (1, high)):
            if end is not None:
                edge = (name, kind, sign)
                ends = self.ends.get(edge)
                if ends is None:
                    ends = self.ends[edge] = IntervalHeap()
                ends.add(sign * end, interval, self.versions)

    def forget_market(self, name: str) -> None:
        """Discard the coordinates of a market that was removed."""
        for edge in [edge for edge in self.ends if edge[0] == name]:
            del self.ends[edge]
        self.rankings.forget_market(name)


def value_of(market: Market, kind: str) -> int:
    """Return the present value of a market's coordinate."""
    if kind == "mark":
        return market.mark
    return market.funding_index if kind == "funding" else market.index.price
