"""Requests in every form that clients send, and malformed ones: the replies' envelopes."""

from __future__ import annotations

import json

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected

from tests.system.process import Addresses
from tests.system.strict import Json, Socket, Web, decoded, socket

TICKER = {"instrument_name": "BTC-PERPETUAL"}
BODY = {"jsonrpc": "2.0", "id": 7, "method": "public/ticker", "params": TICKER}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/api/v2", BODY, {"content-type": "application/json"}),
        ("/api/v2/", BODY, {"content-type": "application/json"}),
        ("/api/v2", BODY | {"method": "/public/ticker"}, {}),
        ("/api/v2", BODY, {"content-type": "text/plain"}),
        ("/api/v2", BODY, {"content-type": "application/x-www-form-urlencoded"}),
        ("/api/v2", BODY, {"content-type": "application/json; charset=utf-8"}),
        ("/api/v2/public/ticker", BODY, {}),
        ("/api/v2/public/ticker", {"id": 7, "params": TICKER}, {}),
        ("/api/v2/public/ticker", {"id": 7, "method": "", "params": TICKER}, {}),
        ("/api/v2/public/get_time", BODY, {}),
        ("/api/v2", BODY | {"params": TICKER | {"foo": {"bar": [1]}, "code": "x"}}, {}),
    ],
)
def test_every_form_of_post_is_served(http: Web, path: str, body: Json, headers: Json) -> None:
    """The method is in the body or in the path, the body's first; the type may be anything."""
    reply = http.post(path, body, **headers)
    assert reply["result"]["instrument_name"] == "BTC-PERPETUAL"
    assert (http.status, reply["id"]) == (200, 7)


@pytest.mark.parametrize("method", ["public/ticker", "/public/ticker", "public/ticker/"])
def test_get_takes_its_parameters_from_the_query(http: Web, method: str) -> None:
    """A GET has no id and gets none back."""
    reply = http.get(method, instrument_name="BTC-PERPETUAL", unknown="1")
    assert reply["result"]["instrument_name"] == "BTC-PERPETUAL"
    assert "id" not in reply


def test_a_post_without_a_body_takes_its_query(http: Web) -> None:
    """Some clients POST as if it were a GET."""
    reply = http.post("/api/v2/public/ticker?instrument_name=BTC-PERPETUAL", "")
    assert reply["result"]["instrument_name"] == "BTC-PERPETUAL"


@pytest.mark.parametrize(
    ("query", "length"),
    [
        ({"depth": "5"}, 5),
        ({"depth": "5.0"}, 5),
        ({"depth": "1e0"}, 1),
        ({}, 5),
        ({"depth": "10"}, 7),
    ],
)
def test_numbers_come_as_strings(addresses: Addresses, http: Web, query: Json, length: int) -> None:
    """`5`, `5.0` and `5e0` are the same number in a query."""
    name = "SOL_USDC-PERPETUAL"
    for level in range(7):
        http.call(
            "private/buy",
            "alice",
            instrument_name=name,
            amount="1.0",
            price=f"{149 - level * 0.1:.2f}",
            label="levels",
        )
    book = http.call("public/get_order_book", instrument_name=name, **query)
    assert length == len(book["bids"])
    assert sorted(book["bids"], reverse=True) == book["bids"]
    assert http.call("private/cancel_by_label", "alice", label="levels") == 7


@pytest.mark.parametrize(("text", "expired"), [("false", False), ("true", True), ("True", True)])
def test_booleans_come_as_strings(http: Web, text: str, expired: bool) -> None:
    """Python clients write `True`, others `true`."""
    listed = http.call("public/get_instruments", currency="BTC", expired=text)
    assert (listed == []) is expired


@pytest.mark.parametrize("number", ["101", 0, -1, "", "a\u00e9\n", 2**70, 12])
async def test_ids_come_back_as_they_were(addresses: Addresses, number: object) -> None:
    """Strings stay strings, 0 is an id, and no digit of a long one is lost."""
    async with socket(addresses.websocket) as client:
        await client.send({"id": number, "method": "public/test"})
        assert (await client.reply())["id"] == number


@pytest.mark.parametrize("params", ["", ',"params":null', ',"params":{}'])
async def test_params_may_be_absent(addresses: Addresses, params: str) -> None:
    """No params, null and an empty object are the same."""
    async with socket(addresses.websocket) as client:
        await client.send('{"id":1,"method":"public/test"' + params + "}")
        assert "version" in (await client.reply())["result"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_http_without_an_id_is_answered_without(http: Web, method: str) -> None:
    """`id` is absent rather than null."""
    reply = http.get("public/test") if method == "GET" else http.post("/api/v2/public/test", {})
    assert "id" not in reply


TEST = '"method":"public/test"'

MALFORMED: dict[str | bytes, int] = {
    "{": -32700,
    "": -32700,
    "{" + TEST + ',"id":1}}': -32700,
    '{"id":1,' + TEST + ',"params":{"x":NaN}}': -32700,
    '{"id":1,"method":"public/ticker","params":{"instrument_name":[],"x":null,"\\q":1}}': -32700,
    '{"id":1,"method":"public/ticker","params":{"instrument_name":"\\ud800"}}': -32700,
    '{"id":1,' + TEST + ',"params":{"x":' + "[" * 9_000 + "]" * 9_000 + "}}": -32700,
    b"\xff\xfe": -32700,
    b'{"id":1,"method":"public/test","params":{"x":"\xff"}}': -32700,
    "[]": -32600,
    '[{"id":1,' + TEST + "}]": -32600,
    "5": -32600,
    "null": -32600,
    '{"id":1}': -32600,
    '{"id":1,"method":null}': -32600,
    '{"id":1,"method":5}': -32600,
    "{" + TEST + "}": -32600,
    '{"id":null,' + TEST + "}": -32600,
    '{"id":1.5,' + TEST + "}": -32600,
    '{"id":true,' + TEST + "}": -32600,
    '{"id":[1],' + TEST + "}": -32600,
    '{"id":1,' + TEST + ',"params":[]}': -32602,
    '{"id":1,' + TEST + ',"params":"x"}': -32602,
    '{"id":1,"method":"public/nothing"}': -32601,
    '{"id":1,"method":"' + "x" * 30_000 + '"}': -32601,
    '{"id":1,"method":"public/get_index_chart_data"}': 10033,
}


async def test_malformed_frames_are_refused_and_the_connection_stays(addresses: Addresses) -> None:
    """Each is answered with the JSON-RPC error that it deserves, under its id where it has one."""
    async with socket(addresses.websocket) as client:
        for frame, code in MALFORMED.items():
            await client.send(frame)
            reply = await client.reply()
            assert (reply["error"]["code"], frame) == (code, frame)
            if code in (-32601, -32602):
                assert reply["id"] == 1
        assert "version" in await client.call("public/test")


def test_malformed_bodies_are_refused(http: Web) -> None:
    """Over HTTP they are answered alike, with a status that says whose fault it was."""
    for body, code in MALFORMED.items():
        needs_body = not body
        needs_id = isinstance(body, str) and code == -32600 and TEST in body and '"id":' not in body
        if needs_body or needs_id or body == '{"id":null,' + TEST + "}":
            continue
        reply = http.post("/api/v2", body, **{"content-type": "application/json"})
        assert (http.status, reply["error"]["code"], body) == (400, code, body)


def test_a_body_of_another_type_is_told_so(http: Web) -> None:
    """A form is no request."""
    reply = http.post(
        "/api/v2/public/ticker",
        "instrument_name=BTC-PERPETUAL",
        **{"content-type": "application/x-www-form-urlencoded"},
    )
    assert reply["error"] == {"code": 13018, "message": "invalid_content_type"}


def test_a_body_over_the_limit_is_refused(http: Web) -> None:
    """More than 32 kB is too large, whatever is in it."""
    reply = http.post("/api/v2", {"id": 1, "method": "public/test", "params": {"x": "y" * 40_000}})
    assert reply["error"] == {"code": -32600, "message": "request entity too large"}
    assert http.status == 413


async def test_a_frame_over_the_limit_is_refused_and_the_connection_stays(
    addresses: Addresses,
) -> None:
    """As a body is: the next request is answered."""
    async with socket(addresses.websocket) as client:
        await client.send({"id": 1, "method": "public/test", "params": {"x": "y" * 40_000}})
        reply = await client.reply()
        assert reply["error"] == {"code": -32600, "message": "request entity too large"}
        assert "version" in await client.call("public/test")


async def test_a_text_frame_that_is_no_text_ends_the_connection(addresses: Addresses) -> None:
    """And nobody else's."""
    async with socket(addresses.websocket) as client, socket(addresses.websocket) as other:
        # The library would not send it: a final text frame of two bytes, masked with zeros.
        await client.stream.send_all(b"\x81\x82\0\0\0\0\xff\xfe")
        assert await _closing_code(client) in (1006, 1007)
        assert "version" in await other.call("public/test")


async def _closing_code(client: Socket) -> int:
    with trio.fail_after(5), pytest.raises(ConnectionClosed) as caught:
        await client.connection.get_message()
    reason = caught.value.reason
    assert reason is not None
    code: int = reason.code
    return code


async def test_binary_frames_are_read_as_text(addresses: Addresses) -> None:
    """Some clients send bytes."""
    async with socket(addresses.websocket) as client:
        await client.send(b'{"id":1,"method":"public/test"}')
        assert (await client.reply())["id"] == 1


async def test_other_paths_are_not_websockets(addresses: Addresses) -> None:
    """Only /ws/api/v2 opens; a query or a slash behind it does no harm."""
    with pytest.RaisesGroup(ConnectionRejected):
        async with socket(addresses.websocket.replace("v2", "v1")):
            pass
    for suffix in ("/", "?a=b"):
        async with socket(addresses.websocket + suffix) as client:
            assert isinstance(await client.call("public/get_time"), int)


async def test_replies_are_json_in_one_text_frame(addresses: Addresses) -> None:
    """Text, not binary; one object a frame; times in microseconds around our own."""
    async with socket(addresses.websocket) as client:
        await client.send('{"id":1,"method":"public/get_time"}')
        message = await client.connection.get_message()
        assert isinstance(message, str)
        reply = decoded(message)
        assert reply["usIn"] // 1_000 - 1 <= reply["result"] <= reply["usOut"] // 1_000 + 1
        assert json.loads(message) == reply
