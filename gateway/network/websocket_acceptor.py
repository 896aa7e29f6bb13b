"""Accepts WebSocket clients and runs each connection from its handshake to its end."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import count
from typing import Final

import trio
from attrs import Factory, define, field

from gateway.access.rate_limits import RequestPacer, rate_limit_address
from gateway.api.session import Session
from gateway.config.schema import Limits
from gateway.network.connection import Connection
from gateway.network.connection_limiter import Refusal
from gateway.network.connection_services import ConnectionServices
from gateway.network.outbox import Outbox
from gateway.network.slow_readers import ReadProgress, WatchedConnection, disconnect_slow_readers
from gateway.network.transport import (
    PEER_ERRORS,
    HandshakePolicy,
    InboundMeter,
    Transport,
    shake_hands,
)
from gateway.network.transport.meter import unmetered
from gateway.protocol.close_codes import CRASHED, POLICY_VIOLATION, TOO_SLOW
from gateway.session_numbers import first_session

logger = logging.getLogger(__name__)

# Clients that are being answered with 429 or 503 at the same time; each holds a socket until the
# handshake deadline at most. Further ones are taken for an attack: their socket is closed without
# an answer.
MAX_REJECTIONS: Final = 256
# How long a client that was disconnected for sending too much occupies a slot of its address. It
# takes less time to spend the burst of a new connection, so reconnecting in a loop gains nothing.
FLOOD_PENALTY_SECONDS: Final = 10.0
# How often an address may replace all the connections that it may have, where requests are
# limited. Beyond that, its handshakes are delayed. A TLS handshake costs as much as several others.
RECONNECTS_PER_SECOND: Final = 2
RECONNECTS_BURST: Final = 8
TLS_COST: Final = 3
# Requests without credits are rejected one by one. A client that keeps sending more than this many
# times what its credits allow is disconnected.
OVERSPEND_FACTOR: Final = 10


def _session_numbers(acceptor: WebSocketAcceptor) -> Iterator[int]:
    return count(first_session(acceptor.services.venue.start))


@define(eq=False)
class WebSocketAcceptor:
    """Serves each accepted stream from its first byte to its last, over TLS if there is `tls`.

    Session numbers carry the number of the process start in their upper half, so that no number
    is used twice.
    """

    services: ConnectionServices
    tls: ssl.SSLContext | None = None
    max_rejections: int = MAX_REJECTIONS
    policy: HandshakePolicy = field(factory=HandshakePolicy)
    _numbers: Iterator[int] = field(default=Factory(_session_numbers, takes_self=True), init=False)
    _connections: dict[Connection, WatchedConnection] = field(factory=dict, init=False)
    _pacer: RequestPacer = field(init=False)
    _handshakes: set[trio.CancelScope] = field(factory=set, init=False)
    _rejecting: int = field(default=0, init=False)
    _stopping: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        per_address = self.services.limiter.per_address
        self._pacer = RequestPacer(
            RECONNECTS_PER_SECOND * per_address, RECONNECTS_BURST * per_address
        )

    def stop(self) -> None:
        """Close every connection with 1001 once its received requests are answered.

        Handshakes in progress are cancelled. A plain call.
        """
        self._stopping = True
        for connection in self._connections:
            connection.stop()
        for handshake in self._handshakes:
            handshake.cancel()

    async def disconnect_slow_readers(self) -> None:
        """Disconnect clients that read too slowly, until cancelled."""
        seconds = self.services.venue.config.limits.send_seconds
        await disconnect_slow_readers(self._connections.values, seconds)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one client; an exception ends its connection alone, except in strict mode.

        This is one of the two places that catch every exception.
        """
        try:
            await self._serve(stream)
        except* Exception:
            # `except*` leaves a cancellation in the group to its scope.
            if self.services.venue.config.server.strict:
                raise
            logger.exception("a connection crashed")
            self.services.metrics.crashes.labels("connection").inc()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            address = stream.socket.getpeername()[0]
        except OSError:
            # The client has disconnected already.
            return
        number = next(self._numbers)
        refusal = self.services.limiter.take(number, rate_limit_address(address))
        delay = self._handshake_delay(address)
        try:
            if refusal is None:
                await self._admit(stream, number, address, delay)
            elif not delay:
                await self._reject(stream, refusal)
        except* PEER_ERRORS:
            pass

    async def _reject(self, stream: trio.SocketStream, refusal: Refusal) -> None:
        if self._rejecting >= self.max_rejections:
            return
        self._rejecting += 1
        try:
            async with trio.open_nursery() as nursery:
                await self._shake_hands(nursery, stream, refusal.value, unmetered())
                nursery.cancel_scope.cancel()
        finally:
            self._rejecting -= 1

    def _handshake_delay(self, address: str) -> float:
        """Count a connection of an address; return by how many seconds to delay its handshake."""
        if not self.services.venue.config.limits.enabled:
            return 0.0
        cost = 1 if self.tls is None else TLS_COST
        return self._pacer.delay(rate_limit_address(address), cost, trio.current_time())

    async def _admit(
        self, stream: trio.SocketStream, number: int, address: str, delay: float
    ) -> None:
        services = self.services
        outbox = Outbox(
            number,
            lambda kind: services.metrics.outbox_drops.labels(kind).inc(),
            services.encoder.add,
        )

        def disconnect_flood(reason: str) -> None:
            outbox.disconnect(POLICY_VIOLATION, reason)
            services.metrics.floods.labels(reason).inc()
            services.limiter.penalise(
                rate_limit_address(address), trio.current_time() + FLOOD_PENALTY_SECONDS
            )

        # trio-websocket runs a task of its own in this nursery; it ends when the closing handshake
        # has closed the stream.
        async with trio.open_nursery() as nursery:
            transport = None
            try:
                meter = inbound_meter(services.venue.config.limits, disconnect_flood)
                transport = await self._shake_hands(nursery, stream, None, meter, delay)
            finally:
                if transport is None:
                    services.limiter.free(number)
            if transport is not None:
                await self._run_connection(transport, outbox, address, stream.socket)
            nursery.cancel_scope.cancel()

    async def _shake_hands(
        self,
        nursery: trio.Nursery,
        stream: trio.SocketStream,
        refusal: HTTPStatus | None,
        meter: InboundMeter,
        delay: float = 0.0,
    ) -> Transport | None:
        config = self.services.venue.config
        transport = None
        with trio.CancelScope() as scope:
            self._handshakes.add(scope)
            try:
                await trio.sleep(delay)
                transport = await shake_hands(
                    nursery,
                    stream,
                    library=config.server.transport,
                    tls=self.tls,
                    frame_bytes=config.limits.frame_bytes,
                    seconds=config.limits.handshake_seconds,
                    refusal=refusal,
                    policy=self.policy,
                    meter=meter,
                )
            finally:
                self._handshakes.discard(scope)
        return transport

    async def _run_connection(
        self,
        transport: Transport,
        outbox: Outbox,
        address: str,
        socket: trio.socket.SocketType,
    ) -> None:
        venue = self.services.venue

        def disconnect_slow_reader() -> None:
            if outbox.close_reason is None:
                outbox.on_drop("unread")
                outbox.disconnect(*TOO_SLOW)

        session = Session(venue, outbox, address, websocket=True, opened_at=trio.current_time())
        connection = Connection(session, outbox, transport, self.services)
        self._connections[connection] = WatchedConnection(
            socket, ReadProgress(venue.config.limits.send_seconds), disconnect_slow_reader
        )
        if self._stopping:
            connection.stop()
        crash: Exception | None = None
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001 - raised again after the closing handshake
            outbox.disconnect(*CRASHED)
            crash = error
        finally:
            del self._connections[connection]
        await connection.close()
        if crash is not None:
            raise crash


def inbound_meter(
    limits: Limits,
    on_excess: Callable[[str], None],
    clock: Callable[[], float] = trio.current_time,
) -> InboundMeter:
    """Return one connection's meter; whole messages are free where requests are not limited."""
    frames = limits.control_frames_per_second, limits.control_frames_burst
    cost = 0.0
    if limits.enabled:
        general = limits.credits_per_second / limits.general_cost
        requests_per_second = general + limits.matching_per_second + limits.cancel_all_per_second
        requests_burst = (
            limits.general_pool / limits.general_cost
            + limits.matching_burst
            + limits.cancel_all_burst
        )
        cost = min(frames[0] / requests_per_second, frames[1] / requests_burst) / OVERSPEND_FACTOR
    return InboundMeter.of(
        frames=frames,
        octets=(limits.bytes_per_second, limits.bytes_burst),
        message_cost=cost,
        on_excess=on_excess,
        clock=clock,
    )
