"""HTTP/1.1 of one connection, by hypercorn: bytes in, requests to the application, bytes out.

Only hypercorn's protocol is used, not its server: in the server an exception of one connection ends
all of them, writes cannot be cancelled, and HTTP/2 and WebSocket cannot be switched off. No other
module names hypercorn's internals; tests/gateway/network/test_library_internals.py fails where an
update changes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from math import inf
from typing import Any, Final

import h11
import hypercorn
import trio
from attrs import define
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp, Message, Receive, Scope

__all__ = ["Closed", "Context", "HttpProtocol", "RawData", "Updated"]

Context = WorkerContext
"""Shared by all connections; once `terminated` is set, each ends after its present response."""

# A request line with headers; most servers accept 16 KiB.
HEAD_BYTES: Final = 16_384
_VERSIONS: Final = (b"1.0", b"1.1")


def settings() -> hypercorn.Config:
    """Return hypercorn's configuration, as far as its protocol reads it."""
    config = hypercorn.Config()
    config.include_server_header = False
    config.errorlog = None
    return config


class _RejectedError(h11.RemoteProtocolError):
    """A request that h11 accepts and this port does not."""

    def __init__(self, reason: str, status: HTTPStatus) -> None:
        super().__init__(reason, error_status_hint=status.value)


class _RequestParser(h11.Connection):
    """A stricter h11 parser; `rejection` is the reason why it rejected the last request."""

    def __init__(self, body_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self.rejection = ""
        self.head = False
        self._max_bytes = body_bytes
        self._received = 0

    def next_event(self) -> Any:
        """Return the next event. Raises h11.RemoteProtocolError, which ends the connection."""
        if self.their_state is h11.IDLE:
            self.head = False
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._received = 0
                self.head = event.method == b"HEAD"
                _check(event, self._max_bytes)
            elif isinstance(event, h11.Data):
                self._received += len(event.data)
                if self._received > self._max_bytes:
                    raise _too_large()
        except h11.RemoteProtocolError as error:
            self.rejection = str(error)
            raise
        return event


def _check(request: h11.Request, body_bytes: int) -> None:
    """Raise _RejectedError if the request must not be served."""
    if request.http_version not in _VERSIONS:
        raise _RejectedError("HTTP version not supported", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    headers = dict(request.headers)
    length = headers.get(b"content-length")
    if length is not None and b"transfer-encoding" in headers:
        # A proxy and this server could disagree on where the request ends (request smuggling).
        raise _RejectedError("Content-Length with Transfer-Encoding", HTTPStatus.BAD_REQUEST)
    if length is not None and int(length) > body_bytes:
        raise _too_large()


def _too_large() -> _RejectedError:
    return _RejectedError("request entity too large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def origin_form(target: bytes) -> bytes:
    """Return path and query of a request target, which clients of proxies send with a host."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return target
    ends = [end for end in (rest.find(b"/"), rest.find(b"?")) if end >= 0]
    path = rest[min(ends) :] if ends else b""
    return path if path.startswith(b"/") else b"/" + path


@define(eq=False)
class _ApplicationRunner:
    """Hypercorn's task group: runs the application once per request."""

    nursery: trio.Nursery
    crashed: Callable[[Exception], None]

    async def spawn_app(
        self,
        app: ASGIApp,
        _config: hypercorn.Config,
        scope: Scope,
        send: Callable[[Message | None], Awaitable[None]],
    ) -> Callable[[Message], Awaitable[None]]:
        # It holds no more than one body. A bound in items would block the connection where the
        # application stops reading, and the application with it.
        put, get = trio.open_memory_channel[Message](inf)
        self.nursery.start_soon(self._run, app, scope, get.receive, send)
        return put.send

    async def _run(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Callable[[Message | None], Awaitable[None]],
    ) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - logged by `crashed`; the answer is 500
            self.crashed(error)
        await send(None)


class HttpProtocol(H11Protocol):
    """Serves the requests of one connection, one after the other.

    `send` is called with RawData to write, Closed to end the connection, and Updated when a request
    has begun (`idle` is false) or was answered. `begun` is awaited with the target of each request
    before it is served. `explain` returns the body of an error response for a reason.
    """

    connection: _RequestParser

    def __init__(
        self,
        app: ASGIApp,
        context: Context,
        nursery: trio.Nursery,
        *,
        tls: bool,
        client: tuple[str, int],
        server: tuple[str, int],
        send: Callable[[Any], Awaitable[None]],
        body_bytes: int,
        explain: Callable[[str], bytes],
        crashed: Callable[[Exception], None],
        begun: Callable[[bytes], Awaitable[None]],
    ) -> None:
        super().__init__(
            app,  # type: ignore[arg-type]
            _SETTINGS,
            context,
            _ApplicationRunner(nursery, crashed),  # type: ignore[arg-type]
            ConnectionState({}),
            tls,
            client,
            server,
            send,
        )
        self.connection = _RequestParser(body_bytes)
        self.rejected_status = 0
        self._head = b""
        self._explain = explain
        self._begun = begun

    @property
    def receiving(self) -> bool:
        """Whether the client has sent a part of a request only."""
        state = self.connection.their_state
        return state is h11.SEND_BODY or (
            state is h11.IDLE and bool(self.connection.trailing_data[0])
        )

    async def _check_protocol(self, event: h11.Request) -> None:
        """Never upgrade to HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Serve every request as HTTP; never upgrade to WebSocket."""
        target = origin_form(request.target)
        await self._begun(target)
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                # Methods are case-sensitive.
                method=request.method.decode("ascii"),
                raw_path=target,
                # The application's path and query are the same for "/x?" and "/x".
                state=ConnectionState({"target": target}),
            )
        )
        self.keep_alive_requests += 1

    async def _send_h11_event(self, event: h11.Event) -> None:
        """Send an event; a head together with its body, so that most responses are one packet."""
        if self.rejected_status:
            # The application's response to a request whose rest was rejected meanwhile.
            return
        if isinstance(event, h11.Response) and self.context.terminated.is_set():
            headers = [*event.headers, (b"connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers)
        data = self._head + (self.connection.send(event) or b"")
        if isinstance(event, h11.Response):
            self._head = data
            return
        self._head = b""
        if data:
            await self.send(RawData(data))

    async def _send_error_response(self, status_code: int) -> None:
        """Send the reason why a request is rejected, in one step; the connection ends after it."""
        self.rejected_status = status_code
        body = self._explain(self.connection.rejection)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            # Web pages may read it, like every other response of the API.
            (b"access-control-allow-origin", b"*"),
        ]
        headers += self.config.response_headers("h11")
        response = h11.Response(status_code=status_code, headers=headers)
        events: list[h11.Event] = [response, h11.EndOfMessage()]
        if not self.connection.head:
            events.insert(1, h11.Data(data=body))
        await self.send(RawData(b"".join(self.connection.send(event) or b"" for event in events)))


_SETTINGS: Final = settings()
