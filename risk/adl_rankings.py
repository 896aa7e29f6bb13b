"""Rankings for auto-deleveraging: the accounts on one side of a market, ordered by score.

The score of a position with a profit is profit ratio x leverage, of any other position profit
ratio / leverage. Ties are broken by account. A change of the marks changes all scores, so a
ranking is valid for one version of the marks. Within that version only accounts whose money or
positions changed are scored again. The bankruptcies of one Tick then share one scan of the
positions.

Rankings are a cache: a ranking equals what a full scan of the state would give, whether or not
it was computed in advance. Computing it in advance, in slices, only bounds the duration of an
entry.
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

RankedAccount = tuple[int, int]
"""(score, -account): the largest is deleveraged first."""

MarketSide = tuple[str, int]
"""(instrument, 1 for the long side or -1 for the short side)."""

SCORES_PER_STEP: Final = 4
"""Positions scored per step. Scoring a position takes 6 µs, measuring a wallet 15 µs; the larger
share lets rankings complete within a Tick."""

CHANGED: Final = 1_024
"""Changed accounts that a ranking scores again in one step. A settlement changes all accounts."""


def score(state: State, position: Position) -> int:
    """Return a position's score in 1e-12, by the formula in the module docstring."""
    market = position.market
    wallet = position.wallet
    notional = market.instrument.notional(position.size, market.mark)
    entry = max(1, abs(position.carry))
    ratio = position.unrealised_profit() * RATE // entry
    balance = max(1, margin.balance(state, wallet))
    if ratio > 0:
        return ratio * notional // balance
    return ratio * balance // max(1, notional)


@define(eq=False)
class AdlRanking:
    """The ranking of one side of a market at version `marks` of the marks.

    `cursor` is the last account scored by the first scan, which is over when `complete` is set.
    `changed` holds accounts whose score may have changed since. `used` is whether any place has
    been read from this ranking.
    """

    market: Market
    sign: int
    marks: int = -1
    cursor: int = 0
    complete: bool = False
    used: bool = False
    scores: dict[int, int] = field(factory=dict)
    ranked: SortedList[RankedAccount] = field(factory=SortedList)
    changed: dict[int, None] = field(factory=dict)

    @property
    def incomplete(self) -> bool:
        """Whether more accounts need scoring than `next` should score in one step."""
        return not self.complete or len(self.changed) > CHANGED

    def advance(self, state: State, budget: int) -> int:
        """Score the next accounts, at most `budget` of them, and return how many."""
        scored = 0
        if not self.complete:
            for account in self.market.positions.irange(self.cursor, inclusive=(False, True)):
                if scored == budget:
                    return scored
                scored += 1
                self.cursor = account
                self._rank(state, account)
            self.complete = True
        if len(self.changed) > CHANGED:
            # One iterator for all keys: finding the first key of a dict steps over deleted ones.
            for account in list(islice(self.changed, budget - scored)):
                scored += 1
                del self.changed[account]
                self._rank(state, account)
        return scored

    def next(self, state: State, below: RankedAccount | None, limit: int) -> list[RankedAccount]:
        """Return up to `limit` of the highest places, below `below` if given, highest last."""
        self.used = True
        if not self.complete:
            self.advance(state, len(self.market.positions) + 1)
        for account in self.changed:
            self._rank(state, account)
        self.changed.clear()
        end = len(self.ranked) if below is None else self.ranked.bisect_left(below)
        return list(self.ranked.islice(max(0, end - limit), end))

    def _rank(self, state: State, account: int) -> None:
        previous = self.scores.pop(account, None)
        if previous is not None:
            self.ranked.remove((previous, -account))
        position = self.market.positions.get(account)
        if position is not None and position.size * self.sign > 0:
            current = self.scores[account] = score(state, position)
            self.ranked.add((current, -account))


@define(eq=False)
class AdlRankings:
    """The rankings in use, by side. There are none while no account needs deleveraging.

    `late` is set when the marks change before all rankings are complete. Waiting for complete
    rankings could then take for ever.
    """

    by_side: dict[MarketSide, AdlRanking] = field(factory=dict)
    late: bool = False

    @property
    def incomplete(self) -> bool:
        """Whether any ranking is incomplete."""
        return any(ranking.incomplete for ranking in self.by_side.values())

    def of(self, state: State, market: Market, sign: int) -> AdlRanking:
        """Return the ranking of one side at the present marks; a new one is still incomplete."""
        ranking = self.by_side.get((market.name, sign))
        if ranking is None or ranking.marks != state.marks:
            ranking = self.by_side[market.name, sign] = AdlRanking(market, sign, state.marks)
        return ranking

    def mark_changed(self, wallet: Wallet) -> None:
        """Note that a wallet's money or positions changed, other than by the marks."""
        for ranking in self.by_side.values():
            if ranking.market.currency == wallet.currency:
                ranking.changed[wallet.account] = None

    def on_marks_changed(self) -> None:
        """Discard all rankings, and begin new ones for the sides that were used."""
        self.late = self.incomplete
        self.by_side = {
            side: AdlRanking(ranking.market, ranking.sign)
            for side, ranking in self.by_side.items()
            if ranking.used
        }

    def forget_market(self, name: str) -> None:
        """Discard the rankings of a market that was removed."""
        for sign in (1, -1):
            self.by_side.pop((name, sign), None)

    def advance(self, state: State, budget: int) -> None:
        """Score up to `budget` accounts of incomplete rankings."""
        for outdated in list(self.by_side.values()):
            ranking = self.of(state, outdated.market, outdated.sign)
            if budget > 0 and ranking.incomplete:
                budget -= ranking.advance(state, budget)
