"""Whom a request acts for: tokens and Authorization headers, with failed attempts counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.errors import ApiError
from gateway.auth import AuthError, Principal

if TYPE_CHECKING:
    from gateway.session import HttpRequest, Session

BAD_CREDENTIALS = 13004


def api_error(error: AuthError) -> ApiError:
    """A refused log-in as every other refusal is told."""
    return ApiError(error.code, error.message, None if error.data is None else {**error.data})


def from_token(session: Session, token: str) -> Principal:
    """The principal of an access token. Raises ApiError 13009."""
    venue = session.venue
    try:
        return venue.authenticator.verify(
            token, connection=session.connection, address=session.address, now=venue.wall.now()
        )
    except AuthError as error:
        raise api_error(error) from error


def from_header(session: Session, request: HttpRequest) -> Principal:
    """The principal of an Authorization header. Raises ApiError 10000, 12003, 13004, 13009."""
    venue = session.venue
    require_attempt(session)
    try:
        return venue.authenticator.authorize(
            request.authorization,
            method=request.verb,
            uri=request.target,
            body=request.body,
            address=session.address,
            now=venue.wall.now(),
        )
    except AuthError as error:
        count_failure(session, error)
        raise api_error(error) from error


def require_valid(session: Session, principal: Principal) -> None:
    """Raise ApiError 13009 where a connection's log-in has expired or was taken back."""
    venue = session.venue
    try:
        venue.authenticator.require_valid(principal, venue.wall.now())
    except AuthError as error:
        raise api_error(error) from error


def require_attempt(session: Session) -> None:
    """Raise ApiError 12003 where an address has failed to log in too often of late."""
    if not session.venue.limits.may_login(session.address):
        raise ApiError(12003)


def count_failure(session: Session, error: AuthError) -> None:
    """Remember a guess that was wrong; a mistake in the request's form is none."""
    if error.code == BAD_CREDENTIALS:
        session.venue.limits.login_failed(session.address)
