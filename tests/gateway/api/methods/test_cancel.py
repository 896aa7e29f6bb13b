"""The cancel methods: which orders each filter cancels, and the results."""

from collections.abc import Iterable

import pytest

from tests.gateway.harness import Client, Harness, Json

BOOK = (
    ("BTC-PERPETUAL", 10, 64_000.0, "a"),
    ("BTC-PERPETUAL", 10, 64_100.0, "b"),
    ("ETH-PERPETUAL", 1, 3_480.0, "a"),
    ("BTC_USDC-PERPETUAL", 0.01, 64_500.0, ""),
    ("SOL_USDC-PERPETUAL", 1, 149.0, "b"),
)


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def alice(harness: Harness) -> Client:
    """Alice with an order for each row of BOOK, and Bob with one that must stay open."""
    client = harness.connect("alice")
    for name, amount, price, label in BOOK:
        client.call("private/buy", instrument_name=name, amount=amount, price=price, label=label)
    harness.connect("bob").call(
        "private/buy", instrument_name="BTC-PERPETUAL", amount=10, price=64_000, label="a"
    )
    return client


def left(client: Client) -> list[int]:
    """Return the rows of BOOK that are still open."""
    prices = {order["price"] for order in client.call("private/get_open_orders")}
    return [row for row, (_, _, price, _) in enumerate(BOOK) if price in prices]


def without(rows: Iterable[int]) -> list[int]:
    return [row for row in range(len(BOOK)) if row not in set(rows)]


@pytest.mark.parametrize(
    ("method", "params", "gone"),
    [
        ("cancel_all", {}, range(5)),
        ("cancel_all_by_instrument", {"instrument_name": "BTC-PERPETUAL"}, [0, 1]),
        ("cancel_all_by_instrument", {"instrument_name": "BTC-PERPETUAL", "type": "limit"}, [0, 1]),
        ("cancel_all_by_instrument", {"instrument_name": "BTC-PERPETUAL", "type": "stop"}, []),
        ("cancel_all_by_currency", {"currency": "BTC"}, [0, 1]),
        ("cancel_all_by_currency", {"currency": "USDC"}, [3, 4]),
        ("cancel_all_by_currency", {"currency": "USDC", "kind": "future"}, [3, 4]),
        ("cancel_all_by_currency", {"currency": "BTC", "kind": "option"}, []),
        ("cancel_all_by_currency", {"currency": "SOL"}, []),
        ("cancel_all_by_kind_or_type", {"currency": "any"}, range(5)),
        ("cancel_all_by_kind_or_type", {"currency": "ETH"}, [2]),
        ("cancel_all_by_kind_or_type", {"currency": ["ETH", "BTC", "ETH"]}, [0, 1, 2]),
        ("cancel_all_by_kind_or_type", {"currency": []}, []),
        ("cancel_all_by_kind_or_type", {"currency": ["EURR"]}, []),
        ("cancel_all_by_kind_or_type", {"currency": "any", "kind": "spot"}, []),
        ("cancel_all_by_kind_or_type", {"currency": "any", "type": "trigger_all"}, []),
        ("cancel_by_label", {"label": "a"}, [0, 2]),
        ("cancel_by_label", {"label": "b", "currency": "USDC"}, [4]),
        ("cancel_by_label", {"label": "b", "currency": "SOL"}, []),
        ("cancel_by_label", {"label": "nobody"}, []),
    ],
)
def test_a_filter_cancels_only_the_orders_it_selects(
    harness: Harness, alice: Client, method: str, params: Json, gone: list[int]
) -> None:
    """The result is the number of orders; an empty selection must not cancel all."""
    assert len(gone) == alice.call(f"private/{method}", **params)
    assert without(gone) == left(alice)
    assert 1 == len(harness.connect("bob").call("private/get_open_orders"))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("cancel_all", {}),
        ("cancel_all_by_instrument", {"instrument_name": "BTC-PERPETUAL"}),
        ("cancel_all_by_currency", {"currency": "BTC"}),
        ("cancel_all_by_kind_or_type", {"currency": ["BTC"]}),
    ],
)
def test_detailed_cancels_list_the_orders_by_instrument(
    alice: Client, method: str, params: Json
) -> None:
    """One report per instrument, with its orders as cancelled."""
    reports = alice.call(f"private/{method}", **params, detailed=True)
    report = next(each for each in reports if each["instrument_name"] == "BTC-PERPETUAL")
    assert ("BTC", "limit") == (report["currency"], report["type"])
    shown = [(order["order_id"], order["order_state"]) for order in report["result"]]
    assert [("1", "cancelled"), ("2", "cancelled")] == shown
    again = alice.call(f"private/{method}", **params, detailed=True)
    assert [] == again


@pytest.mark.parametrize(
    ("method", "params", "code", "param"),
    [
        ("cancel_all_by_currency", {"currency": "SHELLS"}, -32602, "currency"),
        ("cancel_all_by_currency", {}, -32602, "currency"),
        ("cancel_all_by_kind_or_type", {"currency": ["BTC", "SHELLS"]}, -32602, "currency"),
        ("cancel_by_label", {"label": ""}, -32602, "label"),
        ("cancel_by_label", {}, -32602, "label"),
        ("cancel_all_by_instrument", {"instrument_name": "BTC-NEVER"}, 13020, None),
    ],
)
def test_an_invalid_filter_cancels_nothing(
    alice: Client, method: str, params: Json, code: int, param: str | None
) -> None:
    """An empty label is rejected: it would select every order without a label."""
    error = alice.error(f"private/{method}", **params)
    assert (code, param) == (error["code"], error.get("data", {}).get("param"))
    assert without([]) == left(alice)


def test_a_cancelled_order_has_its_cancel_reason(alice: Client) -> None:
    """A second cancel finds it closed; an order of another account is not found."""
    order = alice.call("private/cancel", order_id="1")
    assert ("cancelled", "user_request") == (order["order_state"], order["cancel_reason"])
    again, stranger = (alice.error("private/cancel", order_id=each) for each in ("1", "6"))
    assert (11044, "not_open_order") == (again["code"], again["message"])
    assert (10004, "order_not_found") == (stranger["code"], stranger["message"])


def test_only_one_of_two_cancels_in_flight_takes_effect(alice: Client) -> None:
    """Both were sent while the order was open; the second gets the error for a closed order."""
    frames = [alice.frame("private/cancel", {"order_id": "1"}) for _ in range(2)]
    for outcomes in [alice.send(frame) for frame in frames]:
        alice.carry_out(outcomes)
    first, second = alice.sink.replies[-2:]
    assert ("cancelled", 11044) == (first["result"]["order_state"], second["error"]["code"])


def test_a_list_of_currencies_may_come_in_a_query(harness: Harness, alice: Client) -> None:
    """As JSON text, which ccxt sends."""
    token = alice.login("alice", scope="session:http")["access_token"]
    target = f"/api/v2/private/cancel_all_by_kind_or_type?access_token={token}&currency="
    status, body = harness.get(target + "%5B%22BTC%22%2C%22ETH%22%5D")
    assert (200, 3) == (status, body["result"])


def test_a_thousand_orders_are_cancelled_and_counted(harness: Harness) -> None:
    """The cancel takes several entries; the reply follows the last one."""
    client = harness.connect("alice")
    for step in range(1_000):
        client.call(
            "private/buy", instrument_name="BTC-PERPETUAL", amount=10, price=64_500 - step // 2
        )
    assert 1_000 == client.call("private/cancel_all")
    assert [] == client.call("private/get_open_orders")
