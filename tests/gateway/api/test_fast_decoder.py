"""The fast decoder: what it decodes, what it leaves to the slow path, and that both agree."""

from __future__ import annotations

import msgspec
import pytest

from gateway.api.fast_decoder import FastDecoder
from gateway.api.methods import FAST_DECODER, METHODS
from gateway.api.methods.trading import OrderParams
from gateway.api.registry import NoParams
from gateway.protocol.outcome import Close, Reply, Submit
from tests.gateway.harness import Client, Harness, whole

ORDER = '{"instrument_name":"BTC-PERPETUAL","amount":10,"price":60000}'
BUY = f'"method":"private/buy","params":{ORDER}'


def test_the_members_of_the_envelope_may_be_in_any_order() -> None:
    """Parameters may precede the method that determines their type."""
    frame = f'{{"params":{ORDER},"id":7,"jsonrpc":"2.0","more":[{{}}],"method":"private/buy"}}'
    read = FAST_DECODER.decode(frame, 1_000)
    assert read is not None
    order = OrderParams(instrument_name="BTC-PERPETUAL", amount=10, price=60_000)
    assert (METHODS["private/buy"], order, 7) == (read.method, read.params, read.id)


def test_binary_frames_are_decoded_like_text() -> None:
    """A request may be a text or a binary message."""
    read = FAST_DECODER.decode(b'{"id":"a","method":"public/get_time","params":{}}', 1_000)
    assert read is not None
    assert NoParams() == read.params


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        f"{{{BUY}}}",
        f'{{"id":null,{BUY}}}',
        f'{{"id":"",{BUY}}}',
        f'{{"id":0,{BUY}}}',
        f'{{"id":-0,{BUY}}}',
        f'{{"id":1.0,{BUY}}}',
        f'{{"id":1.5,{BUY}}}',
        f'{{"id":1e2,{BUY}}}',
        f'{{"id":true,{BUY}}}',
        f'{{"id":[1],{BUY}}}',
        f'{{"id":"\\ud800",{BUY}}}',
        f'{{"id":9007199254740993,{BUY}}}',
        f'{{"id":7,{BUY}}} {{}}',
        f'{{"id":7,{BUY},"method":"private/sell"}}',
        '{"id":7,"method":"private/buy"}',
        '{"id":7,"method":"private/buy","params":null}',
        '{"id":7,"method":"private/buy","params":[1]}',
        '{"id":7,"method":"private/buy","params":{"instrument_name":null}}',
        '{"id":7,"method":"private/buy","params":{"instrument_name":"","access_token":5}}',
        '{"id":7,"method":"/private/buy","params":{"instrument_name":""}}',
        '{"id":7,"method":"private/none","params":{}}',
        '{"id":7,"method":"public/test","params":{"expected_result":"é"}}',
        '{"id":7,"method":"public/auth","params":{"access_token":"x"}}',
        '{"id":7,"method":"public/test","params":{"x":' + "[" * 5_000 + "]" * 5_000 + "}}",
    ],
)
def test_other_frames_are_left_to_the_slow_path(frame: str) -> None:
    """The slow path finds out whether they are malformed."""
    assert FAST_DECODER.decode(frame, 100_000) is None


def test_a_frame_above_the_limit_is_not_decoded() -> None:
    """A frame of exactly the limit is decoded."""
    frame = '{"id":7,"method":"public/get_time","params":{}}'
    assert FAST_DECODER.decode(frame, len(frame)) is not None
    assert FAST_DECODER.decode(frame, len(frame) - 1) is None


@pytest.mark.parametrize(
    "identity",
    [
        "1.0",
        "1e3",
        "-2E+0",
        "0",
        "-0",
        "7",
        "-1",
        '""',
        '"7"',
        '"1.0"',
        '"a\\"b"',
        '"\\u00e9"',
        "9007199254740993",
    ],
)
def test_both_decoders_echo_the_id_with_its_type(identity: str) -> None:
    """Integers stay integers, strings strings, and no digit is lost."""
    client = Harness().connect()
    (outcome,) = client.send(f'{{"id":{identity},"method":"public/get_time","params":{{}}}}')
    assert isinstance(outcome, Reply)
    echoed = msgspec.json.decode(whole(outcome.data))["id"]
    sent = msgspec.json.decode(identity)
    assert (sent, type(sent)) == (echoed, type(echoed))


def _comes_to(client: Client, frame: str) -> object:
    (outcome,) = client.send(frame)
    match outcome:
        case Reply(data=data, status=status):
            return msgspec.json.decode(whole(data)), status
        case Submit(command=command, origin=origin):
            return command, origin
        case Close():
            return outcome


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("private/buy", ORDER),
        ("private/buy", '{"instrument_name":"BTC-PERPETUAL","amount":"10.0","price":"6e4"}'),
        ("private/buy", '{"instrument_name":"BTC-PERPETUAL","amount":10.5,"price":60000}'),
        ("private/buy", '{"instrument_name":"BTC-PERPETUAL","amount":1e400,"price":60000}'),
        ("private/buy", '{"instrument_name":"BTC-PERPETUAL","amount":10,"price":0}'),
        ("private/buy", '{"instrument_name":"NONE","amount":10,"idempotency_key":"k"}'),
        ("private/buy", '{"instrument_name":"BTC-PERPETUAL","access_token":"no such"}'),
        ("private/buy", '{"instrument_name":"BTC-PERPETUAL","access_token":null,"amount":10}'),
        ("private/cancel", '{"order_id":"1"}'),
        ("private/cancel", '{"order_id":"x"}'),
        ("private/get_position", '{"instrument_name":"BTC-PERPETUAL"}'),
        ("private/logout", "{}"),
        ("public/get_time", '{"access_token":"no such"}'),
        ("public/test", '{"expected_result":"exception"}'),
        ("public/ticker", '{"instrument_name":"BTC-PERPETUAL"}'),
    ],
)
@pytest.mark.parametrize("name", ["", "alice", "reader"])
def test_both_decoders_lead_to_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch, name: str, method: str, params: str
) -> None:
    """Errors included: the same code, message and data."""
    frame = f'{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}'
    assert FAST_DECODER.decode(frame, 1_000) is not None
    at_once = _comes_to(Harness().connect(name), frame)
    monkeypatch.setattr(FastDecoder, "decode", lambda *_: None)
    assert at_once == _comes_to(Harness().connect(name), frame)
