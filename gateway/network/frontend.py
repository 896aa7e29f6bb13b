"""What stands between clients and a venue: both ports, and the timers of its feed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import define, field, frozen

from gateway.api.context import VenueContext
from gateway.config.toml_reader import Endpoint
from gateway.feed.channel_names import Interval
from gateway.metrics import Metrics
from gateway.network.accept_loop import accept_all
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.descriptors import ConnectionQuotas, connection_quotas
from gateway.network.http import HttpGateway
from gateway.network.http_acceptor import HttpAcceptor
from gateway.network.read_scheduler import ReadScheduler
from gateway.network.reply_encoder import ReplyEncoder
from gateway.network.sockets import BoundSockets, load_tls
from gateway.network.transport import PATH, HandshakePolicy
from gateway.network.websocket_acceptor import WebSocketAcceptor
from gateway.network.writer import FlushScheduler
from gateway.sequencer.command_source import CommandSource

logger = logging.getLogger(__name__)

# From the decision to stop until the last client is gone: what is undecided, half a second, and
# a goodbye of one. What is still there then is cut off; the log needs the rest of two seconds.
CLOSE_ALL_SECONDS: Final = 1.6
_FEED_FLUSH_SECONDS: Final = {Interval.FAST: 0.1, Interval.SLOW: 1.0}


@frozen
class Address:
    """Where clients find a venue."""

    http: Endpoint
    websocket: Endpoint
    encrypted: bool

    @property
    def http_url(self) -> str:
        """What clients use as the base of HTTP requests."""
        return f"{'https' if self.encrypted else 'http'}://{self.http}"

    @property
    def websocket_url(self) -> str:
        """What clients open a WebSocket to."""
        return f"{'wss' if self.encrypted else 'ws'}://{self.websocket}{PATH}"


@define(eq=False)
class Frontend:
    """Serves clients until `stopping` is set; `stopped_at`, on trio's clock, is when that was.

    Raises ConfigError where the certificate cannot be used.
    """

    venue: VenueContext
    commands: CommandSource
    limiter: ConnectionLimiter
    metrics: Metrics
    flush_scheduler: FlushScheduler = field(factory=FlushScheduler)
    read_scheduler: ReadScheduler = field(factory=ReadScheduler)
    quotas: ConnectionQuotas = field(factory=connection_quotas)
    stopping: trio.Event = field(factory=trio.Event)
    stopped_at: float = field(default=0.0, init=False)
    encoder: ReplyEncoder = field(init=False)
    acceptor: WebSocketAcceptor = field(init=False)
    _http_tls: ssl.SSLContext | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        files = self.venue.config.server.tls
        self._http_tls = load_tls(*files, ["http/1.1"]) if files else None
        tls = load_tls(*files) if files else None
        self.encoder = ReplyEncoder(self.flush_scheduler.flush, self._encoding_crashed)
        self.metrics.unknown_channels.counts = self.venue.unknown_channels.counts
        self.venue.feed.encode = self.encoder.add
        self.acceptor = WebSocketAcceptor(
            self.venue,
            self.commands,
            self.limiter,
            self.metrics,
            self.flush_scheduler,
            self.read_scheduler,
            self.encoder,
            tls,
            self.quotas.refusals,
        )

    def flush_and_retry(self) -> None:
        """Some entries were applied: what came of them goes out, and there may be room for more."""
        self.flush_scheduler.flush()
        self.read_scheduler.retry_throttled()

    async def serve(self, bound: BoundSockets, announce: Callable[[], None]) -> None:
        """Serve HTTP and WebSocket on these, and `announce` it once both can be reached."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read_scheduler.run)
            nursery.start_soon(self.encoder.run)
            nursery.start_soon(self.acceptor.watch_readers)
            await self._serve(bound, announce)
            nursery.cancel_scope.cancel()

    async def _serve(self, bound: BoundSockets, announce: Callable[[], None]) -> None:
        self.acceptor.policy = HandshakePolicy(
            self.venue.config.server.origins,
            f"HTTP requests go to port {bound.http_endpoint.port} of this host.",
        )
        async with trio.open_nursery() as connections:
            port = bound.websocket_endpoint.port
            server = HttpAcceptor(
                HttpGateway(self.venue, self.commands.inbox, self.metrics, self.encoder, port),
                self._http_tls,
                partial(self._crashed, connections),
                self.quotas.http,
                self.quotas.refusals,
            )
            async with trio.open_nursery() as listeners:
                for sockets, handler in (
                    (bound.websocket, self.acceptor.serve),
                    (bound.http, server.serve),
                ):
                    await listeners.start(accept_all, sockets, handler, connections)
                announce()
                await self.stopping.wait()
                self.stopped_at = trio.current_time()
                listeners.cancel_scope.cancel()
            self.venue.closing = True
            self.acceptor.stop()
            await server.stop()
            connections.cancel_scope.deadline = trio.current_time() + CLOSE_ALL_SECONDS

    async def flush_feed(self) -> None:
        """Have the feed tell what its thinned channels have collected, until cancelled."""
        async with trio.open_nursery() as nursery:
            for interval, seconds in _FEED_FLUSH_SECONDS.items():
                nursery.start_soon(self._flush, interval, seconds)

    async def _flush(self, interval: Interval, seconds: float) -> None:
        due = trio.current_time()
        while True:
            # A loop that is late skips what it missed: a flush sends the newest state anyway.
            due = max(due + seconds, trio.current_time())
            await trio.sleep_until(due)
            self.venue.feed.flush(interval.value)
            await self.flush_scheduler.flush_in_turns()

    def _encoding_crashed(self, error: Exception) -> None:
        """Encoding an answer raised, which has ended its connection alone, unless we are strict."""
        if self.venue.config.server.strict:
            raise error
        logger.error("encoding an answer crashed", exc_info=error)
        self.metrics.crashes.labels("connection").inc()

    def _crashed(self, connections: trio.Nursery, error: Exception) -> None:
        """A request or a connection of HTTP raised: it alone ends, unless we are strict."""
        logger.error("an HTTP connection crashed", exc_info=error)
        self.metrics.crashes.labels("http").inc()
        if self.venue.config.server.strict:
            connections.start_soon(_raise, error)


async def _raise(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error
