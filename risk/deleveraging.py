"""Auto-deleveraging: a position that the fund cannot take is closed against the opposite side.

Opposite positions are closed at the bankruptcy price, highest score first (see
risk.adl_rankings). Accounts that this would leave with a negative balance are skipped. The work
is a phase: it selects a batch of candidates and checks each again before closing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from book.order import CancelReason
from book.units import round_half_even
from risk import insurance, margin, margin_cache, orders
from risk.adl_rankings import RankedAccount
from risk.events import Liquidated, LiquidationStep
from risk.market import Market
from risk.position import Position, Wallet
from risk.state import FIRST_CLIENT, INSURANCE

if TYPE_CHECKING:
    from risk.state import State

RANKED = 64
"""Candidates per batch. Further batches follow until the position is closed."""


@define(eq=False)
class Deleverage:
    """Close one bankrupt position against the highest-ranked positions of the opposite side.

    `ranking` holds the candidates, best last. Until `scanned` it holds at most the place below
    which the next batch begins. `cursor` counts the steps of ranking until `scanned`, and is the
    size of the batch afterwards. `closed` is whether any candidate of this pass has been closed.
    """

    account: int
    market: str
    cursor: int = 0
    ranking: list[RankedAccount] = field(factory=list)
    scanned: bool = False
    closed: bool = False
    done: bool = False

    def advance(self, state: State, budget: int) -> int:
        """Rank candidates, then close against them until the account meets its margin."""
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
        """Return 0: each counterparty is checked when its position is closed."""
        return 0

    def _still_due(self, state: State, position: Position) -> bool:
        if not position.size:
            return False
        return margin.is_locked(state, position.wallet)

    def _rank_next(self, state: State, market: Market, position: Position) -> None:
        """Count one step per possible candidate, then select the batch.

        The steps of an entry then depend on the state alone, not on how much of the cached
        ranking has been computed.
        """
        if self.cursor < min(len(market.positions), RANKED):
            self.cursor += 1
            return
        below = self.ranking[0] if self.ranking else None
        ranking = state.watch.rankings.of(state, market, -1 if position.size > 0 else 1)
        batch = ranking.next(state, below, RANKED)
        self.cursor, self.scanned = len(batch), True
        # Checking candidates changes nothing, so the share is computed once for all of them.
        share = self._share(state, position)
        # The lowest place of a full batch is kept even if it is not eligible: the next batch
        # begins below it.
        self.ranking = [
            place
            for number, place in enumerate(batch)
            if (not number and len(batch) == RANKED)
            or _is_eligible(state, position, market.positions[-place[1]], share)
        ]

    def _close_next(self, state: State, market: Market, position: Position, budget: int) -> int:
        """Close against the next candidate; return the number of its orders that were cancelled.

        Where this would cancel more reduce-only orders than the budget allows, only these orders
        are cancelled and the candidate stays next.
        """
        if not self.ranking:
            self._rank_again(state, position)
            return 0
        place = self.ranking[-1]
        other = market.positions.get(-place[1])
        cut = 0
        share = self._share(state, position)
        opposite = other is not None and other.size * position.size < 0
        if other is not None and opposite and _is_eligible(state, position, other, share):
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
        """Return the whole position's share of the margin balance.

        The cost is proportional to the number of positions of the wallet.
        """
        margin_cache.refresh(state, position.wallet)
        return insurance.bankruptcy_shares(position.wallet)[self.market]

    def _rank_again(self, state: State, position: Position) -> None:
        """Start again from the highest score.

        An account that was skipped may be able to bear its part of the smaller remainder.
        """
        if not self.closed:
            self._fall_back_to_fund(state, position)
            return
        self.cursor, self.scanned, self.closed = 0, False, False

    def _fall_back_to_fund(self, state: State, position: Position) -> None:
        """Transfer the rest to the fund; a loss that it cannot pay is added to the deficit."""
        self.done = True
        if self.account != INSURANCE:
            insurance.take_over(state, position, self._share(state, position))
        insurance.cover(state, state.insurance(position.market.currency))


def _is_eligible(state: State, position: Position, other: Position, share: int) -> bool:
    """Return whether a client's balance stays positive, with two units left for rounding."""
    wallet = other.wallet
    if wallet.account < FIRST_CLIENT:
        return False
    return margin.balance(state, wallet) + _terms(position, other, share)[1] >= 2


def _terms(position: Position, other: Position, share: int) -> tuple[int, int]:
    """Return the amount that the two can close and the corresponding part of the share."""
    amount = min(abs(position.size), abs(other.size))
    if amount < abs(position.size):
        share = round_half_even(share * amount, abs(position.size))
    return amount, share


def _signed(amount: int, like: Position) -> int:
    return amount if like.size > 0 else -amount
