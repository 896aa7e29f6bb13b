"""The exchange: `apply` is one deterministic function over the log of commands."""

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


def _do_nothing(state: State, _: Continue | Checkpoint | Skip) -> None:
    """Answer only: the entry itself advances the time and the work in progress."""
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
    Continue: _do_nothing,
    Checkpoint: _do_nothing,
    Skip: _do_nothing,
}

_SESSION_COMMANDS: frozenset[type[Command]] = frozenset((StartSession, EndSession))
"""Commands that are accepted from a session that is not live."""


@define(eq=False)
class Exchange:
    """The venue's state and the only function that changes it."""

    state: State = field(factory=State)

    def apply(self, entry: Entry) -> list[Event]:
        """Advance the time and the work in progress, apply the command, return the events.

        A refusal is an event. An exception is a bug, after which the state must not be used.
        """
        state, command = self.state, entry.command
        kind = type(command)
        state.sequence = entry.sequence
        state.origin = entry.origin
        state.events = []
        # Entries of one batch have equal times: most need no call.
        if entry.time > state.time or (state.due and state.due[0][0] <= entry.time):
            timeline.advance(state, entry.time)
        if state.phases:
            background_work.advance(state)
        if self._admitted(entry.origin, kind):
            _TABLE[kind](state, command)
        if kind is Tick or kind is Continue:
            # The watch measures endangered accounts in slices.
            state.watch.advance(state, state.parameters.slice)
        if state.undecided:
            idempotency.remember(state)
        state.report.write(state.events, state.markets)
        return state.events

    @property
    def busy(self) -> bool:
        """Whether work is in progress that Continue entries should advance."""
        return bool(self.state.phases) or self.state.watch.incomplete

    def check(self) -> None:
        """Check the invariants of money, margin and every book; raise AssertionError."""
        invariants.check(self.state)

    def digest(self) -> str:
        """Return a hash of the whole state; equal entries give equal digests."""
        return snapshot.digest(self.state)

    def _admitted(self, origin: Origin, kind: type[Command]) -> bool:
        """Return whether to apply the command: its session is live, and it is no repetition."""
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
