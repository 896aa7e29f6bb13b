"""Delivery: a dated future expires, and its positions are settled at the delivery price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from book.calendar import Period
from book.order import CancelReason
from risk import ledger, margin, margin_cache, order_costs, orders
from risk.events import (
    BookingKind,
    MarketChanged,
    MarketSettled,
    MarketState,
    PositionSettled,
    SettlementKind,
)
from risk.execution import book_funding
from risk.market import Market
from risk.position import Position, Wallet
from risk.settlement import Settlement, settle_to_balance
from risk.state import ROUNDING

if TYPE_CHECKING:
    from risk.state import State


@define(eq=False)
class Delivery:
    """Delivery of a dated future: its orders are cancelled and its positions settled.

    `fee_rate` is the delivery fee rate at the time of expiry. It is None in a state of rules
    version 1.
    """

    market: str
    time: int
    index: int
    open_interest: int
    cursor: int = 0
    done: bool = False
    fee_rate: int | None = None

    def withheld(self, _state: State, _wallet: Wallet, /) -> int:
        """Return 0: the settlement due at the same time withholds the profits of a delivery."""
        return 0

    def advance(self, state: State, budget: int) -> int:
        """Cancel orders, deliver positions in account order, then remove the market."""
        market = state.markets[self.market]
        used = orders.cancel_first(state, market.book, budget, CancelReason.SETTLEMENT)
        while used < budget and not self.done:
            account = next(market.positions.irange(self.cursor, inclusive=(False, True)), None)
            if account is None:
                self._finish(state, market)
            else:
                self.cursor = account
                self._deliver(state, market, market.positions[account])
            used += 1
        return used

    def _deliver(self, state: State, market: Market, position: Position) -> None:
        if position.account == ROUNDING:
            return
        wallet = position.wallet
        book_funding(state, position, market.funding_index)
        size = position.size
        price = market.delivery_price or market.mark
        result = settle_to_balance(state, position, price, BookingKind.DELIVERY, self.time)
        for phase in state.phases:
            if isinstance(phase, Settlement) and phase.ends_with(market.currency, self.time):
                phase.count(wallet.account, result)
        self._transfer_to_rounding(state, market, position)
        self._charge(state, market, wallet, size)
        if size or result:
            state.emit(
                PositionSettled(
                    SettlementKind.DELIVERY,
                    wallet.account,
                    market.name,
                    size,
                    market.delivery_price,
                    self.index,
                    result,
                    0,
                    self.time,
                )
            )
        state.watch.mark_dirty(wallet)
        state.report.positions[wallet.account, market.name] = position
        state.report.wallets[wallet] = None
        # Removing all positions at the end would take one unbounded step.
        position.drop()

    def _transfer_to_rounding(self, state: State, market: Market, position: Position) -> None:
        """Transfer a settled position to `rounding`, so that the sums of the market stay zero."""
        rounding = state.position(ROUNDING, market)
        market.open_interest -= max(position.size, 0) + max(rounding.size, 0)
        rounding.size += position.size
        rounding.carry += position.carry
        market.cost -= position.cost
        position.size = position.carry = position.cost = 0
        market.open_interest += max(rounding.size, 0)
        for changed in (position, rounding):
            margin_cache.mark_stale(changed)

    def _charge(self, state: State, market: Market, wallet: Wallet, size: int) -> None:
        """Charge the delivery fee, at most the account's balance. Weekly futures are free."""
        if not size or market.instrument.period is Period.WEEK:
            return
        rate = market.terms.delivery_rate if self.fee_rate is None else self.fee_rate
        fee = order_costs.fee(market, size, market.delivery_price, rate)
        fee = max(0, min(fee, margin.balance(state, wallet)))
        kind = BookingKind.DELIVERY_FEE
        ledger.book(state, wallet, -fee, kind, self.time, market.name)
        ledger.book(state, state.fee_account(market.currency), fee, kind)

    def _finish(self, state: State, market: Market) -> None:
        self.done = True
        market.state = MarketState.DELIVERED
        for position in list(market.positions.values()):
            assert position.account == ROUNDING, "all other positions are delivered"
            assert not position.size, "delivered sizes sum to zero"
            assert not position.carry, "delivered values sum to zero"
            position.drop()
        del state.markets[market.name]
        state.expired.append(market)
        state.watch.forget_market(market.name)
        state.emit(
            MarketSettled(
                SettlementKind.DELIVERY,
                market.name,
                market.delivery_price,
                self.index,
                self.open_interest,
                self.time,
            )
        )
        state.emit(MarketChanged(market.name, market.state))
