"""The exchange: one deterministic function over one log of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from risk import (
    accounts,
    background_work,
    idempotency,
    invariants,
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
from risk.events import Done, Event
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
        state.report.write(state.events, state.markets)
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
