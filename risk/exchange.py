"""The exchange: one deterministic function over one log of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from book.order import Order
from risk import (
    accounts,
    background_work,
    idempotency,
    invariants,
    ledger,
    liquidation,
    listing,
    sessions,
    snapshot,
    supervision,
    timeline,
    trading,
)
from risk.commands import (
    Cancel,
    CancelAll,
    Checkpoint,
    ClosePosition,
    Command,
    Continue,
    Deposit,
    Edit,
    EndSession,
    EndSessions,
    Entry,
    Liquidate,
    OpenAccount,
    Origin,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    SetProduct,
    SetSelfTrading,
    Skip,
    StartSession,
    Tick,
    Withdraw,
)
from risk.events import (
    BookChanged,
    Cancelled,
    Done,
    Event,
    OrderChanged,
    Ordered,
    PositionChanged,
    WalletChanged,
)
from risk.position import Position
from risk.reasons import Reason
from risk.state import State


def _let_pass(state: State, _: Continue | Checkpoint | Skip) -> None:
    """Nothing of its own: every entry lets time pass and takes a slice of what is in progress."""
    state.emit(Done(state.origin))


_TABLE: dict[type[Command], Callable[[State, Any], None]] = {
    Place: trading.place,
    Edit: trading.edit,
    Cancel: trading.cancel,
    CancelAll: trading.cancel_all,
    ClosePosition: trading.close_position,
    StartSession: sessions.start_session,
    EndSession: sessions.end_session,
    EndSessions: sessions.end_sessions,
    SetCancelOnDisconnect: sessions.set_cancel_on_disconnect,
    OpenAccount: accounts.open_account,
    Deposit: accounts.deposit,
    Withdraw: accounts.withdraw,
    SetSelfTrading: accounts.set_self_trading,
    SetProduct: listing.set_product,
    SetParameters: listing.set_parameters,
    Tick: supervision.tick,
    Liquidate: liquidation.liquidate,
    Continue: _let_pass,
    Checkpoint: _let_pass,
    Skip: _let_pass,
}

_SESSION_COMMANDS: frozenset[type[Command]] = frozenset((StartSession, EndSession))
"""What may come from a session that is not live."""

_TOLD = (Ordered, Cancelled)
"""Answers that show an order as it stands at the end of its entry."""


@define(eq=False)
class Exchange:
    """The venue's state and the only function that changes it."""

    state: State = field(factory=State)

    def apply(self, entry: Entry) -> list[Event]:
        """Let time pass, do what is due, then the command; returns what happened, in order.

        A refusal is an event. An exception is a bug: the state is then not to be used.
        """
        state, command = self.state, entry.command
        kind = type(command)
        state.sequence = entry.sequence
        state.origin = entry.origin
        state.events = []
        # Entries of one batch have one time.
        if entry.time > state.time or (state.due and state.due[0][0] <= entry.time):
            timeline.advance(state, entry.time)
        if state.phases:
            background_work.advance(state)
        if self._admitted(entry.origin, kind):
            _TABLE[kind](state, command)
        if kind is Tick or kind is Continue:
            # Who is endangered is looked for a slice of the accounts at a time.
            state.watch.advance(state, state.parameters.slice)
        if state.undecided:
            idempotency.remember(state)
        self._report()
        return state.events

    @property
    def busy(self) -> bool:
        """Whether work is left that Continue entries should carry on."""
        return bool(self.state.phases) or self.state.watch.incomplete

    def check(self) -> None:
        """Prove the identities of money and margin and every book's invariants."""
        invariants.check(self.state)

    def digest(self) -> str:
        """A fingerprint of the whole state: the same entries give the same, everywhere."""
        return snapshot.digest(self.state)

    def _admitted(self, origin: Origin, kind: type[Command]) -> bool:
        """Whether the command may be heard: its session is live and it is not a repetition."""
        if origin.session and kind not in _SESSION_COMMANDS:
            session = self.state.sessions.get(origin.session)
            if session is None or origin.session < self.state.first_session:
                self.state.refuse(Reason.SESSION_ENDED)
                return False
            if origin.request:
                if origin.request <= session.last_request:
                    return False
                session.last_request = origin.request
        return not (origin.key and idempotency.repeats(self.state))

    def _report(self) -> None:
        """Tell of all that was touched, once each and as it now stands."""
        state = self.state
        if state.first is not None:
            touched = state.touched_orders or state.touched_markets or state.touched_wallets
            if not (touched or state.booked):
                self._report_first(*state.first)
                return
            self._add_first(*state.first)
        emit = state.events.append
        if state.touched_orders:
            self._report_orders()
        if state.touched_positions:
            for account, name in state.touched_positions:
                emit(PositionChanged(account, name))
            state.touched_positions.clear()
        if state.touched_markets:
            for name, market in state.touched_markets.items():
                changes = market.book.take_changes()
                if changes:
                    emit(BookChanged(name, changes))
            state.touched_markets.clear()
        if state.touched_wallets:
            for wallet in state.touched_wallets:
                emit(WalletChanged(wallet.account, wallet.currency))
            state.touched_wallets.clear()
        if state.booked:
            ledger.report(state)

    def _report_first(self, order: Order, position: Position) -> None:
        """The same, where one order and what depends on it is all that was touched."""
        state, market, wallet = self.state, position.market, position.wallet
        state.first = None
        events = state.events
        last = events[-1] if events else None
        if isinstance(last, _TOLD) and last.order.order_id == order.order_id:
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
        """Put what was touched first before all else that was touched."""
        state, market = self.state, position.market
        state.first = None
        state.touched_orders = {order.order_id: order, **state.touched_orders}
        state.touched_markets = {market.name: market, **state.touched_markets}
        state.touched_wallets = {position.wallet: None, **state.touched_wallets}

    def _report_orders(self) -> None:
        state = self.state
        events, touched = state.events, state.touched_orders
        # The answer comes last of what the command said, and may show an order as it stands now.
        last = events[-1] if events else None
        told = last.order if isinstance(last, _TOLD) else None
        for order_id, order in touched.items():
            if told is None or told.order_id != order_id:
                events.append(OrderChanged(order.record()))
            else:
                events.append(OrderChanged(told))
            if order.level is None:
                self._forget_idle(order)
        touched.clear()

    def _forget_idle(self, order: Order) -> None:
        """Drop the position that an order which is over was the last thing of."""
        market = self.state.markets.get(order.instrument)
        position = market.positions.get(order.account) if market is not None else None
        if position is not None and not (position.size or position.orders):
            position.drop_if_idle()
