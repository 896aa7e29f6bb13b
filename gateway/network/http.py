"""The HTTP application: the API as one request and one reply, `/health` and `/metrics`.

Only GET and POST are served; other methods get 405. Web pages of any origin may send requests:
credentials are read from the Authorization header or the parameters, never from cookies.
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

# Requests served at the same time: about a tenth of a second of work, which is as long as they may
# delay other clients.
MAX_REQUESTS: Final = 128
METHODS: Final = ("GET", "POST")

_JSON: Final = "application/json"
# How long a browser may cache the answer to a preflight; most accept no more.
_PREFLIGHT_SECONDS: Final = 7_200


@define(eq=False)
class HttpReplySink:
    """The message sink of an HTTP request, which takes one reply and no notifications."""

    number: int = field(default=0, init=False)
    data: bytes | LargeReply = field(default=b"", init=False)
    answered: trio.Event = field(factory=trio.Event, init=False)

    def reply(self, data: bytes | LargeReply) -> None:
        """Store the reply that the request waits for."""
        self.data = data
        self.answered.set()

    def send_private(self, data: bytes) -> None:
        """Do nothing: over HTTP there are no subscriptions."""

    def try_send_public(self, data: bytes) -> bool:  # noqa: ARG002
        """Do nothing: over HTTP there are no subscriptions."""
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """Do nothing: the HTTP connection is not the session's."""


@define(eq=False)
class HttpGateway:
    """The request handlers. At most MAX_REQUESTS run at once; further requests get 503.

    A request counts once it was received whole, so that slow clients do not occupy a place.
    Clients that try to open a WebSocket are referred to `websocket_port`.
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
        """Return the ASGI application."""
        self.metrics.http_requests.set_function(lambda: self._limiter.borrowed_tokens)
        cross_origin = Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=METHODS,
            allow_headers=["*"],
            max_age=_PREFLIGHT_SECONDS,
        )
        # The middleware answers preflights, which use OPTIONS.
        verbs = (*METHODS, "OPTIONS")
        routes = [
            Route("/api/v2", self._api, methods=verbs, middleware=[cross_origin]),
            Route("/api/v2/{method:path}", self._api, methods=verbs, middleware=[cross_origin]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]
        served = Starlette(routes=routes)
        # Starlette would redirect a path with a trailing slash to the host in the Host header.
        served.router.redirect_slashes = False

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            refusal = self._reject_unserved(scope)
            await (refusal or served)(scope, receive, send)

        return application

    def _reject_unserved(self, scope: Scope) -> Response | None:
        """Return the answer to a request that no route may get, or None."""
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
        """Return the whole body, or the response that rejects the request."""
        body: bytes | None = None
        with trio.move_on_after(self.venue.config.limits.body_seconds) as waiting:
            body = await read_body(request)
        if waiting.cancelled_caught:
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
                # Only methods that are not served over HTTP close the connection.
                raise AssertionError(outcome)

    async def _decide(self, submit: Submit, sink: HttpReplySink) -> bytes:
        """Submit a command and return its reply. It is executed even if the client disconnects."""
        pending = submit.pending
        try:
            with trio.move_on_after(INBOX_SECONDS) as waiting:
                await self.services.commands.inbox.put([submit])
            if waiting.cancelled_caught:
                return pending.refuse(QUEUE_FULL)
            await sink.answered.wait()
        except trio.ClosedResourceError:
            return pending.refuse(MAINTENANCE)
        finally:
            self.venue.feed.unregister_request(submit.origin)
            pending.abandon()
        return await self.services.encoder.complete(sink.data)

    def explain(self, reason: str) -> bytes:
        """Return the body of the response to a request that is not valid HTTP."""
        return bytes(self.refuse(ApiError(Code.INVALID_REQUEST, reason)).body)

    def refuse(self, error: ApiError, status: HTTPStatus | None = None) -> Response:
        """Return an error response in the API's format."""
        venue = self.venue
        now = venue.clock.micros()
        meta = jsonrpc.RequestMeta(msgspec.Raw(), now, venue.config.server.testnet)
        data = jsonrpc.error_reply(meta, error, now)
        return Response(data, status.value if status else error.status, media_type=_JSON)

    async def _health(self, _request: Request) -> Response:
        """Answer 200 while the venue trades: it is not closing, and its supervisor is alive.

        A status other than "ok" with 200 says that venue time is ahead of or behind the machine's.
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
    """Return the body, whose size the connection bounds; None if the client disconnects."""
    try:
        return await request.body()
    except ClientDisconnect:
        return None


def _is_json(content_type: str, body: bytes) -> bool:
    """Return whether a body counts as JSON: by its content type, or because it starts with "{".

    Clients omit the content type, and their libraries then send a wrong one.
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
