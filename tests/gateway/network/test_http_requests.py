"""HTTP requests as bytes: methods, targets, framing, origins, the wrong port."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64encode

import pytest

from tests.gateway.network.raw_http import Answer, answer, exchange, request
from tests.gateway.server_fixtures import running

BASIC = "Authorization: Basic " + b64encode(b"alice-key:alice-secret").decode()
ORDER = "instrument_name=BTC-PERPETUAL&amount=10&type=limit&price=50000"
TEST = "/api/v2/public/test"
ORIGIN = "Origin: https://page.example"
METHODS = (
    *("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY"),
    *("get", "Post", "head", "PROPFIND", "M-SEARCH", "PRI"),
)
ROUTES = (
    *("/api/v2", "/api/v2/", TEST, f"/api/v2/private/buy?{ORDER}", f"/api/v2//private/buy?{ORDER}"),
    *(f"http://x/api/v2/private/buy?{ORDER}", "/health", "/metrics", "/elsewhere", "*"),
)


@pytest.mark.parametrize("method", METHODS)
async def test_only_get_and_post_act(method: str) -> None:
    """Other methods are rejected on every route, and place no order."""
    async with running() as venue:
        for route in ROUTES:
            before = venue.venue.exchange.state.orders
            found = await answer(venue, route, method, BASIC)
            placed = venue.venue.exchange.state.orders - before
            acts = method in ("GET", "POST")
            assert (route, acts and "buy" in route) == (route, bool(placed))
            if not acts:
                assert (405, route) == (found.status, route)
                assert "GET" in found.headers["allow"]
                assert method == "HEAD" or b"method not allowed" in found.body
        assert 200 == (await answer(venue, "/health")).status


@pytest.mark.parametrize(
    "target",
    [
        "/api/v2/private/get_positions?currency=BTC",
        "/api/v2/private/get_subaccounts?",
        "/api/v2/private/get_subaccounts??",
        "/api/v2/private/get_subaccounts?x=%20+%7e&&=",
        "/api/v2/private/get_subaccounts?%",
        "/api/v2//private/get_subaccounts",
        "/api/v2/private/get_subaccounts/",
        "/api/v2/private%2Fget_subaccounts",
        "/api/v2/private/get_subaccount%73?",
    ],
)
async def test_a_signature_covers_the_target_as_sent(target: str) -> None:
    """Byte for byte; a different spelling of the same target is rejected."""
    async with running() as venue:
        for number, sent in enumerate((target, f"http://venue.example:1{target}")):
            found = await answer(venue, sent, "GET", _signed(target, f"n{number}"))
            assert (200, "result") == (found.status, "result" * ("result" in found.json))
        found = await answer(venue, target, "GET", _signed(target + "&", "other"))
        assert 13004 == found.json["error"]["code"]


def _signed(target: str, nonce: str) -> str:
    stamp = int(time.time() * 1_000)
    message = f"{stamp}\n{nonce}\nGET\n{target}\n\n".encode()
    signature = hmac.new(b"alice-secret", message, hashlib.sha256).hexdigest()
    return f"Authorization: deri-hmac-sha256 id=alice-key,ts={stamp},nonce={nonce},sig={signature}"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"http://x{TEST}", 200),
        (f"HTTP://other.example:99999{TEST}", 200),
        (f"https://user@x{TEST}?", 200),
        (f"http://[::1]:80{TEST}", 200),
        ("http://x/health", 200),
        ("http://x", 404),
        ("http://x?a=/api/v2/public/test", 404),
        ("http:///health", 200),
        ("ftp://x/health", 404),
        ("x:443", 404),
        ("*", 404),
    ],
)
async def test_absolute_targets_are_served(target: str, status: int) -> None:
    """RFC 9112 §3.2.2 demands that a server accept them."""
    async with running() as venue:
        assert status == (await answer(venue, target)).status


def _length(value: str) -> bytes:
    return f"POST /api/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: {value}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (_length("32769"), {413}),
        (_length("99999999999999999999"), {413}),
        (_length("9" * 21), {400, 413}),
        (_length("9" * 5_000), {400, 413}),
        (_length("40000").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), {413}),
        (_length("40000").replace(b"POST", b"GET"), {413}),
        (_length("-1"), {400}),
        (_length("+1"), {400}),
        (_length("1_0"), {400}),
        (_length("5, 6"), {400}),
        (_length("5\r\nContent-Length: 6"), {400}),
        (_length("5\r\nTransfer-Encoding: chunked"), {400}),
        (_length("0\r\nTransfer-Encoding: chunked"), {400}),
        (_length("5").replace(b"Content", b"Transfer-Encoding: chunked\r\nContent"), {400}),
        (_length("5\r\nTransfer-Encoding: Chunked"), {400}),
        (_length("5\r\nTransfer-Encoding: gzip, chunked"), {400, 501}),
        (_length("5\r\nTransfer-Encoding: x"), {400, 501}),
    ],
)
async def test_bad_framing_is_rejected_at_once(head: bytes, statuses: set[int]) -> None:
    """It is rejected before the body is sent; the connection ends after it."""
    settings = "[limits]\nbody_seconds = 3600\nhandshake_seconds = 3600\n"
    hidden = request(f"/api/v2/private/buy?{ORDER}", "GET", BASIC)
    async with running(settings) as venue:
        for sent in (head, head + hidden, head + b"0\r\n\r\n" + hidden):
            (found,) = await exchange(venue, sent)
            assert found.status in statuses
            assert "close" == found.headers["connection"]
            assert -32600 == found.json["error"]["code"]
        assert 0 == venue.venue.exchange.state.orders


async def test_a_chunked_body_is_bounded() -> None:
    """The answer is 413 once it is too large, whatever the size of its chunks."""
    async with running() as venue:
        for size in (7, 4_000, 40_000):
            head = b"POST /api/v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
            (found,) = await exchange(venue, head + chunk * (40_000 // size + 1))
            assert (413, -32600) == (found.status, found.json["error"]["code"])


async def test_requests_before_the_end_of_the_stream_are_answered() -> None:
    """Pipelined requests in order, and an incomplete one after them with 400."""
    async with running() as venue:
        found = await exchange(venue, request(TEST) * 3 + request("/elsewhere") + b"GET /x")
        assert [200, 200, 200, 404, 400] == [each.status for each in found]


@pytest.mark.parametrize("version", ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/9.9"])
async def test_only_http_1_is_served(version: str) -> None:
    """Also where the request line looks like the start of HTTP/2."""
    async with running() as venue:
        for line in (f"GET {TEST} {version}", f"PRI * {version}"):
            sent = f"{line}\r\nHost: x\r\n\r\nSM\r\n\r\n".encode()
            (found,) = await exchange(venue, sent)
            assert 505 == found.status


def _check_open_to_pages(found: Answer) -> None:
    assert "*" == found.headers["access-control-allow-origin"]
    assert "access-control-allow-credentials" not in found.headers
    assert "set-cookie" not in found.headers


async def test_a_page_of_any_origin_can_use_the_api() -> None:
    """Public methods, and private ones with its credentials; it can read errors too."""
    body = '{"jsonrpc":"2.0","id":1,"method":"private/get_subaccounts","params":{}}'
    async with running() as venue:
        for target, method, header in (
            (TEST, "GET", "authorization"),
            ("/api/v2/private/get_subaccounts", "GET", "authorization"),
            ("/api/v2", "POST", "authorization, content-type"),
        ):
            preflight = await answer(
                venue,
                target,
                "OPTIONS",
                ORIGIN,
                f"Access-Control-Request-Method: {method}",
                f"Access-Control-Request-Headers: {header}",
            )
            assert 200 == preflight.status
            assert method in preflight.headers["access-control-allow-methods"]
            assert header in preflight.headers["access-control-allow-headers"]
            _check_open_to_pages(preflight)
        for sent, status in (
            (request(TEST, "GET", ORIGIN), 200),
            (request("/api/v2/private/get_subaccounts", "GET", ORIGIN, BASIC), 200),
            (request("/api/v2", "POST", ORIGIN, BASIC, body=body), 200),
            (request("/api/v2/private/get_subaccounts", "GET", ORIGIN), 401),
            (request("/api/v2/private/get_subaccounts", "GET", ORIGIN, "Cookie: a=b"), 401),
            (request("/api/v2/public/ticker", "GET", "Origin: null"), 400),
            (request("/api/v2", "POST", ORIGIN, body="{"), 400),
            (request("/api/v2", "POST", ORIGIN, body=" " * 40_000), 413),
        ):
            (found,) = await exchange(venue, sent)
            assert status == found.status
            _check_open_to_pages(found)


async def test_a_preflight_runs_no_method_and_allows_only_get_and_post() -> None:
    """`/health` and `/metrics` are not open to pages."""
    ask = "Access-Control-Request-Method: "
    async with running() as venue:
        target = f"/api/v2/private/buy?{ORDER}"
        assert 200 == (await answer(venue, target, "OPTIONS", ORIGIN, BASIC, ask + "GET")).status
        for method in ("PUT", "DELETE", "HEAD", "x"):
            refused = await answer(venue, target, "OPTIONS", ORIGIN, ask + method)
            assert 400 == refused.status
        assert 0 == venue.venue.exchange.state.orders
        for target in ("/metrics", "/health"):
            found = await answer(venue, target, "GET", ORIGIN)
            assert "access-control-allow-origin" not in found.headers
            assert 405 == (await answer(venue, target, "OPTIONS", ORIGIN, ask + "GET")).status


@pytest.mark.parametrize("target", ["/", "/ws/api/v2", "/ws/api/v2/", TEST, "/elsewhere", "*"])
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket"])
async def test_a_websocket_client_is_referred_to_the_websocket_port(
    target: str, upgrade: str
) -> None:
    """In one line; so is a request without an upgrade for the WebSocket path."""
    headers = ("Connection: Upgrade", f"Upgrade: {upgrade}", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    async with running() as venue:
        sent = request(target, "GET", *headers, key)
        for more in (b"", b"x", b"\x81\x80\0\0\0\0"):
            found = (await exchange(venue, sent + more))[0]
            assert 421 == found.status
            assert str(venue.websocket.port) in found.body.decode()
            assert 1 == found.body.count(b"\n")
        assert 421 == (await answer(venue, "/ws/api/v2")).status


async def test_an_upgrade_to_http_2_is_ignored() -> None:
    """The request is served over HTTP/1.1: an upgrade is optional for the server."""
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAAAA")
    async with running() as venue:
        assert 200 == (await answer(venue, TEST, "GET", *headers)).status
