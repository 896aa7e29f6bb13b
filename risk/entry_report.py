"""A hot path: the change events of an entry, one per changed object, written at its end.

Most entries add or remove one resting order. They fill none of the tables of `EntryReport`: the
order is stored in `first`, and `EntryReport.write` reports it as if the tables held it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from risk.events import (
    BookChanged,
    Booked,
    BookingKind,
    Cancelled,
    Event,
    OrderChanged,
    Ordered,
    PositionChanged,
    WalletChanged,
)

if TYPE_CHECKING:
    from book.order import Order
    from risk.market import Market
    from risk.position import Position, Wallet

_ANSWERS = (Ordered, Cancelled)
"""Answers that hold the record of an order as it stands at the end of the entry."""


@define(eq=False)
class EntryReport:
    """The objects that the present entry has changed; empty between entries.

    `first` is the order that the entry changed before anything else, with its position. `booked`
    holds the bookings of system accounts, summed by kind (see risk.ledger).
    """

    first: tuple[Order, Position] | None = None
    orders: dict[int, Order] = field(factory=dict)
    markets: dict[str, Market] = field(factory=dict)
    wallets: dict[Wallet, None] = field(factory=dict)
    positions: dict[tuple[int, str], Position] = field(factory=dict)
    booked: dict[tuple[Wallet, BookingKind], int] = field(factory=dict)

    def add_order(self, order: Order, position: Position) -> None:
        """Note that an order was added, changed or removed, and with it its book and wallet."""
        orders = self.orders
        if orders or self.markets or self.wallets or self.first is not None:
            orders[order.order_id] = order
            self.markets[position.market.name] = position.market
            self.wallets[position.wallet] = None
        else:
            self.first = order, position

    def write(self, events: list[Event], markets: dict[str, Market]) -> None:
        """Append one event for each changed object, and empty the report.

        Positions that hold nothing any more are removed.
        """
        if self.first is not None:
            if not (self.orders or self.markets or self.wallets or self.booked):
                self._write_single(events, *self.first)
                return
            self._add_first(*self.first)
        emit = events.append
        if self.orders:
            self._write_orders(events, markets)
        if self.positions:
            for account, name in self.positions:
                emit(PositionChanged(account, name))
            self.positions.clear()
        if self.markets:
            for name, market in self.markets.items():
                changes = market.book.take_changes()
                if changes:
                    emit(BookChanged(name, changes))
            self.markets.clear()
        if self.wallets:
            for wallet in self.wallets:
                emit(WalletChanged(wallet.account, wallet.currency))
            self.wallets.clear()
        if self.booked:
            self._write_bookings(events)

    def _write_single(self, events: list[Event], order: Order, position: Position) -> None:
        """Report an entry that changed one order, its book and its wallet."""
        self.first = None
        market, wallet = position.market, position.wallet
        last = events[-1] if events else None
        if isinstance(last, _ANSWERS) and last.order.order_id == order.order_id:
            events.append(OrderChanged(last.order))
        else:
            events.append(OrderChanged(order.record()))
        if not position.orders:
            position.drop_if_idle()
        changes = market.book.take_changes()
        if changes:
            events.append(BookChanged(market.name, changes))
        events.append(WalletChanged(wallet.account, wallet.currency))

    def _add_first(self, order: Order, position: Position) -> None:
        """Insert the first order, its market and its wallet at the front of the tables."""
        market = position.market
        self.first = None
        self.orders = {order.order_id: order, **self.orders}
        self.markets = {market.name: market, **self.markets}
        self.wallets = {position.wallet: None, **self.wallets}

    def _write_orders(self, events: list[Event], markets: dict[str, Market]) -> None:
        # The answer is the last event of the command, and its record is that of the final order.
        last = events[-1] if events else None
        answered = last.order if isinstance(last, _ANSWERS) else None
        for order_id, order in self.orders.items():
            if answered is None or answered.order_id != order_id:
                events.append(OrderChanged(order.record()))
            else:
                events.append(OrderChanged(answered))
            if order.level is None:
                _drop_idle_position(markets, order)
        self.orders.clear()

    def _write_bookings(self, events: list[Event]) -> None:
        booked, emit = self.booked, events.append
        # The sum of the bookings after the present kind, by wallet.
        later: dict[Wallet, int] = {}
        if len(booked) > 1:
            for (wallet, _), amount in booked.items():
                later[wallet] = later.get(wallet, 0) + amount
        for (wallet, kind), amount in booked.items():
            balance = wallet.balance
            if later:
                later[wallet] -= amount
                balance -= later[wallet]
            if amount:
                emit(Booked(wallet.account, wallet.currency, kind, amount, balance))
        booked.clear()


def _drop_idle_position(markets: dict[str, Market], order: Order) -> None:
    """Remove the position of an order that is no longer open, if it holds nothing else."""
    market = markets.get(order.instrument)
    position = market.positions.get(order.account) if market is not None else None
    if position is not None and not (position.size or position.orders):
        position.drop_if_idle()
