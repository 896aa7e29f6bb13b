"""Every way in which a connection ends closes its socket and frees its slot and orders soon after.

The client keeps its socket open wherever it has the choice. No time is measured: a server that
waits for the client would wait for longer than the deadlines in these tests.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest
import trio
import websockets.sync.client
from attrs import define
from websockets.frames import Frame, Opcode

from gateway.network.transport.frames import MAX_DISCARD_BYTES
from gateway.network.transport.interface import Stream, half_close, socket_stream
from gateway.server.server import Running
from tests.gateway.harness import Json
from tests.gateway.network.test_websocket import certified, connections
from tests.gateway.server.test_server import until
from tests.gateway.server_fixtures import ORDER, credentials, running

pytestmark = pytest.mark.usefixtures("library")

SECONDS: Final = 5.0
SETTINGS: Final = """
[limits]
connections_per_address = 1
idle_seconds = {idle}
send_seconds = 0.5
handshake_seconds = 1
"""
REQUEST: Final = (
    b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """Return a client's frame."""
    return Frame(opcode, data, fin).serialize(mask=masked)


def asking(method: str, **params: object) -> bytes:
    """Return a request as a client's frame."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return frame(Opcode.TEXT, msgspec.json.encode(request))


@define(eq=False)
class Client:
    """A client that works on bytes and closes nothing by itself."""

    venue: Running
    stream: Stream
    received: bytes = b""

    async def shake_hands(self) -> None:
        """Open the WebSocket."""
        await self.stream.send_all(REQUEST)
        while b"\r\n\r\n" not in self.received:
            self.received += await self.stream.receive_some()
        assert self.received.startswith(b"HTTP/1.1 101 "), self.received
        self.received = self.received.partition(b"\r\n\r\n")[2]

    async def message(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame. Raises EOFError at the end of the stream."""
        data = await self._exactly(2)
        length = data[1]
        if length == 126:
            length = int.from_bytes(await self._exactly(2))
        elif length == 127:
            length = int.from_bytes(await self._exactly(8))
        return data[0] & 0x0F, await self._exactly(length)

    async def call(self, method: str, **params: object) -> Json:
        """Reserve a place and queue a reply."""
        await self.stream.send_all(asking(method, **params))
        _, payload = await self.message()
        reply: Json = msgspec.json.decode(payload)
        assert "result" in reply, reply
        return reply

    async def read_to_end(self) -> list[tuple[int, bytes]]:
        """Return all frames until the server ends the stream or resets it."""
        frames = []
        try:
            while True:
                frames.append(await self.message())
        except (EOFError, trio.BrokenResourceError):
            return frames

    async def _exactly(self, size: int) -> bytes:
        while len(self.received) < size:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self.received += data
        taken, self.received = self.received[:size], self.received[size:]
        return taken


Ending = Callable[[Client], Awaitable[None]]


def sending(data: bytes) -> Ending:
    """Return an ending in which the client sends data and keeps the connection open."""

    async def send(client: Client) -> None:
        await client.stream.send_all(data)

    return send


def sending_in_parts(data: bytes) -> Ending:
    """Return an ending in which the client sends data byte by byte."""

    async def send(client: Client) -> None:
        for byte in data:
            await client.stream.send_all(bytes((byte,)))
            await trio.sleep(0.01)

    return send


async def vanish(client: Client) -> None:
    """Close the client's TCP connection, as the system does for a killed process."""
    await trio.aclose_forcefully(socket_stream(client.stream))


async def reset(client: Client) -> None:
    """Reset the client's TCP connection."""
    plain = socket_stream(client.stream)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(plain)


async def end_half(client: Client) -> None:
    """End the client's side of the stream only."""
    await half_close(client.stream)


async def end_tls(client: Client) -> None:
    """Close TLS at the client's side, and wait for the answer."""
    assert isinstance(client.stream, trio.SSLStream)
    with suppress(trio.BrokenResourceError):
        await client.stream.unwrap()


async def stop(client: Client) -> None:
    """Stop the venue."""
    client.venue.stop()


async def stall(client: Client) -> None:
    """Request large replies without reading, until the connection is reset."""
    with suppress(trio.BrokenResourceError):
        while True:
            await client.stream.send_all(asking("public/get_instruments", currency="any"))


async def wait(_: Client) -> None:
    """Do nothing."""


ENDINGS: Final[dict[str, tuple[Ending, int | None]]] = {
    "close frame": (sending(frame(Opcode.CLOSE, b"\x03\xe8")), 1000),
    "close frame, then more": (
        sending(frame(Opcode.CLOSE, b"\x03\xe8") + asking("public/test")),
        1000,
    ),
    "close frame without a code": (sending(frame(Opcode.CLOSE)), 0),
    "close frame amid a message": (
        sending(frame(Opcode.TEXT, b"{", fin=False) + frame(Opcode.CLOSE, b"\x03\xe8")),
        1000,
    ),
    "close frame of one byte": (sending(frame(Opcode.CLOSE, b"\x03")), 1002),
    "close frame with a code that is never sent": (
        sending(frame(Opcode.CLOSE, (1005).to_bytes(2))),
        1002,
    ),
    "close frame whose reason is not UTF-8": (
        sending(frame(Opcode.CLOSE, b"\x03\xe8\xff")),
        1007,
    ),
    "close frame in two parts": (sending_in_parts(frame(Opcode.CLOSE, b"\x03\xe8")), 1000),
    "length of 16 bits where 7 suffice": (sending(b"\x81\xfe\x00\x02" + bytes(4) + b"{}"), 1002),
    "length of 64 bits where 16 suffice": (
        sending(b"\x81\xff" + (2**16 - 1).to_bytes(8) + bytes(4) + b"{"),
        1002,
    ),
    "ping whose length is not minimal": (sending(b"\x89\xfe\x00\x01" + bytes(4) + b"x"), 1002),
    "not masked": (sending(frame(Opcode.TEXT, b"{}", masked=False)), 1002),
    "unknown opcode": (sending(b"\x83\x80" + bytes(4)), 1002),
    "not UTF-8": (sending(frame(Opcode.TEXT, b"\xff")), 1007),
    "not UTF-8, in fragments": (
        sending(frame(Opcode.TEXT, b"\xff", fin=False) + frame(Opcode.CONT)),
        1007,
    ),
    "far too long": (sending(b"\x81\xff" + (2 * MAX_DISCARD_BYTES).to_bytes(8) + bytes(100)), 1009),
    "pings": (sending(frame(Opcode.PING) * 1_000), 1008),
    "pongs": (sending(frame(Opcode.PONG, b"x") * 1_000), 1008),
    "empty fragments": (
        sending(frame(Opcode.TEXT, fin=False) + frame(Opcode.CONT, fin=False) * 1_000),
        1008,
    ),
    "empty messages": (sending(frame(Opcode.TEXT) * 1_000), 1008),
    "log-out": (sending(asking("private/logout")), 1000),
    "half-close": (end_half, None),
    "TLS close alert": (end_tls, None),
    "FIN": (vanish, None),
    "reset": (reset, None),
    "reads nothing": (stall, None),
    "idle": (wait, 1008),
    "venue stops": (stop, 1001),
}


@asynccontextmanager
async def opened(venue: Running, tls: ssl.SSLContext | None) -> AsyncIterator[Client]:
    """Open a client's TCP connection; over TLS if a context is given."""
    connected = await trio.open_tcp_stream("127.0.0.1", venue.websocket.port)
    stream: Stream = connected
    if tls is not None:
        stream = trio.SSLStream(connected, tls, server_hostname="127.0.0.1", https_compatible=True)
    async with connected:
        yield Client(venue, stream)


TLS_ONLY: Final = "TLS close alert"
ENCRYPTED: Final = (
    "close frame",
    "not masked",
    "log-out",
    "half-close",
    "pings",
    "reads nothing",
    TLS_ONLY,
)


@pytest.mark.parametrize(
    ("name", "encrypted"),
    [
        *((name, False) for name in ENDINGS if name != TLS_ONLY),
        *((name, True) for name in ENCRYPTED),
    ],
)
async def test_every_ending_closes_the_socket_and_frees_slot_and_orders(
    name: str, encrypted: bool, tmp_path: Path
) -> None:
    """The client does nothing more, and gets the close code that belongs to the ending."""
    ending, code = ENDINGS[name]
    settings, tls = certified(tmp_path) if encrypted else ("", None)
    settings += SETTINGS.format(idle=0.5 if name == "idle" else 600)
    async with running(settings) as venue, opened(venue, tls) as client:
        await client.shake_hands()
        await client.call("public/auth", **credentials("alice"))
        await client.call("private/enable_cancel_on_disconnect")
        await client.call("private/buy", **ORDER)
        account = venue.venue.exchange.state.accounts[101]
        assert 1 == len(account.orders)
        with trio.fail_after(SECONDS):
            await ending(client)
            if name not in ("FIN", "reset", TLS_ONLY):
                frames = [each for each in await client.read_to_end() if each[0] != Opcode.PONG]
                if code is not None:
                    opcode, payload = frames[-1]
                    assert (Opcode.CLOSE, code) == (opcode, int.from_bytes(payload[:2]))
            await until(lambda: not venue.venue.exchange.state.sessions)
            await until(lambda: not connections(venue))
        assert name == "log-out" or not account.orders


async def test_a_flood_occupies_a_slot_of_its_address_for_a_while() -> None:
    """Reconnecting in a loop gains one burst per slot in that time."""
    limits = "[limits]\nconnections_per_address = 3\n"
    async with running(limits) as venue:
        for _ in range(3):
            async with opened(venue, None) as client:
                await client.shake_hands()
                await client.stream.send_all(frame(Opcode.PONG) * 1_000)
                with trio.fail_after(SECONDS):
                    (opcode, payload), *_ = await client.read_to_end()
                assert (Opcode.CLOSE, b"\x03\xf0too many frames") == (opcode, payload)
        async with opened(venue, None) as client:
            await client.stream.send_all(REQUEST)
            assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 429 ")
        floods = venue.metrics.registry.get_sample_value(
            "tidegate_floods_total", {"reason": "too many frames"}
        )
        assert 3 == floods


@pytest.mark.parametrize(
    "head",
    [
        REQUEST.replace(b"Version: 13", b"Version: 8"),
        REQUEST.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        REQUEST.replace(b"/ws/api/v2", b"/elsewhere"),
        REQUEST.replace(b"Connection: Upgrade\r\n", b""),
        REQUEST.replace(b"GET", b"POST"),
        REQUEST.replace(b"Host: x\r\n", b"Host: x\r\nOrigin: http://elsewhere\r\n"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"no HTTP at all\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 4_000,
    ],
)
async def test_a_failed_handshake_frees_its_slot(head: bytes) -> None:
    """The client keeps its connection open, and the slot is freed at once."""
    async with running(SETTINGS.format(idle=600)) as venue, opened(venue, None) as client:
        with trio.fail_after(SECONDS):
            await client.stream.send_all(head)
            async for _ in client.stream:
                pass
            await until(lambda: not connections(venue))


@pytest.mark.parametrize("last", ["close frame", "not masked", "not UTF-8"])
async def test_an_order_before_the_end_is_answered_before_the_close_frame(last: str) -> None:
    """The order and the end are in one packet."""
    end = {
        "close frame": frame(Opcode.CLOSE, b"\x03\xe8"),
        "not masked": frame(Opcode.TEXT, b"{}", masked=False),
        "not UTF-8": frame(Opcode.TEXT, b"\xff"),
    }[last]
    async with running(SETTINGS.format(idle=600)) as venue, opened(venue, None) as client:
        await client.shake_hands()
        await client.call("public/auth", **credentials("alice"))
        with trio.fail_after(SECONDS):
            await client.stream.send_all(asking("private/buy", **ORDER) + end)
            (_, reply), (opcode, _) = await client.read_to_end()
        assert "open" == msgspec.json.decode(reply)["result"]["order"]["order_state"]
        assert Opcode.CLOSE == opcode


async def test_a_close_by_a_common_client_library_returns_at_once_and_frees_its_slot() -> None:
    """Forty connections of one address in turn, which may have one at a time."""

    def come_and_go(port: int) -> None:
        url = f"ws://127.0.0.1:{port}/ws/api/v2"
        for _ in range(40):
            with websockets.sync.client.connect(url, close_timeout=60, proxy=None) as client:
                client.send(b'{"jsonrpc":"2.0","id":1,"method":"public/test"}')
                client.recv()

    async with running(SETTINGS.format(idle=600)) as venue:
        with trio.fail_after(30):
            await trio.to_thread.run_sync(come_and_go, venue.websocket.port)
