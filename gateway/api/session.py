"""One client's session, without I/O: it takes requests and returns replies and commands.

A session holds the login of its client and numbers its commands. It reads the exchange's state
and changes it only through the commands that it returns.
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
from gateway.api.methods import FAST_DECODER, NOT_IMPLEMENTED
from gateway.api.registry import IdempotentParams, Method, Submission
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
# Encoded once: in a flood, nearly every reply is this error.
_QUEUE_FULL_JSON: Final = Raw(
    jsonrpc.encode(jsonrpc.ErrorObject(_QUEUE_FULL.code, _QUEUE_FULL.message))
)
_QUEUE_FULL_STATUS: Final = _QUEUE_FULL.status


class _CreditsExhaustedError(ApiError):
    """Credits are used up; the API then also closes the connection.

    Not raised for order methods: well-behaved bots reach their limit at busy times.
    """

    def __init__(self) -> None:
        super().__init__(Code.TOO_MANY_REQUESTS)


@define(eq=False)
class Session(SessionState):
    """One WebSocket connection, or one HTTP request: it processes requests one at a time."""

    _requests: int = field(default=0, init=False)
    # Of the last request.
    _call: Call | None = field(default=None, init=False)
    # Of the current chunk: when it arrived, and the login if it was valid then.
    _received_micros: int = field(default=0, init=False)
    _verified_login: Principal | None = field(default=None, init=False)
    # Copied from the configuration, because every request reads them.
    _frame_bytes: int = field(init=False)
    _testnet: bool = field(init=False)
    _limited: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.venue.config
        self._frame_bytes, self._limited = config.limits.frame_bytes, config.limits.enabled
        self._testnet = config.server.testnet

    @property
    def in_flight_full(self) -> bool:
        """Whether the account has as many order requests in flight as it may have."""
        return self.login is not None and self.venue.in_flight.full(self.login.account)

    def on_chunk(self, now: float) -> None:
        """Note that data arrived at `now`. Call it for every chunk, before `receive`."""
        self.heartbeat.received(now)
        self.begin_chunk()

    def begin_chunk(self) -> None:
        """Take the time and check the login once for all requests of a chunk."""
        venue, login, clock = self.venue, self.login, self.venue.clock
        self._received_micros = clock.micros()
        self._verified_login = None
        if login is None or venue.recorded:
            return
        # `token_time_at` spares a second reading of the clock.
        if venue.authenticator.is_valid(login, venue.token_time_at(self._received_micros)):
            self._verified_login = login

    def receive(self, frame: bytes | str) -> list[Outcome]:
        """Process one JSON-RPC request. Does not raise, whatever the client sends.

        Returns one outcome; a client that used up its credits gets an error and a Close.
        """
        request = FAST_DECODER.decode(frame, self._frame_bytes)
        if request is None:
            return self._receive(frame, None)
        meta = jsonrpc.RequestMeta(request.id, self._received_micros, self._testnet)
        try:
            return [self._dispatch(meta, request)]
        except ApiError as error:
            return self._reject(meta, error)

    def receive_http(self, http: HttpRequest) -> Outcome:
        """Process one HTTP request: JSON-RPC if it has a body, else its path and query."""
        if http.verb == "POST" and http.body:
            (outcome,) = self._receive(http.body, http)
        else:
            (outcome,) = self._serve(from_query(http))
        return outcome

    def next_wake(self) -> float:
        """Return when `check_heartbeat` should be called, unless data arrives before."""
        return self.heartbeat.next_wake

    def check_heartbeat(self, now: float) -> list[Push | Close]:
        """Return the heartbeat that is due, or a Close if the client does not respond."""
        match self.heartbeat.poll(now):
            case None:
                return []
            case HeartbeatAction.HEARTBEAT | HeartbeatAction.TEST_REQUEST as action:
                return [Push(jsonrpc.heartbeat(action.value))]
            case action:
                return [Close(POLICY_VIOLATION, action.value)]

    def _receive(self, frame: bytes | str, http: HttpRequest | None) -> list[Outcome]:
        limit = self._frame_bytes if http is None else self.venue.config.limits.body_bytes
        method = "" if http is None else http.method
        try:
            request = jsonrpc.decode(frame, limit=limit, needs_id=http is None, method=method)
        except jsonrpc.BadFrameError as bad:
            return self._reject(self._meta(bad.id), self._charged(bad.error))
        return self._serve(from_rpc(request, http))

    def _serve(self, request: ParsedRequest) -> list[Outcome]:
        meta = self._meta(request.id)
        try:
            return [self._dispatch(meta, request)]
        except ApiError as error:
            return self._reject(meta, error)

    def _meta(self, identity: Raw | int | str) -> jsonrpc.RequestMeta:
        return jsonrpc.RequestMeta(identity, self.venue.clock.micros(), self._testnet)

    def _dispatch(self, meta: jsonrpc.RequestMeta, request: ParsedRequest) -> Outcome:
        """Check the caller, its credits, its scope and the parameters, in this order; then run."""
        method, principal = request.method, self.login
        if (
            principal is None
            or principal is not self._verified_login
            or request.token is not None
            or method is None
        ):
            principal = self._authenticate(request)
        if self._limited:
            self._pay(principal, Cost.GENERAL if method is None else method.cost)
        if method is None:
            raise _unknown_method(request.name)
        call = self._call_of(method, principal)
        # Before the parameters are decoded: in a flood most requests end here. `admit` checks
        # again. A repeated request is answered from the first one, however many are in flight.
        if method.matching and self.venue.in_flight.full(call.account) and not request.has_key:
            return self._queue_full(meta)
        params = request.params
        if params is None:
            params = request.decode_params(method)
        key = params.idempotency_key if isinstance(params, IdempotentParams) else ""
        if key:
            # A key is unique within its account only.
            key = f"{call.account}:{key}"
            repeated = self._repeat(meta, method, call, params, key)
            if repeated is not None:
                return repeated
        result = method.handler(call, params)
        if isinstance(result, Submission):
            return self._submit(meta, method, call, params, result, key)
        if isinstance(result, Close):
            return result
        reply = large_results.reply(meta, result, self.venue.clock)
        if type(reply) is LargeReply:
            self._charge(call, reply)
        return Reply(reply)

    def _authenticate(self, request: ParsedRequest) -> Principal | None:
        """Return the principal of a request, None without one. Raises ApiError."""
        method = request.method
        if method is not None and method.changes:
            # Before any credentials are checked: in a replay no login would help.
            self.venue.require_live()
        public = method is None or method.scope is None
        try:
            return authenticate(self, request.token, request.http, public=public)
        except ApiError as error:
            raise self._charged(error) from error

    def _call_of(self, method: Method, principal: Principal | None) -> Call:
        """Return the context of a call. Raises ApiError unless the principal may call the method.

        The errors are 10030, 10000 and 13021.
        """
        if method.websocket_only and not self.websocket:
            raise ApiError(Code.MUST_BE_WEBSOCKET_REQUEST)
        if method.scope is not None:
            if principal is None:
                raise ApiError(Code.AUTHORIZATION_REQUIRED)
            if principal.scope.levels.get(method.area, 0) < method.level:
                raise ApiError(Code.FORBIDDEN)
        call = self._call
        if call is None or call.login is not principal:
            account = 0 if principal is None else principal.account
            call = self._call = Call(self.venue, self, principal, account)
        return call

    def _queue_full(self, meta: jsonrpc.RequestMeta) -> Reply:
        """Return the error for an order request beyond those that an account may have in flight."""
        data = jsonrpc.error_object_reply(meta, _QUEUE_FULL_JSON, self.venue.clock.micros())
        return Reply(data, _QUEUE_FULL_STATUS)

    def _repeat(
        self,
        meta: jsonrpc.RequestMeta,
        method: Method,
        call: Call,
        params: msgspec.Struct,
        key: str,
    ) -> Reply | None:
        """Return the reply to the first request with this key, None if there was none.

        Raises ApiError 10040 while the first request is in progress.
        """
        state = self.venue.exchange.state
        if idempotency.in_progress(state, key):
            raise ApiError(Code.RETRY)
        answer = idempotency.first_answer(state, key)
        if answer is None:
            return None
        reply_format = method.reply_format_of(call, params)
        pending = PendingRequest(
            meta, self.venue.clock, call.account, None, reply_format.convert, reply_format.explain
        )
        return Reply(pending.answer(answer), pending.status)

    def _submit(
        self,
        meta: jsonrpc.RequestMeta,
        method: Method,
        call: Call,
        params: msgspec.Struct,
        submission: Submission,
        key: str,
    ) -> Submit:
        venue, undo = self.venue, submission.undo
        reply_format = submission.reply_format or call.reply_formats.get(method.name)
        if reply_format is None:
            reply_format = method.reply_format_of(call, params)
        account = call.account if submission.account is None else submission.account
        try:
            limiter = venue.admit(account, matching=method.matching)
        except ApiError:
            if undo is not None:
                undo()
            raise
        pending = PendingRequest(
            meta, venue.clock, account, limiter, reply_format.convert, reply_format.explain, undo
        )
        if self.started and self.login is not None and self.login.account == account:
            session = self.sink.number
            number = self._requests = self._requests + 1
        else:
            # The request brought a token of another account than the connection's: it belongs to
            # no session, and its orders do not end with this connection.
            session, number = 0, next(venue.http_requests)
        origin = Origin(venue.node, venue.start, session, number, key)
        venue.feed.register_request(origin, pending, self.sink)
        return Submit(submission.command, origin, pending)

    def _pay(self, principal: Principal | None, cost: Cost) -> None:
        """Take the credits of a request. Raises ApiError 10028 if too few are left."""
        subject = self.address if principal is None else principal.account
        if self.venue.limits.spend(subject, cost).wait_seconds:
            if cost in _MATCHING:
                raise ApiError(Code.TOO_MANY_REQUESTS)
            raise _CreditsExhaustedError

    def _charge(self, call: Call, reply: LargeReply) -> None:
        """Take the credits for the rows of a large reply, even more than are left.

        The number of rows is known only afterwards: the client gets its reply, and its next
        requests are rejected until the credits are back.
        """
        if self._limited:
            limits = self.venue.config.limits
            subject = self.address if call.login is None else call.account
            self.venue.limits.charge(subject, Cost.GENERAL, reply.rows * limits.row_cost)

    def _charged(self, error: ApiError) -> ApiError:
        """Charge the address for a request without a principal; return the error to reply with."""
        if not self._limited:
            return error
        try:
            self._pay(None, Cost.GENERAL)
        except ApiError as exhausted:
            return exhausted
        return error

    def _reject(self, meta: jsonrpc.RequestMeta, error: ApiError) -> list[Outcome]:
        reply = Reply(jsonrpc.error_reply(meta, error, self.venue.clock.micros()), error.status)
        if isinstance(error, _CreditsExhaustedError) and self.websocket:
            return [reply, Close(POLICY_VIOLATION, error.message)]
        return [reply]


def _unknown_method(name: str) -> ApiError:
    if name in NOT_IMPLEMENTED:
        return not_implemented("method", name)
    return ApiError(Code.METHOD_NOT_FOUND)
