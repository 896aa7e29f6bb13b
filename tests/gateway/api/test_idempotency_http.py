"""Idempotency keys over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway.api.context import HttpRequest
from tests.gateway.harness import Harness, Json
from tests.gateway.server_fixtures import credentials

BTC = "BTC-PERPETUAL"


ORDER: Json = {"instrument_name": BTC, "amount": 10, "type": "limit", "price": 64_500}


def token_of(harness: Harness) -> str:
    """Return an access token of Alice for HTTP."""
    status, reply = harness.get(f"/api/v2/public/auth?{urlencode(credentials('alice'))}")
    assert 200 == status
    return str(reply["result"]["access_token"])


def by_get(harness: Harness, token: str, **params: object) -> tuple[int, Json]:
    """Status and reply of an order by GET."""
    query = urlencode(ORDER | params | {"access_token": token})
    return harness.get(f"/api/v2/private/buy?{query}")


def by_post(harness: Harness, token: str, **params: object) -> tuple[int, Json]:
    """Status and reply of an order by POST."""
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "private/buy"}
    body = msgspec.json.encode(rpc | {"params": ORDER | params | {"access_token": token}})
    return harness.http(HttpRequest(verb="POST", target="/api/v2", method="", body=body))


def outcome(reply: Json) -> Any:
    """Result or error, without the members that differ between replies."""
    return reply["result"] if "result" in reply else reply["error"]


def status_and_outcome(response: tuple[int, Json]) -> tuple[int, Any]:
    """The same with the HTTP status."""
    return response[0], outcome(response[1])


def test_a_key_is_shared_by_http_and_websocket() -> None:
    """A key names the same request in a query, in a body and in a frame."""
    harness = Harness()
    client = harness.connect("alice")
    token = token_of(harness)
    status, first = by_get(harness, token, idempotency_key="a")
    assert 200 == status
    assert (200, outcome(first)) == status_and_outcome(by_get(harness, token, idempotency_key="a"))
    assert (200, outcome(first)) == status_and_outcome(by_post(harness, token, idempotency_key="a"))
    before = harness.exchange.state.sequence
    again = client.request("private/buy", **ORDER | {"idempotency_key": "a"})
    assert outcome(first) == outcome(again)
    assert before == harness.exchange.state.sequence


def test_a_repeated_rejection_over_http_has_the_same_status() -> None:
    """Proxies read the status only."""
    harness = Harness()
    token = token_of(harness)
    big = {"amount": 500_000_000, "idempotency_key": "a"}
    first = by_get(harness, token, **big)
    assert (400, 10018) == (first[0], first[1]["error"]["code"])
    assert status_and_outcome(first) == status_and_outcome(by_get(harness, token, **big))


def test_an_invalid_key_in_a_query_is_named() -> None:
    """An empty key is invalid too."""
    harness = Harness()
    token = token_of(harness)
    for key in ("", "k" * 65):
        status, reply = by_get(harness, token, idempotency_key=key)
        assert (400, -32602) == (status, reply["error"]["code"])
        assert "idempotency_key" == reply["error"]["data"]["param"]
