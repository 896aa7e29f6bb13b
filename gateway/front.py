"""What stands between clients and a venue: both ports, and the timers of its feed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio
from attrs import define, field, frozen

from gateway.door import Door
from gateway.encoder import Encoder
from gateway.feed.channels import Interval
from gateway.hearing import Hearing
from gateway.http import HttpGateway, serve_http
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.settings import Endpoint
from gateway.slots import Slots
from gateway.sockets import BACKLOG, load_tls
from gateway.transport import PATH
from gateway.venue import Venue
from gateway.writer import Writers

logger = logging.getLogger(__name__)

# From the decision to stop until the last client is gone: what is undecided, half a second, and
# a goodbye of one. What is still there then is cut off; the log needs the rest of two seconds.
CLIENTS_SECONDS: Final = 1.6
_FLUSH_SECONDS: Final = {Interval.FAST: 0.1, Interval.SLOW: 1.0}


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
class Front:
    """Serves clients until `stopping` is set; `stopped_at`, on trio's clock, is when that was.

    Raises ConfigError where the certificate cannot be used.
    """

    venue: Venue
    intake: Intake
    slots: Slots
    metrics: Metrics
    writers: Writers = field(factory=Writers)
    hearing: Hearing = field(factory=Hearing)
    stopping: trio.Event = field(factory=trio.Event)
    stopped_at: float = field(default=0.0, init=False)
    encoder: Encoder = field(init=False)
    door: Door = field(init=False)
    _files: tuple[Path, Path] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._files = self.venue.config.server.tls
        tls = load_tls(*self._files) if self._files else None
        self.encoder = Encoder(self.writers.flush)
        self.venue.feed.encode = self.encoder.add
        self.door = Door(
            self.venue,
            self.intake,
            self.slots,
            self.metrics,
            self.writers,
            self.hearing,
            self.encoder,
            tls,
        )

    def settle(self) -> None:
        """Some entries were applied: what came of them goes out, and there may be room for more."""
        self.writers.flush()
        self.hearing.retry()

    async def serve(
        self,
        outside: trio.Nursery,
        sockets: tuple[socket.socket, socket.socket],
        announce: Callable[[], None],
    ) -> None:
        """Serve HTTP and WebSocket on these, and `announce` it once both can be reached.

        Hypercorn runs in `outside`: its writes cannot be cancelled, and must delay nothing.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hearing.run)
            nursery.start_soon(self.encoder.run)
            await self._serve(outside, sockets, announce)
            nursery.cancel_scope.cancel()

    async def _serve(
        self,
        outside: trio.Nursery,
        sockets: tuple[socket.socket, socket.socket],
        announce: Callable[[], None],
    ) -> None:
        http, websocket = sockets
        websocket.listen(BACKLOG)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(websocket))
        async with trio.open_nursery() as connections:
            gateway = HttpGateway(
                self.venue,
                self.intake.inbox,
                self.metrics,
                self.encoder,
                partial(self._crashed, connections),
            )
            await outside.start(serve_http, gateway.application(), http, self.stopping, self._files)
            async with trio.open_nursery() as listeners:
                await listeners.start(
                    partial(
                        trio.serve_listeners,
                        self.door.serve,
                        [listener],
                        handler_nursery=connections,
                    )
                )
                announce()
                await self.stopping.wait()
                self.stopped_at = trio.current_time()
                listeners.cancel_scope.cancel()
            self.venue.closing = True
            self.door.stop()
            connections.cancel_scope.deadline = trio.current_time() + CLIENTS_SECONDS
            await gateway.idle()

    async def flush(self) -> None:
        """Have the feed tell what its thinned channels have collected, until cancelled."""
        async with trio.open_nursery() as nursery:
            for interval, seconds in _FLUSH_SECONDS.items():
                nursery.start_soon(self._flush, interval, seconds)

    async def _flush(self, interval: Interval, seconds: float) -> None:
        due = trio.current_time()
        while True:
            # A loop that is late skips what it missed: a flush sends the newest state anyway.
            due = max(due + seconds, trio.current_time())
            await trio.sleep_until(due)
            self.venue.feed.flush(interval.value)
            await self.writers.flush_in_turns()

    def _crashed(self, connections: trio.Nursery, error: Exception) -> None:
        """An HTTP handler raised: hypercorn answers 500 and goes on, unless we are strict."""
        logger.error("an HTTP request crashed", exc_info=error)
        self.metrics.crashes.labels("http").inc()
        if self.venue.config.server.strict:
            connections.start_soon(_raise, error)


async def _raise(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error
