"""The strictest client: bare requests over real sockets, and every reply's envelope checked."""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final

import httpx2
import trio
from attrs import define, field
from trio_websocket import WebSocketConnection, wrap_client_stream

from tests.system.process import ACCOUNTS, Addresses, venue
from tests.system.schemas import HEARTBEAT, NOTIFICATION, REPLY, Schema, mismatches
from tidegate.streams import Stream, close_stream, open_stream

Json = dict[str, Any]

BTC: Final = "BTC-PERPETUAL"
ETH: Final = "ETH-PERPETUAL"

PATIENCE: Final = 5
# Nothing is proved about what never comes; what would come wrongly comes within a flush or two.
QUIET: Final = 0.25

INDICES: Final = "".join(
    f'\n[[index]]\nname = "{name}"\nsource = "fixed"\nprice = {price}\n'
    for name, price in {
        "btc_usdc": 65_000,
        "eth_usd": 3_500,
        "eth_usdc": 3_500,
        "sol_usdc": 150,
    }.items()
)


def limit(price: float | str = 64_500, **changes: Any) -> Json:
    """Parameters of an order that rests, but for what changes."""
    return {"instrument_name": BTC, "amount": 10, "type": "limit", "price": price} | changes


def checked(message: Json) -> Json:
    """The message, once its envelope is found to be one of the API's."""
    schema: Schema
    if "method" in message:
        schema = HEARTBEAT if message["method"] == "heartbeat" else NOTIFICATION
    else:
        schema = REPLY
        assert ("result" in message) != ("error" in message), message
        assert message["usDiff"] == message["usOut"] - message["usIn"] >= 0
        assert message.get("id", 0) is not None
    assert [] == mismatches(message, schema), message
    return message


def decoded(text: str | bytes) -> Json:
    """One JSON object, in which the likes of NaN, which Python would take, are errors."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    message = json.loads(text, parse_constant=refuse)
    assert isinstance(message, dict)
    return message


@define(eq=False)
class Socket:
    """A WebSocket connection. What is pushed while a reply is awaited stays in `pushed`."""

    connection: WebSocketConnection
    stream: Stream
    scope: trio.CancelScope
    pushed: deque[Json] = field(factory=deque)
    ids: Any = field(factory=lambda: count(1))

    def cut(self) -> None:
        """End the TCP connection with a reset and no goodbye; do nothing with it afterwards."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.scope.cancel()

    async def send(self, frame: str | bytes | Json) -> None:
        """Send one frame: text, binary, or an object as text."""
        text = json.dumps(frame) if isinstance(frame, dict) else frame
        await self.connection.send_message(text)

    async def read(self) -> Json:
        """The next message of any kind."""
        with trio.fail_after(PATIENCE):
            return checked(decoded(await self.connection.get_message()))

    async def reply(self) -> Json:
        """The next reply."""
        while "method" in (message := await self.read()):
            self.pushed.append(message["params"])
        return message

    async def ask(self, method: str, **params: Any) -> Json:
        """Call a method; returns the whole reply."""
        number = next(self.ids)
        await self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        reply = await self.reply()
        assert reply["id"] == number
        return reply

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method that must succeed; returns its result."""
        reply = await self.ask(method, **params)
        assert "result" in reply, (method, params, reply)
        return reply["result"]

    async def error(self, method: str, **params: Any) -> Json:
        """Call a method that must fail; returns its error."""
        reply = await self.ask(method, **params)
        assert "error" in reply, (method, params, reply)
        fault: Json = reply["error"]
        return fault

    async def code(self, method: str, **params: Any) -> int:
        """Call a method that must fail; returns the error's code."""
        number: int = (await self.error(method, **params))["code"]
        return number

    async def push(self, channel: str, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """The data of the next push on a channel that fits; other pushes stay."""
        passed: deque[Json] = deque()
        while True:
            params = self.pushed.popleft() if self.pushed else (await self.read()).get("params")
            assert params is not None, "a reply that nobody asked for"
            if params.get("channel") == channel and fits(params["data"]):
                self.pushed = passed + self.pushed
                return params["data"]
            passed.append(params)

    async def quiet(self) -> list[Json]:
        """What is pushed within a moment, all that was pushed before included."""
        with trio.move_on_after(QUIET) as moment:
            while not moment.cancel_called:
                self.pushed.append((await self.read())["params"])
        pushed = list(self.pushed)
        self.pushed.clear()
        return pushed

    async def log_in(self, name: str, **params: Any) -> Json:
        """Log in with an account's key and secret."""
        granted: Json = await self.call(
            "public/auth",
            grant_type="client_credentials",
            client_id=f"{name}-key",
            client_secret=f"{name}-secret",
            **params,
        )
        return granted


@asynccontextmanager
async def socket(url: str, name: str | None = None) -> AsyncIterator[Socket]:
    """An open connection, logged in where an account is named."""
    stream, host, resource = await open_stream(url, PATIENCE)
    try:
        async with trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery, stream, host, resource, message_queue_size=1_000
            )
            opened = Socket(connection, stream, nursery.cancel_scope)
            if name is not None:
                await opened.log_in(name)
            yield opened
            await connection.aclose()
    finally:
        # The library leaves sockets open whose peer closed badly.
        close_stream(stream)


@define(eq=False)
class Web:
    """An HTTP client of the venue; each reply's envelope is checked, its status kept."""

    client: httpx2.Client
    status: int = 0

    def get(self, method: str, headers: Json | None = None, **query: Any) -> Json:
        """GET with a query string; what is no string is written as Python writes it."""
        return self._take(
            self.client.get(f"/api/v2/{method}", params=query or None, headers=headers)
        )

    def post(self, path: str, content: Json | str | bytes, **headers: str) -> Json:
        """POST to a path behind the host."""
        body = json.dumps(content) if isinstance(content, dict) else content
        return self._take(self.client.post(path, content=body, headers=headers))

    def call(self, method: str, name: str | None = None, **query: Any) -> Any:
        """GET what must succeed, as an account where one is named; returns the result."""
        auth = None if name is None else (f"{name}-key", f"{name}-secret")
        reply = self._take(self.client.get(f"/api/v2/{method}", params=query or None, auth=auth))
        assert "result" in reply, (method, query, reply)
        assert self.status == 200
        return reply["result"]

    def code(self, method: str, name: str | None = None, **query: Any) -> int:
        """GET what must fail; returns the error's code."""
        auth = None if name is None else (f"{name}-key", f"{name}-secret")
        reply = self._take(self.client.get(f"/api/v2/{method}", params=query or None, auth=auth))
        assert "error" in reply, (method, query, reply)
        assert 400 <= self.status < 500
        number: int = reply["error"]["code"]
        return number

    def _take(self, response: httpx2.Response) -> Json:
        self.status = response.status_code
        assert response.headers["content-type"] == "application/json"
        return checked(decoded(response.content))


@contextmanager
def strict_venue(folder: Path, more: str = "") -> Iterator[Addresses]:
    """A venue with quiet indices in which a bug ends the process, so that none stays hidden."""
    config = ACCOUNTS.replace("[server]", "[server]\nstrict = true") + INDICES + more
    if "[limits]" not in more:
        config += "\n[limits]\nenabled = false\n"
    with venue(folder, config) as running:
        yield running


@contextmanager
def web(addresses: Addresses) -> Iterator[Web]:
    """An HTTP client of a venue."""
    with httpx2.Client(base_url=addresses.http, timeout=PATIENCE) as client:
        yield Web(client)
