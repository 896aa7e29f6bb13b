"""The API over HTTP: one request, one reply, and what operators and their tools ask for.

Whatever a client does, it is held to a time: hypercorn ends slow headers and idle connections,
this module slow bodies, and the kernel (TCP_USER_TIMEOUT) those who do not read their replies.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import hypercorn
import hypercorn.trio
import msgspec
import trio
from attrs import define, field
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api import wire
from gateway.api.errors import ApiError, Code
from gateway.api.listing import LargeReply
from gateway.connection import INBOX_SECONDS, MAINTENANCE, QUEUE_FULL
from gateway.encoder import Encoder
from gateway.inbox import Inbox
from gateway.limits import network_of
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.outcome import Close, Reply, Submit
from gateway.session import HttpRequest, Session
from gateway.sockets import BACKLOG
from gateway.venue import Venue
from gateway.wakeup import Wakeup

logger = logging.getLogger(__name__)

# About a tenth of a second of work for one process, which is as late as anybody else should be.
REQUESTS: Final = 128
# How long a client may leave what we sent unacknowledged. Hypercorn's writes cannot be cancelled,
# so this is also how long one client can hold up a shutdown; it has to fit into that.
UNREAD_MILLIS: Final = 1_500
GRACE_SECONDS: Final = 0.5

_JSON: Final = "application/json"


@define(eq=False)
class OneReply:
    """The gateway.sink.Sink of an HTTP request: it waits for one reply and has no pushes."""

    number: int = field(default=0, init=False)
    data: bytes | LargeReply = field(default=b"", init=False)
    answered: trio.Event = field(factory=trio.Event, init=False)

    def reply(self, data: bytes | LargeReply) -> None:
        """The reply that the request waits for."""
        self.data = data
        self.answered.set()

    def private(self, data: bytes) -> None:
        """Nobody is subscribed over HTTP."""

    def offer(self, data: bytes) -> bool:  # noqa: ARG002
        """Nobody is subscribed over HTTP."""
        return True

    def cut(self, code: int, reason: str) -> None:
        """There is no connection of ours to end."""


@define(eq=False)
class HttpGateway:
    """The handlers. At most REQUESTS run at once; whoever comes on top is told 503.

    One address may have as many of them as it may have connections, and is told 429 beyond: a
    few that dawdle over their bodies must not cost everybody else the venue.

    `crashed` is told of an exception that no handler should raise, before it becomes a 500.
    """

    venue: Venue
    inbox: Inbox
    metrics: Metrics
    encoder: Encoder
    crashed: Callable[[Exception], None]
    _limiter: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(REQUESTS), init=False
    )
    _finished: Wakeup = field(factory=Wakeup, init=False)
    _addresses: Counter[str] = field(factory=Counter, init=False)

    def application(self) -> Starlette:
        """The ASGI application."""
        self.metrics.http_requests.set_function(lambda: self._limiter.borrowed_tokens)
        return Starlette(
            routes=[
                Route("/api/v2", self._api, methods=["GET", "POST"]),
                Route("/api/v2/{method:path}", self._api, methods=["GET", "POST"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ]
        )

    async def _api(self, request: Request) -> Response:
        try:
            self._limiter.acquire_on_behalf_of_nowait(request)
        except trio.WouldBlock:
            return self._refuse(
                ApiError(Code.TEMPORARILY_UNAVAILABLE), HTTPStatus.SERVICE_UNAVAILABLE
            )
        address = request.client.host if request.client else ""
        network = network_of(address)
        self._addresses[network] += 1
        try:
            if self._addresses[network] > self.venue.config.limits.connections_per_address:
                return self._refuse(ApiError(Code.TOO_MANY_REQUESTS))
            return await self._serve(request, address)
        except Exception as error:
            self.crashed(error)
            raise
        finally:
            self._addresses[network] -= 1
            if not self._addresses[network]:
                del self._addresses[network]
            self._limiter.release_on_behalf_of(request)
            self._finished.set()

    async def idle(self) -> None:
        """Wait until no request is being served."""
        while self._limiter.borrowed_tokens:
            await self._finished.wait()

    async def _serve(self, request: Request, address: str) -> Response:
        limits = self.venue.config.limits
        body: bytes | None = None
        with trio.move_on_after(limits.body_seconds):
            body = await read_body(request, limits.body_bytes)
        if body is None:
            return self._refuse(
                ApiError(Code.INVALID_REQUEST, "request timeout"), HTTPStatus.REQUEST_TIMEOUT
            )
        if len(body) > limits.body_bytes:
            return self._refuse(
                ApiError(Code.INVALID_REQUEST, "request entity too large"),
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        if body and not _is_json(request.headers.get("content-type", _JSON), body):
            return self._refuse(ApiError(Code.INVALID_CONTENT_TYPE))
        sink = OneReply()
        session = Session(self.venue, sink, address, websocket=False)
        outcome = session.receive_http(_as_api_request(request, body))
        match outcome:
            case Reply(data=data, status=status):
                whole = await self.encoder.complete(data)
                return Response(whole, status, media_type=_JSON)
            case Submit():
                data = await self._decide(outcome, sink)
                return Response(data, outcome.pending.status, media_type=_JSON)
            case Close():
                # Only methods that refuse HTTP end in this.
                raise AssertionError(outcome)

    async def _decide(self, submit: Submit, sink: OneReply) -> bytes:
        """The venue's answer. A client that goes away leaves the decision to the log."""
        pending = submit.pending
        try:
            with trio.move_on_after(INBOX_SECONDS) as patience:
                await self.inbox.put([submit])
            if patience.cancelled_caught:
                return pending.refuse(QUEUE_FULL)
            await sink.answered.wait()
        except trio.ClosedResourceError:
            return pending.refuse(MAINTENANCE)
        finally:
            self.venue.feed.forget(submit.origin)
            pending.abandon()
        return await self.encoder.complete(sink.data)

    def _refuse(self, error: ApiError, status: HTTPStatus | None = None) -> Response:
        venue = self.venue
        now = venue.clock.micros()
        stamp = wire.Stamp(msgspec.Raw(), now, venue.config.server.testnet)
        data = wire.fault(stamp, error, now)
        return Response(data, status.value if status else error.status, media_type=_JSON)

    async def _health(self, _request: Request) -> Response:
        """200 while the venue trades: not closing, and its supervisor alive."""
        state = self.venue.exchange.state
        silent = self.venue.clock.now() - state.heartbeat
        supervised = silent <= state.parameters.supervision
        healthy = supervised and not self.venue.closing
        report = {
            "status": "ok" if healthy else "closing" if self.venue.closing else "unsupervised",
            "sequence": state.sequence,
            "heartbeat_age": silent,
        }
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(wire.encode(report), status.value, media_type=_JSON)

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.exposition(), headers={"content-type": CONTENT_TYPE})


async def read_body(request: Request, most: int) -> bytes | None:
    """The body up to a little more than `most` bytes; None when the client went away."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > most:
                    break
    except ClientDisconnect:
        return None
    return b"".join(chunks)


def _is_json(content_type: str, body: bytes) -> bool:
    """Whether a body passes as JSON: by its type, or because it looks like a request anyway.

    Clients forget the type, and their libraries fill in a wrong one; a body that is no JSON
    object is told so by its type first.
    """
    return content_type.partition(";")[0].strip().lower() == _JSON or body.lstrip()[:1] == b"{"


def _as_api_request(request: Request, body: bytes) -> HttpRequest:
    raw_path: bytes = request.scope["raw_path"]
    raw_query: bytes = request.scope["query_string"]
    target = raw_path + b"?" + raw_query if raw_query else raw_path
    return HttpRequest(
        verb=request.method,
        target=target.decode("latin-1"),
        method=request.path_params.get("method", "").strip("/"),
        query=tuple(parse_qsl(raw_query.decode("latin-1"), keep_blank_values=True)),
        body=body,
        authorization=request.headers.get("authorization", ""),
    )


async def serve_http(
    application: Starlette,
    bound: socket.socket,
    stop: trio.Event,
    tls: tuple[Path, Path] | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on a bound socket, which is taken over, until `stop` is set.

    Over TLS with a certificate and its key.
    """
    config = hypercorn.Config()
    if tls:
        config.certfile, config.keyfile = map(str, tls)
        config.alpn_protocols = ["http/1.1"]
    config.bind = [f"fd://{bound.detach()}"]
    config.backlog = BACKLOG
    config.graceful_timeout = GRACE_SECONDS
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    await hypercorn.trio.serve(
        application,  # type: ignore[arg-type]
        config,
        shutdown_trigger=stop.wait,
        task_status=task_status,
        mode="asgi",
    )
