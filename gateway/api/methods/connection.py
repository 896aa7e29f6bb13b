"""Methods about the connection: hello, test, heartbeats, cancel-on-disconnect."""

from __future__ import annotations

from enum import Enum
from importlib.metadata import version
from typing import Annotated, Final

from msgspec import Meta

from gateway.api.context import Call
from gateway.api.methods import reply_formats
from gateway.api.registry import IdempotentParams, NoParams, Params, Submission, method
from gateway.protocol.errors import ApiError, Code
from risk.commands import SetCancelOnDisconnect

VERSION: Final = version("tidegate")

# The API's minimum is ten seconds. The maximum is far beyond the idle timeout, where the interval
# has no effect; it keeps sums of times finite.
Interval = Annotated[float, Meta(ge=10, le=86_400)]


class HelloParams(Params, frozen=True):
    """Parameters of public/hello; they have no effect."""

    client_name: str
    client_version: str


class TestParams(Params, frozen=True):
    """Parameters of public/test; the `expected_result` "exception" asks for an error."""

    expected_result: str = ""


class HeartbeatParams(Params, frozen=True):
    """Parameters of public/set_heartbeat; `interval` is in seconds."""

    interval: Interval


class DisconnectScope(Enum):
    """Which setting is meant: this connection's, or the default of the account's next ones."""

    CONNECTION = "connection"
    ACCOUNT = "account"


class DisconnectQuery(Params, frozen=True):
    """Parameters of private/get_cancel_on_disconnect."""

    scope: DisconnectScope = DisconnectScope.CONNECTION


class DisconnectParams(IdempotentParams, frozen=True):
    """Parameters of private/enable_cancel_on_disconnect and disable_cancel_on_disconnect."""

    scope: DisconnectScope = DisconnectScope.CONNECTION


@method("public/hello", params=HelloParams, websocket_only=True)
def hello(call: Call, params: HelloParams) -> object:  # noqa: ARG001
    """Return the version of the server."""
    return {"version": VERSION}


@method("public/test", params=TestParams)
def test(call: Call, params: TestParams) -> object:  # noqa: ARG001
    """Return the version; clients answer a test request with this method."""
    if params.expected_result == "exception":
        raise ApiError(Code.ERROR)
    return {"version": VERSION}


@method("public/get_time", params=NoParams)
def get_time(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Return venue time in milliseconds."""
    return call.now


@method("public/status", params=NoParams)
def status(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Return which indices are locked; `locked` is a string, as clients expect."""
    locked = sorted(
        name for name, index in call.venue.exchange.state.indices.items() if not index.price
    )
    total = len(call.venue.exchange.state.indices)
    extent = "false" if not locked else "true" if len(locked) == total else "partial"
    return {"locked": extent, "locked_indices": locked}


@method("public/set_heartbeat", params=HeartbeatParams, websocket_only=True)
def set_heartbeat(call: Call, params: HeartbeatParams) -> object:
    """Send heartbeats at an interval, and close the connection if the client does not respond."""
    call.session.heartbeat.start(params.interval)
    return "ok"


@method("public/disable_heartbeat", params=NoParams, websocket_only=True)
def disable_heartbeat(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Stop sending heartbeats."""
    call.session.heartbeat.stop()
    return "ok"


@method(
    "private/enable_cancel_on_disconnect",
    params=DisconnectParams,
    scope="account:read_write",
    reply_format=reply_formats.done,
)
def enable_cancel_on_disconnect(call: Call, params: DisconnectParams) -> object:
    """Cancel orders when their connection ends."""
    return _set_cancel_on_disconnect(call, params.scope, enabled=True)


@method(
    "private/disable_cancel_on_disconnect",
    params=DisconnectParams,
    scope="account:read_write",
    reply_format=reply_formats.done,
)
def disable_cancel_on_disconnect(call: Call, params: DisconnectParams) -> object:
    """Leave orders open when their connection ends."""
    return _set_cancel_on_disconnect(call, params.scope, enabled=False)


@method("private/get_cancel_on_disconnect", params=DisconnectQuery, scope="account:read")
def get_cancel_on_disconnect(call: Call, params: DisconnectQuery) -> object:
    """Return the setting of this connection, or the default of the account's next ones."""
    state = call.venue.exchange.state
    if params.scope is DisconnectScope.ACCOUNT:
        enabled = state.accounts[call.account].cancel_on_disconnect
    else:
        # If the session has not been started yet, it will start with the default.
        session = state.sessions.get(_own_session(call))
        enabled = (session or state.accounts[call.account]).cancel_on_disconnect
    return {"scope": params.scope.value, "enabled": enabled}


def _set_cancel_on_disconnect(call: Call, scope: DisconnectScope, *, enabled: bool) -> Submission:
    session = 0 if scope is DisconnectScope.ACCOUNT else _own_session(call)
    command = SetCancelOnDisconnect(account=call.account, session=session, enabled=enabled)
    return Submission(command)


def _own_session(call: Call) -> int:
    """Return the number of the session that the call's account has on this connection.

    Raises ApiError: 10030 over HTTP; 10000 if the account is that of a token in the request only.
    """
    session = call.session
    if not session.websocket:
        raise ApiError(Code.MUST_BE_WEBSOCKET_REQUEST)
    if session.login is None or session.login.account != call.account:
        raise ApiError(Code.AUTHORIZATION_REQUIRED)
    return session.sink.number
