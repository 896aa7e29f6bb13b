"""Requests over HTTP: credentials, signatures, and where the method may stand."""

from base64 import b64encode
from hashlib import sha256
from hmac import HMAC

import pytest

from gateway.api.context import HttpRequest
from tests.gateway.harness import Harness

ORDER = {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 60_000}


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


def signed(target: str, *, stamp: int, nonce: str = "n", verb: str = "GET", body: str = "") -> str:
    message = f"{stamp}\n{nonce}\n{verb}\n{target}\n{body}\n"
    signature = HMAC(b"alice-secret", message.encode(), sha256).hexdigest()
    return f"deri-hmac-sha256 sig={signature}, nonce={nonce},ts={stamp},id=alice-key"


def test_http_requests_share_one_sequence() -> None:
    """All HTTP clients are session 0, so that their request numbers must be unique."""
    harness = Harness()
    orders = [
        harness.get(
            "/api/v2/private/buy?instrument_name=BTC-PERPETUAL&amount=10&price=60000",
            basic(name, f"{name.removesuffix('-key')}-secret"),
        )
        for name in ("alice-key", "bob-key", "alice-key")
    ]
    assert ["1", "2", "3"] == [body["result"]["order"]["order_id"] for _, body in orders]


def test_http_accepts_every_kind_of_authorization() -> None:
    """Basic, bearer in any letter case, a signature with its parts in any order, and a token."""
    harness = Harness()
    target = "/api/v2/private/get_open_orders?kind=future"
    granted = harness.get(
        "/api/v2/public/auth?grant_type=client_credentials"
        "&client_id=alice-key&client_secret=alice-secret"
    )
    token = granted[1]["result"]["access_token"]
    headers = [
        basic("alice-key", "alice-secret"),
        f"bearer {token}",
        f"Bearer {token}",
        signed(target, stamp=harness.clock.time),
    ]
    answers = [harness.get(target, header) for header in headers]
    answers.append(harness.get(f"{target}&access_token={token}"))
    assert [(200, [])] * 5 == [(status, body["result"]) for status, body in answers]


def test_a_signature_covers_the_query_as_it_was_sent() -> None:
    """Changing a parameter invalidates it."""
    harness = Harness()
    header = signed("/api/v2/private/get_open_orders", stamp=harness.clock.time)
    status, body = harness.get("/api/v2/private/get_open_orders?kind=future", header)
    assert (401, 13004) == (status, body["error"]["code"])


def test_a_signature_covers_the_body_of_a_post() -> None:
    """The signature of a POST covers its body; the reply has the id, unlike that of a GET."""
    harness = Harness()
    body = '{"jsonrpc":"2.0","id":0,"method":"private/get_open_orders","params":{}}'
    target = "/api/v2/private/get_open_orders"
    request = HttpRequest(
        verb="POST",
        target=target,
        method="private/get_open_orders",
        body=body.encode(),
        authorization=signed(target, stamp=harness.clock.time, verb="POST", body=body),
    )
    status, reply = harness.http(request)
    assert (200, 0, []) == (status, reply["id"], reply["result"])
    assert "id" not in harness.get("/api/v2/public/get_time")[1]


def test_post_names_the_method_in_the_path_or_in_the_body() -> None:
    """The bare path takes the method from the body; a path with a method needs none."""
    harness = Harness()
    bare = HttpRequest(
        verb="POST", target="/api/v2", method="", body=b'{"id":1,"method":"/public/test"}'
    )
    path = HttpRequest(
        verb="POST", target="/api/v2/public/test", method="public/test", body=b'{"id":1}'
    )
    neither = HttpRequest(verb="POST", target="/api/v2", method="", body=b'{"id":1}')
    empty = HttpRequest(
        verb="POST", target="/api/v2/public/test", method="public/test", query=(("x", "y"),)
    )
    assert [200, 200, 400, 200] == [harness.http(each)[0] for each in (bare, path, neither, empty)]


@pytest.mark.parametrize(
    "method",
    [
        "public/hello?client_name=a&client_version=b",
        "public/set_heartbeat?interval=10",
        "public/disable_heartbeat",
        'public/subscribe?channels=["ticker.BTC-PERPETUAL.100ms"]',
        "private/subscribe?channels=user.orders.any.any.raw",
        "private/logout",
        "private/enable_cancel_on_disconnect",
        "private/get_cancel_on_disconnect",
    ],
)
def test_methods_that_need_a_connection_are_rejected_over_http(method: str) -> None:
    """10030 must_be_websocket_request."""
    status, body = Harness().get(f"/api/v2/{method}", basic("alice-key", "alice-secret"))
    assert (400, 10030) == (status, body["error"]["code"])
