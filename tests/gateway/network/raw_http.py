"""HTTP as bytes on a socket, for requests that no client library sends."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import h11
import msgspec
import trio
from attrs import frozen

from gateway.server.server import Running
from tests.gateway.harness import Json

READ_SECONDS = 10


@frozen
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """Return the decoded body."""
        decoded: Json = msgspec.json.decode(self.body)
        return decoded


@asynccontextmanager
async def opened(venue: Running, address: str | None = None) -> AsyncIterator[trio.SocketStream]:
    """Open a connection to the HTTP port, from one of the loopback addresses."""
    stream = await trio.open_tcp_stream(
        venue.http.host, venue.http.port, local_address=address or "127.0.0.1"
    )
    async with stream:
        yield stream


async def read_to_end(stream: trio.abc.Stream) -> bytes:
    """Return all bytes until the server closes, which it must do in time."""
    data = b""
    with trio.fail_after(READ_SECONDS):
        try:
            while part := await stream.receive_some():
                data += part
        except trio.BrokenResourceError:
            pass
    return data


async def exchange(
    venue: Running, sent: bytes, *, tls: ssl.SSLContext | None = None, address: str | None = None
) -> list[Answer]:
    """Return all answers to what is sent on one connection, which is half-closed after it."""
    async with opened(venue, address) as socket:
        stream: trio.abc.Stream = socket
        if tls is not None:
            stream = trio.SSLStream(
                socket, tls, server_hostname=venue.http.host, https_compatible=True
            )
        with suppress(trio.BrokenResourceError):
            await stream.send_all(sent)
            if tls is None:
                await socket.send_eof()
        return answers(await read_to_end(stream), sent)


def answers(received: bytes, sent: bytes = b"GET") -> list[Answer]:
    """Return the responses in the bytes received."""
    found: list[Answer] = []
    while received:
        client = h11.Connection(h11.CLIENT)
        method = "HEAD" if sent.startswith(b"HEAD ") else "GET"
        client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(received)
        client.receive_data(b"")
        status, headers, body = 0, dict[str, str](), b""
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        found.append(Answer(status, headers, body))
        received = client.trailing_data[0]
    return found


def request(target: str, method: str = "GET", *headers: str, body: str = "") -> bytes:
    """Return a request with `headers` and those that it needs."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([*lines, "", body]).encode()


async def answer(venue: Running, target: str, method: str = "GET", *headers: str) -> Answer:
    """Return the only answer to a request without a body."""
    (only,) = await exchange(venue, request(target, method, *headers))
    return only


def failures(venue: Running, reason: str) -> int:
    """Return how many HTTP connections failed for a reason."""
    count = venue.metrics.registry.get_sample_value(
        "tidegate_http_failures_total", {"reason": reason}
    )
    return int(count or 0)
