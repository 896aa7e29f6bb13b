"""Sessions are state: an order of a session that is not live is refused.

So the end of a connection may overtake what that connection still had in the inbox, and
nothing rests for the dead.
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
"""How many ended sessions to remember. A start that its session's end has overtaken was in the
inbox then, which holds 288 commands and is emptied into each batch of the log; a batch has at most
16 ends. So such a start comes before a few dozen further ends."""


def start_session(state: State, command: StartSession) -> None:
    """Make a session live, or live for another account."""
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
        # What was asked of the connection holds for whoever takes it over: the orders of its
        # former account would else outlive it, and no one would be told.
        session.cancel_on_disconnect |= account.cancel_on_disconnect
    return state.emit(Done(state.origin))


def end_session(state: State, command: EndSession) -> None:
    """End a session; unless it logged out, cancel its orders where that was asked for."""
    _remember(state, command.session)
    session = state.sessions.get(command.session)
    if session is None or command.session < state.first_session:
        # Also where an earlier start's sessions are still being closed: its orders go with them.
        return None
    cancelling = _cancelling(session) if not command.quietly else []
    _end(state, session)
    return background_work.begin(state, *cancelling)


def end_sessions(state: State, command: EndSessions) -> None:
    """End all sessions of earlier starts, as if their connections had dropped."""
    state.first_session = max(state.first_session, command.before)
    ended = [number for number in state.sessions if number < command.before]
    background_work.begin(state, CloseSessions(ended[::-1]))
    state.emit(Done(state.origin))


@define(eq=False)
class CloseSessions:
    """The end of the sessions of earlier starts; `sessions` are those that are left, next last.

    None of them is live any more: `first_session` says so.
    """

    sessions: list[int]
    done: bool = False

    def withheld(self, _state: State, _wallet: Wallet, /) -> int:
        """Nothing: orders alone are concerned."""
        return 0

    def advance(self, state: State, budget: int) -> int:
        """Cancel the orders of the next session, where it wants that, and end it."""
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
    """Set a session's rule, or with session 0 the default of the account's later sessions."""
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
    """The end of a session's open orders, account by account, where it wants that."""
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
    """Note that a session has ended, so that no start that comes late revives it."""
    state.overtaken[number] = None
    if len(state.overtaken) > _ENDED:
        del state.overtaken[next(iter(state.overtaken))]
