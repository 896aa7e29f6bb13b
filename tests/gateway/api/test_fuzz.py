"""Random requests and frames: each gets one reply, and the exchange stays consistent."""

from urllib.parse import quote

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api.methods import METHODS
from gateway.protocol.outcome import Close
from tests.gateway.harness import Client, Harness, Json

# Values that some parameter means something by, beside what any JSON may hold.
TELLING = st.sampled_from(
    [
        *("BTC-PERPETUAL", "ETH-PERPETUAL", "SOL_USDC-PERPETUAL", "BTC", "ETH", "USDC", "EURR"),
        *("any", "1", "2", "ETH-2", "SOL_USDC-3", "a", "limit", "market", "market_limit", "all"),
        *("future", "option", "connection", "account", "good_til_day", "fill_or_kill", "asc"),
        *("btc_usd", "refresh_token", "cancel_maker", "reject_taker", "settlement", "none"),
        *(10, 100, 1, 0.1, 0.001, 64_500, 65_000, 65_100.5, 3_500, 149.5, 0, -1, True, False, None),
        *(2**53, 2**63, 2**64 - 1, 1e300, 1e-300, "1e9", "NaN", "", "true", "null", "[", "{}"),
        *(["BTC", "any"], ["user.orders.any.any.raw", "book.BTC-PERPETUAL.raw"], ["1", "ETH-2"]),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Json]:
    """A registered method with some of its parameters, valid or invalid."""
    name = draw(st.sampled_from(sorted(METHODS)))
    fields = sorted(METHODS[name].params.__struct_fields__) or ["none"]
    required = {
        field.name for field in msgspec.structs.fields(METHODS[name].params) if field.required
    }
    chosen = required | draw(st.sets(st.sampled_from(fields)))
    params = {key: draw(TELLING | TELLING | TELLING | ANYTHING) for key in sorted(chosen)}
    return name, params


def trading() -> Harness:
    """Return a venue where Alice and Bob have positions and orders."""
    harness = Harness()
    alice, bob = harness.connect("alice"), harness.connect("bob")
    for client, side in ((alice, "buy"), (bob, "sell")):
        for name, price in (("BTC-PERPETUAL", 65_000), ("ETH-PERPETUAL", 3_500)):
            client.call(f"private/{side}", instrument_name=name, amount=20, price=price)
            away = price * (0.995 if side == "buy" else 1.005)
            client.call(
                f"private/{side}", instrument_name=name, amount=20, price=away // 1, label="a"
            )
    return harness


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(requests(), min_size=1, max_size=25))
def test_every_websocket_request_gets_one_reply(asked: list[tuple[str, Json]]) -> None:
    """Only a logout ends the connection instead."""
    harness = trading()
    client = harness.connect("alice")
    for name, params in asked:
        before = len(client.sink.replies)
        outcomes = client.send(client.frame(name, params))
        client.carry_out(outcomes)
        if isinstance(outcomes[-1], Close):
            assert "private/logout" == name
            client = harness.connect("alice")
        else:
            assert before + 1 == len(client.sink.replies)
    harness.exchange.check()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(requests(), min_size=1, max_size=25))
def test_every_http_request_gets_one_reply(asked: list[tuple[str, Json]]) -> None:
    """The values are strings, as in a query."""
    harness = trading()
    token = harness.connect().login("alice", scope="session:http")["access_token"]
    for name, params in asked:
        pairs = [f"access_token={token}"]
        for key, value in params.items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            pairs.append(f"{key}={quote(text)}")
        status, body = harness.get(f"/api/v2/{name}?{'&'.join(pairs)}")
        assert ("result" in body) == (status == 200)
    harness.exchange.check()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | ANYTHING.map(msgspec.json.encode))
def test_every_frame_gets_a_reply(frame: bytes) -> None:
    """Bytes that are not JSON, and JSON that is not a request."""
    client: Client = STRANGERS.connect()
    client.carry_out(client.send(frame))
    assert ["error"] == [key for key in client.sink.replies[0] if key in ("error", "result")]


STRANGERS = Harness()
