"""One order trades with a limited number of others, then its rest is cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from book.order import CancelReason, OrderState, OrderType, SelfTrading, TimeInForce
from risk.commands import ClosePosition, Edit, SetSelfTrading
from risk.events import OrderChanged, Traded
from tests.risk.venue import BTC, Venue, amount, of_type, open_venue, order, price, trades

MOST = 5
FUNDS = {"BTC": "100"}


def venue_with_offers(makers: int, **parameters: int) -> Venue:
    """Return a venue with many small offers of two accounts at two prices."""
    venue = open_venue(parameters={"fills": MOST, **parameters}, ann=FUNDS, ben=FUNDS, cat=FUNDS)
    for number in range(makers):
        venue.sell("ben" if number % 2 else "cat", BTC, "10", 50_000 + number % 2)
    return venue


@pytest.mark.parametrize(
    ("limit", "terms"),
    [
        (50_001, {}),
        (50_001, {"time_in_force": TimeInForce.GOOD_TIL_DAY}),
        (50_001, {"time_in_force": TimeInForce.IMMEDIATE_OR_CANCEL}),
        (None, {}),
        (None, {"type": OrderType.MARKET_LIMIT}),
    ],
)
def test_the_rest_of_an_order_at_the_limit_is_cancelled(
    limit: int | None, terms: dict[str, Any]
) -> None:
    """In the book the rest would cross, for any terms. The order has a cancel reason."""
    venue = venue_with_offers(2 * MOST + 4)
    ended = order(venue.buy("ann", BTC, "1000", limit, **terms))
    assert (OrderState.CANCELLED, CancelReason.FILL_LIMIT) == (ended.state, ended.cancel_reason)
    assert amount(10 * MOST) == ended.filled == venue.size("ann", BTC)
    assert [] == venue.orders("ann")


def test_an_order_that_needs_exactly_the_limit_is_filled() -> None:
    """If it finds no more orders to trade with, its rest stays in the book as usual."""
    venue = venue_with_offers(MOST)
    assert OrderState.FILLED is order(venue.buy("ann", BTC, 10 * MOST, 50_001)).state
    venue = venue_with_offers(MOST)
    assert OrderState.OPEN is order(venue.buy("ann", BTC, 10 * MOST + 10, 50_001)).state


@pytest.mark.parametrize("kind", [OrderType.LIMIT, OrderType.MARKET])
@pytest.mark.parametrize(("makers", "filled"), [(MOST, MOST), (MOST + 1, 0)])
def test_fill_or_kill_is_killed_where_it_would_exceed_the_limit(
    kind: OrderType, makers: int, filled: int
) -> None:
    """It is filled completely or not at all."""
    venue = venue_with_offers(makers)
    limit = 50_001 if kind is OrderType.LIMIT else None
    terms = {"time_in_force": TimeInForce.FILL_OR_KILL, "type": kind}
    events = venue.buy("ann", BTC, 10 * makers, limit, **terms)
    assert (amount(10 * filled), filled) == (order(events).filled, len(trades(events)))


def test_an_edit_that_reaches_the_limit_ends_the_order() -> None:
    """It has traded by then, and cannot rest at its new price."""
    venue = venue_with_offers(MOST + 3)
    resting = order(venue.buy("ann", BTC, "1000", 49_000))
    edit = Edit(account=resting.account, order_id=resting.order_id, price=price(50_001))
    ended = order(venue.do(edit))
    assert (CancelReason.FILL_LIMIT, amount(10 * MOST)) == (ended.cancel_reason, ended.filled)
    assert [] == venue.orders("ann")


def test_a_large_position_is_closed_in_several_orders() -> None:
    """Each order closes a further part."""
    venue = venue_with_offers(0)
    venue.trade("ann", "ben", BTC, 20 * MOST, "50000")
    for _ in range(2 * MOST):
        venue.buy("cat", BTC, "10", "49999")
    close = ClosePosition(account=venue.number("ann"), instrument=BTC)
    sizes = [venue.size("ann", BTC) for _ in range(2) if venue.do(close)]
    assert [amount(10 * MOST), 0] == sizes


def test_cancelled_own_orders_count_towards_the_limit() -> None:
    """Otherwise an account with thousands of own orders could delay the venue."""
    venue = venue_with_offers(0)
    venue.do(SetSelfTrading(account=venue.number("ann"), mode=SelfTrading.CANCEL_MAKER))
    for _ in range(MOST + 3):
        venue.sell("ann", BTC, "10", "50000")
    ended = order(venue.buy("ann", BTC, "100", "50000"))
    assert (CancelReason.FILL_LIMIT, 0) == (ended.cancel_reason, ended.filled)
    assert 3 == len(venue.orders("ann"))


@pytest.mark.parametrize("of_the_taker", [True, False])
def test_a_fill_cancels_no_more_reduce_only_orders_than_the_limit(of_the_taker: bool) -> None:
    """The fill is reduced and is the last of its order; the newest orders are cancelled."""
    venue = venue_with_offers(0)
    count = 3 * MOST
    venue.trade("ann", "ben", BTC, 10 * count, "50000")
    for _ in range(count):
        venue.sell("ann", BTC, "10", "50600", reduce_only=True)
    oldest = [each.order_id for each in venue.orders("ann")][: count - MOST]
    if of_the_taker:
        venue.buy("cat", BTC, 10 * count, "49900")
        events = venue.sell("ann", BTC, 10 * count, "49900")
        assert CancelReason.FILL_LIMIT is order(events).cancel_reason
    else:
        # It is not reduce-only: it may close the position and open the opposite one.
        venue.sell("ann", BTC, 10 * count, "50000")
        oldest.append(venue.orders("ann")[-1].order_id)
        events = venue.buy("cat", BTC, 10 * count, "50000")
        assert CancelReason.FILL_LIMIT is order(events).cancel_reason
    assert [amount(10 * MOST)] == [each for _, each in trades(events)]
    assert oldest == [each.order_id for each in venue.orders("ann")]
    cut = [e for e in of_type(events, OrderChanged) if e.order.reduce_only]
    assert MOST == len(cut)


def test_a_fill_that_flips_a_position_cancels_its_reduce_only_orders() -> None:
    """If the limit prevents this, the fill stops before the flip."""
    for held, size in ((MOST, -10), (MOST + 1, 10)):
        venue = venue_with_offers(0)
        venue.trade("ann", "ben", BTC, 10 * held, "50000")
        for _ in range(held):
            venue.sell("ann", BTC, "10", "50600", reduce_only=True)
        venue.buy("cat", BTC, 10 * held + 10, "49900")
        events = venue.sell("ann", BTC, 10 * held + 10, "49900")
        assert 1 == len(of_type(events, Traded))
        assert amount(size) == venue.size("ann", BTC)
