"""Daily settlement: each session's profit and loss becomes cash, at 08:00 UTC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from book.order import CancelReason
from risk import insurance, ledger, margin_cache, orders
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
    """Book a position's session result at `price` to the balance and return the result.

    The values of many positions, each rounded on its own, need not sum to zero. The system
    account `rounding` takes the opposite of each trading result, so that the sums of the market
    stay zero. After all positions are settled, it holds only the rounding differences.
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


class SettlementPrices(NamedTuple):
    """The mark price, index price and funding index at which a market is settled."""

    mark: int
    index_price: int
    funding_index: int


@define(eq=False)
class Settlement:
    """Daily settlement of a currency: session results become cash, market by market.

    `marked` holds the prices of each market at the time of the settlement. `deficit` is the
    deficit at that time; once all accounts are settled, it is the deficit to be shared.
    A deficit that the insurance fund cannot repay is shared among the clients with a profit in
    this session, in proportion to that profit. The results of a delivery at the same time count
    as well (see `count`).
    A settlement can span many entries. Entries in between must not change the shares. Until the
    settlement is done, profits cannot be withdrawn (see `withheld`), no account is liquidated in
    the currency, and each account's share is limited by its settled balance, whatever the marks
    are by then.
    """

    currency: str
    time: int
    marked: dict[str, SettlementPrices]
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
        """Settle an account's positions and return the number of steps used, at least 1."""
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
                state.report.positions[wallet.account, market.name] = position
            margin_cache.mark_stale(position)
            position.drop_if_idle()
        if settled:
            state.report.wallets[wallet] = None
            state.watch.mark_dirty(wallet)
        self.count(wallet.account, profit)
        return max(1, len(settled))

    def ends_with(self, currency: str, time: int) -> bool:
        """Return whether this settlement ends the session of `currency` at `time`."""
        return self.currency == currency and self.time == time

    def count(self, account: int, profit: int) -> None:
        """Add `profit` to a client's session result, from which a deficit is shared."""
        if profit and account >= FIRST_CLIENT:
            self.profits[account] = self.profits.get(account, 0) + profit

    def withheld(self, state: State, wallet: Wallet, /) -> int:
        """Return a client's session profit, or for the insurance fund the open deficit."""
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
        # The deficit may have changed since the settlement began: a deleveraging in progress adds
        # to it, and an earlier settlement that was due at the same time shares part of it.
        self.deficit = -state.deficit(self.currency).balance
        results, self.profits = self.profits, {}
        if self.deficit:
            self.profits = {
                number: results[number] for number in sorted(results) if results[number] > 0
            }
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
        # Fees may already have reduced the balance. The part of the deficit that cannot be
        # collected remains for the next session.
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
        # This includes the instruments that were listed during the settlement.
        for market in state.markets.values():
            closed = market.currency == self.currency and not market.is_open
            if closed and not market.ended(state.time):
                market.state = MarketState.OPEN
                state.emit(MarketChanged(market.name, market.state))


def in_progress(state: State, currency: str) -> Iterator[Settlement]:
    """Yield the unfinished settlements of a currency, during which its markets are closed."""
    for phase in state.phases:
        if isinstance(phase, Settlement) and phase.currency == currency:
            yield phase
