"""Edits, cancels and queues: queue positions and answers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from book.calendar import next_settlement
from book.order import CancelReason, OrderRecord, OrderState, OrderType, SelfTrading, TimeInForce
from risk.commands import Cancel, CancelAll, Edit, SetSelfTrading
from risk.events import BookChanged, Cancelled, CancelledAll, Event, OrderChanged
from risk.reasons import Reason
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    Venue,
    amount,
    of_type,
    open_venue,
    order,
    price,
    reason,
    trades,
)

FUNDS = {"BTC": "1", "USDC": "50000"}


@pytest.fixture
def venue() -> Venue:
    return open_venue(ann=FUNDS, ben=FUNDS, cat=FUNDS)


def change(
    venue: Venue,
    record: OrderRecord,
    *,
    size: str | None = None,
    limit: str | None = None,
    **flags: bool,
) -> list[Event]:
    """Edit an order as its owner."""
    command = Edit(
        account=record.account,
        order_id=record.order_id,
        amount=None if size is None else amount(size),
        price=None if limit is None else price(limit),
        **flags,
    )
    return venue.do(command)


def queue(venue: Venue) -> list[int]:
    """Return the ids of the bids in the order in which they would trade."""
    return [order.order_id for level in venue.market(BTC).book.bids for order in level]


@pytest.mark.parametrize(
    ("size", "limit", "kept"),
    [
        ("20", None, True),
        (None, "49000", True),
        ("30", "49000", True),
        (None, None, True),
        ("40", None, False),
        (None, "48999.5", False),
        (None, "49000.5", True),
        ("20", "48000", False),
    ],
)
def test_an_edit_to_a_larger_amount_moves_to_the_end_of_the_queue(
    venue: Venue, size: str | None, limit: str | None, kept: bool
) -> None:
    """A smaller amount at the same price keeps its position; another price does not."""
    first = order(venue.buy("ann", BTC, "30", "49000"))
    second = order(venue.buy("ben", BTC, "30", "49000"))
    answer = order(change(venue, first, size=size, limit=limit))
    ids = [first.order_id, second.order_id]
    assert (ids if kept else ids[::-1]) == queue(venue)
    assert (first.order_id, True, OrderState.OPEN) == (
        answer.order_id,
        answer.replaced,
        answer.state,
    )
    assert amount(size or "30") == answer.amount
    assert price(limit or "49000") == answer.price


@pytest.mark.parametrize("flag", ["post_only", "reject_post_only"])
def test_an_edit_of_flags_keeps_the_queue_position(venue: Venue, flag: str) -> None:
    """Flags only affect later matching."""
    first = order(venue.buy("ann", BTC, "30", "49000"))
    second = order(venue.buy("ben", BTC, "30", "49000"))
    command = Edit(account=first.account, order_id=first.order_id)
    assert getattr(order(venue.do(replace(command, **{flag: True}))), flag)
    assert [first.order_id, second.order_id] == queue(venue)


def test_an_edited_amount_includes_the_filled_amount(venue: Venue) -> None:
    """The new amount is the total; if it is already filled, the order ends as filled."""
    bid = order(venue.buy("ann", BTC, "100", "49000"))
    venue.sell("ben", BTC, "40", "49250")
    venue.tick(btc_usd="49000")
    venue.sell("ben", BTC, "40", "49000")
    answer = order(change(venue, bid, size="70"))
    assert (amount("70"), amount("40")) == (answer.amount, answer.filled)
    assert amount("30") == venue.orders("ann")[0].remaining
    events = change(venue, bid, size="30")
    answer = order(events)
    assert (OrderState.FILLED, amount("40"), None) == (
        answer.state,
        answer.amount,
        answer.cancel_reason,
    )
    assert answer == of_type(events, OrderChanged)[-1].order
    assert [] == venue.orders("ann")
    assert Reason.ORDER_NOT_FOUND is reason(change(venue, bid, size="100"))


def test_an_edit_may_trade_at_once(venue: Venue) -> None:
    """A crossing price takes liquidity under the same order id."""
    bid = order(venue.buy("ann", BTC, "30", "49000"))
    venue.sell("ben", BTC, "10", "50000")
    events = change(venue, bid, limit="50000")
    assert [(price("50000"), amount("10"))] == trades(events)
    assert (bid.order_id, amount("20")) == (
        venue.orders("ann")[0].order_id,
        venue.orders("ann")[0].remaining,
    )


def test_a_refused_edit_leaves_the_order_as_it_was(venue: Venue) -> None:
    """It is off the tick, out of the band or unaffordable; the order keeps its position."""
    first = order(venue.buy("ann", BTC, "30", "49000"))
    second = order(venue.buy("ben", BTC, "30", "49000"))
    before = venue.orders("ann")[0].record()
    assert Reason.PRICE_OFF_TICK is reason(change(venue, first, limit="49000.1"))
    assert Reason.PRICE_TOO_HIGH is reason(change(venue, first, limit="60000"))
    assert Reason.NOT_ENOUGH_FUNDS is reason(change(venue, first, size="10000000"))
    assert Reason.AMOUNT_OFF_STEP is reason(change(venue, first, size="25"))
    assert before == venue.orders("ann")[0].record()
    assert [first.order_id, second.order_id] == queue(venue)


def test_an_edit_of_a_post_only_order_slides_or_ends_it(venue: Venue) -> None:
    """With `reject_post_only`, the order is cancelled and the request refused."""
    venue.sell("ben", BTC, "10", "50000")
    sliding = order(venue.buy("ann", BTC, "30", "49000", post_only=True))
    assert price("49999.5") == order(change(venue, sliding, limit="50100")).price
    strict = order(venue.buy("ann", BTC, "30", "49000", post_only=True, reject_post_only=True))
    events = change(venue, strict, limit="50100")
    assert Reason.POST_ONLY_REJECT is reason(events)
    [cancelled] = [e.order for e in of_type(events, OrderChanged)]
    assert (strict.order_id, CancelReason.EDIT_POST_ONLY_REJECT) == (
        cancelled.order_id,
        cancelled.cancel_reason,
    )
    assert [sliding.order_id] == [each.order_id for each in venue.orders("ann")]


def test_an_edit_that_meets_an_own_order_cancels_the_edited_order(venue: Venue) -> None:
    """The entry reports the change of the order and of the book."""
    venue.sell("ann", BTC, "10", "50000")
    bid = order(venue.buy("ann", BTC, "30", "49000"))
    events = change(venue, bid, limit="50000")
    answer = order(events)
    assert (OrderState.CANCELLED, CancelReason.SELF_TRADE) == (answer.state, answer.cancel_reason)
    [book] = of_type(events, BookChanged)
    assert [(price("49000"), amount("30"), 0)] == [
        (level.price, level.before, level.after) for level in book.changes
    ]


def test_an_edit_may_set_and_clear_reduce_only(venue: Venue) -> None:
    """The amount is capped to the position not reserved by other reduce-only orders."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    ask = order(venue.sell("ann", BTC, "80", "50100"))
    reduce_only = order(change(venue, ask, size="300", reduce_only=True))
    assert (amount("100"), True) == (reduce_only.amount, reduce_only.reduce_only)
    again = order(change(venue, ask, limit="50200"))
    assert amount("100") == again.amount
    free = order(change(venue, ask, size="300", reduce_only=False))
    assert (amount("300"), False) == (free.amount, free.reduce_only)


def test_a_cancel_is_answered_with_the_final_order(venue: Venue) -> None:
    """A second cancel finds no order."""
    bid = order(venue.buy("ann", BTC, "30", "49000"))
    command = Cancel(account=bid.account, order_id=bid.order_id)
    events = venue.do(command, after=5)
    [answer] = of_type(events, Cancelled)
    assert (OrderState.CANCELLED, CancelReason.USER_REQUEST, bid.created + 5) == (
        answer.order.state,
        answer.order.cancel_reason,
        answer.order.updated,
    )
    assert Reason.ORDER_NOT_FOUND is reason(venue.do(command))


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ({}, []),
        ({"currencies": ("BTC",)}, ["usdc"]),
        ({"currencies": ("ETH",)}, ["a", "b", "usdc"]),
        ({"instrument": BTC}, ["usdc"]),
        ({"label": "a"}, ["b", "usdc"]),
        ({"type": OrderType.MARKET}, ["a", "b", "usdc"]),
        ({"type": OrderType.LIMIT, "label": "usdc"}, ["a", "b"]),
    ],
)
def test_cancelling_all_cancels_the_matching_orders(
    venue: Venue, which: dict[str, object], left: list[str]
) -> None:
    """An empty filter matches all; several filters must all match."""
    venue.buy("ann", BTC, "10", "49000", label="a")
    venue.buy("ann", BTC, "10", "49000", label="b")
    venue.buy("ann", BTC_USDC, "0.001", "49000", label="usdc")
    venue.buy("ben", BTC, "10", "49000")
    command = CancelAll(account=venue.number("ann"), detailed=True, **which)  # type: ignore[arg-type]
    [answer] = of_type(venue.do(command), CancelledAll)
    assert left == [each.label for each in venue.orders("ann")]
    assert (3 - len(left), 3 - len(left)) == (answer.count, len(answer.orders))
    assert 1 == len(venue.orders("ben"))


def test_good_til_day_orders_are_cancelled_at_settlement(venue: Venue) -> None:
    """This is at 08:00 UTC, with that reason; other orders remain."""
    venue.buy("ann", BTC, "10", "49000", time_in_force=TimeInForce.GOOD_TIL_DAY)
    kept = order(venue.buy("ann", BTC, "10", "49000"))
    venue.tick(next_settlement(venue.time) - 1 - venue.time)
    assert 2 == len(venue.orders("ann"))
    events = venue.tick(1) + venue.finish()
    assert [CancelReason.SETTLEMENT] == [
        each.order.cancel_reason for each in of_type(events, OrderChanged)
    ]
    assert [kept.order_id] == [each.order_id for each in venue.orders("ann")]


def test_the_self_trading_mode_is_set_per_account(venue: Venue) -> None:
    """The mode of the taker's account applies."""
    venue.do(SetSelfTrading(account=venue.number("ann"), mode=SelfTrading.CANCEL_MAKER))
    for name in ("ann", "ben"):
        venue.sell(name, BTC, "10", "50000")
    assert [(price("50000"), amount("10"))] == trades(venue.buy("ann", BTC, "20", "50000"))
    venue.do(CancelAll(account=venue.number("ann")))
    venue.sell("ben", BTC, "10", "50000")
    assert Reason.ORDER_OVERLAP is reason(venue.buy("ben", BTC, "20", "50000"))
