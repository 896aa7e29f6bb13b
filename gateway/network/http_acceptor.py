"""Accepts HTTP clients within limits, and contains the exceptions of their connections."""

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

# Connections at the same time. Most last for one request; if each held most of a body, all of them
# would take half a gigabyte.
MAX_HTTP_CONNECTIONS: Final = 2_048
# Clients beyond the limits that are being answered with 429 or 503 at the same time. Further ones
# are taken for an attack: their socket is closed without an answer.
MAX_HTTP_REJECTIONS: Final = 256
# How long a request that is partly received may take once the venue stops.
STOP_GRACE_SECONDS: Final = 0.5


@define(eq=False)
class HttpAcceptor:
    """Serves each accepted stream; an exception ends that stream alone.

    At the limit, a new connection displaces one that waits for its client: the oldest of the
    address with most connections, if that has more than the new one's address, else the oldest.
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
        """The number of connections, without those that are being rejected."""
        return len(self._by_age)

    async def stop(self) -> None:
        """End idle connections; let the others finish the request that they are at."""
        self._stopping = True
        await self._services.context.terminated.set()
        for connection in self._rejected.union(self._by_age):
            if connection.idle:
                connection.end()
            elif connection.waiting_for_client:
                connection.end(within=STOP_GRACE_SECONDS)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one client until its connection ends."""
        try:
            await self._serve(stream)
        except* Exception as errors:  # noqa: BLE001
            # Logged and counted by `on_crash`. `except*` leaves a cancellation in the group to its
            # scope.
            self._services.count_failure("crash")
            self.on_crash(errors)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            address = stream.socket.getpeername()[0]
        except OSError:
            # The client has disconnected already.
            return
        network = rate_limit_address(address)
        refusal = self._admit(network)
        if refusal is not None:
            await self._reject(stream, address, refusal)
            return
        connection = HttpConnection(self._services, stream, address)
        connections = self._connections.setdefault(network, {})
        connections[connection] = self._by_age[connection] = None
        try:
            await self._run(connection)
        finally:
            del connections[connection], self._by_age[connection]
            if not connections:
                del self._connections[network]

    async def _run(self, connection: HttpConnection) -> None:
        if self._stopping:
            connection.end()
        await connection.run()

    def _admit(self, network: str) -> Refusal | None:
        """Make room for a connection of a network; return why there is none, or None."""
        own = len(self._connections.get(network, ()))
        if own >= self._services.limits.connections_per_address:
            return Refusal.ADDRESS
        if len(self) < self.max_connections:
            return None
        most = max(self._connections.values(), key=len)
        candidates = chain(most if len(most) > own + 1 else (), self._by_age)
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
        """Answer the client's request with 429 or 503."""
        self._services.count_failure(refusal.name.lower() + "_limit")
        if len(self._rejected) >= self.max_rejections or self._pace(address, CONNECTION_COST):
            return
        services = evolve(self._services, application=self._response(refusal))
        connection = HttpConnection(services, stream, address)
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
