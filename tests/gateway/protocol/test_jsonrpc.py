"""The outermost layer: numbers and envelopes."""

from decimal import Decimal
from fractions import Fraction
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.units import MONEY
from gateway.protocol import ids, jsonrpc
from gateway.protocol.errors import ApiError, Code
from gateway.protocol.jsonrpc import BadFrameError, RequestMeta, decode


def on_the_wire(number: jsonrpc.Number) -> str:
    return jsonrpc.encode(number).decode()


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (0, "0.0"),
        (1, "1e-8"),
        (-1, "-1e-8"),
        (50, "5e-7"),
        (6_500_050_000_000, "65000.5"),
        (10**15 - 1, "9999999.99999999"),
        (10**15 + 1, "10000000.00000001"),
        (-(10**23), "-1000000000000000"),
        (10**30 + 1, "10000000000000000000000.00000001"),
    ],
)
def test_prices_are_written_as_the_shortest_decimals(units: int, text: str) -> None:
    """A price is written with exactly its digits, however large."""
    assert text == on_the_wire(jsonrpc.price(units))


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_every_price_survives_encoding_and_decoding(units: int) -> None:
    """What was written, read as a decimal, is the same number of units."""
    assert Fraction(units, 10**8) == Fraction(on_the_wire(jsonrpc.price(units)))


@pytest.mark.parametrize(
    ("units", "text"),
    [(4_999, "0.0"), (5_000, "0.0"), (15_000, "2e-8"), (-15_000, "-2e-8"), (MONEY, "1.0")],
)
def test_money_is_rounded_half_even_to_eight_decimals(units: int, text: str) -> None:
    """Money is kept in 1e-12 and shown in 1e-8."""
    assert text == on_the_wire(jsonrpc.money(units))


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0.1", 10_000_000),
        ("10", 1_000_000_000),
        ("1e2", 10_000_000_000),
        ("-0.00000001", -1),
        ("10.0000000000000000000000000000000000000000000000000", 1_000_000_000),
        ("9999999999.99999999", 10**18 - 1),
    ],
)
def test_numbers_are_decoded_exactly(text: str, units: int) -> None:
    """Zeros at the end say nothing; every other digit counts."""
    assert units == jsonrpc.units(Decimal(text), "amount")


@pytest.mark.parametrize("digits", ["0", "10", "-5", "9999999999", "-9999999999"])
def test_integers_and_decimals_are_converted_alike(digits: str) -> None:
    """The fast path for integers gives the same result."""
    assert jsonrpc.units(Decimal(digits), "amount") == jsonrpc.units(int(digits), "amount")


@pytest.mark.parametrize("number", [10**10, -(10**10), 10**400])
def test_an_integer_out_of_range_is_rejected_by_name(number: int) -> None:
    """Integers have the same bounds as decimals."""
    with pytest.raises(ApiError) as caught:
        jsonrpc.units(number, "price")
    limit = "must be below 10000000000" if number > 0 else "must be above -10000000000"
    assert caught.value.data == {"reason": limit, "param": "price"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "wrong format"),
        ("Infinity", "must be below 10000000000"),
        ("-Infinity", "must be above -10000000000"),
        ("10000000000", "must be below 10000000000"),
        ("1e400", "must be below 10000000000"),
        ("1e999999999", "must be below 10000000000"),
        ("-1e999999999", "must be above -10000000000"),
    ],
)
def test_a_number_out_of_range_is_rejected_by_name(text: str, reason: str) -> None:
    """What could not be a price or an amount never becomes an integer."""
    with pytest.raises(ApiError) as caught:
        jsonrpc.units(Decimal(text), "amount")
    assert caught.value.data == {"reason": reason, "param": "amount"}


@pytest.mark.parametrize(
    "text", ["0.000000001", "1e-999999999", "10.00000000000000000000000000000000000000000001"]
)
def test_too_many_decimals_are_rejected(text: str) -> None:
    """A number is refused rather than rounded, with the code that belongs to it."""
    with pytest.raises(ApiError) as caught:
        jsonrpc.units(Decimal(text), "price", finer=Code.PRICE_PRECISION_EXCEEDED)
    assert (10026, "price_precision_exceeded") == (caught.value.code, caught.value.message)


@pytest.mark.parametrize(
    "identity",
    [
        *("0", "7", "-1", '"7"', '""', '"\\u00e9"', "123456789012345678901234567890", "9" * 5_000),
        *("1.0", "1e3", "1E+3", "-0", "-0.0", "0e0", "10.00", "1.5e1", "1e999999", '"1.50"'),
    ],
)
def test_an_id_is_echoed_as_it_was_sent(identity: str) -> None:
    """Integers stay integers, strings strings, 0 is an id, and no digit is lost."""
    request = decode(f'{{"method":"public/test","id":{identity}}}', limit=9_000, needs_id=True)
    assert identity == bytes(request.id).decode()
    reply = jsonrpc.result(RequestMeta(request.id, 1, testnet=True), "ok", 3)
    assert f'"id":{identity},' in reply.decode()


def test_the_reply_to_a_request_without_an_id_has_none() -> None:
    """The id is left out, not null."""
    request = decode(b'{"method":"public/test"}', limit=1_000, needs_id=False)
    reply = msgspec.json.decode(jsonrpc.result(RequestMeta(request.id, 5, testnet=False), {}, 9))
    expected = {
        "jsonrpc": "2.0",
        "result": {},
        "usIn": 5,
        "usOut": 9,
        "usDiff": 4,
        "testnet": False,
    }
    assert expected == reply


def test_an_error_without_data_omits_the_member() -> None:
    """`data` is omitted rather than empty."""
    meta = RequestMeta(msgspec.Raw(b"1"), 5, testnet=True)
    plain = msgspec.json.decode(jsonrpc.error_reply(meta, ApiError(11054), 9))
    assert {"code": 11054, "message": "post_only_reject"} == plain["error"]
    assert "result" not in plain
    error = ApiError(-32602, data={"param": "x"})
    detailed = msgspec.json.decode(jsonrpc.error_reply(meta, error, 9))["error"]
    assert {"code": -32602, "message": "Invalid params", "data": {"param": "x"}} == detailed


@pytest.mark.parametrize(
    ("frame", "code", "identity"),
    [
        (b"", -32700, b""),
        (b"{", -32700, b""),
        (b"\xff", -32700, b""),
        (b'{"method":"a","id":"\xff"}', -32700, b""),
        (b'{"method":"a","id":1,"params":' + b"[" * 5_000 + b"]" * 5_000 + b"}", -32700, b""),
        (b"[]", -32600, b""),
        (b'[{"method":"public/test","id":1}]', -32600, b""),
        (b'"public/test"', -32600, b""),
        (b'{"id":3}', -32600, b"3"),
        (b'{"id":3,"method":5,"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", -32600, b""),
        ("\ud800", -32700, b""),
        (b'{"id":"x","method":5}', -32600, b'"x"'),
        (b'{"method":"public/test"}', -32600, b""),
        (b'{"method":"public/test","id":null}', -32600, b""),
        (b'{"method":"public/test","id":1.5}', -32600, b""),
        (b'{"method":"public/test","id":1e-3}', -32600, b""),
        (b'{"method":"public/test","id":1e99999999999999999999}', -32600, b""),
        (b'{"method":"public/test","id":{}}', -32600, b""),
        (b'{"method":"public/test","id":01}', -32700, b""),
        (b'{"method":"public/test","id":1.}', -32700, b""),
        (b'{"method":"public/test","id":+1}', -32700, b""),
        (b'{"method":"public/test","id":NaN}', -32700, b""),
        (b'{"method":"public/test","id":true}', -32600, b""),
        (b'{"method":"public/test","id":[1]}', -32600, b""),
        (b'{"method":"public/test","id":1}' + b" " * 20_000, -32600, b""),
    ],
)
def test_a_malformed_request_is_rejected_under_its_id(
    frame: bytes | str, code: int, identity: bytes
) -> None:
    """Arrays, wrong types and broken JSON have their codes, and the id if it can be decoded."""
    with pytest.raises(BadFrameError) as caught:
        decode(frame, limit=16_384, needs_id=True)
    assert (code, identity) == (caught.value.error.code, bytes(caught.value.id))


def test_the_method_in_the_body_precedes_the_path() -> None:
    """The path is used if the body names no method; a leading slash is allowed."""
    named = decode(b'{"method":"/public/test"}', limit=99, needs_id=False, method="public/hello")
    silent = decode(b"{}", limit=99, needs_id=False, method="public/hello")
    assert ("public/test", "public/hello") == (named.method, silent.method)


def test_a_frame_may_be_as_long_as_the_limit() -> None:
    """The limit is in bytes, not in characters."""
    frame = '{"method":"public/test","id":"é"}'
    size = len(frame.encode())
    assert "public/test" == decode(frame, limit=size, needs_id=True).method
    with pytest.raises(BadFrameError) as caught:
        decode(frame, limit=size - 1, needs_id=True)
    assert "request entity too large" == caught.value.error.message


def test_ids_of_orders_and_trades_have_the_family_prefix() -> None:
    """Digits for BTC, as clients expect; otherwise the family precedes the number."""
    shown = {
        instrument: name(instrument, 12)
        for instrument, name in product(
            ("BTC-PERPETUAL", "BTC-25DEC26", "ETH-PERPETUAL", "SOL_USDC-PERPETUAL"),
            (ids.order_id, ids.trade_id),
        )
    }
    expected = {
        "BTC-PERPETUAL": "12",
        "BTC-25DEC26": "12",
        "ETH-PERPETUAL": "ETH-12",
        "SOL_USDC-PERPETUAL": "SOL_USDC-12",
    }
    assert expected == shown
