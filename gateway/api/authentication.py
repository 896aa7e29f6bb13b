"""Authenticate requests by access token, Authorization header or the connection's login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.authenticator import AuthError, Principal
from gateway.protocol.errors import ApiError

if TYPE_CHECKING:
    from gateway.api.context import HttpRequest, SessionState


def api_error(error: AuthError) -> ApiError:
    """Return the API error for a failed authentication."""
    return ApiError(error.code, error.message, None if error.data is None else {**error.data})


def authenticate(
    session: SessionState, token: str | None, http: HttpRequest | None, *, public: bool
) -> Principal | None:
    """Return the principal of a request: of its own credentials, else of the connection.

    Returns None without either. Raises ApiError for invalid credentials: 10000, 12003, 13004,
    13009.
    """
    if token is not None:
        return _from_token(session, token)
    if http is not None and http.authorization:
        return _from_header(session, http)
    if session.login is None:
        return None
    try:
        _require_valid(session, session.login)
    except ApiError:
        # Public methods, public/auth among them, stay available after the login has expired.
        if public:
            return None
        raise
    return session.login


def _from_token(session: SessionState, token: str) -> Principal:
    venue = session.venue
    try:
        return venue.authenticator.verify(
            token, connection=session.connection, address=session.address, now=venue.wall.now()
        )
    except AuthError as error:
        raise api_error(error) from error


def _from_header(session: SessionState, request: HttpRequest) -> Principal:
    venue = session.venue
    try:
        return venue.authenticator.authorize(
            request.authorization,
            method=request.verb,
            uri=request.target,
            body=request.body,
            address=session.address,
            now=venue.wall.now(),
            signers=venue.signers(),
        )
    except AuthError as error:
        raise api_error(error) from error


def _require_valid(session: SessionState, principal: Principal) -> None:
    venue = session.venue
    try:
        venue.authenticator.require_valid(principal, venue.wall.now())
    except AuthError as error:
        raise api_error(error) from error
