"""One client's conversation, without sockets: a request in, replies and commands out.

It knows who is logged in and what the next request number is. It reads the venue's state, but
changes it only through the commands that it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from attrs import Factory, define, field
from msgspec import Raw

from gateway.api import wire
from gateway.api.errors import METHOD_NOT_FOUND, ApiError
from gateway.api.identity import from_header, from_token, require_valid
from gateway.api.methods import METHODS, NOT_IMPLEMENTED
from gateway.api.table import ANY_SCOPE, Call, Cost, Method, Submission
from gateway.auth import HTTP, Principal
from gateway.liveness import Liveness, Sign
from gateway.outcome import Close, Outcome, Push, Reply, Submit
from gateway.pending import Pending
from gateway.sink import Sink
from gateway.venue import Venue
from risk.commands import Origin

__all__ = ["Close", "HttpRequest", "Outcome", "Push", "Reply", "Session", "Submit"]

POLICY_CLOSE: Final = 1008
TOO_MANY_REQUESTS: Final = 10028

_MATCHING: Final = (Cost.MATCHING, Cost.CANCEL_ALL)


class HttpRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An HTTP request as far as the API cares.

    `target` is path and query exactly as sent, since signatures cover it; `method` is what
    follows `/api/v2/`, empty for the bare path; `query` are its decoded pairs in order.
    """

    verb: str
    target: str
    method: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    authorization: str = ""


class _OverdrawnError(ApiError):
    """Credits are used up: by the API's rules the connection ends, too.

    Not so for orders, whose limit working bots meet in busy moments.
    """

    def __init__(self) -> None:
        super().__init__(TOO_MANY_REQUESTS)


class _Token(msgspec.Struct, frozen=True, gc=False):
    access_token: str | None = None


def _liveness(session: Session) -> Liveness:
    return Liveness(session.venue.config.limits.idle_seconds, session.opened_at)


@define(eq=False)
class Session:
    """One WebSocket connection, or one HTTP request.

    `opened_at` is the time of the connection's clock, in seconds, as are all times passed in
    later. `login` is whom the connection acts for. `started` says that the venue was asked to
    start the session, and so has to be told when the connection ends.
    """

    venue: Venue
    sink: Sink
    address: str
    websocket: bool = field(kw_only=True)
    opened_at: float = field(default=0.0, kw_only=True)
    login: Principal | None = field(default=None, init=False)
    started: bool = field(default=False, init=False)
    liveness: Liveness = field(default=Factory(_liveness, takes_self=True), init=False)
    _requests: int = field(default=0, init=False)

    @property
    def connection(self) -> str:
        """What connection-bound tokens are bound to."""
        return str(self.sink.number) if self.websocket else HTTP

    def receive(self, frame: bytes | str) -> list[Outcome]:
        """What one JSON-RPC request comes to; never raises on what a client may send.

        Usually one outcome; a client that overdid it gets its refusal and the door.
        """
        return self._receive(frame, "")

    def receive_http(self, request: HttpRequest) -> Outcome:
        """What one HTTP request comes to: a body is JSON-RPC, without one the query counts."""
        if request.verb == "POST" and request.body:
            (outcome,) = self._receive(request.body, request.method, request)
            return outcome
        (outcome,) = self._serve(
            self._stamp(Raw()),
            request.method,
            lambda method: method.convert(request.query),
            lambda _public: self._identify_http(request, dict(request.query).get("access_token")),
        )
        return outcome

    def heard(self, now: float) -> None:
        """Something came from the client; call it for every message, before `receive`."""
        self.liveness.heard(now)

    def due(self) -> float:
        """When `wake` should be called next, if nothing is heard until then."""
        return self.liveness.due

    def wake(self, now: float) -> list[Push | Close]:
        """Heartbeats that are due, or the end of a client that is no longer there."""
        match self.liveness.wake(now):
            case None:
                return []
            case Sign.HEARTBEAT | Sign.TEST_REQUEST as sign:
                return [Push(wire.heartbeat(sign.value))]
            case sign:
                return [Close(POLICY_CLOSE, sign.value)]

    def _receive(
        self, frame: bytes | str, method: str, http: HttpRequest | None = None
    ) -> list[Outcome]:
        limits = self.venue.config.limits
        limit = limits.frame_bytes if self.websocket else limits.body_bytes
        try:
            request = wire.decode(frame, limit=limit, needs_id=self.websocket, method=method)
        except wire.BadFrameError as bad:
            stamp = self._stamp(bad.id)
            return self._refuse(stamp, self._charged(bad.error))
        token = _access_token(request.params)
        return self._serve(
            self._stamp(request.id),
            request.method,
            lambda method: method.decode(request.params),
            lambda public: (
                self._identify_http(http, token) if http else self._identify(token, public=public)
            ),
        )

    def _stamp(self, identity: Raw) -> wire.Stamp:
        venue = self.venue
        return wire.Stamp(identity, venue.clock.micros(), venue.config.server.testnet)

    def _serve(
        self,
        stamp: wire.Stamp,
        name: str,
        read: Callable[[Method], msgspec.Struct],
        identify: Callable[[bool], Principal | None],
    ) -> list[Outcome]:
        try:
            return [self._dispatch(stamp, name, read, identify)]
        except ApiError as error:
            return self._refuse(stamp, error)

    def _dispatch(
        self,
        stamp: wire.Stamp,
        name: str,
        read: Callable[[Method], msgspec.Struct],
        identify: Callable[[bool], Principal | None],
    ) -> Outcome:
        method = METHODS.get(name)
        try:
            principal = identify(method is None or method.scope is None)
        except ApiError as error:
            raise self._charged(error) from error
        self._pay(principal, method.cost if method else Cost.GENERAL)
        if method is None:
            raise ApiError(10033 if name in NOT_IMPLEMENTED else METHOD_NOT_FOUND)
        if method.websocket_only and not self.websocket:
            raise ApiError(10030)
        _require_scope(method, principal)
        call = Call(self.venue, self, principal, self.venue.clock.now(), stamp.micros_in)
        made = method.handler(call, read(method))
        if isinstance(made, Submission):
            return self._submit(stamp, call, made)
        if isinstance(made, Close):
            return made
        return Reply(wire.result(stamp, made, self.venue.clock.micros()))

    def _submit(self, stamp: wire.Stamp, call: Call, wish: Submission) -> Submit:
        venue = self.venue
        account = call.account if wish.account is None else wish.account
        try:
            venue.admit(account)
        except ApiError:
            if wish.undo is not None:
                wish.undo()
            raise
        pending = Pending(
            stamp,
            venue.clock,
            account,
            venue.undecided,
            wish.convert,
            wish.explain,
            wish.undo,
        )
        origin = self._origin(account)
        venue.feed.expect(origin, pending, self.sink)
        return Submit(wish.command, origin, pending)

    def _origin(self, account: int) -> Origin:
        """Where the next command comes from.

        A request that acts for another account than the connection, by a token of its own, is
        nobody's session: nothing of it ends with this connection.
        """
        venue = self.venue
        if self.started and self.login is not None and self.login.account == account:
            self._requests += 1
            return Origin(venue.node, venue.start, self.sink.number, self._requests)
        return Origin(venue.node, venue.start, 0, next(venue.http_requests))

    def _identify(self, token: str | None, *, public: bool) -> Principal | None:
        """Whom a WebSocket request acts for: its own token's principal, else the connection's."""
        if token is not None:
            return from_token(self, token)
        if self.login is None:
            return None
        try:
            require_valid(self, self.login)
        except ApiError:
            # Public methods stay open, the next log-in among them.
            if public:
                return None
            raise
        return self.login

    def _identify_http(self, request: HttpRequest, token: str | None) -> Principal | None:
        if token is not None:
            return from_token(self, token)
        if request.authorization:
            return from_header(self, request)
        return None

    def _pay(self, principal: Principal | None, cost: Cost) -> None:
        """Take the credits of a request. Raises ApiError 10028 where there are none left."""
        if not self.venue.config.limits.enabled:
            return
        subject = self.address if principal is None else principal.account
        if not self.venue.limits.spend(subject, cost):
            raise ApiError(TOO_MANY_REQUESTS) if cost in _MATCHING else _OverdrawnError()

    def _charged(self, error: ApiError) -> ApiError:
        """A refusal that nobody is known for is paid for by the address that caused it."""
        try:
            self._pay(None, Cost.GENERAL)
        except ApiError as exhausted:
            return exhausted
        return error

    def _refuse(self, stamp: wire.Stamp, error: ApiError) -> list[Outcome]:
        reply = Reply(wire.fault(stamp, error, self.venue.clock.micros()), error.status)
        if isinstance(error, _OverdrawnError) and self.websocket:
            return [reply, Close(POLICY_CLOSE, error.message)]
        return [reply]


def _require_scope(method: Method, principal: Principal | None) -> None:
    """Raise ApiError unless the caller may call the method: nobody may, unless it says so."""
    if method.scope is None:
        return
    if principal is None:
        raise ApiError(10000)
    if method.scope != ANY_SCOPE and not principal.scope.allows(method.scope):
        raise ApiError(13021)


def _access_token(params: Raw) -> str | None:
    """The token that a request carries for itself, if any."""
    if b'"access_token"' not in bytes(params):
        return None
    try:
        return msgspec.json.decode(params, type=_Token).access_token
    except msgspec.DecodeError:
        # Whatever is wrong with the parameters is said when they are read as the method's.
        return None
