"""One client's conversation, without sockets: a request in, replies and commands out.

It knows who is logged in and what the next request number is. It reads the venue's state, but
changes it only through the commands that it returns.
"""

from __future__ import annotations

from typing import Final

import msgspec
from attrs import define, field
from msgspec import Raw

from gateway.access.authenticator import Principal
from gateway.access.rate_limits import Cost
from gateway.api.authentication import authenticate
from gateway.api.context import Call, HttpRequest, SessionState
from gateway.api.heartbeat import HeartbeatAction
from gateway.api.methods import METHODS, NOT_IMPLEMENTED, READER
from gateway.api.registry import IdempotentParams, Method, Params, Submission
from gateway.api.request import ParsedRequest, from_query, from_rpc
from gateway.protocol import jsonrpc, large_results
from gateway.protocol.close_codes import POLICY_VIOLATION
from gateway.protocol.errors import ApiError, Code, not_implemented
from gateway.protocol.large_results import LargeReply
from gateway.protocol.outcome import Close, Outcome, Push, Reply, Submit
from gateway.protocol.pending_request import PendingRequest
from risk import idempotency
from risk.commands import Origin

_MATCHING: Final = (Cost.MATCHING, Cost.CANCEL_ALL)

_QUEUE_FULL: Final = ApiError(Code.MATCHING_ENGINE_QUEUE_FULL)
# In text, because of a flood most requests are told nothing else.
_FULL: Final = Raw(jsonrpc.encode(jsonrpc.ErrorObject(_QUEUE_FULL.code, _QUEUE_FULL.message)))
_FULL_STATUS: Final = _QUEUE_FULL.status


class _OverdrawnError(ApiError):
    """Credits are used up: by the API's rules the connection ends, too.

    Not so for orders, whose limit working bots meet in busy moments.
    """

    def __init__(self) -> None:
        super().__init__(Code.TOO_MANY_REQUESTS)


@define(eq=False)
class Session(SessionState):
    """One WebSocket connection, or one HTTP request, and what its requests come to."""

    _requests: int = field(default=0, init=False)
    # Of the last request.
    _call: Call | None = field(default=None, init=False)
    # Of what came last: when, in microseconds of the venue, and whose log-in counted then.
    _received_micros: int = field(default=0, init=False)
    _verified_login: Principal | None = field(default=None, init=False)
    # Of the configuration, asked for with every request.
    _frame_bytes: int = field(init=False)
    _testnet: bool = field(init=False)
    _limited: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.venue.config
        self._frame_bytes, self._limited = config.limits.frame_bytes, config.limits.enabled
        self._testnet = config.server.testnet

    @property
    def full(self) -> bool:
        """Whether its account has as many requests undecided as it may."""
        return self.login is not None and self.venue.undecided.full(self.login.account)

    def arrived(self) -> None:
        """Requests have come; call it for all that are received in one go, before the first."""
        venue, login, clock = self.venue, self.login, self.venue.clock
        self._received_micros = clock.micros()
        self._verified_login = None
        if login is None or venue.recorded:
            return
        # A clock that has just been read need not be asked again.
        if venue.authenticator.is_valid(login, venue.lifetimes_at(self._received_micros)):
            self._verified_login = login

    def receive(self, frame: bytes | str) -> list[Outcome]:
        """What one JSON-RPC request comes to; never raises on what a client may send.

        Usually one outcome; a client that overdid it gets its refusal and the door.
        """
        read = READER.read(frame, self._frame_bytes)
        if read is None:
            return self._receive(frame, None)
        stamp = jsonrpc.RequestMeta(read.id, self._received_micros, self._testnet)
        try:
            return [self._answer(stamp, read.row, read.params)]
        except ApiError as error:
            return self._refuse(stamp, error)

    def receive_http(self, request: HttpRequest) -> Outcome:
        """What one HTTP request comes to: a body is JSON-RPC, without one the query counts."""
        if request.verb == "POST" and request.body:
            (outcome,) = self._receive(request.body, request)
        else:
            (outcome,) = self._serve(from_query(self._stamp(Raw()), request))
        return outcome

    def heard(self, now: float) -> None:
        """Something came from the client; call it for every chunk, before `receive`."""
        self.heartbeat.heard(now)
        self.arrived()

    def due(self) -> float:
        """When `wake` should be called next, if nothing is heard until then."""
        return self.heartbeat.due

    def wake(self, now: float) -> list[Push | Close]:
        """Heartbeats that are due, or the end of a client that is no longer there."""
        match self.heartbeat.wake(now):
            case None:
                return []
            case HeartbeatAction.HEARTBEAT | HeartbeatAction.TEST_REQUEST as sign:
                return [Push(jsonrpc.heartbeat(sign.value))]
            case sign:
                return [Close(POLICY_VIOLATION, sign.value)]

    def _receive(self, frame: bytes | str, http: HttpRequest | None) -> list[Outcome]:
        limit = self._frame_bytes if http is None else self.venue.config.limits.body_bytes
        method = "" if http is None else http.method
        try:
            request = jsonrpc.decode(frame, limit=limit, needs_id=http is None, method=method)
        except jsonrpc.BadFrameError as bad:
            return self._refuse(self._stamp(bad.id), self._charged(bad.error))
        return self._serve(from_rpc(self._stamp(request.id), request, http))

    def _stamp(self, identity: Raw) -> jsonrpc.RequestMeta:
        return jsonrpc.RequestMeta(identity, self.venue.clock.micros(), self._testnet)

    def _serve(self, asked: ParsedRequest) -> list[Outcome]:
        try:
            return [self._dispatch(asked)]
        except ApiError as error:
            return self._refuse(asked.stamp, error)

    def _answer(self, stamp: jsonrpc.RequestMeta, method: Method, params: Params) -> Outcome:
        """What a request comes to that was read in one go: the same as any, on shorter ways."""
        principal = self.login
        if (
            principal is None
            or principal is not self._verified_login
            or params.access_token is not None
        ):
            principal = self._identify(method, params.access_token, None)
        if self._limited:
            self._pay(principal, method.cost)
        call = self._call_of(method, principal)
        key = params.idempotency_key if isinstance(params, IdempotentParams) else ""
        if method.matching and not key and self.venue.undecided.full(call.account):
            return self._one_too_many(stamp)
        return self._carry_out(stamp, method, call, params, key)

    def _dispatch(self, asked: ParsedRequest) -> Outcome:
        """What any request comes to."""
        stamp, method, venue = asked.stamp, METHODS.get(asked.method), self.venue
        principal = self._identify(method, asked.token, asked.http)
        if self._limited:
            self._pay(principal, Cost.GENERAL if method is None else method.cost)
        if method is None:
            if asked.method in NOT_IMPLEMENTED:
                raise not_implemented("method", asked.method)
            raise ApiError(Code.METHOD_NOT_FOUND)
        call = self._call_of(method, principal)
        if method.matching and venue.undecided.full(call.account) and not asked.keyed:
            return self._one_too_many(stamp)
        params = asked.read(method)
        key = params.idempotency_key if isinstance(params, IdempotentParams) else ""
        return self._carry_out(stamp, method, call, params, key)

    def _identify(
        self, method: Method | None, token: str | None, http: HttpRequest | None
    ) -> Principal | None:
        """Who asks, None for nobody. Raises ApiError as `identify`, and where nobody may."""
        if method is not None and method.changes:
            # Before anybody is asked who they are: to log in would not help.
            self.venue.require_live()
        public = method is None or method.scope is None
        try:
            return authenticate(self, token, http, public=public)
        except ApiError as error:
            raise self._charged(error) from error

    def _call_of(self, method: Method, principal: Principal | None) -> Call:
        """The call of a method. Raises ApiError unless the caller may make it here."""
        if method.websocket_only and not self.websocket:
            raise ApiError(Code.MUST_BE_WEBSOCKET_REQUEST)
        if method.scope is not None:
            # Nobody may, unless it says so.
            if principal is None:
                raise ApiError(Code.AUTHORIZATION_REQUIRED)
            if principal.scope.levels.get(method.area, 0) < method.level:
                raise ApiError(Code.FORBIDDEN)
        call = self._call
        if call is None or call.login is not principal:
            account = 0 if principal is None else principal.account
            call = self._call = Call(self.venue, self, principal, account)
        return call

    def _one_too_many(self, stamp: jsonrpc.RequestMeta) -> Reply:
        """An order beyond what an account may have undecided.

        That is looked at again before a command is submitted; but a flood is refused here, before
        it is found out what each request asks for.
        """
        return Reply(jsonrpc.refused(stamp, _FULL, self.venue.clock.micros()), _FULL_STATUS)

    def _carry_out(
        self,
        stamp: jsonrpc.RequestMeta,
        method: Method,
        call: Call,
        params: msgspec.Struct,
        key: str,
    ) -> Outcome:
        if key:
            # Those of other accounts it never meets.
            key = f"{call.account}:{key}"
            repeated = self._repeat(stamp, method, call, params, key)
            if repeated is not None:
                return repeated
        made = method.handler(call, params)
        if isinstance(made, Submission):
            return self._submit(stamp, method, call, params, made, key)
        if isinstance(made, Close):
            return made
        reply = large_results.reply(stamp, made, self.venue.clock)
        if type(reply) is LargeReply:
            self._charge(call, reply)
        return Reply(reply)

    def _repeat(
        self,
        stamp: jsonrpc.RequestMeta,
        method: Method,
        call: Call,
        params: msgspec.Struct,
        key: str,
    ) -> Reply | None:
        """The first outcome of a request that was made before, None where none is known.

        Raises ApiError 10040 while it is being worked on.
        """
        state = self.venue.exchange.state
        if idempotency.in_progress(state, key):
            raise ApiError(Code.RETRY)
        outcome = idempotency.first_answer(state, key)
        if outcome is None:
            return None
        telling = method.telling(call, params)
        pending = PendingRequest(
            stamp, self.venue.clock, call.account, None, telling.convert, telling.explain
        )
        return Reply(pending.answer(outcome), pending.status)

    def _submit(
        self,
        stamp: jsonrpc.RequestMeta,
        method: Method,
        call: Call,
        params: msgspec.Struct,
        wish: Submission,
        key: str,
    ) -> Submit:
        venue, undo = self.venue, wish.undo
        telling = (
            wish.telling or call.reply_formats.get(method.name) or method.telling(call, params)
        )
        account = call.account if wish.account is None else wish.account
        try:
            undecided = venue.admit(account, matching=method.matching)
        except ApiError:
            if undo is not None:
                undo()
            raise
        pending = PendingRequest(
            stamp, venue.clock, account, undecided, telling.convert, telling.explain, undo
        )
        if self.started and self.login is not None and self.login.account == account:
            session = self.sink.number
            number = self._requests = self._requests + 1
        else:
            # A request that acts for another account than the connection, by a token of its own,
            # is nobody's session: nothing of it ends with this connection.
            session, number = 0, next(venue.http_requests)
        origin = Origin(venue.node, venue.start, session, number, key)
        venue.feed.register_request(origin, pending, self.sink)
        return Submit(wish.command, origin, pending)

    def _pay(self, principal: Principal | None, cost: Cost) -> None:
        """Take the credits of a request. Raises ApiError 10028 where there are none left."""
        subject = self.address if principal is None else principal.account
        if self.venue.limits.spend(subject, cost).wait_seconds:
            raise ApiError(Code.TOO_MANY_REQUESTS) if cost in _MATCHING else _OverdrawnError()

    def _charge(self, call: Call, reply: LargeReply) -> None:
        """Take the credits of a large reply's rows, also such as there are not yet.

        How many rows it has is known only when they are there. A client that asks for much is
        answered, and has to wait with the next request.
        """
        if self._limited:
            limits = self.venue.config.limits
            subject = self.address if call.login is None else call.account
            self.venue.limits.charge(subject, Cost.GENERAL, reply.rows * limits.row_cost)

    def _charged(self, error: ApiError) -> ApiError:
        """A refusal that nobody is known for is paid for by the address that caused it."""
        if not self._limited:
            return error
        try:
            self._pay(None, Cost.GENERAL)
        except ApiError as exhausted:
            return exhausted
        return error

    def _refuse(self, stamp: jsonrpc.RequestMeta, error: ApiError) -> list[Outcome]:
        reply = Reply(jsonrpc.fault(stamp, error, self.venue.clock.micros()), error.status)
        if isinstance(error, _OverdrawnError) and self.websocket:
            return [reply, Close(POLICY_VIOLATION, error.message)]
        return [reply]
