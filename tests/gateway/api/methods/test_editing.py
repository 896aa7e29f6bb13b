"""Editing orders and closing positions."""

import pytest

from tests.gateway.harness import Client, Harness, Json

PERPETUAL = "BTC-PERPETUAL"


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def alice(harness: Harness) -> Client:
    return harness.connect("alice")


@pytest.fixture
def bob(harness: Harness) -> Client:
    return harness.connect("bob")


def buy(client: Client, **params: object) -> Json:
    """Place a buy order, by default at 64,500, and return it."""
    asked = {"instrument_name": PERPETUAL, "amount": 100, "price": 64_500} | params
    order: Json = client.call("private/buy", **asked)["order"]
    return order


def test_an_edit_keeps_the_id_and_every_field_it_does_not_name(alice: Client) -> None:
    """`amount` is the new total, and `replaced` is true."""
    order_id = buy(alice, label="x")["order_id"]
    edited = alice.call("private/edit", order_id=order_id, amount=60)["order"]
    shown = (order_id, 60.0, 6.0, 64_500.0, "x", True)
    names = ("order_id", "amount", "contracts", "price", "label", "replaced")
    assert shown == tuple(edited[name] for name in names)
    moved = alice.call("private/edit", order_id=order_id, contracts=7, price=64_400)["order"]
    assert (70.0, 64_400.0) == (moved["amount"], moved["price"])


def test_an_edit_may_trade(alice: Client, bob: Client) -> None:
    """An edit to a crossing price returns trades like a new order."""
    bob.call("private/sell", instrument_name=PERPETUAL, amount=30, price=65_000)
    order_id = buy(alice)["order_id"]
    result = alice.call("private/edit", order_id=order_id, price=65_000)
    assert [30.0] == [trade["amount"] for trade in result["trades"]]


def test_an_order_is_edited_by_a_label_that_is_unique(alice: Client) -> None:
    """10004 for none, 13032 for several."""
    edit = {"instrument_name": PERPETUAL, "label": "x", "amount": 60}
    assert 10004 == alice.error("private/edit_by_label", **edit)["code"]
    buy(alice, label="x")
    buy(alice, label="x", instrument_name="BTC_USDC-PERPETUAL", amount=0.01)
    assert 60.0 == alice.call("private/edit_by_label", **edit)["order"]["amount"]
    buy(alice, label="x")
    assert 13032 == alice.error("private/edit_by_label", **edit)["code"]


def test_the_mmp_flag_cannot_be_edited(alice: Client) -> None:
    """-32602 with the API's own reason."""
    order_id = buy(alice)["order_id"]
    error = alice.error("private/edit", order_id=order_id, mmp=False)
    expected = {"param": "mmp", "reason": "editing mmp flag is not supported"}
    assert (-32602, expected) == (error["code"], error["data"])


def test_closed_orders_and_orders_of_others_cannot_be_edited(alice: Client, bob: Client) -> None:
    """10010 cancelled, 11008 filled, 10004 for an order of another account."""
    cancelled, filled, resting = (buy(alice)["order_id"] for _ in range(3))
    alice.call("private/cancel", order_id=cancelled)
    bob.call("private/sell", instrument_name=PERPETUAL, amount=100, price=64_500)
    codes = [
        client.error("private/edit", order_id=order_id, amount=50)["code"]
        for client, order_id in ((alice, cancelled), (alice, filled), (bob, resting), (bob, "77"))
    ]
    assert [10010, 11008, 10004, 10004] == codes


def test_an_edit_whose_order_closes_in_flight_says_how_it_closed(
    alice: Client, bob: Client
) -> None:
    """The edit was sent while the order was open, but executed after it closed."""
    order_id = buy(alice)["order_id"]
    edit = alice.send(alice.frame("private/edit", {"order_id": order_id, "amount": 50}))
    cancel = alice.send(alice.frame("private/cancel", {"order_id": order_id}))
    bob.call("private/sell", instrument_name=PERPETUAL, amount=100, price=64_500)
    alice.carry_out(edit)
    alice.carry_out(cancel)
    assert [11008, 11044] == [reply["error"]["code"] for reply in alice.sink.replies[-2:]]


def test_close_position_closes_the_whole_position(alice: Client, bob: Client) -> None:
    """A reduce-only order of the position's size; without a position it is rejected."""
    close = {"instrument_name": PERPETUAL, "type": "market"}
    error = alice.error("private/close_position", **close)
    assert (11030, "other_reject no_position") == (error["code"], error["message"])
    buy(alice, amount=50)
    bob.call("private/sell", instrument_name=PERPETUAL, amount=50, price=64_500)
    buy(bob, amount=80, price=64_400)
    result = alice.call("private/close_position", **close)
    assert (50.0, True) == (result["order"]["filled_amount"], result["order"]["reduce_only"])
    assert "zero" == alice.call("private/get_position", instrument_name=PERPETUAL)["direction"]


def test_close_position_with_a_limit_needs_a_price(alice: Client, bob: Client) -> None:
    """The order rests at the limit."""
    buy(alice, amount=50)
    bob.call("private/sell", instrument_name=PERPETUAL, amount=50, price=64_500)
    close = {"instrument_name": PERPETUAL, "type": "limit"}
    error = alice.error("private/close_position", **close)
    assert {"param": "price", "reason": "must not be null"} == error["data"]
    order = alice.call("private/close_position", **close, price=65_500)["order"]
    assert ("open", "sell", 65_500.0) == (
        order["order_state"],
        order["direction"],
        order["price"],
    )
