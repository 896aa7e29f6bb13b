"""The HTTP port: who may connect, and the boundary that no connection reaches beyond."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from itertools import chain
from typing import Final

import trio
from attrs import define, evolve, field
from starlette.responses import Response

from gateway.access.rate_limits import RequestPacer, rate_limit_address
from gateway.network.connection_limiter import Refusal
from gateway.network.http import HttpGateway
from gateway.network.http_connection import CONNECTION_COST, HttpConnection, HttpServices
from gateway.network.http_protocol import Context
from gateway.protocol.errors import ApiError, Code

logger = logging.getLogger(__name__)

# Connections at once. Most last for a request; half a gigabyte if all had a body half sent.
MAX_HTTP_CONNECTIONS: Final = 2_048
# Clients beyond these limits that are being answered with 429 or 503. Beyond this number it is an
# attack, and the socket is closed without an answer.
MAX_HTTP_REJECTIONS: Final = 256
# For a body that is half sent when the venue stops.
STOP_GRACE_SECONDS: Final = 0.5


@define(eq=False)
class HttpAcceptor:
    """Serves each accepted stream; an exception ends that stream alone.

    Where all places are taken, a newcomer takes that of a connection which waits for its client:
    the oldest of the address that has most, if it has more than the newcomer's, else the oldest.
    """

    gateway: HttpGateway
    tls: ssl.SSLContext | None
    on_crash: Callable[[Exception], None]
    max_connections: int = MAX_HTTP_CONNECTIONS
    max_rejections: int = MAX_HTTP_REJECTIONS
    _services: HttpServices = field(init=False)
    _pacer: RequestPacer = field(init=False)
    _connections: dict[str, dict[HttpConnection, None]] = field(factory=dict, init=False)
    _by_age: dict[HttpConnection, None] = field(factory=dict, init=False)
    _rejected: set[HttpConnection] = field(factory=set, init=False)
    _stopping: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        metrics, limits = self.gateway.metrics, self.gateway.venue.config.limits
        self._pacer = RequestPacer(limits.http_requests_per_second, limits.http_requests_burst)
        self._services = HttpServices(
            self.gateway.application(),
            limits,
            self.gateway.explain,
            self.on_crash,
            lambda reason: metrics.http_failures.labels(reason).inc(),
            self.tls,
            Context(None),
            self._pace,
        )
        metrics.http_connections.set_function(self.__len__)

    def __len__(self) -> int:
        """Connections that have a place."""
        return len(self._by_age)

    async def stop(self) -> None:
        """End what is idle; what is being served is answered first."""
        self._stopping = True
        await self._services.context.terminated.set()
        for connection in self._rejected.union(self._by_age):
            if connection.idle:
                connection.end()
            elif connection.waiting_for_client:
                connection.end(within=STOP_GRACE_SECONDS)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One client, to its end."""
        try:
            await self._serve(stream)
        except* Exception as errors:  # noqa: BLE001
            # The boundary: it is logged and counted. Of a group that a shutdown has a part in, the
            # cancellation goes on.
            self._services.count_failure("crash")
            self.on_crash(errors)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            address = stream.socket.getpeername()[0]
        except OSError:
            # Gone before we looked.
            return
        network = rate_limit_address(address)
        refusal = self._admit(network)
        if refusal is not None:
            await self._reject(stream, address, refusal)
            return
        connection = HttpConnection(self._services, stream, address)
        places = self._connections.setdefault(network, {})
        places[connection] = self._by_age[connection] = None
        try:
            await self._run(connection)
        finally:
            del places[connection], self._by_age[connection]
            if not places:
                del self._connections[network]

    async def _run(self, connection: HttpConnection) -> None:
        if self._stopping:
            connection.end()
        await connection.run()

    def _admit(self, network: str) -> Refusal | None:
        """Why there is no place for another connection, None where there is one."""
        mine = len(self._connections.get(network, ()))
        if mine >= self._services.limits.connections_per_address:
            return Refusal.ADDRESS
        if len(self) < self.max_connections:
            return None
        most = max(self._connections.values(), key=len)
        candidates = chain(most if len(most) > mine + 1 else (), self._by_age)
        oldest = next((each for each in candidates if each.waiting_for_client), None)
        if oldest is None:
            return Refusal.VENUE
        oldest.end()
        self._services.count_failure("displaced")
        return None

    def _pace(self, address: str, cost: float) -> float:
        limits = self._services.limits
        if not limits.enabled:
            return 0.0
        return self._pacer.delay(rate_limit_address(address), cost, trio.current_time())

    async def _reject(self, stream: trio.SocketStream, address: str, refusal: Refusal) -> None:
        """Answer the client's request with why it is not served."""
        self._services.count_failure(refusal.name.lower() + "_limit")
        if len(self._rejected) >= self.max_rejections or self._pace(address, CONNECTION_COST):
            return
        service = evolve(self._services, application=self._response(refusal))
        connection = HttpConnection(service, stream, address)
        self._rejected.add(connection)
        try:
            await self._run(connection)
        finally:
            self._rejected.discard(connection)

    def _response(self, refusal: Refusal) -> Response:
        code = (
            Code.TOO_MANY_REQUESTS if refusal is Refusal.ADDRESS else Code.TEMPORARILY_UNAVAILABLE
        )
        response = self.gateway.refuse(ApiError(code), refusal.value)
        response.headers["connection"] = "close"
        response.headers["access-control-allow-origin"] = "*"
        return response
