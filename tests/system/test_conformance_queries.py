"""Orders and trades over real sockets: cancelled by the many, found again, and paged through."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.schemas import ORDER, TRADE, USER_TRADE, USER_TRADES, mismatches
from tests.system.strict import BTC, ETH, Json, Socket, Web, limit

CANCELS: list[tuple[str, Json, int]] = [
    ("private/cancel_all", {}, 4),
    ("private/cancel_all", {"detailed": False, "freeze_quotes": False}, 4),
    ("private/cancel_all_by_instrument", {"instrument_name": BTC}, 2),
    ("private/cancel_all_by_instrument", {"instrument_name": BTC, "type": "limit"}, 2),
    ("private/cancel_all_by_instrument", {"instrument_name": BTC, "type": "trigger_all"}, 0),
    ("private/cancel_all_by_currency", {"currency": "ETH"}, 1),
    ("private/cancel_all_by_currency", {"currency": "USDC", "kind": "future"}, 1),
    ("private/cancel_all_by_currency", {"currency": "USDT"}, 0),
    ("private/cancel_all_by_currency", {"currency": "BTC", "kind": "option"}, 0),
    ("private/cancel_all_by_kind_or_type", {"currency": "any"}, 4),
    ("private/cancel_all_by_kind_or_type", {"currency": ["BTC", "ETH"], "kind": "future"}, 3),
    ("private/cancel_all_by_kind_or_type", {"currency": "BTC", "type": "stop"}, 0),
    ("private/cancel_by_label", {"label": "a"}, 2),
    ("private/cancel_by_label", {"label": "a", "currency": "BTC"}, 1),
    ("private/cancel_by_label", {"label": "b", "currency": "USDT"}, 0),
    ("private/cancel_by_label", {"label": "c"}, 0),
]


@pytest.mark.parametrize(("method", "params", "number"), CANCELS)
async def test_cancelling_many_returns_their_number(
    alice: Socket, method: str, params: Json, number: int
) -> None:
    """A number, not a list; what was not meant stays open."""
    for each in (
        limit(label="a"),
        limit(64_400, label="b"),
        limit(3_480, instrument_name=ETH, label="a"),
        limit(149, instrument_name="SOL_USDC-PERPETUAL"),
    ):
        await alice.call("private/buy", **each)
    assert await alice.call(method, **params) == number
    assert len(await alice.call("private/get_open_orders")) == 4 - number


REPORT: Json = {
    "currency": {"BTC", "ETH"},
    "type": {"limit"},
    "instrument_name": {BTC, ETH},
    "result": [ORDER],
}


async def test_cancelling_in_detail_returns_the_orders(alice: Socket, http: Web) -> None:
    """By instrument, each with its currency and type; also by the query of a GET."""
    await alice.call("private/buy", **limit())
    await alice.call("private/buy", **limit(3_480, instrument_name=ETH))
    reports = http.call("private/cancel_all", "alice", detailed="true")
    assert [] == mismatches(reports, [REPORT])
    assert sorted(report["instrument_name"] for report in reports) == [BTC, ETH]
    assert http.call("private/cancel_all", "alice", detailed="true") == []


def test_several_currencies_come_in_one_query(http: Web) -> None:
    """As JSON, repeated, or with brackets."""
    for query in ('currency=["BTC","ETH"]', "currency=BTC&currency=ETH", "currency[]=BTC"):
        reply = http.get(
            f"private/cancel_all_by_kind_or_type?{query}", {"authorization": BASIC_ALICE}
        )
        assert reply["result"] == 0


BASIC_ALICE = "Basic YWxpY2Uta2V5OmFsaWNlLXNlY3JldA=="


async def test_open_orders_are_found_by_what_they_are(alice: Socket) -> None:
    """By everything, instrument, currency, label and type; an empty label finds the unnamed."""
    await alice.call("private/buy", **limit(label="a"))
    await alice.call("private/buy", **limit(3_480, instrument_name=ETH))
    queries: list[tuple[str, Json, int]] = [
        ("", {}, 2),
        ("", {"kind": "future", "type": "all"}, 2),
        ("", {"kind": "option"}, 0),
        ("", {"type": "stop_all"}, 0),
        ("_by_instrument", {"instrument_name": BTC}, 1),
        ("_by_instrument", {"instrument_name": BTC, "type": "limit"}, 1),
        ("_by_currency", {"currency": "ETH"}, 1),
        ("_by_currency", {"currency": "any"}, 2),
        ("_by_currency", {"currency": "EURR"}, 0),
        ("_by_label", {"currency": "BTC", "label": "a"}, 1),
        ("_by_label", {"currency": "ETH", "label": "a"}, 0),
        ("_by_label", {"currency": "ETH"}, 1),
    ]
    for suffix, params, number in queries:
        found = await alice.call(f"private/get_open_orders{suffix}", **params)
        assert [] == mismatches(found, [ORDER])
        assert (len(found), suffix, params) == (number, suffix, params)
    unknown = await alice.code("private/get_open_orders_by_instrument", instrument_name="X")
    assert unknown in (-32602, 13020, 10020)
    assert await alice.code("private/get_open_orders_by_currency", currency="XYZ") == -32602


def history(http: Web, suffix: str, **query: Any) -> list[Json]:
    """A page of bob's order history."""
    page: list[Json] = http.call(f"private/get_order_history{suffix}", "bob", **query)
    assert [] == mismatches(page, [ORDER])
    return page


def test_order_history_is_paged_until_it_is_empty(http: Web) -> None:
    """`count` and `offset` meet every closed order once, the latest first."""
    name = "ETH_USDC-PERPETUAL"
    placed = []
    for step in range(7):
        order = http.call(
            "private/buy", "bob", **limit(3_480 - step, instrument_name=name, amount=1)
        )["order"]
        placed.append(order["order_id"])
    http.call("private/cancel_all", "bob")
    for suffix, query in (
        ("_by_instrument", {"instrument_name": name}),
        ("_by_currency", {"currency": "USDC", "kind": "future"}),
    ):
        common = query | {"include_unfilled": "true", "include_old": "true", "count": "3"}
        seen: list[str] = []
        while page := history(http, suffix, **common, offset=len(seen)):
            assert len(page) <= 3
            seen += [order["order_id"] for order in page]
        assert sorted(seen) == sorted(set(seen))
        assert set(placed) <= set(seen)
        filled = history(http, suffix, **query)
        assert not set(placed) & {order["order_id"] for order in filled}
    first = http.call(
        "private/get_order_history_by_instrument",
        "bob",
        instrument_name=name,
        include_unfilled="true",
        with_continuation="true",
        count=5,
    )
    assert len(first["orders"]) == 5
    assert isinstance(first["continuation"], str)


@pytest.mark.parametrize(
    ("count", "code"), [("0", -32602), ("-1", -32602), ("1001", -32602), ("abc", -32602)]
)
def test_pages_have_limits(http: Web, count: str, code: int) -> None:
    """1 to 1000, and a number."""
    for method in ("get_order_history_by_currency", "get_user_trades_by_currency"):
        assert http.code(f"private/{method}", "bob", currency="BTC", count=count) == code
        http.call(f"private/{method}", "bob", currency="BTC", count="1000")


@pytest.mark.parametrize("offset", ["-1", "x", str(2**53), str(2**70), "1e300"])
def test_offsets_have_limits(http: Web, offset: str) -> None:
    """Far beyond any history there is nothing; what no machine counts to is no offset."""
    method = "private/get_order_history_by_currency"
    assert http.code(method, "bob", currency="BTC", offset=offset) == -32602
    assert http.call(method, "bob", currency="BTC", offset=2**53 - 1) == []


async def test_trades_are_found_by_what_they_are(alice: Socket, bob: Socket) -> None:
    """Both parties find their side, everybody the public one, under one id, in the order asked."""
    name = "SOL_USDC-PERPETUAL"
    terms = {"instrument_name": name, "amount": 1}
    orders = [
        (await alice.call("private/buy", **terms, price=148.5 + step / 10))["order"]
        for step in range(3)
    ]
    await bob.call("private/sell", instrument_name=name, amount=3, price=148)
    newest = await bob.call("private/get_user_trades_by_instrument", instrument_name=name, count=3)
    assert [] == mismatches(newest, USER_TRADES)
    ids = [trade["trade_id"] for trade in newest["trades"]]
    numbers = [trade["trade_seq"] for trade in newest["trades"]]
    assert numbers == sorted(numbers, reverse=True)
    assert all(identity.startswith("SOL_USDC-") for identity in ids)
    stamp = newest["trades"][0]["timestamp"]
    day = {"start_timestamp": stamp - 86_400_000, "end_timestamp": stamp + 1_000}
    timed = {"count": 3, "sorting": "desc"} | day
    queries: list[tuple[str, Json, list[str]]] = [
        ("_by_instrument", {"instrument_name": name, "count": 3, "sorting": "desc"}, ids),
        ("_by_instrument", {"instrument_name": name, "start_seq": numbers[1]}, ids[1::-1]),
        ("_by_instrument", {"instrument_name": name, "end_seq": numbers[1], "count": 1}, ids[1:2]),
        ("_by_instrument_and_time", {"instrument_name": name} | timed, ids),
        ("_by_currency", {"currency": "USDC", "count": 3, "historical": True}, ids),
        ("_by_currency", {"currency": "USDC", "start_id": ids[2], "count": 3}, ids[::-1]),
        ("_by_currency_and_time", {"currency": "USDC"} | timed, ids),
        ("_by_currency", {"currency": "EURR"}, []),
    ]
    for suffix, params, expected in queries:
        for method in ("private/get_user_trades", "public/get_last_trades"):
            found = await bob.call(method + suffix, **params)
            schema = USER_TRADE if "user" in method else TRADE
            assert [] == mismatches(found["trades"], [schema])
            shown = [trade["trade_id"] for trade in found["trades"]]
            assert (shown, method + suffix, params) == (expected, method + suffix, params)
    page = await bob.call("private/get_user_trades_by_instrument", instrument_name=name, count=2)
    assert page["has_more"] is True
    (own,) = await alice.call("private/get_user_trades_by_order", order_id=orders[2]["order_id"])
    assert [] == mismatches(own, USER_TRADE)
    assert (own["trade_id"], own["liquidity"], own["direction"]) == (ids[2], "M", "buy")


async def test_times_are_required_where_the_name_says_so(alice: Socket) -> None:
    """One of the two is enough."""
    for method in ("private/get_user_trades", "public/get_last_trades"):
        for suffix, query in (
            ("_by_instrument_and_time", {"instrument_name": BTC}),
            ("_by_currency_and_time", {"currency": "BTC"}),
        ):
            assert await alice.code(method + suffix, **query) == -32602
            for bound in ("start_timestamp", "end_timestamp"):
                found = await alice.call(method + suffix, **query, **{bound: 1.7e12})
                assert isinstance(found["has_more"], bool)


async def test_margins_are_told_before_the_order(alice: Socket) -> None:
    """For either side, with the prices that a limit may have."""
    margins = await alice.call("private/get_margins", **limit())
    assert set(margins) == {"buy", "sell", "min_price", "max_price"}
    assert all(isinstance(value, float) for value in margins.values())
    assert 0 < margins["buy"] < 10 / 64_500
