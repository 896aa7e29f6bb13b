"""Logging in and out."""

from __future__ import annotations

from gateway.access.authenticator import AuthError, AuthParams, AuthResult, Principal
from gateway.api.authentication import api_error
from gateway.api.context import Call
from gateway.api.registry import ANY_SCOPE, Params, Submission, method
from gateway.protocol.close_codes import NORMAL
from gateway.protocol.outcome import Close
from gateway.protocol.pending_request import ReplyFormat
from risk.commands import StartSession
from risk.events import Answer


class LogoutParams(Params, frozen=True):
    """`invalidate_token` revokes all tokens of the login, refresh tokens included."""

    invalidate_token: bool = True


@method("public/auth", params=AuthParams)
def auth(call: Call, params: AuthParams) -> object:
    """Exchange credentials, a signature or a refresh token for an access token.

    Over WebSocket the connection acts for the account from its next request on, even before the
    reply, which is sent when the exchange has started the session.
    """
    session = call.session
    try:
        result, principal = call.venue.authenticator.login(
            params,
            connection=session.connection,
            address=session.address,
            now=call.venue.wall.now(),
            signers=call.venue.signers(),
        )
    except AuthError as error:
        raise api_error(error) from error
    if not session.websocket:
        return result
    return _log_in(call, principal, result)


def _log_in(call: Call, principal: Principal, result: AuthResult) -> object:
    """Let the connection act for a principal; start a session unless its account has one here.

    Private channels stay subscribed. Tokens of the same family take them over at once, another
    login does when the exchange has started its session.
    """
    session, feed = call.session, call.venue.feed
    session.login = principal
    feed.renew_login(session.sink, principal)
    # In a recorded venue no session can be started.
    if call.venue.recorded or session.runs_for(principal.account):
        session.confirmed = principal
        feed.replace_login(session.sink, principal)
        return result

    def started(_: Answer) -> AuthResult:
        session.starting -= 1
        session.account, session.confirmed = principal.account, principal
        # A later login on the same connection may have replaced this one in the meantime.
        feed.replace_login(session.sink, session.login or principal)
        return result

    def undo() -> None:
        session.starting -= 1
        if session.login is principal:
            session.login = session.confirmed

    session.started = True
    session.starting += 1
    command = StartSession(session=session.sink.number, account=principal.account)
    return Submission(command, ReplyFormat(started), undo, principal.account)


@method("private/logout", params=LogoutParams, scope=ANY_SCOPE, websocket_only=True)
def logout(call: Call, params: LogoutParams) -> Close:
    """Close the connection without a reply; its orders stay open."""
    assert call.login is not None
    if params.invalidate_token:
        call.venue.authenticator.tokens.invalidate(call.login)
    return Close(NORMAL, "logout", quietly=True)
