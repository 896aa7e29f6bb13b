"""The API over HTTP: one request, one reply, and what operators and their tools ask for.

Only GET and POST do anything; other methods answer 405. A page in a browser may ask from any
origin, with credentials in the Authorization header or the parameters: cookies are never read.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec
import trio
from attrs import define, field
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.context import HttpRequest, VenueContext
from gateway.api.session import Session
from gateway.clock import FOLLOWED_MILLIS, lead_millis
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.network.connection import INBOX_SECONDS, MAINTENANCE, QUEUE_FULL
from gateway.network.connection_services import ConnectionServices
from gateway.network.transport import PATH
from gateway.protocol import jsonrpc
from gateway.protocol.errors import ApiError, Code
from gateway.protocol.large_results import LargeReply
from gateway.protocol.outcome import Close, Reply, Submit

logger = logging.getLogger(__name__)

# About a tenth of a second of work for one process, which is as late as anybody else should be.
MAX_REQUESTS: Final = 128
METHODS: Final = ("GET", "POST")

_JSON: Final = "application/json"
# How long a browser may rely on what a preflight said; most take no more.
_PREFLIGHT_SECONDS: Final = 7_200


@define(eq=False)
class HttpReplySink:
    """The message sink of an HTTP request: it waits for one reply and takes no notifications."""

    number: int = field(default=0, init=False)
    data: bytes | LargeReply = field(default=b"", init=False)
    answered: trio.Event = field(factory=trio.Event, init=False)

    def reply(self, data: bytes | LargeReply) -> None:
        """The reply that the request waits for."""
        self.data = data
        self.answered.set()

    def send_private(self, data: bytes) -> None:
        """Over HTTP there are no subscriptions."""

    def try_send_public(self, data: bytes) -> bool:  # noqa: ARG002
        """Over HTTP there are no subscriptions."""
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """There is no connection of ours to end."""


@define(eq=False)
class HttpGateway:
    """The handlers. At most REQUESTS run at once, the next is answered with 503.

    A request takes its place when all of it has come, so that slow clients hold none.
    `websocket_port` is where clients are sent that come for a WebSocket.
    """

    services: ConnectionServices
    websocket_port: int
    venue: VenueContext = field(init=False)
    metrics: Metrics = field(init=False)
    _limiter: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(MAX_REQUESTS), init=False
    )

    def __attrs_post_init__(self) -> None:
        self.venue, self.metrics = self.services.venue, self.services.metrics

    def application(self) -> ASGIApp:
        """The ASGI application."""
        self.metrics.http_requests.set_function(lambda: self._limiter.borrowed_tokens)
        cross_origin = Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=METHODS,
            allow_headers=["*"],
            max_age=_PREFLIGHT_SECONDS,
        )
        # OPTIONS for preflights, which the middleware answers.
        verbs = (*METHODS, "OPTIONS")
        routes = [
            Route("/api/v2", self._api, methods=verbs, middleware=[cross_origin]),
            Route("/api/v2/{method:path}", self._api, methods=verbs, middleware=[cross_origin]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]
        served = Starlette(routes=routes)
        # Starlette would redirect a path with a slash too many, to the host of the Host header.
        served.router.redirect_slashes = False

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            refusal = self._reject_unserved(scope)
            await (refusal or served)(scope, receive, send)

        return application

    def _reject_unserved(self, scope: Scope) -> Response | None:
        """The answer to what is no request of HTTP to this venue, None for what may be one."""
        headers = Headers(scope=scope)
        upgrade = headers.get("upgrade", "").lower()
        if "websocket" in upgrade or scope["path"].rstrip("/") == PATH:
            text = (
                "this port speaks HTTP;"
                f" WebSocket clients connect to port {self.websocket_port}, path {PATH}\n"
            )
            return PlainTextResponse(text, HTTPStatus.MISDIRECTED_REQUEST.value)
        preflight = "origin" in headers and "access-control-request-method" in headers
        if scope["method"] in METHODS or (scope["method"] == "OPTIONS" and preflight):
            return None
        # Starlette adds HEAD to every route with GET, and a HEAD would place an order.
        error = ApiError(Code.INVALID_REQUEST, "method not allowed")
        response = self.refuse(error, HTTPStatus.METHOD_NOT_ALLOWED)
        response.headers["allow"] = ", ".join(METHODS)
        return response

    async def _api(self, request: Request) -> Response:
        body = await self._body(request)
        if isinstance(body, Response):
            return body
        try:
            self._limiter.acquire_on_behalf_of_nowait(request)
        except trio.WouldBlock:
            return self.refuse(
                ApiError(Code.TEMPORARILY_UNAVAILABLE), HTTPStatus.SERVICE_UNAVAILABLE
            )
        try:
            return await self._serve(request, body)
        finally:
            self._limiter.release_on_behalf_of(request)

    async def _body(self, request: Request) -> bytes | Response:
        """The whole body, or what refuses it."""
        body: bytes | None = None
        with trio.move_on_after(self.venue.config.limits.body_seconds) as patience:
            body = await read_body(request)
        if patience.cancelled_caught:
            self.metrics.http_failures.labels("slow_request").inc()
        if body is None:
            return self.refuse(
                ApiError(Code.INVALID_REQUEST, "request timeout"), HTTPStatus.REQUEST_TIMEOUT
            )
        if body and not _is_json(request.headers.get("content-type", _JSON), body):
            return self.refuse(ApiError(Code.INVALID_CONTENT_TYPE))
        return body

    async def _serve(self, request: Request, body: bytes) -> Response:
        sink = HttpReplySink()
        address = request.client.host if request.client else ""
        session = Session(self.venue, sink, address, websocket=False)
        outcome = session.receive_http(_as_api_request(request, body))
        match outcome:
            case Reply(data=data, status=status):
                whole = await self.services.encoder.complete(data)
                return Response(whole, status, media_type=_JSON)
            case Submit():
                data = await self._decide(outcome, sink)
                return Response(data, outcome.pending.status, media_type=_JSON)
            case Close():
                # Only methods that refuse HTTP end in this.
                raise AssertionError(outcome)

    async def _decide(self, submit: Submit, sink: HttpReplySink) -> bytes:
        """The venue's answer. A client that goes away leaves the decision to the log."""
        pending = submit.pending
        try:
            with trio.move_on_after(INBOX_SECONDS) as patience:
                await self.services.commands.inbox.put([submit])
            if patience.cancelled_caught:
                return pending.refuse(QUEUE_FULL)
            await sink.answered.wait()
        except trio.ClosedResourceError:
            return pending.refuse(MAINTENANCE)
        finally:
            self.venue.feed.unregister_request(submit.origin)
            pending.abandon()
        return await self.services.encoder.complete(sink.data)

    def explain(self, reason: str) -> bytes:
        """The body of what refuses a request that is not valid HTTP."""
        return bytes(self.refuse(ApiError(Code.INVALID_REQUEST, reason)).body)

    def refuse(self, error: ApiError, status: HTTPStatus | None = None) -> Response:
        """A refusal in the API's form."""
        venue = self.venue
        now = venue.clock.micros()
        meta = jsonrpc.RequestMeta(msgspec.Raw(), now, venue.config.server.testnet)
        data = jsonrpc.error_reply(meta, error, now)
        return Response(data, status.value if status else error.status, media_type=_JSON)

    async def _health(self, _request: Request) -> Response:
        """200 while the venue trades: not closing, and its supervisor alive.

        Where venue time is not the machine's, the status says so: it trades, but what it does is
        early or late.
        """
        state = self.venue.exchange.state
        silent = self.venue.clock.now() - state.heartbeat
        supervised = silent <= state.parameters.supervision
        healthy = supervised and not self.venue.closing
        lead = lead_millis(self.venue.clock)
        report = {
            "status": self._health_status(lead, supervised=supervised),
            "sequence": state.sequence,
            "heartbeat_age": silent,
            "clock_lead": lead,
        }
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(jsonrpc.encode(report), status.value, media_type=_JSON)

    def _health_status(self, lead: int, *, supervised: bool) -> str:
        if self.venue.closing:
            return "closing"
        if not supervised:
            return "unsupervised"
        if abs(lead) > FOLLOWED_MILLIS:
            return "clock_ahead" if lead > 0 else "clock_behind"
        return "ok"

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.exposition(), headers={"content-type": CONTENT_TYPE})


async def read_body(request: Request) -> bytes | None:
    """The body, whose size the connection bounds; None when the client went away."""
    try:
        return await request.body()
    except ClientDisconnect:
        return None


def _is_json(content_type: str, body: bytes) -> bool:
    """Whether a body passes as JSON: by its type, or because it looks like a request anyway.

    Clients forget the type, and their libraries fill in a wrong one; a body that is no JSON
    object is refused for its type first.
    """
    return content_type.partition(";")[0].strip().lower() == _JSON or body.lstrip()[:1] == b"{"


def _as_api_request(request: Request, body: bytes) -> HttpRequest:
    raw_query: bytes = request.scope["query_string"]
    return HttpRequest(
        verb=request.method,
        target=request.scope["state"]["target"].decode("latin-1"),
        method=request.path_params.get("method", "").strip("/"),
        query=tuple(parse_qsl(raw_query.decode("latin-1"), keep_blank_values=True)),
        body=body,
        authorization=request.headers.get("authorization", ""),
    )
