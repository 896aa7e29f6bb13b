"""Standings: the clients on one side of a market, ranked by who is deleveraged first.

With a profit, the score is profit ratio x leverage; without, profit ratio / leverage; ties by
account. Every move of a mark changes everybody's score, so a standing holds for one version of
the marks; until the next, only those are scored again whose money or positions changed. So
many accounts that go bankrupt at one Tick cost one look at everybody, and not one each.

All of this is derived from the state: a standing that is asked for says what a scan of everybody
would, whether it had been worked out before or not. Whether it had decides only how long that
takes, which is why standings that will be wanted are worked out ahead, in slices.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import define, field
from sortedcontainers import SortedList

from book.units import RATE
from risk import margin
from risk.position import Position, Wallet

if TYPE_CHECKING:
    from risk.market import Market
    from risk.state import State

Place = tuple[int, int]
"""(score, -account): the larger goes first."""

Side = tuple[str, int]
"""(instrument, 1 for who is long, -1 for who is short)."""

LOOKS_PER_STEP: Final = 4
"""To score a position takes 6 µs and to watch a wallet 15, but we want to be done within a Tick."""

CHANGED: Final = 1_024
"""How many changed accounts a standing scores again at one go. A settlement changes all of them."""


def score(state: State, position: Position) -> int:
    """Who is deleveraged first, in 1e-12; see the module."""
    market = position.market
    wallet = position.wallet
    notional = market.instrument.notional(position.size, market.mark)
    entry = max(1, abs(position.carry))
    ratio = margin.profit(position) * RATE // entry
    balance = max(1, margin.balance(state, wallet))
    if ratio > 0:
        return ratio * notional // balance
    return ratio * balance // max(1, notional)


@define(eq=False)
class AdlRanking:
    """Everybody on one side of a market, at version `marks` of the marks.

    `cursor` is the last account that was looked at, until all were. `changed` are accounts that
    may score otherwise by now. `asked` tells whether it has been of use.
    """

    market: Market
    sign: int
    marks: int = -1
    cursor: int = 0
    complete: bool = False
    asked: bool = False
    scores: dict[int, int] = field(factory=dict)
    ranked: SortedList[Place] = field(factory=SortedList)
    changed: dict[int, None] = field(factory=dict)

    @property
    def incomplete(self) -> bool:
        """Whether there is more to look at than one step should."""
        return not self.complete or len(self.changed) > CHANGED

    def advance(self, state: State, budget: int) -> int:
        """Look at the next accounts, at most `budget` of them; returns how many."""
        used = 0
        if not self.complete:
            for account in self.market.positions.irange(self.cursor, inclusive=(False, True)):
                if used == budget:
                    return used
                used += 1
                self.cursor = account
                self._rank(state, account)
            self.complete = True
        if len(self.changed) > CHANGED:
            # In one go: to find the first key of a dict means to step over all that were deleted.
            for account in list(islice(self.changed, budget - used)):
                used += 1
                del self.changed[account]
                self._rank(state, account)
        return used

    def next(self, state: State, below: Place | None, limit: int) -> list[Place]:
        """The highest `limit` of them, those below a place if one is given; the highest last."""
        self.asked = True
        if not self.complete:
            self.advance(state, len(self.market.positions) + 1)
        for account in self.changed:
            self._rank(state, account)
        self.changed.clear()
        end = len(self.ranked) if below is None else self.ranked.bisect_left(below)
        return list(self.ranked.islice(max(0, end - limit), end))

    def _rank(self, state: State, account: int) -> None:
        known = self.scores.pop(account, None)
        if known is not None:
            self.ranked.remove((known, -account))
        position = self.market.positions.get(account)
        if position is not None and position.size * self.sign > 0:
            found = self.scores[account] = score(state, position)
            self.ranked.add((found, -account))


@define(eq=False)
class AdlRankings:
    """The standings that are in use. In calm there are none.

    They are `late` when the last move of the marks came before they were worked out: to wait for
    them may then be to wait for ever.
    """

    kept: dict[Side, AdlRanking] = field(factory=dict)
    late: bool = False

    @property
    def incomplete(self) -> bool:
        """Whether any is not worked out yet."""
        return any(standing.incomplete for standing in self.kept.values())

    def of(self, state: State, market: Market, sign: int) -> AdlRanking:
        """The standing of one side at the present marks; it may have to be worked out first."""
        standing = self.kept.get((market.name, sign))
        if standing is None or standing.marks != state.marks:
            standing = self.kept[market.name, sign] = AdlRanking(market, sign, state.marks)
        return standing

    def changed(self, wallet: Wallet) -> None:
        """A wallet's money or positions moved, other than by marks."""
        for standing in self.kept.values():
            if standing.market.currency == wallet.currency:
                standing.changed[wallet.account] = None

    def on_marks_changed(self) -> None:
        """The marks have moved. What was of use before will be wanted again, it is assumed."""
        self.late = self.incomplete
        self.kept = {
            side: AdlRanking(standing.market, standing.sign)
            for side, standing in self.kept.items()
            if standing.asked
        }

    def forget_market(self, name: str) -> None:
        """A market is gone."""
        for sign in (1, -1):
            self.kept.pop((name, sign), None)

    def advance(self, state: State, budget: int) -> None:
        """Work out what is behind, `budget` looks of it."""
        for kept in list(self.kept.values()):
            standing = self.of(state, kept.market, kept.sign)
            if budget > 0 and standing.incomplete:
                budget -= standing.advance(state, budget)
