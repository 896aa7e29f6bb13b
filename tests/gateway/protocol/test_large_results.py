"""Answers of many rows: of one moment, encoded in slices, and paid for by their size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from gateway.api.methods import METHODS
from gateway.protocol import jsonrpc, large_results
from gateway.protocol.large_results import ROWS, LargeReply
from gateway.protocol.outcome import Reply, Submit
from tests.gateway.harness import START, Client, HandClock, Harness, whole

BTC: Final = "BTC-PERPETUAL"
SIDE: Final = ROWS + 44
RESTING: Final = 2 * SIDE
TRADES: Final = ROWS + 60
SMALL: Final = {"public/get_time": {}, "private/get_position": {"instrument_name": BTC}}

GIVEN: Final[dict[str, object]] = {
    "instrument_name": BTC,
    "currency": "any",
    "count": 1_000,
    "depth": 10_000,
    "include_unfilled": True,
    "with_continuation": False,
    "start_timestamp": 0,
    "label": "x",
    "index_name": "btc_usd",
    "extended": True,
    "detailed": True,
}


def filled(settings: str = "") -> tuple[Harness, Client, Client]:
    """Alice has RESTING orders at prices of their own and as many closed ones; Bob has trades."""
    harness = Harness(settings)
    alice, bob = harness.connect("alice"), harness.connect("bob")
    for number in range(TRADES):
        alice.call("private/sell", instrument_name=BTC, amount=10, price=65_000, label="x")
        bob.call("private/buy", instrument_name=BTC, amount=10, price=65_000)
        if number % 100 == 99:
            harness.tick()
    rest(alice)
    return harness, alice, bob


def rest(client: Client) -> None:
    """SIDE orders on either side, a level each."""
    for number in range(SIDE):
        for method, price in (("buy", 64_900 - number / 2), ("sell", 65_100 + number / 2)):
            client.call(f"private/{method}", instrument_name=BTC, amount=10, price=price, label="x")


def outcome(client: Client, method: str, **params: object) -> LargeReply | bytes:
    """The result of a query, before it is encoded."""
    (reply,) = client.send(client.frame(method, params))
    assert isinstance(reply, Reply)
    return reply.data


def longest(value: Any) -> int:
    """Entries of the longest list anywhere in a JSON value."""
    if isinstance(value, dict):
        return max(map(longest, value.values()), default=0)
    if isinstance(value, list):
        return max(len(value), *map(longest, value)) if value else 0
    return 0


def reads() -> Iterator[str]:
    """Every method that answers from memory."""
    for name, row in METHODS.items():
        if not (row.changes or row.matching or row.websocket_only or name == "public/auth"):
            yield name


def test_large_results_are_encoded_in_slices() -> None:
    """For every method, a result is small or a listing."""
    _, alice, _ = filled()
    ids = [order["order_id"] for order in alice.call("private/get_open_orders")]
    sliced = set()
    for name in reads():
        fields = {each.name for each in msgspec.structs.fields(METHODS[name].params)}
        params = {key: value for key, value in GIVEN.items() if key in fields}
        if name.endswith("chart_data"):
            params |= {"length": "8h"}
        if "ids" in fields:
            params["ids"] = ids
        if "order_id" in fields:
            params["order_id"] = ids[0]
        if name == "private/get_account_summary":
            params["currency"] = "BTC"
        data = outcome(alice, name, **params)
        reply = msgspec.json.decode(whole(data))
        if isinstance(data, LargeReply):
            sliced.add(name)
        else:
            assert longest(reply) <= ROWS, name
    assert sliced >= {
        "private/get_open_orders",
        "private/get_open_orders_by_currency",
        "private/get_open_orders_by_instrument",
        "private/get_open_orders_by_label",
        "private/get_order_state_by_label",
        "private/get_order_margin_by_ids",
        "private/get_order_history_by_instrument",
        "private/get_order_history_by_currency",
        "private/get_user_trades_by_instrument",
        "private/get_user_trades_by_currency_and_time",
        "public/get_last_trades_by_instrument",
        "public/get_last_trades_by_currency_and_time",
        "public/get_order_book",
    }


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        ("private/get_open_orders", RESTING),
        ("private/get_order_history_by_instrument", TRADES),
        ("private/get_user_trades_by_instrument", TRADES),
        ("public/get_last_trades_by_instrument", TRADES),
        ("public/get_order_book", RESTING),
    ],
)
def test_each_slice_has_a_bounded_number_of_rows(method: str, rows: int) -> None:
    """Of rows that are counted by an id or a price each."""
    _, alice, _ = filled()
    fields = {each.name for each in msgspec.structs.fields(METHODS[method].params)}
    data = outcome(alice, method, **{key: GIVEN[key] for key in GIVEN if key in fields})
    assert isinstance(data, LargeReply)
    assert rows == data.rows
    mark = b"[" if method == "public/get_order_book" else b'"label":'
    if method == "public/get_last_trades_by_instrument":
        mark = b'"trade_id":'
    before = slices = 0
    while (done := data.advance()) is None:
        assert data._text[before:].count(mark) <= ROWS + 1
        before, slices = len(data._text), slices + 1
    assert slices >= rows / ROWS
    assert rows <= done.count(mark) <= rows + 4


def test_a_large_result_is_a_snapshot_of_the_time_of_its_request() -> None:
    """Orders that come, change and go while it is encoded are not in it, changed or missing."""
    harness, alice, _ = filled()
    book = harness.connect()
    before = (
        alice.call("private/get_open_orders"),
        book.call("public/get_order_book", instrument_name=BTC, depth=10_000),
    )
    orders = outcome(alice, "private/get_open_orders")
    levels = outcome(book, "public/get_order_book", instrument_name=BTC, depth=10_000)
    assert isinstance(orders, LargeReply)
    assert isinstance(levels, LargeReply)
    assert orders.advance() is levels.advance() is None
    first, last = before[0][0]["order_id"], before[0][-1]["order_id"]
    alice.call("private/cancel", order_id=first)
    alice.call("private/edit", order_id=last, amount=50, price=65_400)
    alice.call("private/buy", instrument_name=BTC, amount=10, price=64_990)
    assert before[0] == msgspec.json.decode(orders.finish())["result"]
    assert before[1] == msgspec.json.decode(levels.finish())["result"]
    assert before[0] != alice.call("private/get_open_orders")


def test_a_detailed_list_of_cancelled_orders_is_encoded_in_slices() -> None:
    """The only answer of a command that may have many rows."""
    harness, alice, _ = filled()
    (made,) = alice.send(alice.frame("private/cancel_all", {"detailed": True}))
    assert isinstance(made, Submit)
    harness.apply(made.command, made.origin)
    (data,) = alice.sink.large
    assert RESTING == data.rows
    (report,) = alice.sink.replies[-1]["result"]
    assert RESTING == len(report["result"])
    assert {"cancelled"} == {order["order_state"] for order in report["result"]}


@pytest.mark.parametrize("method", ["private/get_open_orders", "public/get_order_book"])
def test_the_rows_of_a_large_reply_cost_credits(method: str) -> None:
    """The answer comes in any case; what it took beyond the pool is missing for the next."""
    harness, alice, _ = filled(
        "[limits]\nenabled = true\nmatching_burst = 10000\ngeneral_pool = 1000\n"
        "general_cost = 500\ncredits_per_second = 100\n"
    )
    harness.seconds += 1_000
    params = {} if method.startswith("private") else {"instrument_name": BTC, "depth": 10_000}
    assert isinstance(outcome(alice, method, **params), LargeReply)
    # 1,000 credits, less 500 for the request and one for each row: 500 more are back after
    # as many seconds as there are rows in a hundred.
    harness.seconds += RESTING / 100 - 0.01
    assert 10028 == alice.error("public/get_time")["code"]
    harness.seconds += 0.02
    assert alice.call("public/get_time")


def test_a_small_reply_costs_no_more_than_its_request() -> None:
    """Rows are only counted where they come in slices."""
    harness = Harness("[limits]\nenabled = true\ngeneral_pool = 1000\ncredits_per_second = 1\n")
    alice = harness.connect("alice")
    for _ in range(8):
        alice.call("private/buy", instrument_name=BTC, amount=10, price=64_500)
    assert 8 == len(alice.call("private/get_open_orders"))
    assert alice.call("public/get_order_book", instrument_name=BTC)["bids"]


@pytest.mark.parametrize("rows", [0, 1, ROWS, ROWS + 1, 3 * ROWS])
def test_an_array_has_the_same_text_in_slices(rows: int) -> None:
    """Nothing is lost or doubled where one slice ends and the next begins."""
    numbers = large_results.array(range(rows), lambda row: b"%d" % row)
    assert rows == numbers.rows
    around = large_results.joined((b'{"n":', numbers.within(b"[", b"]"), b"}"))
    assert rows == around.rows
    assert {"n": [list(range(rows))]} == msgspec.json.decode(b"".join(around.pieces))


@pytest.mark.parametrize("identity", [1, "x", msgspec.Raw(b'"a\\u0000b"'), msgspec.Raw(b"1.0")])
def test_a_large_reply_has_the_same_envelope(identity: Any) -> None:
    """With any id, and with the time of its completion as usOut."""
    clock = HandClock()
    meta = jsonrpc.RequestMeta(identity, START * 1_000, testnet=True)
    large = large_results.reply(
        meta, large_results.array(range(ROWS + 1), lambda row: b"%d" % row), clock
    )
    assert isinstance(large, LargeReply)
    large.advance()
    clock.time += 5
    expected = jsonrpc.result(meta, list(range(ROWS + 1)), clock.micros())
    assert expected == large.finish()
