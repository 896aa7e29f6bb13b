"""Parameters as text: numbers, booleans and lists, in JSON and in query strings."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.gateway.harness import Client, Harness

BTC: Final = "BTC-PERPETUAL"
BASIC: Final = "Basic YWxpY2Uta2V5OmFsaWNlLXNlY3JldA=="

# What Python reads as numbers and JSON does not, and the like.
NO_NUMBERS: Final = (
    *("65_000", "6_5", "+65000", "65000.", ".5", "-", "", " ", " 65000", "65000 ", "\t1", "1\n"),
    *("\uff16\uff15\uff10\uff10\uff10", "\u0663", "1\u0663", "\u00b2", "0x10", "0b1", "010", "00"),
    *("1e", "1e+", "e5", "1e5.0", "1,000", "1 000", "NaN", "sNaN", "nan", "Infinity", "-inf"),
    *("true", "null", "[1]", "{}", '"1"', "1.5.2", "--1", "1-", "\u22121", "1d", "1f", "1j"),
)
NUMBERS: Final = ("10", "10.0", "1e1", "1E+1", "100e-1", "10.00000", "0.1e2", "10e0")


@pytest.fixture(scope="module")
def alice() -> Client:
    return Harness().connect("alice")


def get(client: Client, method: str, **params: str) -> dict[str, Any]:
    """Return the reply to a GET with these values."""
    query = "&".join(f"{name}={quote(value)}" for name, value in params.items())
    _, reply = client.harness.get(f"/api/v2/{method}?{query}", BASIC)
    return reply


def margins(client: Client, *, over: str, **given: object) -> dict[str, Any]:
    """Send a request with two exact numbers over HTTP or WebSocket."""
    params: dict[str, Any] = {"instrument_name": BTC, "amount": "10", "price": "65000"} | given
    if over == "get":
        return get(client, "private/get_margins", **params)
    return client.request("private/get_margins", **params)


@pytest.mark.parametrize("over", ["get", "json"])
@pytest.mark.parametrize("param", ["amount", "price"])
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_a_string_without_a_json_number_is_rejected(
    alice: Client, over: str, param: str, text: str
) -> None:
    """The error names the parameter."""
    reply = margins(alice, over=over, **{param: text})
    assert {"reason": "wrong format", "param": param} == reply["error"]["data"]


@pytest.mark.parametrize("over", ["get", "json"])
@pytest.mark.parametrize("text", NUMBERS)
def test_a_string_of_a_json_number_is_that_number(alice: Client, over: str, text: str) -> None:
    """All notations of ten are equal."""
    expected = alice.call("private/get_margins", instrument_name=BTC, amount=10, price=65_000)
    assert expected == margins(alice, over=over, amount=text)["result"]


texts = st.one_of(
    st.text(max_size=8),
    st.text(st.sampled_from("0123456789+-.eE_ "), max_size=8),
    st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{1,4})?([eE][+-]?[0-9])?", fullmatch=True),
)


@given(texts, st.sampled_from(["get", "json"]))
@example("1_0", "json")
@example("\u0661", "get")
def test_strings_follow_the_grammar_of_json_numbers(text: str, over: str) -> None:
    """A text is accepted as a number exactly if a JSON parser accepts it."""
    assume_encodable(text)
    reply = margins(_SHARED, over=over, amount=text)
    refused = reply.get("error", {}).get("data", {}).get("reason") == "wrong format"
    assert refused is not _is_number(text)


_SHARED = Harness().connect("alice")


def assume_encodable(text: str) -> None:
    """Lone surrogates cannot be encoded."""
    from hypothesis import assume

    assume(not any(0xD800 <= ord(each) < 0xE000 for each in text))


def _is_number(text: str) -> bool:
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        return False
    return type(value) in (int, float) and text == text.strip()


@pytest.mark.parametrize("over", ["get", "json"])
@pytest.mark.parametrize("text", [each for each in NO_NUMBERS if each])
def test_whole_numbers_follow_the_same_grammar(alice: Client, over: str, text: str) -> None:
    """Counts, depths and timestamps; `null` is not a timestamp."""
    for method, param in (
        ("public/get_order_book", "depth"),
        ("public/get_last_trades_by_instrument", "count"),
        ("public/get_last_trades_by_instrument", "start_timestamp"),
    ):
        if (param, text) == ("start_timestamp", "null"):
            continue
        given = {"instrument_name": BTC, param: text}
        reply = get(alice, method, **given) if over == "get" else alice.request(method, **given)
        assert {"reason": "wrong format", "param": param} == reply["error"]["data"]


@pytest.mark.parametrize("text", [each for each in NO_NUMBERS if each])
def test_seconds_follow_the_same_grammar(alice: Client, text: str) -> None:
    """The heartbeat interval is the only double; infinities and NaN are out of bounds."""
    error = alice.error("public/set_heartbeat", interval=text)
    assert (-32602, "interval") == (error["code"], error["data"]["param"])


@pytest.mark.parametrize("over", ["get", "json"])
def test_numbers_out_of_range_name_the_limit(alice: Client, over: str) -> None:
    """The error names the parameter and the limit."""
    for method, param, text, reason in (
        ("private/get_margins", "amount", "10000000000", "must be below 10000000000"),
        ("private/get_margins", "amount", "1e99", "must be below 10000000000"),
        ("private/get_margins", "price", "-1e10", "must be above -10000000000"),
        ("public/get_order_book", "depth", "0", "must be >= 1"),
        ("public/get_order_book", "depth", "10001", "must be <= 10000"),
        ("public/get_last_trades_by_instrument", "count", "1001", "must be <= 1000"),
        ("public/get_last_trades_by_instrument", "start_seq", "-1", "must be >= 0"),
    ):
        given = {"instrument_name": BTC, "amount": "10", "price": "65000"} | {param: text}
        reply = get(alice, method, **given) if over == "get" else alice.request(method, **given)
        assert {"reason": reason, "param": param} == reply["error"]["data"]


@pytest.mark.parametrize("number", ["1e99999999999999999999", "1e-99999999999999999999"])
def test_an_exponent_beyond_the_range_is_rejected_by_name(alice: Client, number: str) -> None:
    """A JSON number that Decimal cannot represent."""
    params = f'{{"instrument_name":"{BTC}","amount":{number},"price":65000}}'
    alice.carry_out(
        alice.send(f'{{"id":1,"method":"private/get_margins","params":{params}}}'.encode())
    )
    error = alice.sink.replies[-1]["error"]
    assert (-32602, "amount") == (error["code"], error["data"]["param"])


@pytest.mark.parametrize("value", [True, False, None, [], [10], {}, {"a": 1}])
@pytest.mark.parametrize("param", ["amount", "price"])
def test_a_value_that_is_not_a_number_is_rejected(alice: Client, param: str, value: object) -> None:
    """Including true, which equals 1 in Python."""
    error = margins(alice, over="json", **{param: value})["error"]
    reason = "must not be null" if value is None else "wrong format"
    assert (-32602, {"reason": reason, "param": param}) == (error["code"], error["data"])


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("true", True),
        ("false", False),
        # As clients in Python write it.
        ("True", True),
        ("False", False),
        ("yes", None),
        ("", None),
        (" true", None),
        ("truex", None),
        ("2", None),
        ("null", None),
        ("\uff54rue", None),
    ],
)
@pytest.mark.parametrize("over", ["get", "json"])
def test_booleans_may_be_strings(alice: Client, over: str, text: str, meaning: bool | None) -> None:
    """Only `true` and `false` are accepted."""
    given = {"currency": "BTC", "extended": text}
    method = "private/get_account_summary"
    reply = get(alice, method, **given) if over == "get" else alice.request(method, **given)
    if meaning is None:
        assert {"reason": "wrong format", "param": "extended"} == reply["error"]["data"]
    else:
        assert meaning is ("username" in reply["result"])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("ids=%5B%22ETH-9%22%2C%225%22%5D", True),
        ("ids=ETH-9&ids=5", True),
        ("ids[]=ETH-9&ids[]=5", True),
        ("ids=%5B%5D", True),
        ("ids=%5B1%5D", False),
        ("ids=%5B%22a%22", False),
        ("ids=%5B%22a%22%5D%5D", False),
        ("ids=%5Bnull%5D", False),
        ("ids=%5B%5B%22a%22%5D%5D", False),
        ("ids=%5B" * 2_000, False),
    ],
)
def test_lists_are_json_or_repeated_keys(alice: Client, query: str, ids: bool) -> None:
    """Anything but a list of strings is rejected by name."""
    _, reply = alice.harness.get(f"/api/v2/private/get_order_margin_by_ids?{query}", BASIC)
    if ids:
        assert [] == reply["result"]
    else:
        assert {"reason": "wrong format", "param": "ids"} == reply["error"]["data"]
