"""The way in for WebSocket clients: slots, handshake, conversation, goodbye."""

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
from gateway.api.context import VenueContext
from gateway.api.session import Session
from gateway.config.schema import Limits
from gateway.metrics import Metrics
from gateway.network.connection import Connection
from gateway.network.connection_limiter import ConnectionLimiter, Refusal
from gateway.network.outbox import Outbox
from gateway.network.read_scheduler import ReadScheduler
from gateway.network.reply_encoder import ReplyEncoder
from gateway.network.slow_readers import ReadProgress, WatchedConnection, disconnect_slow_readers
from gateway.network.transport import (
    PEER_ERRORS,
    HandshakePolicy,
    InboundMeter,
    Transport,
    shake_hands,
)
from gateway.network.transport.meter import unmetered
from gateway.network.writer import FlushScheduler
from gateway.protocol.close_codes import CRASHED, POLICY_VIOLATION, TOO_SLOW
from gateway.sequencer.command_source import CommandSource

logger = logging.getLogger(__name__)

# Clients that are told 429 or 503 in peace; each holds a socket for up to the handshake's
# deadline. Beyond these it is an attack, and the socket is closed without a word.
MAX_REJECTIONS: Final = 256
# How long a client that was cut for sending too much takes up a slot of its address: longer than it
# takes to spend a new connection's burst, so that reconnecting in a loop gains nothing.
FLOOD_PENALTY_SECONDS: Final = 10.0
# How often an address may renew all the connections it may have, where requests are limited; after
# that its handshakes wait for their turn. One over TLS costs as much as some without.
RECONNECTS_PER_SECOND: Final = 2
RECONNECTS_BURST: Final = 8
TLS_COST: Final = 3
# Requests that are paid for with credits are refused one by one; a client that sends ten times as
# many as it has credits for, and goes on, is cut.
OVERSPEND_FACTOR: Final = 10


def _session_numbers(door: WebSocketAcceptor) -> Iterator[int]:
    return count(door.venue.start * 2**32 + 1)


@define(eq=False)
class WebSocketAcceptor:
    """Serves each accepted stream from its first byte to its last, and knows who is inside.

    Session numbers carry the number of the process start in their upper half, so that none is
    ever used twice. Where there is a certificate, everything is over TLS.
    """

    venue: VenueContext
    commands: CommandSource
    limiter: ConnectionLimiter
    metrics: Metrics
    flush_scheduler: FlushScheduler
    read_scheduler: ReadScheduler
    encoder: ReplyEncoder
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
        at_once = self.limiter.per_address
        self._pacer = RequestPacer(RECONNECTS_PER_SECOND * at_once, RECONNECTS_BURST * at_once)

    def stop(self) -> None:
        """Let every client finish what it has sent, and part with 1001. A plain call.

        Whoever is still shaking hands is not inside, and is left standing.
        """
        self._stopping = True
        for connection in self._connections:
            connection.stop()
        for handshake in self._handshakes:
            handshake.cancel()

    async def watch_readers(self) -> None:
        """Cut clients that read too slowly, until cancelled."""
        await disconnect_slow_readers(
            self._connections.values, self.venue.config.limits.send_seconds
        )

    async def serve(self, stream: trio.SocketStream) -> None:
        """One client. One of the two boundaries that outlive an exception."""
        try:
            await self._serve(stream)
        except* Exception:
            # In strict mode a bug in one conversation ends the venue, which is what tests want.
            # Of a group that a shutdown has a part in, the cancellation goes on.
            if self.venue.config.server.strict:
                raise
            logger.exception("a connection crashed")
            self.metrics.crashes.labels("connection").inc()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            address = stream.socket.getpeername()[0]
        except OSError:
            # Gone before we looked.
            return
        number = next(self._numbers)
        refusal = self.limiter.take(number, rate_limit_address(address))
        wait = self._pace(address)
        try:
            if refusal is None:
                await self._admit(stream, number, address, wait)
            elif not wait:
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

    def _pace(self, address: str) -> float:
        """Count a connection of an address; how many seconds it has to wait for its handshake."""
        if not self.venue.config.limits.enabled:
            return 0.0
        cost = 1 if self.tls is None else TLS_COST
        return self._pacer.delay(rate_limit_address(address), cost, trio.current_time())

    async def _admit(
        self, stream: trio.SocketStream, number: int, address: str, wait: float
    ) -> None:
        outbox = Outbox(
            number,
            lambda kind: self.metrics.outbox_drops.labels(kind).inc(),
            self.encoder.add,
        )

        def cut(reason: str) -> None:
            outbox.disconnect(POLICY_VIOLATION, reason)
            self.metrics.floods.labels(reason).inc()
            self.limiter.penalise(
                rate_limit_address(address), trio.current_time() + FLOOD_PENALTY_SECONDS
            )

        # A library's task runs in here, and ends when the goodbye has closed the stream.
        async with trio.open_nursery() as nursery:
            transport = None
            try:
                meter = inbound_meter(self.venue.config.limits, cut)
                transport = await self._shake_hands(nursery, stream, None, meter, wait)
            finally:
                if transport is None:
                    self.limiter.free(number)
            if transport is not None:
                await self._run_connection(transport, outbox, address, stream.socket)
            nursery.cancel_scope.cancel()

    async def _shake_hands(
        self,
        nursery: trio.Nursery,
        stream: trio.SocketStream,
        refusal: HTTPStatus | None,
        meter: InboundMeter,
        wait: float = 0.0,
    ) -> Transport | None:
        limits = self.venue.config.limits
        transport = None
        with trio.CancelScope() as scope:
            self._handshakes.add(scope)
            try:
                await trio.sleep(wait)
                transport = await shake_hands(
                    nursery,
                    stream,
                    library=self.venue.config.server.transport,
                    tls=self.tls,
                    frame_bytes=limits.frame_bytes,
                    seconds=limits.handshake_seconds,
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
        limits = self.venue.config.limits
        now = trio.current_time()

        def too_slow() -> None:
            if outbox.close_reason is None:
                outbox.on_drop("unread")
                outbox.disconnect(*TOO_SLOW)

        connection = Connection(
            Session(self.venue, outbox, address, websocket=True, opened_at=now),
            outbox,
            transport,
            self.commands.inbox,
            self.commands.propose,
            self.limiter.free,
            self.flush_scheduler,
            self.read_scheduler,
            limits.send_seconds,
        )
        self._connections[connection] = WatchedConnection(
            socket, ReadProgress(limits.send_seconds), too_slow
        )
        if self._stopping:
            connection.stop()
        crash: Exception | None = None
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001 - raised again after the goodbye
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
    """The meter of one connection; whole messages are free where requests are not limited."""
    frames = limits.control_frames_per_second, limits.control_frames_burst
    cost = 0.0
    if limits.enabled:
        general = limits.credits_per_second / limits.general_cost
        steady = general + limits.matching_per_second + limits.cancel_all_per_second
        at_once = (
            limits.general_pool / limits.general_cost
            + limits.matching_burst
            + limits.cancel_all_burst
        )
        cost = min(frames[0] / steady, frames[1] / at_once) / OVERSPEND_FACTOR
    return InboundMeter.of(
        frames=frames,
        octets=(limits.bytes_per_second, limits.bytes_burst),
        message_cost=cost,
        on_excess=on_excess,
        clock=clock,
    )
