"""Logging in, tokens, scopes, heartbeats and disconnects, as clients' libraries do them."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import time
from collections.abc import Callable

import pytest
import trio
from trio_websocket import ConnectionClosed

from tests.system.process import Addresses
from tests.system.schemas import AUTH, mismatches
from tests.system.strict import Json, Socket, Web, limit, socket

POSITIONS = "/api/v2/private/get_positions?currency=BTC&kind=future"

_nonces = itertools.count()


def sign(secret: str, *lines: str) -> str:
    """A signature of some lines, as clients make it."""
    return hmac.digest(secret.encode(), "\n".join(lines).encode(), "sha256").hex()


def millis() -> str:
    """Now, by the client's clock."""
    return str(time.time_ns() // 1_000_000)


def signed(form: str, verb: str, target: str, body: str = "") -> str:
    """An Authorization header by signature, its parts in the order that `form` has."""
    stamp, nonce = millis(), f"n{next(_nonces)}"
    signature = sign("alice-secret", stamp, nonce, verb, target, body, "")
    return form.format(id="alice-key", ts=stamp, sig=signature, nonce=nonce)


FORMS = [
    "deri-hmac-sha256 id={id},ts={ts},sig={sig},nonce={nonce}",
    "deri-hmac-sha256 id={id},ts={ts},nonce={nonce},sig={sig}",
    "Deri-Hmac-Sha256 sig={sig}, nonce={nonce}, ts={ts}, id={id}",
]


@pytest.mark.parametrize("form", FORMS)
def test_signed_headers_come_in_any_order(http: Web, form: str) -> None:
    """Of GET with its query, and of POST with its body; the scheme in any letter case."""
    header = {"authorization": signed(form, "GET", POSITIONS)}
    reply = http.get(POSITIONS.removeprefix("/api/v2/"), header)
    assert reply["result"] == []
    body = json.dumps({"id": "101", "method": "private/get_positions", "params": {}})
    reply = http.post("/api/v2", body, authorization=signed(form, "POST", "/api/v2", body))
    assert (reply["id"], reply["result"]) == ("101", [])


def test_a_signature_counts_for_what_it_signed(http: Web) -> None:
    """Not for another query, not for another body, and not twice."""
    header = signed(FORMS[0], "GET", POSITIONS)
    other = POSITIONS.replace("BTC", "ETH").removeprefix("/api/v2/")
    assert http.get(other, {"authorization": header})["error"]["code"] == 13004
    assert http.status == 401
    path = POSITIONS.removeprefix("/api/v2/")
    assert http.get(path, {"authorization": header})["result"] == []
    assert http.get(path, {"authorization": header})["error"]["code"] == 13004


def basic(text: str) -> str:
    """A Basic header."""
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", 10000),
        ("Basic", 13004),
        ("Basic !!!", 10000),
        (basic("alice-key"), 13004),
        (basic("alice-key:wrong"), 13004),
        (basic("nobody:alice-secret"), 13004),
        ("bearer", 13009),
        ("bearer forged", 13009),
        ("Digest x", 10000),
        ("deri-hmac-sha256", 10000),
        ("deri-hmac-sha256 id=alice-key,ts=1,sig=x,nonce=y", 13004),
        ("deri-hmac-sha256 id=alice-key,ts=x,sig=x,nonce=y", -32602),
    ],
)
def test_bad_headers_are_refused(http: Web, header: str, code: int) -> None:
    """10000 for what says nothing, 13004 for bad credentials, 13009 for bad tokens."""
    reply = http.get("private/get_positions", {"authorization": header} if header else None)
    assert reply["error"]["code"] == code
    assert http.status == (400 if code == -32602 else 401)


LOGIN = {"client_id": "alice-key", "client_secret": "alice-secret"}


def granted(http: Web, **params: str) -> Json:
    """A log-in over HTTP."""
    result: Json = http.call("public/auth", grant_type="client_credentials", **LOGIN, **params)
    assert [] == mismatches(result, AUTH)
    return result


def test_a_token_goes_wherever_a_client_puts_it(http: Web) -> None:
    """In the header, in the query, in the params of a body."""
    token = granted(http)["access_token"]
    for scheme in ("bearer", "Bearer"):
        reply = http.get("private/get_positions", {"authorization": f"{scheme} {token}"})
        assert reply["result"] == []
    assert http.get("private/get_positions", access_token=token)["result"] == []
    body = {"method": "private/get_positions", "params": {"access_token": token}}
    assert http.post("/api/v2", body)["result"] == []
    del body["params"]
    reply = http.post(f"/api/v2/private/get_positions?access_token={token}", body)
    assert reply["result"] == []


@pytest.mark.parametrize("token", ["", "x", "a.b", "é", 5, {"a": 1}, []])
async def test_forged_tokens_are_13009_on_any_method(alice: Socket, token: object) -> None:
    """Also where the connection is logged in: a request that brings a token stands on it."""
    for method in ("private/get_positions", "public/get_time"):
        assert await alice.code(method, access_token=token) == 13009


async def test_tampered_tokens_are_refused(addresses: Addresses, http: Web) -> None:
    """One character changed anywhere, a refresh token in an access token's place, or cut short."""
    result = granted(http)
    token = result["access_token"]
    changed = [
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        for at in range(0, len(token), 23)
    ]
    wrong = [token[:-1], token + "A", result["refresh_token"], *changed]
    async with socket(addresses.websocket) as client:
        for each in wrong:
            assert await client.code("private/get_positions", access_token=each) == 13009


def signature_params() -> Json:
    """Parameters of a log-in by signature."""
    stamp, nonce = millis(), f"n{next(_nonces)}"
    return {
        "client_id": "alice-key",
        "timestamp": stamp,
        "nonce": nonce,
        "data": "",
        "signature": sign("alice-secret", stamp, nonce, ""),
    }


@pytest.mark.parametrize("kind", [int, str])
async def test_log_in_by_signature(addresses: Addresses, kind: Callable[[str], object]) -> None:
    """The timestamp is a number or a string; `state` comes back; `data` may be absent."""
    params = signature_params()
    params["timestamp"] = kind(params["timestamp"])
    del params["data"]
    async with socket(addresses.websocket) as client:
        result = await client.call(
            "public/auth", grant_type="client_signature", state="s", foo=1, **params
        )
        assert [] == mismatches(result, AUTH)
        assert result["state"] == "s"
        assert await client.call("private/get_positions", currency="any") == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": "password"}, -32602),
        ({"grant_type": None}, -32602),
        ({"client_id": "nobody"}, 13004),
        ({"client_id": None}, -32602),
        ({"client_secret": "wrong"}, 13004),
        ({"client_secret": None}, -32602),
        ({"client_secret": 5}, -32602),
        ({"grant_type": "refresh_token", "refresh_token": "forged"}, 13009),
        ({"grant_type": "refresh_token"}, -32602),
        ({"grant_type": "client_signature"}, -32602),
        ({"grant_type": "client_signature", **signature_params(), "signature": "00"}, 13004),
        ({"grant_type": "client_signature", **signature_params(), "timestamp": "x"}, -32602),
        ({"grant_type": "client_signature", **signature_params(), "timestamp": 1}, 13004),
        ({"scope": "expires:x"}, -32602),
    ],
)
async def test_bad_log_ins_are_refused(addresses: Addresses, changes: Json, code: int) -> None:
    """And leave the connection as it was."""
    params = {"grant_type": "client_credentials", **LOGIN} | changes
    async with socket(addresses.websocket) as client:
        assert await client.code("public/auth", **params) == code
        assert await client.code("private/get_positions") == 10000


async def test_a_log_in_may_be_followed_at_once(addresses: Addresses) -> None:
    """Clients send auth, a private subscription and an order without waiting for any reply."""
    async with socket(addresses.websocket) as client:
        channels = ["user.orders.any.any.raw"]
        auth = {"grant_type": "client_credentials", **LOGIN}
        for number, (method, params) in enumerate(
            [
                ("public/auth", auth),
                ("private/subscribe", {"channels": channels, "scope": "trade:read"}),
                ("private/buy", limit()),
                ("private/cancel_all", {}),
            ]
        ):
            await client.send({"id": number, "method": method, "params": params})
        replies = {reply["id"]: reply for reply in [await client.reply() for _ in range(4)]}
        assert [] == mismatches(replies[0]["result"], AUTH)
        assert replies[1]["result"] == channels
        assert replies[2]["result"]["order"]["order_state"] == "open"
        assert replies[3]["result"] == 1
        states = [(await client.push(channels[0]))["order_state"] for _ in range(2)]
        assert states == ["open", "cancelled"]


async def test_tokens_of_a_connection_end_with_it(addresses: Addresses, http: Web) -> None:
    """Elsewhere they are 13009; a session's token counts anywhere, and later."""
    async with socket(addresses.websocket) as client:
        own = await client.log_in("alice")
        assert own["scope"].startswith("connection ")
        shared = await client.log_in("alice", scope="session:a-b-c trade:read")
        assert shared["scope"].startswith("session:a-b-c ")
        assert shared["sid"] == "a-b-c"
        assert await client.code("private/buy", **limit()) == 13021
    assert http.code("private/get_positions", access_token=own["access_token"]) == 13009
    assert http.call("private/get_positions", access_token=shared["access_token"]) == []
    reply = http.get("private/get_account_summaries", access_token=shared["access_token"])
    assert reply["error"]["code"] == 13021


async def test_tokens_expire_and_are_refreshed(addresses: Addresses) -> None:
    """After `expires_in` seconds private methods are 13009, public ones and refreshing go on."""
    async with socket(addresses.websocket) as client:
        first = await client.log_in("alice", scope="expires:1")
        assert first["expires_in"] == 1
        assert await client.call("private/get_positions") == []
        await trio.sleep(1.1)
        assert await client.code("private/get_positions") == 13009
        assert isinstance(await client.call("public/get_time"), int)
        refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        second = await client.call("public/auth", **refresh)
        assert [] == mismatches(second, AUTH)
        assert await client.call("private/get_positions") == []
        assert second["access_token"] != first["access_token"]
        assert await client.code("public/auth", **refresh) == 13009


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("public/hello", {"client_name": "x", "client_version": "1"}),
        ("public/set_heartbeat", {"interval": 10}),
        ("public/disable_heartbeat", {}),
        ("public/subscribe", {"channels": ["ticker.BTC-PERPETUAL.100ms"]}),
        ("public/unsubscribe", {"channels": ["ticker.BTC-PERPETUAL.100ms"]}),
        ("public/unsubscribe_all", {}),
        ("private/subscribe", {"channels": ["user.portfolio.btc"]}),
        ("private/unsubscribe", {"channels": ["user.portfolio.btc"]}),
        ("private/unsubscribe_all", {}),
        ("private/logout", {}),
        ("private/enable_cancel_on_disconnect", {}),
        ("private/disable_cancel_on_disconnect", {"scope": "connection"}),
        ("private/get_cancel_on_disconnect", {}),
    ],
)
def test_methods_of_connections_refuse_http(http: Web, method: str, params: Json) -> None:
    """With 10030, by GET and by POST."""
    assert http.code(method, "alice", **params) == 10030
    body = {"id": 1, "method": method, "params": params}
    reply = http.post("/api/v2", body, authorization=basic("alice-key:alice-secret"))
    assert reply["error"] == {"code": 10030, "message": "must_be_websocket_request"}


async def test_greetings(addresses: Addresses, http: Web) -> None:
    """hello, test, status and time; `locked` is a string."""
    async with socket(addresses.websocket) as client:
        greeting = await client.call("public/hello", client_name="x", client_version="1")
        assert greeting == await client.call("public/test")
        assert isinstance(greeting["version"], str)
        assert await client.code("public/test", expected_result="exception") == 10001
        assert await client.call("public/status") == {"locked": "false", "locked_indices": []}
        assert await client.call("public/set_heartbeat", interval="10") == "ok"
        assert await client.call("public/set_heartbeat", interval=30) == "ok"
        assert await client.call("public/disable_heartbeat") == "ok"
        for interval in (9, 0, -1, "nan", "inf", 1e300, None):
            assert await client.code("public/set_heartbeat", interval=interval) == -32602
    assert abs(http.call("public/get_time") - time.time() * 1_000) < 5_000


async def test_cancel_on_disconnect_is_set_and_told(alice: Socket, http: Web) -> None:
    """For the connection, or over HTTP as well for all that are to come."""
    for scope in ("connection", "account"):
        for verb, enabled in (("enable", True), ("disable", False)):
            assert await alice.call(f"private/{verb}_cancel_on_disconnect", scope=scope) == "ok"
            told = await alice.call("private/get_cancel_on_disconnect", scope=scope)
            assert told == {"scope": scope, "enabled": enabled}
    assert http.call("private/enable_cancel_on_disconnect", "alice", scope="account") == "ok"
    told = http.call("private/get_cancel_on_disconnect", "alice", scope="account")
    assert told == {"scope": "account", "enabled": True}
    assert http.call("private/disable_cancel_on_disconnect", "alice", scope="account") == "ok"
    assert await alice.code("private/enable_cancel_on_disconnect", scope="world") == -32602


async def test_orders_end_with_a_connection_that_is_cut(
    addresses: Addresses, alice: Socket
) -> None:
    """Those of that connection, and no others; the reason is told."""
    await alice.call("private/subscribe", channels=["user.orders.any.any.raw"])
    other = (await alice.call("private/buy", **limit(64_400)))["order"]["order_id"]
    await alice.push("user.orders.any.any.raw")
    async with socket(addresses.websocket, "alice") as doomed:
        await doomed.call("private/enable_cancel_on_disconnect")
        order = (await doomed.call("private/buy", **limit()))["order"]["order_id"]
        doomed.cut()
    ended = await alice.push(
        "user.orders.any.any.raw", lambda each: each["order_state"] == "cancelled"
    )
    assert (ended["order_id"], ended["cancel_reason"]) == (order, "cancel_on_disconnect")
    assert [each["order_id"] for each in await alice.call("private/get_open_orders")] == [other]


async def test_a_connection_that_changes_hands_still_ends_its_orders(
    addresses: Addresses, alice: Socket, bob: Socket
) -> None:
    """Cancel-on-disconnect was asked of the connection: another log-in does not take it back."""
    channel = "user.orders.any.any.raw"
    for client in (alice, bob):
        await client.call("private/subscribe", channels=[channel])
    async with socket(addresses.websocket, "alice") as doomed:
        await doomed.call("private/enable_cancel_on_disconnect")
        await doomed.call("private/buy", **limit())
        await doomed.log_in("bob")
        told = await doomed.call("private/get_cancel_on_disconnect")
        assert told == {"scope": "connection", "enabled": True}
        await doomed.call("private/buy", **limit(64_400))
        doomed.cut()
    for client in (alice, bob):
        ended = await client.push(channel, lambda order: order["order_state"] == "cancelled")
        assert ended["cancel_reason"] == "cancel_on_disconnect"
        assert await client.call("private/get_open_orders") == []


async def test_logging_out_leaves_the_orders(addresses: Addresses, alice: Socket) -> None:
    """There is no reply; the connection closes, its tokens end, what it ordered stays."""
    async with socket(addresses.websocket) as client:
        login = await client.log_in("alice", scope="session:x")
        await client.call("private/enable_cancel_on_disconnect")
        order = (await client.call("private/buy", **limit()))["order"]["order_id"]
        await client.send({"id": 9, "method": "private/logout", "params": {}})
        with trio.fail_after(5), pytest.raises(ConnectionClosed, match="1000"):
            await client.connection.get_message()
    token = login["access_token"]
    assert await alice.code("private/get_positions", access_token=token) == 13009
    assert [each["order_id"] for each in await alice.call("private/get_open_orders")] == [order]


@pytest.mark.parametrize("place", ["connection", "session:bot"])
async def test_private_channels_end_with_the_token(
    addresses: Addresses, http: Web, place: str
) -> None:
    """At the second of its expiry, though the client asks for nothing; public ones go on."""
    orders, book = "user.orders.any.any.raw", "book.BTC-PERPETUAL.100ms"
    order: Json = {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 60_000}
    async with socket(addresses.websocket) as client:
        await client.log_in("alice", scope=f"{place} trade:read expires:2")
        assert [orders, book] == await client.call("private/subscribe", channels=[orders, book])
        placed = http.call("private/buy", "alice", **order)["order"]["order_id"]
        assert placed == (await client.push(orders))["order_id"]
        await trio.sleep(2.1)
        client.pushed.clear()
        http.call("private/cancel", "alice", order_id=placed)
        await client.push(book, lambda data: any(row[0] == "delete" for row in data["bids"]))
        assert [] == [push for push in client.pushed if push["channel"] == orders]
        assert 13009 == await client.code("private/get_open_orders")
