"""Sessions: an order is refused unless its session is live.

The end of a connection can therefore overtake its own commands in the inbox without leaving
resting orders of a closed connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from book.order import CancelReason
from risk import background_work, orders
from risk.commands import EndSession, EndSessions, SetCancelOnDisconnect, StartSession
from risk.events import Done, SessionEnded
from risk.reasons import Reason
from risk.state import Session

if TYPE_CHECKING:
    from risk.position import Wallet
    from risk.state import State

_ENDED = 1024
"""Number of ended sessions to remember. When an end overtakes the start of its session, the start
is in the inbox, which holds at most 288 commands and is emptied into each batch of the log. A
batch has at most 16 ends, so the start follows within a few dozen further ends."""


def start_session(state: State, command: StartSession) -> None:
    """Start a session, or switch a live session to another account."""
    account = state.accounts.get(command.account)
    if account is None:
        return state.refuse(Reason.ACCOUNT_UNKNOWN)
    session = state.sessions.get(command.session)
    if command.session < state.first_session:
        return state.refuse(Reason.SESSION_ENDED)
    if session is None:
        if command.session in state.overtaken:
            return state.refuse(Reason.SESSION_ENDED)
        session = Session(command.session, command.account, account.cancel_on_disconnect)
        session.last_request = state.origin.request
        state.sessions[command.session] = session
    elif session.account != command.account:
        session.account = command.account
        # A connection keeps cancel-on-disconnect when it changes accounts. Otherwise the orders
        # of its former account would silently outlive the connection.
        session.cancel_on_disconnect |= account.cancel_on_disconnect
    return state.emit(Done(state.origin))


def end_session(state: State, command: EndSession) -> None:
    """End a session and, unless it ended quietly, cancel its orders if it is set to do so."""
    _remember(state, command.session)
    session = state.sessions.get(command.session)
    if session is None or command.session < state.first_session:
        # `CloseSessions` cancels the orders of sessions below `first_session`.
        return None
    cancelling = _cancelling(session) if not command.quietly else []
    _end(state, session)
    return background_work.begin(state, *cancelling)


def end_sessions(state: State, command: EndSessions) -> None:
    """End all sessions of earlier process starts, as if their connections had dropped."""
    state.first_session = max(state.first_session, command.before)
    ended = [number for number in state.sessions if number < command.before]
    background_work.begin(state, CloseSessions(ended[::-1]))
    state.emit(Done(state.origin))


@define(eq=False)
class CloseSessions:
    """Close the sessions of earlier process starts: `sessions` in reverse order.

    None of them is live any more, since they are below `State.first_session`.
    """

    sessions: list[int]
    done: bool = False

    def withheld(self, _state: State, _wallet: Wallet, /) -> int:
        """Return 0: cancelling orders needs no money."""
        return 0

    def advance(self, state: State, budget: int) -> int:
        """End the next sessions; first cancel their orders if cancel-on-disconnect is set."""
        used = 0
        while used < budget and self.sessions:
            session = state.sessions.get(self.sessions[-1])
            if session is not None:
                if session.cancel_on_disconnect:
                    used += _cancel_some(state, session, budget - used)
                    if session.orders:
                        return used
                _end(state, session)
            self.sessions.pop()
            used += 1
        self.done = not self.sessions
        return used


def set_cancel_on_disconnect(state: State, command: SetCancelOnDisconnect) -> None:
    """Set cancel-on-disconnect of a session, or for session 0 the account's default."""
    account = state.accounts.get(command.account)
    if account is None:
        return state.refuse(Reason.ACCOUNT_UNKNOWN)
    if command.session:
        session = state.sessions.get(command.session)
        if session is None or command.session < state.first_session:
            return state.refuse(Reason.SESSION_ENDED)
        session.cancel_on_disconnect = command.enabled
    else:
        account.cancel_on_disconnect = command.enabled
    return state.emit(Done(state.origin))


def _cancelling(session: Session) -> list[background_work.CancelOrders]:
    """Return phases that cancel a session's open orders, one per account, if it is set to."""
    if not session.cancel_on_disconnect:
        return []
    by_owner: dict[int, list[int]] = {}
    for order_id, order in session.orders.items():
        by_owner.setdefault(order.account, []).append(order_id)
    return [
        background_work.CancelOrders(owner, order_ids, CancelReason.CANCEL_ON_DISCONNECT)
        for owner, order_ids in by_owner.items()
    ]


def _cancel_some(state: State, session: Session, limit: int) -> int:
    reason = CancelReason.CANCEL_ON_DISCONNECT
    return orders.cancel_first(state, session.orders.values(), limit, reason)


def _end(state: State, session: Session) -> None:
    del state.sessions[session.number]
    state.emit(SessionEnded(session.number))


def _remember(state: State, number: int) -> None:
    """Note that a session has ended, so that a late start does not revive it."""
    state.overtaken[number] = None
    if len(state.overtaken) > _ENDED:
        del state.overtaken[next(iter(state.overtaken))]
