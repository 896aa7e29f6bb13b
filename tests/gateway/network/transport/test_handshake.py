"""Refused opening handshakes and their responses."""

from __future__ import annotations

import pytest
import trio

from gateway.network.transport.handshake import (
    HEAD_BYTES,
    HEAD_READS,
    HandshakePolicy,
    Rejection,
    check_head,
    read_head,
)
from tests.gateway.network.test_connection_ends import REQUEST, opened
from tests.gateway.server_fixtures import running

POLICY = HandshakePolicy(("https://desk.example",), "HTTP requests go to port 8080 of this host.")


def status(head: bytes, policy: HandshakePolicy = POLICY) -> int:
    """Return the status of the refusal, 0 for none."""
    rejection = check_head(head, policy, None)
    return int(rejection.status) if isinstance(rejection, Rejection) else 0


def from_page(origin: str, host: str = "venue.example:8081") -> bytes:
    """Return the handshake that a browser sends for a page of an origin."""
    return REQUEST.replace(b"Host: x", f"Host: {host}\r\nOrigin: {origin}".encode())


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (REQUEST, 0),
        (from_page("http://venue.example:8080"), 0),
        (from_page("https://venue.example"), 0),
        (from_page("http://[::1]:8080", "[::1]:8081"), 0),
        (from_page("http://127.0.0.1:8080", "127.0.0.1:8081"), 0),
        (from_page("https://desk.example"), 0),
        (from_page("HTTPS://DESK.example"), 0),
        (from_page("https://desk.example:8443"), 403),
        (from_page("http://desk.example"), 403),
        (from_page("https://evil.example"), 403),
        (from_page("https://venue.example.evil.example"), 403),
        (from_page("https://venue.example@evil.example"), 403),
        (from_page("null"), 403),
        (from_page(""), 403),
        (from_page("file://venue.example"), 403),
        (from_page("http://[venue.example"), 403),
        (from_page("http://venue.example\r\nOrigin: https://evil.example"), 403),
        (from_page("http://venue.example\r\nHost: evil.example"), 400),
    ],
)
def test_pages_of_the_venues_own_host_and_of_the_list_may_connect(
    head: bytes, expected: int
) -> None:
    """Other pages may not; a client without an Origin header is no page."""
    assert expected == status(head)


def test_an_asterisk_lets_all_pages_connect() -> None:
    """Also those whose origin is null."""
    for origin in ("https://evil.example", "null"):
        assert 0 == status(from_page(origin), HandshakePolicy(("*",)))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v2/public/test HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
        b"POST /api/v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_a_plain_request_is_referred_to_the_http_port(head: bytes) -> None:
    """The response is one line with HTTP 426, sent before the body is read."""
    async with running() as venue, opened(venue, None) as client:
        with trio.fail_after(10):
            await client.stream.send_all(head + b"x" * 5_000)
            response = b"".join([bytes(data) async for data in client.stream])
        first, _, rest = response.partition(b"\r\n")
        body = rest.partition(b"\r\n\r\n")[2].decode()
        assert b"HTTP/1.1 426 Upgrade Required" == first
        assert f"HTTP requests go to port {venue.http.port} of this host.\n" in body
        assert 1 == body.count("\n")


def test_other_refusals_have_their_status() -> None:
    """For a path other than the API's, something other than HTTP, and a head without an end."""
    assert 404 == status(REQUEST.replace(b"/ws/api/v2", b"/ws"))
    assert 400 == status(b"hello\r\n\r\n")
    assert 400 == status(REQUEST.replace(b"GET", b"G T"))
    assert 400 == status(REQUEST.replace(b"Connection: Upgrade", b"Connection: Upgrade, \xff"))
    assert 431 == status(b"GET / HTTP/1.1\r\n" + b"x" * HEAD_BYTES)


async def test_a_head_sent_byte_by_byte_is_refused() -> None:
    """A head sent line by line is accepted."""
    ours, theirs = trio.testing.memory_stream_pair()
    stream: trio.SocketStream = ours  # type: ignore[assignment]

    async def drip(pieces: list[bytes]) -> None:
        for piece in pieces:
            await theirs.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, [*REQUEST.splitlines(keepends=True), b"ahead"])
        assert (REQUEST, b"") == await read_head(stream)
    assert b"ahead" == await ours.receive_some()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, [b"x"] * (2 * HEAD_READS))
        found = await read_head(stream)
    assert (b"x" * HEAD_READS, b"") == found
    assert 431 == status(b"x" * HEAD_READS)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "header",
    [
        b"Sec-WebSocket-Protocol: \xff",
        b"Sec-WebSocket-Protocol: a, a, (",
        b"Sec-WebSocket-Extensions: ;;,",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
        b"X-Odd: \xff",
        b"Content-Length: 0",
    ],
)
async def test_headers_that_do_not_open_a_websocket_are_ignored(header: bytes) -> None:
    """Whatever their values, about which libraries disagree."""
    async with running() as venue, opened(venue, None) as client:
        await client.stream.send_all(REQUEST.replace(b"Host: x", b"Host: x\r\n" + header))
        response = await client.stream.receive_some()
        assert response.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Protocol" not in response
