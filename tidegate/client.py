"""A Trio client of the API over WebSocket: calls by id, subscriptions as channels.

    async with connect(url, client_id, client_secret) as client:
        reply = await client.call("private/buy", {"instrument_name": "BTC-PERPETUAL", ...})
        async with client.subscribe("book.BTC-PERPETUAL.100ms") as feed:
            async for book in feed:
                ...

Any number of tasks may share a client. One task of its own writes and one reads, so that no
frame is cut in two by a cancelled caller and the socket is always drained, whatever callers do.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import msgspec
import trio
from attrs import define, field
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from tidegate.auto_reset_event import AutoResetEvent
from tidegate.streams import Stream, close_stream, open_stream

__all__ = ["ApiError", "Client", "ConnectionEndedError", "Feed", "FellBehindError", "connect"]

# Requests that wait for the socket: a few packets full. More would only make a slow venue's
# answers later; callers wait for a place instead.
OUTGOING: Final = 256
# One batch of messages as they come out of one read; they are taken away at once.
INCOMING: Final = 256
# The snapshot of a book with 100,000 price levels.
MESSAGE_BYTES: Final = 16 * 2**20
# Notifications that may wait for their consumer: over a minute of a 100ms channel.
FEED: Final = 1_024
OPENING_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 1.0

SUBSCRIPTION_FAILED: Final = 11052
ABNORMAL: Final = 1006
BAD_DATA: Final = 1007


class ApiError(Exception):
    """The venue refused a request: `code`, `message` and `data` are those of its JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__(code, message)

    def __str__(self) -> str:
        """The code and the message."""
        return f"{self.code} {self.message}"


class ConnectionEndedError(Exception):
    """The connection is over: `code` and `reason` are the close frame's, 1006 without one."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"the connection has ended: {code} {reason}".rstrip())


class FellBehindError(Exception):
    """A feed's buffer was full, because its consumer was too slow."""


class _Error(msgspec.Struct, frozen=True, gc=False):
    code: int
    message: str
    data: Any = None


class _Params(msgspec.Struct, frozen=True, gc=False):
    channel: str = ""
    data: Any = None
    type: str = ""


class _Message(msgspec.Struct, frozen=True, gc=False):
    id: int | None = None
    result: Any = None
    error: _Error | None = None
    method: str = ""
    params: _Params = _Params()


_decode = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


@define(eq=False)
class _Reply:
    """What a caller waits for: `message` is None when the connection ended first."""

    arrived: trio.Event = field(factory=trio.Event)
    message: _Message | None = None


@define(eq=False)
class Feed:
    """The notifications of some channels: `async for data in feed`.

    It ends with FellBehindError when its consumer left `capacity` of them waiting and another
    came, since a book with a hole in it is no book; with ConnectionEndedError when the connection
    does. What had arrived by then can be read first.
    """

    capacity: int
    _waiting: deque[Any] = field(factory=deque, init=False)
    _news: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _end: Exception | None = field(default=None, init=False)

    def __aiter__(self) -> Feed:
        """Return the feed itself; one task may iterate over it."""
        return self

    async def __anext__(self) -> Any:
        """The next notification's data. Raises FellBehindError, ConnectionEndedError."""
        while not self._waiting:
            if self._end is not None:
                raise self._end
            await self._news.wait()
        # Before it is taken, so that a consumer that is cancelled here loses nothing.
        await trio.lowlevel.checkpoint()
        return self._waiting.popleft()

    def _put(self, data: Any) -> None:
        if self._end is None and len(self._waiting) >= self.capacity:
            self._stop(FellBehindError(f"{self.capacity} notifications were not read in time"))
        if self._end is None:
            self._waiting.append(data)
            self._news.set()

    def _stop(self, end: Exception) -> None:
        self._end = self._end or end
        self._news.set()


@define(eq=False)
class Client:
    """An open connection, made by `connect`. `ended` says how it ended, None while it is open."""

    _connection: WebSocketConnection
    _logged_in: bool = field(default=False, init=False)
    _ids: Iterator[int] = field(factory=lambda: count(1), init=False)
    _replies: dict[int, _Reply] = field(factory=dict, init=False)
    _feeds: dict[str, list[Feed]] = field(factory=dict, init=False)
    _outgoing: deque[str] = field(factory=deque, init=False)
    _filled: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _room: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _leaving: bool = field(default=False, init=False)
    _closed: trio.Event = field(factory=trio.Event, init=False)
    _farewell: tuple[int, str] | None = field(default=None, init=False)

    @property
    def ended(self) -> ConnectionEndedError | None:
        """How the connection ended, as an exception of the caller's own; None while it is open."""
        return None if self._farewell is None else ConnectionEndedError(*self._farewell)

    @property
    def in_flight(self) -> int:
        """Calls that wait for their reply."""
        return len(self._replies)

    async def call(self, method: str, params: Mapping[str, object] | None = None) -> Any:
        """Call a method and return its result, JSON-decoded.

        Cancelled, it forgets the reply; the request may have been sent by then, and take effect.
        Raises ApiError with the venue's code, message and data; ConnectionEndedError when the
        connection is over, whether or not the venue has seen the request.
        """
        while len(self._outgoing) >= OUTGOING and self._farewell is None:
            await self._room.park()
        number = self._post(method, params)
        reply = self._replies[number] = _Reply()
        try:
            await reply.arrived.wait()
        finally:
            del self._replies[number]
        message = reply.message
        if message is None:
            raise ConnectionEndedError(*(self._farewell or (ABNORMAL, "")))
        if message.error is not None:
            raise ApiError(message.error.code, message.error.message, message.error.data)
        return message.result

    @asynccontextmanager
    async def subscribe(self, *channels: str, capacity: int = FEED) -> AsyncIterator[Feed]:
        """Listen to channels within the block; one feed carries the data of all of them.

        Raises ApiError where the venue does not accept every one of the channels.
        """
        feed = Feed(capacity)
        self._listen(feed, channels)
        try:
            accepted = await self.call(f"{self._side}/subscribe", {"channels": channels})
            refused = [channel for channel in channels if channel not in accepted]
            if refused:
                raise ApiError(SUBSCRIPTION_FAILED, "subscription failed", {"channels": refused})
            yield feed
        finally:
            self._ignore(feed, channels)

    async def log_in(self, client_id: str, client_secret: str) -> Any:
        """Log in by signature, which does not send the secret. Raises ApiError 13004."""
        timestamp = str(time.time_ns() // 1_000_000)
        nonce = secrets.token_hex(8)
        text = f"{timestamp}\n{nonce}\n"
        granted = await self.call(
            "public/auth",
            {
                "grant_type": "client_signature",
                "client_id": client_id,
                "timestamp": int(timestamp),
                "nonce": nonce,
                "signature": hmac.digest(client_secret.encode(), text.encode(), "sha256").hex(),
            },
        )
        self._logged_in = True
        return granted

    @property
    def _side(self) -> str:
        return "private" if self._logged_in else "public"

    def _listen(self, feed: Feed, channels: tuple[str, ...]) -> None:
        if self._farewell is not None:
            raise ConnectionEndedError(*self._farewell)
        for channel in channels:
            self._feeds.setdefault(channel, []).append(feed)

    def _ignore(self, feed: Feed, channels: tuple[str, ...]) -> None:
        """Unsubscribe without waiting; the reply is ignored."""
        for channel in channels:
            self._feeds[channel].remove(feed)
            if not self._feeds[channel]:
                del self._feeds[channel]
        unwanted = [channel for channel in channels if channel not in self._feeds]
        if unwanted and self._farewell is None:
            self._post(f"{self._side}/unsubscribe", {"channels": unwanted})

    def _post(self, method: str, params: Mapping[str, object] | None) -> int:
        """Queue a request and return its id. Raises ConnectionEndedError."""
        if self._farewell is not None:
            raise ConnectionEndedError(*self._farewell)
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
        self._outgoing.append(_encode(request).decode())
        self._filled.set()
        return number

    async def _write(self) -> None:
        try:
            while not self._leaving or self._outgoing:
                await self._filled.wait()
                while self._outgoing:
                    message = self._outgoing.popleft()
                    self._room.unpark()
                    await self._connection.send_message(message)
            # From the task that writes, so that it cannot fall between two halves of a frame.
            await self._connection.aclose()
        except ConnectionClosed:
            pass
        self._closed.set()

    async def _read(self) -> None:
        try:
            while self._farewell is None:
                self._take(await self._connection.get_message())
        except ConnectionClosed as closed:
            reason = closed.reason
            self._end(reason.code if reason else ABNORMAL, (reason and reason.reason) or "")

    def _take(self, text: str | bytes) -> None:
        try:
            message = _decode(text)
        except msgspec.DecodeError as error:
            self._end(BAD_DATA, f"a message is not JSON-RPC: {error}")
            return
        if message.id is not None:
            reply = self._replies.get(message.id)
            if reply is not None:
                reply.message = message
                reply.arrived.set()
        elif message.method == "subscription":
            for feed in self._feeds.get(message.params.channel, ()):
                feed._put(message.params.data)  # noqa: SLF001 - one mechanism in two classes
        elif message.method == "heartbeat" and message.params.type == "test_request":
            self._post("public/test", {})

    def _end(self, code: int, reason: str) -> None:
        """End the connection: wake all waiting calls and feeds."""
        self._farewell = (code, reason)
        for reply in self._replies.values():
            reply.arrived.set()
        for feed in {id(feed): feed for feeds in self._feeds.values() for feed in feeds}.values():
            feed._stop(ConnectionEndedError(code, reason))  # noqa: SLF001
        self._outgoing.clear()
        self._room.unpark_all()
        self._filled.set()

    async def _leave(self) -> None:
        """Write what is queued, then do the closing handshake."""
        self._leaving = True
        self._filled.set()
        await self._closed.wait()


@asynccontextmanager
async def connect(
    url: str,
    client_id: str | None = None,
    client_secret: str | None = None,
    *,
    heartbeat_seconds: float = 30.0,
) -> AsyncIterator[Client]:
    """Open a connection for the block, logged in where credentials are given.

    The venue is asked for heartbeats, which keep a quiet connection alive and let it notice a
    dead one; 0 asks for none. Raises OSError when the connection fails, ConnectionEndedError when
    the venue refuses or does not shake hands in ten seconds, ApiError when it refuses the log-in.
    An exception of the block comes out as it is, not in a group.
    """
    stream, host, resource = await open_stream(url, OPENING_SECONDS)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            client = await _open(nursery, stream, host, resource)
            nursery.start_soon(client._read)  # noqa: SLF001
            nursery.start_soon(client._write)  # noqa: SLF001
            if heartbeat_seconds:
                await client.call("public/set_heartbeat", {"interval": heartbeat_seconds})
            if client_id is not None:
                await client.log_in(client_id, client_secret or "")
            yield client
            with trio.move_on_after(GOODBYE_SECONDS):
                await client._leave()  # noqa: SLF001
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = _what_happened(group)
    finally:
        close_stream(stream)
    if failure is not None:
        raise failure


async def _open(nursery: trio.Nursery, stream: Stream, host: str, resource: str) -> Client:
    with trio.move_on_after(OPENING_SECONDS):
        return Client(
            await wrap_client_stream(
                nursery,
                stream,
                host,
                resource,
                message_queue_size=INCOMING,
                max_message_size=MESSAGE_BYTES,
                receive_buffer_size=None,
            )
        )
    raise ConnectionEndedError(ABNORMAL, f"no handshake within {OPENING_SECONDS:g} s")


def _what_happened(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The block's own exception, or in plain words what the library's task stumbled over."""
    failures = [each for each in group.exceptions if not isinstance(each, trio.Cancelled)]
    if not failures:
        return group.exceptions[0]
    if len(failures) > 1:
        return group
    match failures[0]:
        case ConnectionRejected(status_code=status):
            return ConnectionEndedError(ABNORMAL, f"refused with HTTP {status}")
        case ConnectionClosed() | LocalProtocolError() as broken:
            return ConnectionEndedError(ABNORMAL, f"broken off: {broken}")
        case failure:
            return failure
