"""Clients that trade at random, misbehave where they are told to, and remember everything."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from itertools import count
from random import Random
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final

import trio
from attrs import define, evolve, field
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from tests.system.durability.client_history import Json, Memory, Request
from tidegate.streams import Stream, close_stream, open_stream

BTC: Final = "BTC-PERPETUAL"
IN_FLIGHT: Final = 4
PATIENCE: Final = 10.0
RETRY: Final = 10040

READS: Final = {
    "private/get_open_orders": {},
    "private/get_position": {"instrument_name": BTC},
    "private/get_account_summary": {"currency": "BTC"},
}
GONE: Final = (
    OSError,
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    trio.BrokenResourceError,
)


class CutError(Exception):
    """The client has hung up."""


@define(eq=False)
class Trader:
    """A client that reconnects until nobody listens any more. It outlives the venue's lives.

    `fleeting` wants its orders to end with each connection. `faulty` cuts its connection within
    a frame, reads nothing for a while and sends keyed requests twice.
    """

    name: str
    account: str
    random: Random
    memory: Memory
    fleeting: bool = False
    faulty: bool = False
    stop: trio.Event = field(init=False)
    _tags: Any = field(factory=lambda: count(1))
    _open: list[str] = field(factory=list)
    _unheard: list[Request] = field(factory=list)

    async def live(self, url: str, stop: trio.Event) -> None:
        """Trade until the venue is gone, or `stop` is set: then what is sent is waited for."""
        self.stop = stop
        while not self.stop.is_set():
            try:
                await _Conversation(self).hold(url)
            except OSError:
                # Nobody listens: whatever ends a conversation that was open stays inside it.
                return

    def request(self) -> Request:
        """The next thing to ask for."""
        if self._unheard:
            return self._again(self._unheard.pop())
        draw = self.random.random()
        if draw < 0.15:
            method = self.random.choice(list(READS))
            return self._make(method, dict(READS[method]), keyed=False)
        if draw < 0.32 and self._open:
            order = self._open.pop(self.random.randrange(len(self._open)))
            return self._make("private/cancel", {"order_id": order}, keyed=True)
        if draw < 0.42 and self._open:
            params = {
                "order_id": self.random.choice(self._open),
                "amount": 10 * self.random.randint(1, 10),
                "price": self._price(),
            }
            return self._make("private/edit", params, keyed=True)
        if draw < 0.44:
            return self._make("private/cancel_all", {}, keyed=True)
        return self._order()

    def _order(self) -> Request:
        side = self.random.choice(("private/buy", "private/sell"))
        params: Json = {"instrument_name": BTC, "amount": 10 * self.random.randint(1, 10)}
        kind = self.random.random()
        if kind < 0.1:
            params["type"] = "market"
        else:
            params["price"] = self._price()
            if kind < 0.2:
                params["time_in_force"] = "immediate_or_cancel"
            elif kind < 0.3:
                params["post_only"] = True
        return self._make(side, params, keyed=self.random.random() < 0.5)

    def _price(self) -> float:
        return 65_000 + self.random.randint(-20, 20) / 2

    def _make(self, method: str, params: Json, *, keyed: bool) -> Request:
        tag = f"{self.name}-{next(self._tags)}"
        if method in ("private/buy", "private/sell"):
            params["label"] = tag
            if self.fleeting:
                self.memory.fleeting.add(tag)
        if keyed:
            params["idempotency_key"] = tag
        return Request(tag, self.account, method, params, keyed)

    def _again(self, request: Request) -> Request:
        return evolve(request, answered=None, result=None, error=None)

    def note(self, request: Request) -> None:
        """An answer has come."""
        result = request.result
        order = result.get("order", {}) if isinstance(result, dict) else {}
        if order.get("order_state") == "open" and order["order_id"] not in self._open:
            self._open.append(order["order_id"])
        if request.error == RETRY:
            self._unheard.append(request)

    def unheard(self, requests: list[Request]) -> None:
        """Requests that no answer came to any more; those with a key can be sent again."""
        self._unheard += [request for request in requests if request.keyed]


@define(eq=False)
class _Conversation:
    """One connection of a trader."""

    trader: Trader
    waiting: dict[int, Request] = field(factory=dict)
    news: trio.Event = field(factory=trio.Event)
    stream: Stream = field(init=False)
    socket: WebSocketConnection = field(init=False)
    _ids: Any = field(factory=lambda: count(1))
    _deaf_until: float = 0.0

    async def hold(self, url: str) -> None:
        """Connect, trade until the connection ends. Raises OSError where nobody listens."""
        self.stream, host, resource = await open_stream(url, PATIENCE)
        try:
            async with trio.open_nursery() as nursery:
                self.socket = await _shake_hands(
                    nursery, self.stream, host, resource, self.trader.stop
                )
                nursery.start_soon(self._read)
                await self._trade()
                nursery.cancel_scope.cancel()
        except* (*GONE, CutError):
            pass
        finally:
            close_stream(self.stream)
            self.trader.unheard(list(self.waiting.values()))

    async def _trade(self) -> None:
        trader = self.trader
        await self._set_up()
        while not trader.stop.is_set():
            if trader.faulty and trader.random.random() < 0.01:
                await self._misbehave()
            request = trader.request()
            await self._send(request)
            if trader.faulty and request.keyed and trader.random.random() < 0.2:
                await self._send(trader._again(request))
            await self._until(lambda: len(self.waiting) < IN_FLIGHT)
        await self._until(lambda: not self.waiting)
        await self.socket.aclose()

    async def _set_up(self) -> None:
        account = self.trader.account
        await self._ask(
            "public/auth",
            {
                "grant_type": "client_credentials",
                "client_id": f"{account}-key",
                "client_secret": f"{account}-secret",
            },
        )
        await self._ask("private/subscribe", {"channels": [f"user.trades.{BTC}.raw"]})
        if self.trader.fleeting:
            await self._ask("private/enable_cancel_on_disconnect", {})

    async def _ask(self, method: str, params: Json) -> None:
        """A request that nobody needs to remember."""
        request = _plain(method, params)
        await self._put(request)
        await self._until(lambda: not self.waiting)
        assert request.error is None, (method, request.error)

    async def _send(self, request: Request) -> None:
        self.trader.memory.requests.append(request)
        await self._put(request)

    async def _put(self, request: Request) -> None:
        number = next(self._ids)
        self.waiting[number] = request
        request.sent = time.perf_counter()
        await self.socket.send_message(_text(number, request))

    async def _until(self, fits: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not fits():
                self.news = trio.Event()
                await self.news.wait()

    async def _read(self) -> None:
        while True:
            await trio.sleep_until(self._deaf_until)
            message = json.loads(await self.socket.get_message())
            now = time.perf_counter()
            if "id" in message:
                self._take(self.waiting.pop(message["id"]), message, now)
            else:
                assert message["method"] == "subscription", message
                account = self.trader.account
                self.trader.memory.trades += [(account, t) for t in message["params"]["data"]]

    def _take(self, request: Request, message: Json, now: float) -> None:
        request.answered = now
        if "error" in message:
            request.error = message["error"]["code"]
        else:
            request.result = message["result"]
        self.trader.note(request)
        self.news.set()

    async def _misbehave(self) -> None:
        if self.trader.random.random() < 0.5:
            # Deaf: the socket fills, while requests go on.
            self._deaf_until = trio.current_time() + self.trader.random.uniform(0.05, 0.3)
            return
        request = self.trader._order()
        self.trader.memory.never.add(request.tag)
        text = _text(next(self._ids), request).encode()
        # A whole request in a frame that announces one byte more; the mask is zeros.
        frame = struct.pack(">BBHI", 0x81, 0x80 | 126, len(text) + 1, 0) + text
        await self.stream.send_all(frame)
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        raise CutError


async def _shake_hands(
    nursery: trio.Nursery, stream: Stream, host: str, resource: str, stop: trio.Event
) -> WebSocketConnection:
    """Open a connection. A venue that dies meanwhile is noticed by `stop`, not by the library.

    Raises CutError then.
    """

    async def give_up(scope: trio.CancelScope) -> None:
        await stop.wait()
        scope.cancel()

    connection: WebSocketConnection | None = None
    async with trio.open_nursery() as patience:
        patience.start_soon(give_up, patience.cancel_scope)
        connection = await wrap_client_stream(
            nursery, stream, host, resource, message_queue_size=10_000
        )
        patience.cancel_scope.cancel()
    if connection is None:
        raise CutError
    return connection


def _text(number: int, request: Request) -> str:
    return json.dumps(
        {"jsonrpc": "2.0", "id": number, "method": request.method, "params": request.params}
    )


async def witness(url: str, memory: Memory, stop: trio.Event) -> None:
    """Remember every raw change of a book until the venue is gone."""
    told: list[Json] = []
    memory.books.append(told)
    try:
        stream, host, resource = await open_stream(url, PATIENCE)
    except OSError:
        return
    try:
        async with trio.open_nursery() as nursery:
            socket = await _shake_hands(nursery, stream, host, resource, stop)
            login = {
                "grant_type": "client_credentials",
                "client_id": "alice-key",
                "client_secret": "alice-secret",
            }
            await socket.send_message(_text(1, _plain("public/auth", login)))
            await socket.get_message()
            channels = {"channels": [f"book.{BTC}.raw"]}
            await socket.send_message(_text(2, _plain("private/subscribe", channels)))
            nursery.start_soon(_listen, socket, told)
            await stop.wait()
            nursery.cancel_scope.cancel()
    except* (*GONE, CutError):
        pass
    finally:
        close_stream(stream)


def _plain(method: str, params: Json) -> Request:
    return Request("", "", method, params, keyed=False)


async def _listen(socket: WebSocketConnection, told: list[Json]) -> None:
    while True:
        message = json.loads(await socket.get_message())
        if "params" in message:
            told.append(message["params"]["data"])
