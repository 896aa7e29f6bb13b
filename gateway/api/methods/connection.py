"""Methods about the connection itself: greetings, heartbeats, cancel-on-disconnect."""

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

# Ten seconds is the API's least. The most is far beyond the idle limit, so that it forbids nothing
# that could matter, and keeps sums of times finite.
Interval = Annotated[float, Meta(ge=10, le=86_400)]


class HelloParams(Params, frozen=True):
    """Who is calling; nothing depends on it."""

    client_name: str
    client_version: str


class Expectation(Params, frozen=True):
    """`expected_result` "exception" asks for an error."""

    expected_result: str = ""


class HeartbeatParams(Params, frozen=True):
    """Seconds between heartbeats."""

    interval: Interval


class DisconnectScope(Enum):
    """Whose orders end with a connection: its own, or by default those of all to come."""

    CONNECTION = "connection"
    ACCOUNT = "account"


class DisconnectQuery(Params, frozen=True):
    """Parameters of private/get_cancel_on_disconnect."""

    scope: DisconnectScope = DisconnectScope.CONNECTION


class DisconnectParams(IdempotentParams, frozen=True):
    """Parameters of private/enable_cancel_on_disconnect and disable_cancel_on_disconnect."""

    scope: DisconnectScope = DisconnectScope.CONNECTION


@method("public/hello", params=HelloParams, websocket_only=True)
def hello(call: Call, params: HelloParams) -> object:  # noqa: ARG001 - the client's name changes nothing
    """Introduce a client; says the server's version."""
    return {"version": VERSION}


@method("public/test", params=Expectation)
def test(call: Call, params: Expectation) -> object:  # noqa: ARG001
    """Say the version: a sign of life, and the answer to a test request."""
    if params.expected_result == "exception":
        raise ApiError(Code.ERROR)
    return {"version": VERSION}


@method("public/get_time", params=NoParams)
def get_time(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Venue time in milliseconds."""
    return call.now


@method("public/status", params=NoParams)
def status(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Which currencies are locked; `locked` is a string, because clients compare it with one."""
    locked = sorted(
        name for name, index in call.venue.exchange.state.indices.items() if not index.price
    )
    everything = len(call.venue.exchange.state.indices)
    extent = "false" if not locked else "true" if len(locked) == everything else "partial"
    return {"locked": extent, "locked_indices": locked}


@method("public/set_heartbeat", params=HeartbeatParams, websocket_only=True)
def set_heartbeat(call: Call, params: HeartbeatParams) -> object:
    """Send a heartbeat every so many seconds, and hang up on a client that answers none."""
    call.session.heartbeat.start(params.interval)
    return "ok"


@method("public/disable_heartbeat", params=NoParams, websocket_only=True)
def disable_heartbeat(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Stop the heartbeats."""
    call.session.heartbeat.stop()
    return "ok"


@method(
    "private/enable_cancel_on_disconnect",
    params=DisconnectParams,
    scope="account:read_write",
    reply_format=reply_formats.done,
)
def enable_cancel_on_disconnect(call: Call, params: DisconnectParams) -> object:
    """Let orders end with their connection."""
    return _set_cancel_on_disconnect(call, params.scope, enabled=True)


@method(
    "private/disable_cancel_on_disconnect",
    params=DisconnectParams,
    scope="account:read_write",
    reply_format=reply_formats.done,
)
def disable_cancel_on_disconnect(call: Call, params: DisconnectParams) -> object:
    """Let orders outlive their connection."""
    return _set_cancel_on_disconnect(call, params.scope, enabled=False)


@method("private/get_cancel_on_disconnect", params=DisconnectQuery, scope="account:read")
def get_cancel_on_disconnect(call: Call, params: DisconnectQuery) -> object:
    """Whether orders end with this connection, or by default with the account's next ones."""
    state = call.venue.exchange.state
    if params.scope is DisconnectScope.ACCOUNT:
        enabled = state.accounts[call.account].cancel_on_disconnect
    else:
        # The venue may not have started the session yet: then it will begin with the default.
        session = state.sessions.get(_own_session(call))
        enabled = (session or state.accounts[call.account]).cancel_on_disconnect
    return {"scope": params.scope.value, "enabled": enabled}


def _set_cancel_on_disconnect(call: Call, scope: DisconnectScope, *, enabled: bool) -> Submission:
    session = 0 if scope is DisconnectScope.ACCOUNT else _own_session(call)
    command = SetCancelOnDisconnect(account=call.account, session=session, enabled=enabled)
    return Submission(command)


def _own_session(call: Call) -> int:
    """The session that the call's account has on this connection.

    Raises ApiError: 10030 over HTTP; 10000 where only a token in the request says who it is.
    """
    session = call.session
    if not session.websocket:
        raise ApiError(Code.MUST_BE_WEBSOCKET_REQUEST)
    if session.login is None or session.login.account != call.account:
        raise ApiError(Code.AUTHORIZATION_REQUIRED)
    return session.sink.number
