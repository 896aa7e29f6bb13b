"""A request with an idempotency key is executed once; repetitions get the first reply."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from gateway.api.methods import METHODS
from gateway.api.registry import IdempotentParams
from gateway.protocol.outcome import Reply, Submit
from risk import snapshot
from risk.commands import CancelAll, Command, Continue, Entry, Origin
from tests.gateway.harness import Client, Harness, Json

BTC = "BTC-PERPETUAL"
ORDER: Json = {"instrument_name": BTC, "amount": 10, "type": "limit", "price": 64_500}
ALICE = 101

Setting = Callable[[Client], Json]
"""Prepares a client for a request and returns the parameters of the request."""


def resting(client: Client, **changes: object) -> str:
    """Place an order that rests; return its id."""
    order: Json = client.call("private/buy", **ORDER | changes)["order"]
    return str(order["order_id"])


def holding(client: Client) -> Json:
    """Open a position, with an order in the book that can close it."""
    bob = client.harness.connect("bob")
    client.call("private/buy", **ORDER)
    bob.call("private/sell", **ORDER)
    bob.call("private/buy", **ORDER | {"price": 64_490, "amount": 100})
    return {"instrument_name": BTC, "type": "market"}


def among_others(client: Client, **params: object) -> Json:
    """Place two orders with a label."""
    resting(client, label="x")
    resting(client, label="x")
    return params


def labelled(client: Client) -> Json:
    """Place an order with a label; return the parameters of an edit."""
    resting(client, label="x")
    return {"instrument_name": BTC, "label": "x", "amount": 20, "price": 64_400}


SETTINGS: dict[str, Setting] = {
    "private/buy": lambda _: ORDER,
    "private/sell": lambda _: ORDER | {"price": 65_500},
    "private/edit": lambda client: {"order_id": resting(client), "amount": 20, "price": 64_400},
    "private/edit_by_label": labelled,
    "private/close_position": holding,
    "private/cancel": lambda client: {"order_id": resting(client)},
    "private/cancel_all": among_others,
    "private/cancel_all_by_instrument": lambda client: among_others(
        client, instrument_name=BTC, detailed=True
    ),
    "private/cancel_all_by_currency": lambda client: among_others(client, currency="BTC"),
    "private/cancel_all_by_kind_or_type": lambda client: among_others(
        client, currency="any", detailed=True
    ),
    "private/cancel_by_label": lambda client: among_others(client, label="x"),
    "private/set_self_trading_config": lambda _: {
        "mode": "cancel_maker",
        "extended_to_subaccounts": False,
    },
    "private/enable_cancel_on_disconnect": lambda _: {"scope": "account"},
    "private/disable_cancel_on_disconnect": lambda _: {"scope": "account"},
}


def outcome(reply: Json) -> Any:
    """Result or error, without the members that differ between replies."""
    return reply["result"] if "result" in reply else reply["error"]


def repeated(client: Client, method: str, params: Json) -> Json:
    """Return the reply to a request; assert that it needs no command."""
    before = client.harness.exchange.state.sequence
    reply = client.request(method, **params)
    assert before == client.harness.exchange.state.sequence
    return reply


def everything_else_happens(harness: Harness) -> None:
    """Cancel Alice's orders and let time pass."""
    harness.apply(CancelAll(account=ALICE))
    harness.tick()


def test_every_private_method_that_changes_the_venue_takes_a_key() -> None:
    """The table of this file covers all methods that take a key."""
    assert set(SETTINGS) == {
        name for name, row in METHODS.items() if issubclass(row.params, IdempotentParams)
    }


@pytest.mark.parametrize("method", SETTINGS)
def test_a_repeated_request_gets_the_first_reply_despite_later_changes(method: str) -> None:
    """The reply is made from the state, although the order and the session are gone."""
    harness = Harness()
    client = harness.connect("alice")
    params = SETTINGS[method](client) | {"idempotency_key": "a"}
    first = client.request(method, **params)
    assert "result" in first, first
    client.hang_up()
    everything_else_happens(harness)
    assert outcome(first) == outcome(repeated(harness.connect("alice"), method, params))


@pytest.mark.parametrize("method", SETTINGS)
def test_a_request_with_another_key_is_executed(method: str) -> None:
    """Without this, the test above would not show the effect of the key."""
    harness = Harness()
    client = harness.connect("alice")
    params = SETTINGS[method](client)
    client.call(method, **params, idempotency_key="a")
    before = harness.exchange.state.sequence
    client.request(method, **params, idempotency_key="b")
    done_by_handler = method == "private/cancel"
    assert done_by_handler == (before == harness.exchange.state.sequence)


def test_a_repeated_order_is_placed_once() -> None:
    """It may be sent several times and on any connection."""
    harness = Harness()
    for _ in range(3):
        harness.connect("alice").call("private/buy", **ORDER, idempotency_key="a")
    assert 1 == len(harness.exchange.state.markets[BTC].book.orders)


def test_two_requests_in_flight_with_one_key_are_executed_once() -> None:
    """The first command places the order, and both requests get the same reply."""
    harness = Harness()
    one, other = harness.connect("alice"), harness.connect("alice")
    params = ORDER | {"idempotency_key": "a"}
    sent = [(each, each.send(each.frame("private/buy", params))) for each in (one, other)]
    for client, outcomes in sent:
        assert isinstance(outcomes[0], Submit)
        client.carry_out(outcomes)
    assert outcome(one.sink.replies[-1]) == outcome(other.sink.replies[-1])
    assert 1 == len(harness.exchange.state.markets[BTC].book.orders)


def test_a_repeated_request_is_answered_with_requests_in_flight() -> None:
    """10047 would mean that the request was not executed; new requests do get 10047."""
    harness = Harness("[limits]\nenabled = true\nundecided_requests = 1\n")
    client = harness.connect("alice")
    params = ORDER | {"idempotency_key": "a"}
    first = client.request("private/buy", **params)
    client.send(client.frame("private/buy", ORDER))
    assert 10047 == client.error("private/buy", **ORDER)["code"]
    assert outcome(first) == outcome(repeated(client, "private/buy", params))
    credentials = "Basic " + b64encode(b"alice-key:alice-secret").decode()
    target = "/api/v2/private/buy?instrument_name=BTC-PERPETUAL&amount=10&type=limit&price=64500"
    assert 10047 == harness.get(target, credentials)[1]["error"]["code"]
    _, reply = harness.get(f"{target}&idempotency_key=a", credentials)
    assert outcome(first) == outcome(reply)


def test_keys_are_separate_for_each_account() -> None:
    """The same key of another account is another request."""
    harness = Harness()
    alice, bob = harness.connect("alice"), harness.connect("bob")
    mine = alice.call("private/buy", **ORDER, idempotency_key="a")["order"]
    theirs = bob.call("private/buy", **ORDER, idempotency_key="a")["order"]
    assert mine["order_id"] != theirs["order_id"]
    assert mine["user_id"] != theirs["user_id"]


def test_a_rejection_is_repeated() -> None:
    """The message includes its number."""
    harness = Harness()
    client = harness.connect("alice")
    params = ORDER | {"amount": 500_000_000, "idempotency_key": "a"}
    first = client.request("private/buy", **params)
    assert 10018 == first["error"]["code"]
    assert outcome(first) == outcome(repeated(client, "private/buy", params))


def too_late(client: Client, method: str, params: Json, end: Command) -> Json:
    """Return the reply to a request whose order closes while it is in flight."""
    outcomes = client.send(client.frame(method, params))
    client.harness.apply(end)
    client.carry_out(outcomes)
    return client.sink.replies[-1]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("private/cancel", {}, 11044),
        ("private/edit", {"amount": 20}, 10010),
        ("private/edit_by_label", {"instrument_name": BTC, "label": "x", "amount": 20}, 10010),
    ],
)
def test_a_repeated_rejection_for_a_closed_order_has_the_same_message(
    method: str, params: Json, code: int
) -> None:
    """The reply repeats the code for a closed order, not the one for an unknown order."""
    client = Harness().connect("alice")
    order = resting(client, label="x")
    named = {} if "label" in params else {"order_id": order}
    params = params | named | {"idempotency_key": "a"}
    first = too_late(client, method, params, CancelAll(account=ALICE))
    assert code == first["error"]["code"]
    assert outcome(first) == outcome(repeated(client, method, params))


def test_a_request_that_never_reached_the_exchange_may_be_retried_with_its_key() -> None:
    """A request with invalid parameters leaves no answer under its key."""
    client = Harness().connect("alice")
    key = {"idempotency_key": "a"}
    wrong = client.error("private/buy", **ORDER | {"instrument_name": "DOGE-PERPETUAL"} | key)
    assert 10020 == wrong["code"]
    assert "order" in client.call("private/buy", **ORDER, **key)


def test_a_key_of_another_kind_of_request_is_rejected() -> None:
    """It is neither executed nor answered with the result of the other request."""
    harness = Harness()
    client = harness.connect("alice")
    client.call("private/buy", **ORDER, idempotency_key="a")
    reply = repeated(client, "private/cancel_all", {"idempotency_key": "a"})
    data = {"reason": "belongs to another request", "param": "idempotency_key"}
    assert (-32602, data) == (reply["error"]["code"], reply["error"]["data"])
    assert 1 == len(harness.exchange.state.markets[BTC].book.orders)


def test_a_repeated_count_cannot_list_its_orders() -> None:
    """The orders are not kept with a count; a list, however, can be repeated as a count."""
    client = Harness().connect("alice")
    resting(client)
    assert 1 == client.call("private/cancel_all", idempotency_key="a")
    resting(client)
    client.call("private/cancel_all", detailed=True, idempotency_key="b")
    assert 1 == client.call("private/cancel_all", idempotency_key="b")
    error = client.error("private/cancel_all", detailed=True, idempotency_key="a")
    assert "idempotency_key" == error["data"]["param"]


def test_a_request_whose_first_one_is_in_progress_has_to_retry() -> None:
    """10040 while a large cancel is in progress; afterwards the reply."""
    harness = Harness()
    client = harness.connect("alice")
    for _ in range(2 * harness.exchange.state.parameters.slice + 1):
        resting(client)
    state = harness.exchange.state
    (submit,) = client.send(client.frame("private/cancel_all", {"idempotency_key": "a"}))
    assert isinstance(submit, Submit)
    entry = Entry(state.sequence + 1, harness.clock.time, submit.origin, submit.command)
    harness.venue.feed.publish(entry, harness.exchange.apply(entry))
    assert harness.exchange.busy
    reply = repeated(client, "private/cancel_all", {"idempotency_key": "a"})
    assert 10040 == reply["error"]["code"]
    harness.apply(Continue())
    again = repeated(client, "private/cancel_all", {"idempotency_key": "a"})
    assert 2 * state.parameters.slice + 1 == again["result"]


@pytest.mark.parametrize("key", ["", "k" * 65, 5, ["a"], {"a": 1}])
def test_a_key_has_1_to_64_characters(key: object) -> None:
    """Anything else is rejected by name before the request is executed."""
    client = Harness().connect("alice")
    error = client.error("private/buy", **ORDER, idempotency_key=key)
    assert (-32602, "idempotency_key") == (error["code"], error["data"]["param"])
    assert not client.harness.exchange.state.markets[BTC].book.orders


def test_the_longest_key_is_accepted_and_null_is_no_key() -> None:
    """The limit is in characters, not bytes."""
    harness = Harness()
    client = harness.connect("alice")
    for key in ("ü" * 64, "ü" * 64, None, None):
        client.call("private/buy", **ORDER, idempotency_key=key)
    assert 3 == len(harness.exchange.state.markets[BTC].book.orders)


def test_queries_ignore_the_key() -> None:
    """Queries ignore the key like any unknown parameter."""
    client = Harness().connect("alice")
    client.call("private/buy", **ORDER, idempotency_key="a")
    orders = client.call("private/get_open_orders", idempotency_key="a")
    assert 1 == len(orders)
    client.call("private/get_cancel_on_disconnect", idempotency_key="")


def test_first_answers_survive_a_restart() -> None:
    """A venue restored from a snapshot gives the same replies."""
    before, after = Harness(), Harness()
    client = before.connect("alice")
    order = resting(client)
    requests: list[tuple[str, Json]] = [
        ("private/buy", ORDER | {"idempotency_key": "a"}),
        ("private/cancel", {"order_id": order, "idempotency_key": "b"}),
        ("private/cancel_all", {"detailed": True, "idempotency_key": "c"}),
        ("private/cancel_all", {"idempotency_key": "d"}),
    ]
    first = [outcome(client.request(method, **params)) for method, params in requests]
    late = {"order_id": resting(client), "idempotency_key": "e"}
    requests.append(("private/cancel", late))
    first.append(outcome(too_late(client, "private/cancel", late, CancelAll(account=ALICE))))
    # Another process: the handlers' venue reads another state, and its archive is empty.
    kept = snapshot.load(snapshot.dump(before.exchange.state))
    after.exchange.state = after.venue.feed.state = after.venue.archive.state = kept
    again = after.connect("alice")
    assert first == [outcome(repeated(again, method, params)) for method, params in requests]


def test_a_repeated_request_costs_credits() -> None:
    """Otherwise a flood of repeated requests would be free."""
    harness = Harness("[limits]\nenabled = true\n")
    client = harness.connect("alice")
    params = ORDER | {"idempotency_key": "a"}
    codes = set()
    for _ in range(200):
        (answered,) = client.send(client.frame("private/buy", params))
        client.carry_out([answered])
        codes.add(client.sink.replies[-1].get("error", {}).get("code"))
    assert {None, 10028} == codes


def test_a_repeated_request_is_not_counted_in_flight() -> None:
    """It is answered at once, even at the account's limit of requests in flight."""
    harness = Harness("[limits]\nenabled = true\n")
    client = harness.connect("alice")
    params = ORDER | {"idempotency_key": "a"}
    client.call("private/buy", **params)
    harness.seconds += 10
    for _ in range(harness.venue.config.limits.undecided_requests):
        (sent,) = client.send(client.frame("private/buy", ORDER))
        assert isinstance(sent, Submit)
    (answered,) = client.send(client.frame("private/buy", params))
    assert isinstance(answered, Reply)


def test_the_key_in_the_log_names_the_account() -> None:
    """The log entry's key includes the account."""
    client = Harness().connect("alice")
    (sent,) = client.send(client.frame("private/buy", ORDER | {"idempotency_key": "a"}))
    assert isinstance(sent, Submit)
    origin: Origin = sent.origin
    assert f"{ALICE}:a" == origin.key
