"""A restart at any time changes no later result.

`scripts/restored_runs` runs hundreds of seeds of the same test.
"""

from __future__ import annotations

from collections import Counter

import pytest

from book.order import TimeInForce
from risk import snapshot
from risk.commands import Continue, Entry, Origin
from risk.events import OrderChanged
from risk.exchange import Exchange
from risk.risk_terms import LossPolicy
from tests.hypothesis_settings import EFFORT
from tests.risk.restored_venue import run, weights_of
from tests.risk.venue import WEEKLY, of_type, open_venue

STEPS = 110
RUNS = 10 * EFFORT
WANTED = {f"amid {kind}" for kind in ("CancelOrders", "Settlement", "Delivery", "Deleverage")} | {
    "DELEVERAGED",
    "TAKEN_OVER",
    "REDUCED",
    "LossShared",
    "PositionSettled",
}


def test_a_venue_restored_after_every_entry_has_equal_results() -> None:
    """Events and states are equal, and all kinds of background work occur.

    Some kinds are rare, so up to five times as many runs are added until all have occurred.
    """
    seen: Counter[str] = Counter()
    for seed in range(1, 1 + 5 * RUNS):
        policy = LossPolicy.SOCIALISE if seed % 2 else LossPolicy.DELEVERAGE
        seen += run(seed, STEPS, weights_of(seed), loss_policy=policy).seen
        if seed >= RUNS and seen.keys() >= WANTED:
            return
    raise AssertionError(f"never seen: {WANTED - seen.keys()}")


@pytest.mark.parametrize("kind", TimeInForce)
@pytest.mark.parametrize("count", [3, 20])
def test_orders_of_an_expired_future_are_cancelled_in_a_fixed_order(
    kind: TimeInForce, count: int
) -> None:
    """The worst price is first; edits, ages and slices do not change the order."""
    if not kind.rests:
        return
    venue = open_venue(parameters={"slice": 4}, ann={"BTC": "10"}, ben={"BTC": "10"})
    for number in range(count):
        away = 50 * (number * 7 % count)
        terms = {"time_in_force": kind}
        venue.buy("ann" if number % 3 else "ben", WEEKLY, "10", 48_000 + away, **terms)
        venue.sell("ben" if number % 2 else "ann", WEEKLY, "10", 52_000 - away, **terms)
    twin = Exchange(snapshot.load(snapshot.dump(venue.exchange.state)))
    expiry = venue.market(WEEKLY).instrument.expiry
    assert expiry is not None
    cancelled = 0
    for number in range(len(venue.entries) + 1, 10_000):
        entry = Entry(number, expiry, Origin(), Continue())
        events = venue.exchange.apply(entry)
        assert events == twin.apply(entry)
        assert venue.exchange.digest() == twin.digest()
        cancelled += len(of_type(events, OrderChanged))
        if not venue.exchange.busy:
            break
    assert cancelled == 2 * count
