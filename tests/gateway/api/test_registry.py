"""The method registry: decoding parameters and registering methods."""

from decimal import Decimal
from enum import Enum

import msgspec
import pytest

from gateway.access.rate_limits import Cost
from gateway.api.context import Call
from gateway.api.methods import METHODS, NOT_IMPLEMENTED
from gateway.api.registry import IdempotentParams, Method, NoParams, Params, method
from gateway.protocol.errors import ApiError
from gateway.protocol.pending_request import ReplyFormat


class Colour(Enum):
    """An enumeration."""

    RED = "red"


class Sample(Params, frozen=True):
    """One field of each type that parameters have."""

    name: str
    amount: Decimal | None = None
    count: int = 10
    detailed: bool = False
    colour: Colour = Colour.RED
    ids: list[str] = msgspec.field(default_factory=list)
    currency: str | list[str] = "any"


SAMPLE = Method(
    "public/sample",
    Sample,
    None,
    Cost.GENERAL,
    websocket_only=False,
    handler=lambda _call, params: params,
    lists=frozenset({"ids", "currency"}),
)


def complaint(json: str) -> tuple[int, object]:
    with pytest.raises(ApiError) as caught:
        SAMPLE.decode(msgspec.Raw(json.encode()))
    return caught.value.code, caught.value.data


def test_json_is_decoded_by_schema_and_unknown_keys_are_ignored() -> None:
    """Amounts keep every digit; unknown keys have no effect."""
    read = SAMPLE.decode(
        msgspec.Raw(b'{"name":"x","amount":0.30000000000000001,"ids":["1"],"direction":"buy"}')
    )
    assert Sample("x", Decimal("0.30000000000000001"), ids=["1"]) == read


def test_strings_in_json_are_converted_to_the_type_of_the_field() -> None:
    """Some clients send all values as strings."""
    read = SAMPLE.decode(msgspec.Raw(b'{"name":"5","amount":"10.0","count":"3","detailed":"true"}'))
    assert Sample("5", Decimal("10.0"), 3, detailed=True) == read


def test_null_counts_as_absent() -> None:
    """Some clients send null for optional fields."""
    read = SAMPLE.decode(msgspec.Raw(b'{"name":"x","count":null,"colour":null,"amount":null}'))
    assert Sample("x") == read


@pytest.mark.parametrize("raw", [b"", b"null", b"{}"])
def test_parameters_may_be_omitted(raw: bytes) -> None:
    """No params, null and an empty object are equivalent."""
    assert NoParams() == METHODS["public/get_time"].decode(msgspec.Raw(raw))


@pytest.mark.parametrize(
    ("json", "param", "reason"),
    [
        ("{}", "name", "must not be null"),
        ('{"name":null}', "name", "must not be null"),
        ('{"name":1}', "name", "wrong format"),
        ('{"name":"x","amount":"much"}', "amount", "wrong format"),
        ('{"name":"x","count":1.5}', "count", "wrong format"),
        ('{"name":"x","detailed":"perhaps"}', "detailed", "wrong format"),
        ('{"name":"x","colour":"green"}', "colour", "value not in list"),
        ('{"name":"x","ids":["1",2]}', "ids", "wrong format"),
    ],
)
def test_an_invalid_parameter_is_named_with_the_reason(json: str, param: str, reason: str) -> None:
    """-32602 has the parameter and the reason."""
    assert (-32602, {"reason": reason, "param": param}) == complaint(json)


def test_positional_parameters_are_rejected() -> None:
    """Parameters are an object."""
    assert (-32602, {"reason": "wrong format"}) == complaint("[1]")


def test_deeply_nested_parameters_are_a_parse_error() -> None:
    """Deep nesting cannot exhaust the stack."""
    assert (-32700, None) == complaint('{"other":' + "[" * 5_000 + "]" * 5_000 + "}")


def test_a_query_string_is_converted_by_schema() -> None:
    """Every value of a GET is a string."""
    query = [("name", "5"), ("amount", "10.0"), ("count", "3"), ("detailed", "true"), ("x", "y")]
    assert Sample("5", Decimal("10.0"), 3, detailed=True) == SAMPLE.convert(query)


@pytest.mark.parametrize(
    "query",
    [
        [("ids", '["a","b"]')],
        [("ids", "a"), ("ids", "b")],
        [("ids[]", "a"), ("ids[]", "b")],
    ],
)
def test_lists_in_a_query_have_three_forms(query: list[tuple[str, str]]) -> None:
    """JSON text, repeated keys, and keys with brackets."""
    assert Sample("x", ids=["a", "b"]) == SAMPLE.convert([("name", "x"), *query])


def test_one_value_is_a_list_of_one_in_a_query() -> None:
    """A single key is converted to a list by the schema."""
    read = SAMPLE.convert([("name", "x"), ("ids", "a"), ("currency", "BTC")])
    assert Sample("x", ids=["a"], currency=["BTC"]) == read


@pytest.mark.parametrize("value", ["[", "[1]", '{"a":1}[', "[" * 5_000])
def test_a_malformed_list_in_a_query_is_named(value: str) -> None:
    """A value that begins like JSON must be valid JSON."""
    with pytest.raises(ApiError) as caught:
        SAMPLE.convert([("name", "x"), ("ids", value if value.startswith("[") else "[" + value)])
    assert {"reason": "wrong format", "param": "ids"} == caught.value.data


def test_private_methods_need_a_scope_and_public_ones_have_none() -> None:
    """A missing scope is found when the method is registered."""

    def handler(call: Call, params: NoParams) -> object:
        return call, params

    with pytest.raises(TypeError, match="name a scope"):
        method("private/new", params=NoParams)(handler)
    with pytest.raises(TypeError, match="name a scope"):
        method("public/new", params=NoParams, scope="trade:read")(handler)
    with pytest.raises(TypeError, match="registered already"):
        method("public/get_time", params=NoParams)(handler)
    assert not {"private/new", "public/new"} & METHODS.keys()


def test_every_private_method_has_a_scope() -> None:
    """No private method is open by default."""
    unguarded = [row.name for row in METHODS.values() if row.name.startswith("private/")]
    assert [] == [name for name in unguarded if not METHODS[name].scope]
    assert unguarded


def test_names_are_public_or_private() -> None:
    """All names have a prefix, and no method is both registered and unimplemented."""
    assert set() == METHODS.keys() & NOT_IMPLEMENTED
    names = METHODS.keys() | NOT_IMPLEMENTED
    assert [] == [name for name in names if not name.startswith(("public/", "private/"))]


def test_idempotent_params_and_a_reply_format_go_together() -> None:
    """Without a reply format the first repeated request would fail."""

    def handler(call: Call, params: Params) -> object:
        return call, params

    def tell(_call: Call, _params: Params) -> ReplyFormat:
        return ReplyFormat(lambda _: "ok")

    with pytest.raises(TypeError, match="go together"):
        method("private/new", params=IdempotentParams, scope="trade:read_write")(handler)
    with pytest.raises(TypeError, match="go together"):
        method("private/new", params=NoParams, scope="trade:read_write", reply_format=tell)(handler)
