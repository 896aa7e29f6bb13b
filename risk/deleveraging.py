"""Auto-deleveraging: when the fund cannot take a position, its winners give theirs back.

The opposite side is closed at the bankruptcy price, highest score first: with a profit, profit
ratio x leverage; without, profit ratio / leverage; ties by account. Whoever it would push
below zero is passed over. Scanning a large market takes more than one entry, so it is a phase:
it keeps the best few as it goes, and then checks each again when its turn comes.
"""

from __future__ import annotations

from heapq import heappush, heappushpop
from typing import TYPE_CHECKING

from attrs import define, field

from book.units import RATE, round_half_even
from risk import insurance, margin
from risk.events import Liquidated, LiquidationStep
from risk.market import Market
from risk.position import Position
from risk.state import FIRST_CLIENT, INSURANCE

if TYPE_CHECKING:
    from risk.state import State

RANKED = 64
"""How many candidates one scan keeps. If they are not enough, another scan follows."""


def score(state: State, position: Position) -> int:
    """Who is deleveraged first, in 1e-12; see the module."""
    market = position.market
    wallet = position.wallet
    margin.refresh(state, wallet)
    notional = market.instrument.notional(position.size, market.mark)
    entry = max(1, abs(position.carry))
    ratio = position.profit * RATE // entry
    balance = max(1, wallet.margin_balance)
    if ratio > 0:
        return ratio * notional // balance
    return ratio * balance // max(1, notional)


@define(eq=False)
class Deleverage:
    """Close one bankrupt position against the best-ranked of the other side.

    `closed` tells whether the present ranking was of any use; if not, another would not be.
    """

    account: int
    market: str
    cursor: int = 0
    ranking: list[tuple[int, int]] = field(factory=list)
    scanned: bool = False
    closed: bool = False
    done: bool = False

    def advance(self, state: State, budget: int) -> int:
        """Scan for candidates, then close against them; stops when the account is sound."""
        used = 0
        while used < budget and not self.done:
            market = state.markets.get(self.market)
            position = market.positions.get(self.account) if market is not None else None
            if market is None or position is None or not self._still_due(state, position):
                self.done = True
            elif not self.scanned:
                self._scan_next(state, market, position)
            else:
                self._close_next(state, market, position)
            used += 1
        return used

    def _still_due(self, state: State, position: Position) -> bool:
        if not position.size:
            return False
        return margin.is_locked(state, position.wallet)

    def _scan_next(self, state: State, market: Market, position: Position) -> None:
        account = next(market.positions.irange(self.cursor, inclusive=(False, True)), None)
        if account is None:
            self.scanned = True
            self.ranking.sort()
            return
        self.cursor = account
        candidate = market.positions[account]
        if account < FIRST_CLIENT or candidate.size * position.size >= 0:
            return
        if not _bears(state, candidate, self._terms(state, position, candidate)[1]):
            return
        entry = (score(state, candidate), -account)
        if len(self.ranking) < RANKED:
            heappush(self.ranking, entry)
        else:
            heappushpop(self.ranking, entry)

    def _close_next(self, state: State, market: Market, position: Position) -> None:
        if not self.ranking:
            self._rank_again(state, position)
            return
        _, negated = self.ranking.pop()
        other = market.positions.get(-negated)
        if other is None or other.size * position.size >= 0:
            return
        amount, part = self._terms(state, position, other)
        if not _bears(state, other, part):
            return
        self.closed = True
        price = insurance.hand_over(state, position, other, amount, part)
        state.emit(
            Liquidated(
                self.account,
                market.currency,
                LiquidationStep.DELEVERAGED,
                market.name,
                amount,
                price,
            )
        )

    def _terms(self, state: State, position: Position, other: Position) -> tuple[int, int]:
        """How much the two can close, and the part of the margin balance that goes with it."""
        wallet = position.wallet
        margin.refresh(state, wallet)
        share = insurance.bankruptcy_shares(wallet)[self.market]
        amount = min(abs(position.size), abs(other.size))
        if amount < abs(position.size):
            share = round_half_even(share * amount, abs(position.size))
        return amount, share

    def _rank_again(self, state: State, position: Position) -> None:
        if not self.closed:
            self._give_up(state, position)
            return
        self.cursor, self.scanned, self.closed = 0, False, False

    def _give_up(self, state: State, position: Position) -> None:
        """Nobody is left: the fund takes the rest, and what it lacks becomes a deficit."""
        self.done = True
        if self.account != INSURANCE:
            wallet = position.wallet
            margin.refresh(state, wallet)
            share = insurance.bankruptcy_shares(wallet)[self.market]
            insurance.take_over(state, position, share)
        insurance.cover(state, state.insurance(position.market.currency))


def _bears(state: State, position: Position, share: int) -> bool:
    """Whether the counterparty stays at or above zero; two units are left for rounding."""
    wallet = position.wallet
    margin.refresh(state, wallet)
    return wallet.margin_balance + share >= 2
