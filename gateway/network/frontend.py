"""Both client ports of a venue, and the timers that flush its feed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import define, field, frozen

from gateway.config.toml_reader import Endpoint
from gateway.feed.channel_names import Interval
from gateway.network.accept_loop import accept_all
from gateway.network.connection_services import ConnectionServices
from gateway.network.descriptors import ConnectionQuotas, connection_quotas
from gateway.network.http import HttpGateway
from gateway.network.http_acceptor import HttpAcceptor
from gateway.network.sockets import BoundSockets, load_tls
from gateway.network.transport import PATH, HandshakePolicy
from gateway.network.websocket_acceptor import WebSocketAcceptor

logger = logging.getLogger(__name__)

# How long all connections together may take to close after a stop: half a second for requests in
# flight and one second for the closing handshake. Connections that are still open then are
# cancelled; closing the log needs the rest of the two seconds that a stop may take.
CLOSE_ALL_SECONDS: Final = 1.6
_FEED_FLUSH_SECONDS: Final = {Interval.FAST: 0.1, Interval.SLOW: 1.0}


@frozen
class Address:
    """The endpoints of a running venue."""

    http: Endpoint
    websocket: Endpoint
    encrypted: bool

    @property
    def http_url(self) -> str:
        """The base URL of HTTP requests."""
        return f"{'https' if self.encrypted else 'http'}://{self.http}"

    @property
    def websocket_url(self) -> str:
        """The URL of the WebSocket."""
        return f"{'wss' if self.encrypted else 'ws'}://{self.websocket}{PATH}"


@define(eq=False)
class Frontend:
    """Serves clients on both ports until `stopping` is set.

    `stopped_at` is the time on trio's clock at which `stopping` was noticed. Raises ConfigError
    where the certificate cannot be used.
    """

    services: ConnectionServices
    quotas: ConnectionQuotas = field(factory=connection_quotas)
    stopping: trio.Event = field(factory=trio.Event)
    stopped_at: float = field(default=0.0, init=False)
    acceptor: WebSocketAcceptor = field(init=False)
    _http_tls: ssl.SSLContext | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        venue = self.services.venue
        files = venue.config.server.tls
        self._http_tls = load_tls(*files, ["http/1.1"]) if files else None
        tls = load_tls(*files) if files else None
        self.services.metrics.unknown_channels.counts = venue.unknown_channels.counts
        self.acceptor = WebSocketAcceptor(self.services, tls, self.quotas.rejections)

    def flush_and_retry(self) -> None:
        """Write what the last entries produced, and read from throttled connections again.

        Applied entries free places among the requests in flight. A plain call.
        """
        self.services.flush_scheduler.flush()
        self.services.read_scheduler.retry_throttled()

    async def serve(self, bound: BoundSockets, announce: Callable[[], None]) -> None:
        """Serve both ports on bound sockets; call `announce` once both accept connections."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.services.read_scheduler.run)
            nursery.start_soon(self.services.encoder.run)
            nursery.start_soon(self.acceptor.disconnect_slow_readers)
            await self._serve(bound, announce)
            nursery.cancel_scope.cancel()

    async def _serve(self, bound: BoundSockets, announce: Callable[[], None]) -> None:
        venue = self.services.venue
        self.acceptor.policy = HandshakePolicy(
            venue.config.server.origins,
            f"HTTP requests go to port {bound.http_endpoint.port} of this host.",
        )
        async with trio.open_nursery() as connections:
            http_acceptor = HttpAcceptor(
                HttpGateway(self.services, bound.websocket_endpoint.port),
                self._http_tls,
                partial(self._http_crashed, connections),
                self.quotas.http,
                self.quotas.rejections,
            )
            async with trio.open_nursery() as listeners:
                for sockets, handler in (
                    (bound.websocket, self.acceptor.serve),
                    (bound.http, http_acceptor.serve),
                ):
                    await listeners.start(accept_all, sockets, handler, connections)
                announce()
                await self.stopping.wait()
                self.stopped_at = trio.current_time()
                listeners.cancel_scope.cancel()
            venue.closing = True
            self.acceptor.stop()
            await http_acceptor.stop()
            connections.cancel_scope.deadline = trio.current_time() + CLOSE_ALL_SECONDS

    async def flush_feed(self) -> None:
        """Publish what channels with an interval have collected, until cancelled."""
        async with trio.open_nursery() as nursery:
            for interval, seconds in _FEED_FLUSH_SECONDS.items():
                nursery.start_soon(self._flush_feed, interval, seconds)

    async def _flush_feed(self, interval: Interval, seconds: float) -> None:
        due = trio.current_time()
        while True:
            # A flush publishes the newest state, so a late loop skips the flushes it missed.
            due = max(due + seconds, trio.current_time())
            await trio.sleep_until(due)
            self.services.venue.feed.flush(interval.value)
            await self.services.flush_scheduler.flush_in_turns()

    def _http_crashed(self, connections: trio.Nursery, error: Exception) -> None:
        """Log an exception of an HTTP request or connection; end the venue in strict mode."""
        logger.error("an HTTP connection crashed", exc_info=error)
        self.services.metrics.crashes.labels("http").inc()
        if self.services.venue.config.server.strict:
            connections.start_soon(_raise, error)


async def _raise(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error
