"""Daily settlement: each session's profit and loss becomes cash, at 08:00 UTC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from book.order import CancelReason
from risk import insurance, ledger, margin, orders
from risk.events import (
    BookingKind,
    LossShared,
    MarketChanged,
    MarketSettled,
    MarketState,
    PositionSettled,
    SettlementKind,
)
from risk.execution import book_funding
from risk.position import Position, Wallet
from risk.state import FIRST_CLIENT, INSURANCE

if TYPE_CHECKING:
    from risk.state import State


def settle_to_balance(
    state: State, position: Position, price: int, kind: BookingKind, time: int
) -> int:
    """Move a position's session result at `price` to the balance; returns it.

    Values of many positions, rounded one by one, need not sum to zero: `rounding` takes the
    other side of all that trading brought, so that the market's sums still do. Once everybody
    is settled, only what rounding left is with it.
    """
    wallet, market, funding = position.wallet, position.market, position.funding
    result = position.settle(price)
    ledger.book(state, wallet, result, kind, time, market.name)
    traded = result - funding
    if traded:
        rounding = state.rounding(wallet.currency)
        state.position(rounding.account, market).carry += traded
        ledger.book(state, rounding, -traded, kind)
    return result


class Marked(NamedTuple):
    """What a market is settled at: mark and index price, and funding index."""

    mark: int
    index_price: int
    funding_index: int


@define(eq=False)
class Settlement:
    """Daily settlement of a currency: session results become cash, market by market.

    `marked` holds the prices of each market as they stood when it was due; `deficit` is what there
    was then, and once all are settled what is to be shared.
    Afterwards a deficit that the fund cannot repay is spread over the session's winners, in
    proportion to their profits; what was delivered at the same time counts (see `count`).
    It may take many entries, and what comes in between must not change who bears what: until all
    is done, profits stay with the account (see `withheld`), nobody is liquidated in the currency,
    and what anybody can bear is what they have been settled to, whatever the marks do.
    """

    currency: str
    time: int
    marked: dict[str, Marked]
    deficit: int
    cursor: int = 0
    profits: dict[int, int] = field(factory=dict)
    total: int = 0
    sharing: list[int] | None = None
    taxed: int = 0
    done: bool = False

    def advance(self, state: State, budget: int) -> int:
        """Cancel good-til-day orders, settle accounts, share a deficit, reopen."""
        used = self._cancel_day_orders(state, budget)
        while used < budget and not self.done:
            if self.sharing is None:
                used += self._settle_next(state)
            else:
                used += self._share_next(state)
        return used

    def _cancel_day_orders(self, state: State, budget: int) -> int:
        used = 0
        for name in self.marked:
            day_orders = state.markets[name].good_til_day.values()
            reason = CancelReason.SETTLEMENT
            used += orders.cancel_first(state, day_orders, budget - used, reason)
        return used

    def _settle_next(self, state: State) -> int:
        wallets = state.wallets[self.currency]
        account = next(wallets.irange(self.cursor, inclusive=(False, True)), None)
        if account is None:
            self._finish_settling(state)
            return 1
        self.cursor = account
        return self._settle_wallet(state, wallets[account])

    def _settle_wallet(self, state: State, wallet: Wallet) -> int:
        """Settle an account's positions; returns how many, or 1."""
        profit = 0
        settled = [p for name, p in wallet.positions.items() if name in self.marked]
        for position in settled:
            market = position.market
            mark, index, funding_index = self.marked[market.name]
            book_funding(state, position, funding_index)
            size, paid = position.size, position.funding
            result = settle_to_balance(state, position, mark, BookingKind.SETTLEMENT, self.time)
            profit += result
            if size or result:
                state.emit(
                    PositionSettled(
                        SettlementKind.SETTLEMENT,
                        wallet.account,
                        market.name,
                        size,
                        mark,
                        index,
                        result,
                        paid,
                        self.time,
                    )
                )
                state.touched_positions[wallet.account, market.name] = position
            margin.update(position)
            state.forget_if_idle(position)
        if settled:
            state.touch(wallet)
            state.watch.mark_dirty(wallet)
        self.count(wallet.account, profit)
        return max(1, len(settled))

    def ends_with(self, currency: str, time: int) -> bool:
        """Whether this is the end of the session in that currency at that time."""
        return self.currency == currency and self.time == time

    def count(self, account: int, profit: int) -> None:
        """Take into a client's result of the session, which may have to bear part of a deficit."""
        if profit and account >= FIRST_CLIENT:
            self.profits[account] = self.profits.get(account, 0) + profit

    def withheld(self, state: State, wallet: Wallet, /) -> int:
        """A client's profit of the session, or what the fund may have to repay of a deficit."""
        if wallet.currency != self.currency:
            return 0
        if wallet.account == INSURANCE:
            return -state.deficit(self.currency).balance if self.sharing is None else 0
        return max(0, self.profits.get(wallet.account, 0))

    def _finish_settling(self, state: State) -> None:
        for name, marked in self.marked.items():
            market = state.markets[name]
            market.settlement_price = marked.mark
            state.emit(
                MarketSettled(
                    SettlementKind.SETTLEMENT,
                    name,
                    marked.mark,
                    marked.index_price,
                    market.open_interest,
                    self.time,
                )
            )
        insurance.repay(state, self.currency)
        # As it is now: hand-overs that were still in progress may have added to it, and an earlier
        # settlement, due with this one, may have shared part of it.
        self.deficit = -state.deficit(self.currency).balance
        counted, self.profits = self.profits, {}
        if self.deficit:
            self.profits = {who: counted[who] for who in sorted(counted) if counted[who] > 0}
        self.total = sum(self.profits.values())
        self.sharing = list(reversed(self.profits))

    def _share_next(self, state: State) -> int:
        assert self.sharing is not None
        if not self.sharing:
            self._reopen(state)
            return 1
        account = self.sharing.pop()
        profit = self.profits[account]
        wallet = state.wallet(account, self.currency)
        # What fees have taken of it before is left to the next session.
        tax = min(profit, self.deficit * profit // self.total, max(0, wallet.balance))
        kind = BookingKind.SOCIALISED_LOSS
        ledger.book(state, wallet, -tax, kind, self.time)
        ledger.book(state, state.deficit(self.currency), tax, kind)
        self.taxed += tax
        return 1

    def _reopen(self, state: State) -> None:
        self.done = True
        if self.profits:
            shared = LossShared(self.currency, self.deficit, self.total, self.taxed, self.time)
            state.emit(shared)
        if any(phase is not self for phase in in_progress(state, self.currency)):
            return
        # Also what was listed meanwhile.
        for market in state.markets.values():
            closed = market.currency == self.currency and not market.is_open
            if closed and not market.ended(state.time):
                market.state = MarketState.OPEN
                state.emit(MarketChanged(market.name, market.state))


def in_progress(state: State, currency: str) -> Iterator[Settlement]:
    """The settlements of a currency that are not over; while there is one, its markets rest."""
    for phase in state.phases:
        if isinstance(phase, Settlement) and phase.currency == currency:
            yield phase
