"""Auto-deleveraging: when the fund cannot take a position, its winners give theirs back.

The opposite side is closed at the bankruptcy price, highest score first (see risk.adl_rankings).
Whoever it would push below zero is passed over. It is a phase: it takes the best few who can
bear it, and then checks each again when its turn comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from book.order import CancelReason
from book.units import round_half_even
from risk import insurance, margin, orders
from risk.adl_rankings import Place
from risk.events import Liquidated, LiquidationStep
from risk.market import Market
from risk.position import Position, Wallet
from risk.state import FIRST_CLIENT, INSURANCE

if TYPE_CHECKING:
    from risk.state import State

RANKED = 64
"""How many candidates are taken at a time. If they are not enough, more follow."""


@define(eq=False)
class Deleverage:
    """Close one bankrupt position against the best-ranked of the other side.

    `ranking` are those whose turn comes, the next one at its end, once it is `scanned`; until then
    it holds at most one, below whom to go on. `cursor` counts the steps of ranking until then, and
    afterwards tells how many were ranked. `closed` tells whether the ranking was of any use.
    """

    account: int
    market: str
    cursor: int = 0
    ranking: list[Place] = field(factory=list)
    scanned: bool = False
    closed: bool = False
    done: bool = False

    def advance(self, state: State, budget: int) -> int:
        """Rank candidates, then close against them; stops when the account is sound."""
        used = 0
        while used < budget and not self.done:
            market = state.markets.get(self.market)
            position = market.positions.get(self.account) if market is not None else None
            if market is None or position is None or not self._still_due(state, position):
                self.done = True
            elif not self.scanned:
                self._rank_next(state, market, position)
            else:
                used += self._close_next(state, market, position, budget - used)
            used += 1
        return used

    def withheld(self, _state: State, _wallet: Wallet, /) -> int:
        """Nothing: who closes against it gets a price, and each is checked at its turn."""
        return 0

    def _still_due(self, state: State, position: Position) -> bool:
        if not position.size:
            return False
        return margin.is_locked(state, position.wallet)

    def _rank_next(self, state: State, market: Market, position: Position) -> None:
        """Count a step for each who may be ranked; the one after them ranks.

        So what an entry holds depends on the state alone, and not on what standings know already.
        """
        if self.cursor < min(len(market.positions), RANKED):
            self.cursor += 1
            return
        below = self.ranking[0] if self.ranking else None
        standing = state.watch.standings.of(state, market, -1 if position.size > 0 else 1)
        found = standing.next(state, below, RANKED)
        self.cursor, self.scanned = len(found), True
        # Nothing changes while they are looked at, so one look at the bankrupt wallet is enough.
        share = self._share(state, position)
        # The last of many is where the next begin, and stays, whether it bears anything or not.
        self.ranking = [
            place
            for number, place in enumerate(found)
            if (not number and len(found) == RANKED)
            or _bears(state, position, market.positions[-place[1]], share)
        ]

    def _close_next(self, state: State, market: Market, position: Position, budget: int) -> int:
        """Close against the next in line; returns steps that went into cutting its orders.

        Where that would cut more reduce-only orders than the budget allows, only these are cut,
        and its turn comes again.
        """
        if not self.ranking:
            self._rank_again(state, position)
            return 0
        place = self.ranking[-1]
        other = market.positions.get(-place[1])
        cut = 0
        share = self._share(state, position)
        opposite = other is not None and other.size * position.size < 0
        if other is not None and opposite and _bears(state, position, other, share):
            amount = min(abs(position.size), abs(other.size))
            if orders.room_to_trade(other, _signed(amount, position), budget) < amount:
                newest = reversed(other.reducing.values())
                return orders.cancel_first(state, newest, budget, CancelReason.REDUCE_ONLY)
            cut = len(other.orders)
            self._close(state, position, other, share)
            cut -= len(other.orders)
        self.ranking.pop()
        if not self.ranking and not self.closed and self.cursor == RANKED:
            self.ranking, self.cursor, self.scanned = [place], 0, False
        return cut

    def _close(self, state: State, position: Position, other: Position, share: int) -> None:
        self.closed = True
        amount, part = _terms(position, other, share)
        price = insurance.transfer_position(state, position, other, amount, part)
        state.emit(
            Liquidated(
                self.account,
                position.market.currency,
                LiquidationStep.DELEVERAGED,
                position.market.name,
                amount,
                price,
            )
        )

    def _share(self, state: State, position: Position) -> int:
        """The part of the margin balance that stands behind the whole position.

        This takes a look at all positions of the wallet.
        """
        margin.refresh(state, position.wallet)
        return insurance.bankruptcy_shares(position.wallet)[self.market]

    def _rank_again(self, state: State, position: Position) -> None:
        """From the highest on, who was passed over too: with less left, it may bear its part."""
        if not self.closed:
            self._give_up(state, position)
            return
        self.cursor, self.scanned, self.closed = 0, False, False

    def _give_up(self, state: State, position: Position) -> None:
        """Nobody is left: the fund takes the rest, and what it lacks becomes a deficit."""
        self.done = True
        if self.account != INSURANCE:
            insurance.take_over(state, position, self._share(state, position))
        insurance.cover(state, state.insurance(position.market.currency))


def _bears(state: State, position: Position, other: Position, share: int) -> bool:
    """Whether a client stays at or above zero; two units are left for rounding."""
    wallet = other.wallet
    if wallet.account < FIRST_CLIENT:
        return False
    return margin.balance(state, wallet) + _terms(position, other, share)[1] >= 2


def _terms(position: Position, other: Position, share: int) -> tuple[int, int]:
    """How much the two can close, and the part of the share that goes with it."""
    amount = min(abs(position.size), abs(other.size))
    if amount < abs(position.size):
        share = round_half_even(share * amount, abs(position.size))
    return amount, share


def _signed(amount: int, like: Position) -> int:
    return amount if like.size > 0 else -amount
