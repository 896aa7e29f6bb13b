"""Running venues for tests, without sockets and with them.

`Floor` runs log, matcher and connections over transports in memory; `running` is the whole
server on free ports of the loopback interface.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count, islice
from typing import Any

import msgspec
import pytest
import trio
import trio_websocket
from attrs import Factory, define, field

from book.units import Millis
from gateway.api.session import Session
from gateway.clock import Clock
from gateway.config import schema
from gateway.log import Durable, Log, Proposal, Source
from gateway.log.memory import MemoryLog
from gateway.metrics import Metrics
from gateway.network.connection import Connection
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.connection_services import ConnectionServices
from gateway.network.outbox import Outbox
from gateway.network.transport import DisconnectedError, Library
from gateway.network.transport.interface import Stream
from gateway.sequencer.command_source import CommandSource
from gateway.sequencer.inbox import COMMANDS_PER_LIST
from gateway.sequencer.matcher import Matcher, Observer
from gateway.server.server import Running, serve
from risk.commands import CancelAll, Entry, Origin
from tests.gateway.harness import ACCOUNTS, START, Harness, Json, unlimited

SEND_SECONDS = 10.0

# The WebSocket library of `running`; the fixture of this name sets it to each in turn.
library: Library = "websockets"


@define
class TrioClock:
    """A gateway.clock.Clock that follows trio's clock, which tests may control."""

    def now(self) -> Millis:
        """Milliseconds."""
        return Millis(START + round(trio.current_time() * 1_000))

    def micros(self) -> int:
        """Microseconds."""
        return self.now() * 1_000


@define(eq=False)
class GatedLog:
    """A log that a test can block: while the gate is shut, nothing becomes durable.

    The log holds the batch that it takes while the gate is shut.
    """

    log: Log
    gate: trio.Event = field(factory=trio.Event)

    @classmethod
    def open(cls, log: Log) -> GatedLog:
        """Return a log whose gate is open."""
        gated = cls(log)
        gated.gate.set()
        return gated

    def shut(self) -> None:
        """Block the log from now on."""
        self.gate = trio.Event()

    async def run(self, source: Source, durable: Durable) -> None:
        """Run the log, with a source that waits for the gate."""
        await self.log.run(_Gated(self, source), durable)


@define(eq=False)
class _Gated:
    gated: GatedLog
    source: Source

    async def take(self) -> Sequence[Proposal]:
        batch = await self.source.take()
        await self.gated.gate.wait()
        return batch


@define(eq=False)
class Wire:
    """A gateway.network.transport.Transport in memory, and the client at its other end.

    `window` is the number of unread messages at which sending to the client blocks.
    """

    window: int = 1_000
    closed: tuple[int, str] | None = field(default=None, init=False)
    parted: trio.Event = field(factory=trio.Event, init=False)
    _ids: count[int] = field(default=Factory(lambda: count(1)), init=False)
    _unsent: deque[bytes] = field(factory=deque, init=False)
    _to_venue: tuple[
        trio.MemorySendChannel[Sequence[bytes]], trio.MemoryReceiveChannel[Sequence[bytes]]
    ] = field(factory=lambda: trio.open_memory_channel[Sequence[bytes]](0), init=False)
    _to_client: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] = field(
        default=Factory(lambda self: trio.open_memory_channel[bytes](self.window), takes_self=True),
        init=False,
    )

    # The venue's end.

    @property
    def nonblocking_reader(self) -> None:
        """None: there is no socket."""

    @property
    def closing(self) -> bool:
        """False: the client ends without a close frame."""
        return False

    async def receive(self) -> Sequence[str | bytes]:
        """Return the next frames of the client."""
        try:
            return await self._to_venue[1].receive()
        except trio.EndOfChannel as end:
            raise DisconnectedError from end

    @property
    def unsent(self) -> bool:
        """Whether the client's window is full."""
        return bool(self._unsent)

    def write(self, messages: Sequence[bytes]) -> None:
        """Send as many messages as the client's window admits."""
        self._unsent += messages
        try:
            while self._unsent:
                self._to_client[0].send_nowait(self._unsent[0])
                self._unsent.popleft()
        except (trio.WouldBlock, trio.BrokenResourceError):
            return

    async def drain(self) -> None:
        """Wait until all messages are in the client's window."""
        while self._unsent:
            try:
                await self._to_client[0].send(self._unsent[0])
            except trio.BrokenResourceError as broken:
                raise DisconnectedError from broken
            self._unsent.popleft()

    async def close(self, code: int, reason: str) -> None:
        """Store code and reason, and end the connection."""
        self.closed = (code, reason)
        self.parted.set()
        self._to_client[0].close()
        self._to_venue[1].close()

    # The client's end.

    async def ask(self, method: str, /, **params: object) -> int:
        """Send a request and return its id. Blocks while the venue does not read."""
        (number,) = await self.ask_at_once(1, method, **params)
        return number

    async def ask_at_once(self, times: int, method: str, /, **params: object) -> list[int]:
        """Send a request several times in one chunk and return the ids."""
        numbers = list(islice(self._ids, times))
        frames = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number in numbers
        ]
        await self._to_venue[0].send([msgspec.json.encode(frame) for frame in frames])
        return numbers

    async def read(self) -> Json:
        """Return the next message of the venue."""
        message: Json = msgspec.json.decode(await self._to_client[1].receive())
        return message

    async def call(self, method: str, /, **params: object) -> Json:
        """Send a request and return the whole reply; notifications before it are ignored."""
        number = await self.ask(method, **params)
        while True:
            message = await self.read()
            if message.get("id") == number:
                return message

    async def login(self, name: str) -> None:
        """Log in with the client's secret."""
        reply = await self.call("public/auth", **credentials(name))
        assert "result" in reply, reply

    def hang_up(self) -> None:
        """End the connection without a close frame."""
        self._to_venue[0].close()
        self._to_client[1].close()


def credentials(name: str) -> dict[str, str]:
    """Return the parameters of public/auth for an account."""
    return {
        "grant_type": "client_credentials",
        "client_id": f"{name}-key",
        "client_secret": f"{name}-secret",
    }


ORDER: dict[str, object] = {
    "instrument_name": "BTC-PERPETUAL",
    "amount": 10,
    "type": "limit",
    "price": 64_500,
}


class RecordingLimiter(ConnectionLimiter):
    """A limiter that records which sessions' slots were freed."""

    def __init__(self, freed: list[int]) -> None:
        super().__init__(per_address=1_000)
        self._freed = freed

    def free(self, session: int) -> None:
        """Record the session."""
        self._freed.append(session)


@define(eq=False)
class Floor:
    """Log and matcher over a harness's venue, with connections over transports in memory.

    `applied` are the entries since the start; `log` can be blocked.
    """

    nursery: trio.Nursery
    harness: Harness = field(factory=Harness)
    intake: CommandSource = field(factory=CommandSource)
    applied: list[Entry] = field(factory=list)
    freed: list[int] = field(factory=list)
    dropped: list[str] = field(factory=list)
    services: ConnectionServices = field(init=False)
    crashes: list[Exception] = field(factory=list, init=False)
    log: GatedLog = field(init=False)
    observers: list[Observer] = field(init=False)
    _numbers: count[int] = field(default=Factory(lambda: count(1)), init=False)

    def __attrs_post_init__(self) -> None:
        """Start the core."""
        limiter = RecordingLimiter(self.freed)
        self.services = ConnectionServices(self.harness.venue, self.intake, limiter, Metrics())
        self.services.encoder.on_crash = self.crashes.append
        log = MemoryLog(self.harness.clock)
        log.sequence = self.harness.exchange.state.sequence
        self.log = GatedLog.open(log)
        self.observers = [
            lambda entry, _events: self.applied.append(entry),
            self.harness.venue.feed.publish,
        ]
        matcher = Matcher(
            self.harness.exchange,
            propose=self.intake.propose,
            on_session_end=self.freed.append,
            observers=self.observers,
            on_slice_done=self.services.flush_scheduler.flush,
            # With a test clock, the slices of the matcher do not depend on the machine's speed.
            clock=trio.current_time,
        )
        durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
        self.nursery.start_soon(self.log.run, self.intake, durable)
        self.nursery.start_soon(matcher.run, entries)
        self.nursery.start_soon(self.services.read_scheduler.run)
        self.nursery.start_soon(self.services.encoder.run)

    def open(self, window: int = 1_000) -> tuple[Wire, Connection]:
        """Return a client after its handshake, and its connection, which does not run yet."""
        wire = Wire(window)
        outbox = Outbox(next(self._numbers), self.dropped.append, self.services.encoder.add)
        now = trio.current_time()
        session = Session(self.harness.venue, outbox, "127.0.0.1", websocket=True, opened_at=now)
        connection = Connection(
            session,
            outbox,
            wire,
            self.services,
        )
        return wire, connection

    def connect(self, window: int = 1_000) -> tuple[Wire, Connection]:
        """Return a client and its connection, which runs in the nursery."""
        wire, connection = self.open(window)
        self.nursery.start_soon(self._converse, connection)
        return wire, connection

    async def _converse(self, connection: Connection) -> None:
        await connection.run()
        await connection.close()

    async def client(self, name: str, window: int = 1_000) -> Wire:
        """Return a client that has logged in."""
        wire, _ = self.connect(window)
        await wire.login(name)
        return wire

    async def fill_inbox(self) -> None:
        """Block the log and fill the inbox, so that further commands have to wait."""
        self.log.shut()
        proposal = Proposal(CancelAll(account=101), Origin(start=99))
        while True:
            with trio.move_on_after(0.001) as scope:
                await self.intake.inbox.put([proposal] * COMMANDS_PER_LIST)
            if scope.cancelled_caught:
                break
        while self.intake.inbox.put_priority(proposal):
            pass

    @property
    def orders(self) -> int:
        """The number of orders that the venue has accepted."""
        return self.harness.exchange.state.orders


COUNTED = """
[limits]
enabled = true
undecided_requests = 1000
matching_per_second = 1_000_000
matching_burst = 1_000_000
"""
"""Settings under which requests in flight are counted: without limits they are not."""


@asynccontextmanager
async def floor(settings: str = "") -> AsyncIterator[Floor]:
    """Yield a running Floor, which is cancelled at the end."""
    async with trio.open_nursery() as nursery:
        yield Floor(nursery, Harness(settings))
        nursery.cancel_scope.cancel()


def settings_of(text: str, *, strict: bool = True) -> schema.Config:
    """Return a configuration with free ports and the harness's accounts."""
    server = (
        '[server]\nhttp = "127.0.0.1:0"\nwebsocket = "127.0.0.1:0"\n'
        f'strict = {str(strict).lower()}\ntransport = "{library}"\n'
    )
    return schema.parse(server + unlimited(text) + ACCOUNTS)


@asynccontextmanager
async def running(
    text: str = "", *, strict: bool = True, log: Log | None = None, clock: Clock | None = None
) -> AsyncIterator[Running]:
    """Yield a running server, which is stopped in order at the end."""
    settings = settings_of(text, strict=strict)
    async with trio.open_nursery() as nursery:
        venue = await nursery.start(partial(serve, settings, log=log, clock=clock))
        yield venue
        venue.stop()
        nursery.cancel_scope.deadline = trio.current_time() + 5


@define(eq=False)
class Caller:
    """A client over a real WebSocket."""

    websocket: trio_websocket.WebSocketConnection
    _ids: count[int] = field(default=Factory(lambda: count(1)), init=False)

    async def ask(self, method: str, /, **params: object) -> int:
        """Send a request and return its id."""
        number = next(self._ids)
        frame = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self.websocket.send_message(msgspec.json.encode(frame).decode())
        return number

    async def read(self) -> Json:
        """Return the next message."""
        message: Json = msgspec.json.decode(await self.websocket.get_message())
        return message

    async def call(self, method: str, /, **params: object) -> Any:
        """Send a request that must succeed; return its result. Notifications are ignored."""
        number = await self.ask(method, **params)
        while True:
            message = await self.read()
            if message.get("id") == number:
                assert "result" in message, message
                return message["result"]

    async def login(self, name: str) -> None:
        """Log in with the client's secret."""
        await self.call("public/auth", **credentials(name))

    async def closed(self) -> tuple[int, str | None]:
        """Read to the end and return close code and reason."""
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await self._read_for_ever()
        reason = caught.value.reason
        assert reason is not None
        return reason.code, reason.reason

    async def _read_for_ever(self) -> None:
        while True:
            await self.websocket.get_message()


@asynccontextmanager
async def connect(
    venue: Running, name: str = "", path: str = "/ws/api/v2", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Caller]:
    """Yield a WebSocket client, logged in if a name is given, over TLS if `tls` is given.

    Raises an ExceptionGroup of trio_websocket.ConnectionRejected if the server rejects it. This
    function closes the stream, because the library leaves it open after a rejection and after the
    server has closed the connection.
    """
    host = str(venue.websocket)
    connected = await trio.open_tcp_stream(venue.websocket.host, venue.websocket.port)
    stream: Stream = connected
    if tls is not None:
        stream = trio.SSLStream(
            connected, tls, server_hostname=venue.websocket.host, https_compatible=True
        )
    async with stream, trio.open_nursery() as nursery:
        caller = Caller(await trio_websocket.wrap_client_stream(nursery, stream, host, path))
        if name:
            await caller.login(name)
        yield caller
        with trio.move_on_after(1):
            await caller.websocket.aclose()
        nursery.cancel_scope.cancel()


async def refusal(venue: Running, path: str = "/ws/api/v2") -> int:
    """Return the HTTP status with which a handshake is rejected."""
    with pytest.RaisesGroup(trio_websocket.ConnectionRejected) as caught:
        async with connect(venue, path=path):
            pass
    (rejected,) = caught.value.exceptions
    assert isinstance(rejected, trio_websocket.ConnectionRejected)
    return rejected.status_code
