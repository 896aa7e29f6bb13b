"""Replies to repeated requests if the exchange keeps less than the first reply contained."""

from __future__ import annotations

from risk import idempotency
from risk.commands import CancelAll
from tests.gateway.api.test_idempotency import BTC, ORDER, outcome, repeated, resting
from tests.gateway.harness import Harness

LISTED = idempotency.LISTED
MANY = 3 * LISTED


def test_a_repeated_order_has_only_its_first_trades() -> None:
    """The order has its full filled amount, and at most ten trades are listed."""
    harness = Harness()
    bob, client = harness.connect("bob"), harness.connect("alice")
    for _ in range(MANY):
        bob.call("private/sell", **ORDER | {"price": 64_600})
    params = ORDER | {"amount": 10 * MANY, "price": 64_600, "idempotency_key": "a"}
    first = client.request("private/buy", **params)["result"]
    again = repeated(client, "private/buy", params)["result"]
    assert MANY == len(first["trades"])
    assert first["order"] == again["order"]
    assert first["trades"][:LISTED] == again["trades"]


def test_a_repeated_cancel_all_lists_only_the_first_orders() -> None:
    """A detailed result lists only the first orders; the count is complete."""
    client = Harness().connect("alice")
    for key, detailed in (("a", True), ("b", False)):
        for _ in range(MANY):
            resting(client)
        params = {"detailed": detailed, "idempotency_key": key}
        first = client.request("private/cancel_all", **params)["result"]
        again = repeated(client, "private/cancel_all", params)["result"]
        if detailed:
            (reports,), (repeats,) = first, again
            assert MANY == len(reports["result"])
            assert reports["result"][:LISTED] == repeats["result"]
            assert reports["instrument_name"] == repeats["instrument_name"] == BTC
        else:
            assert MANY == first == again


def test_keyed_cancels_of_one_account_do_not_evict_answers_of_another() -> None:
    """A retry after many cancels of another account gets the first reply."""
    harness = Harness()
    alice, bob = harness.connect("alice"), harness.connect("bob")
    params = ORDER | {"idempotency_key": "a"}
    first = alice.request("private/buy", **params)
    for n in range(2 * idempotency.OUTCOMES):
        bob.call("private/cancel_all", idempotency_key=f"{n}")
    assert outcome(first) == outcome(repeated(alice, "private/buy", params))
    harness.apply(CancelAll(account=101))
    assert outcome(first) == outcome(repeated(alice, "private/buy", params))
