"""Orders from request to rest: the effect of each type, flag and time in force."""

from __future__ import annotations

from typing import Any

import pytest

from book.order import CancelReason, OrderState, OrderType, SelfTrading, Side, TimeInForce
from risk.commands import (
    CancelAll,
    ClosePosition,
    SetSelfTrading,
)
from risk.events import BookChanged, OrderChanged, Traded
from risk.reasons import Reason
from tests.risk.venue import (
    BTC,
    Venue,
    amount,
    of_type,
    open_venue,
    order,
    parse_trades,
    price,
    reason,
    trades,
)

FUNDS = {"BTC": "1", "USDC": "50000"}


@pytest.fixture
def venue() -> Venue:
    return open_venue(ann=FUNDS, ben=FUNDS, cat=FUNDS)


def resting(venue: Venue, account: str) -> list[tuple[int, int]]:
    """Return (price, remaining) of an account's resting orders, oldest first."""
    return [(order.price, order.remaining) for order in venue.orders(account)]


def test_a_limit_order_trades_up_to_its_price_and_rests(venue: Venue) -> None:
    """The best price is first, at the makers' prices; the rest stays at its own price."""
    venue.sell("ben", BTC, "10", "50001")
    venue.sell("cat", BTC, "20", "50000.5")
    venue.sell("ben", BTC, "50", "50002")
    events = venue.buy("ann", BTC, "100", "50001")
    assert parse_trades(("50000.5", "20"), ("50001", "10")) == trades(events)
    assert parse_trades(("50001", "70")) == resting(venue, "ann")
    answer = order(events)
    assert (OrderState.OPEN, amount("30")) == (answer.state, answer.filled)
    # 30 / (20 / 50000.5 + 10 / 50001), the harmonic mean.
    assert price("50000.66666556") == answer.average_price


@pytest.mark.parametrize(
    ("time_in_force", "filled", "state"),
    [
        (TimeInForce.GOOD_TIL_CANCELLED, "30", OrderState.OPEN),
        (TimeInForce.GOOD_TIL_DAY, "30", OrderState.OPEN),
        (TimeInForce.IMMEDIATE_OR_CANCEL, "30", OrderState.CANCELLED),
        (TimeInForce.FILL_OR_KILL, "0", OrderState.CANCELLED),
    ],
)
def test_time_in_force_decides_about_the_unfilled_rest(
    venue: Venue, time_in_force: TimeInForce, filled: str, state: OrderState
) -> None:
    """It rests, is cancelled, or prevents any trade; none of these is a refusal."""
    venue.sell("ben", BTC, "30", "50000")
    events = venue.buy("ann", BTC, "40", "50000", time_in_force=time_in_force)
    answer = order(events)
    assert (amount(filled), state, None) == (answer.filled, answer.state, answer.cancel_reason)
    assert (1 if time_in_force.rests else 0) == len(venue.orders("ann"))
    assert answer == of_type(events, OrderChanged)[-1].order


@pytest.mark.parametrize("kind", [OrderType.LIMIT, OrderType.MARKET])
def test_fill_or_kill_fills_whole_or_not_at_all(venue: Venue, kind: OrderType) -> None:
    """No partial fill remains, for any order type."""
    venue.sell("ben", BTC, "30", "50000")
    terms: dict[str, Any] = {"type": kind, "time_in_force": TimeInForce.FILL_OR_KILL}
    limit = "50000" if kind is OrderType.LIMIT else None
    assert [] == trades(venue.buy("ann", BTC, "40", limit, **terms))
    assert parse_trades(("50000", "30")) == trades(venue.buy("ann", BTC, "30", limit, **terms))


def test_a_market_order_is_bounded_by_the_band(venue: Venue) -> None:
    """It trades up to the highest price allowed for a limit order; the rest is cancelled."""
    venue.sell("ben", BTC, "30", "50500")
    venue.sell("ben", BTC, "30", "50800")
    market = venue.market(BTC)
    assert price("50750") == market.high
    answer = order(venue.buy("ann", BTC, "100"))
    assert (OrderState.CANCELLED, amount("30")) == (answer.state, answer.filled)
    assert (OrderType.MARKET, OrderType.MARKET) == (answer.type, answer.original_type)
    assert Reason.NO_LIQUIDITY is reason(venue.buy("ann", BTC, "10"))


def test_market_orders_are_priced_at_their_bound(venue: Venue) -> None:
    """Margin covers the worst price at which it may trade, not the best one in the book."""
    poor = venue.open("dan", BTC="0.0040")
    venue.sell("ben", BTC, "10000", "50000")
    # 10,000 USD: 0.0040 initial margin, 0.003 lost at 50,750, and fees.
    assert Reason.NOT_ENOUGH_FUNDS is reason(venue.buy("dan", BTC, "10000"))
    venue.deposit(poor, "BTC", "0.0031")
    assert parse_trades(("50000", "10000")) == trades(venue.buy("dan", BTC, "10000"))


def test_a_market_limit_order_rests_at_the_best_opposite_price(venue: Venue) -> None:
    """It takes the best level only, and becomes a limit order there."""
    venue.sell("ben", BTC, "10", "50000")
    venue.sell("ben", BTC, "10", "50001")
    answer = order(venue.buy("ann", BTC, "30", type=OrderType.MARKET_LIMIT))
    assert (OrderType.LIMIT, OrderType.MARKET_LIMIT) == (answer.type, answer.original_type)
    assert parse_trades(("50000", "20")) == resting(venue, "ann")
    venue.do(CancelAll(account=venue.number("ben")))
    venue.do(CancelAll(account=venue.number("ann")))
    refused = venue.buy("ann", BTC, "30", type=OrderType.MARKET_LIMIT)
    assert Reason.NO_LIQUIDITY is reason(refused)


def test_a_post_only_order_slides_to_one_tick_from_the_best_opposite_price(venue: Venue) -> None:
    """This holds on either side; it never takes."""
    venue.sell("ben", BTC, "10", "50001")
    venue.buy("ben", BTC, "10", "49999")
    venue.buy("ann", BTC, "10", "50400", post_only=True)
    venue.sell("cat", BTC, "10", "49900", post_only=True)
    assert parse_trades(("50000.5", "10")) == resting(venue, "ann")
    assert parse_trades(("50001", "10")) == resting(venue, "cat")


def test_a_post_only_order_that_must_not_slide_is_refused(venue: Venue) -> None:
    """With `reject_post_only`, a crossing order is refused and any other is accepted."""
    venue.sell("ben", BTC, "10", "50001")
    terms = {"post_only": True, "reject_post_only": True}
    assert Reason.POST_ONLY_REJECT is reason(venue.buy("ann", BTC, "10", "50001", **terms))
    assert reason(venue.buy("ann", BTC, "10", "50000.5", **terms)) is None


@pytest.mark.parametrize(
    "terms",
    [
        {"type": OrderType.MARKET},
        {"type": OrderType.MARKET_LIMIT},
        {"time_in_force": TimeInForce.IMMEDIATE_OR_CANCEL},
        {"time_in_force": TimeInForce.FILL_OR_KILL},
    ],
)
def test_only_an_order_that_can_rest_can_be_post_only(venue: Venue, terms: dict[str, Any]) -> None:
    """Any other post-only order could only be cancelled."""
    venue.sell("ben", BTC, "10", "50001")
    refused = venue.buy("ann", BTC, "10", "50000", post_only=True, **terms)
    assert Reason.POST_ONLY_NOT_ALLOWED is reason(refused)


@pytest.mark.parametrize(
    ("side", "size", "limit", "expected"),
    [
        (Side.BUY, "10", "50750", None),
        (Side.BUY, "10", "50750.5", Reason.PRICE_TOO_HIGH),
        (Side.BUY, "10", "1000", None),
        (Side.SELL, "10", "49250", None),
        (Side.SELL, "10", "49249.5", Reason.PRICE_TOO_LOW),
        (Side.SELL, "10", "90000", None),
        (Side.BUY, "10", "50000.25", Reason.PRICE_OFF_TICK),
        (Side.BUY, "10", "-50000", Reason.PRICE_OFF_TICK),
        (Side.BUY, "9", "50000", Reason.AMOUNT_BELOW_MINIMUM),
        (Side.BUY, "0", "50000", Reason.AMOUNT_BELOW_MINIMUM),
        (Side.BUY, "-10", "50000", Reason.AMOUNT_BELOW_MINIMUM),
        (Side.BUY, "15", "50000", Reason.AMOUNT_OFF_STEP),
    ],
)
def test_prices_and_amounts_must_fit_the_instrument(
    venue: Venue, side: Side, size: str, limit: str, expected: Reason | None
) -> None:
    """The limits are tick, contract size, minimum, and the band on the side that gives away."""
    assert expected is reason(venue.place("ann", BTC, side, size, limit))


def test_a_taker_that_meets_its_own_order_is_stopped(venue: Venue) -> None:
    """`reject_taker`: refused if nothing traded, otherwise the rest is cancelled."""
    venue.sell("ben", BTC, "10", "50000")
    venue.sell("ann", BTC, "10", "50001")
    events = venue.buy("ann", BTC, "30", "50001")
    assert parse_trades(("50000", "10")) == trades(events)
    answer = order(events)
    assert (OrderState.CANCELLED, CancelReason.SELF_TRADE) == (answer.state, answer.cancel_reason)
    assert Reason.ORDER_OVERLAP is reason(venue.buy("ann", BTC, "30", "50001"))
    assert parse_trades(("50001", "10")) == resting(venue, "ann")


def test_a_maker_can_give_way_to_its_own_taker(venue: Venue) -> None:
    """`cancel_maker`: the resting order is cancelled, and the taker trades on."""
    venue.do(SetSelfTrading(account=venue.number("ann"), mode=SelfTrading.CANCEL_MAKER))
    venue.sell("ann", BTC, "10", "50000")
    venue.sell("ben", BTC, "10", "50001")
    events = venue.buy("ann", BTC, "20", "50001")
    assert parse_trades(("50001", "10")) == trades(events)
    cancelled = of_type(events, OrderChanged)[0].order
    assert (OrderState.CANCELLED, CancelReason.SELF_TRADE) == (
        cancelled.state,
        cancelled.cancel_reason,
    )
    assert parse_trades(("50001", "10")) == resting(venue, "ann")


def test_a_reduce_only_order_is_capped_to_the_position(venue: Venue) -> None:
    """Amounts of other reduce-only orders are subtracted."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    venue.sell("ann", BTC, "70", "50100", reduce_only=True)
    answer = order(venue.sell("ann", BTC, "70", "50200", reduce_only=True))
    assert amount("30") == answer.amount
    refused = venue.sell("ann", BTC, "10", "50300", reduce_only=True)
    assert Reason.NOTHING_TO_REDUCE is reason(refused)
    refused = venue.buy("ann", BTC, "10", "49000", reduce_only=True)
    assert Reason.NOTHING_TO_REDUCE is reason(refused)


def test_reduce_only_orders_shrink_newest_first_with_the_position(venue: Venue) -> None:
    """The newest orders lose the amount that the position no longer has, or end."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    for limit in ("50300", "50200", "50100"):
        venue.sell("ann", BTC, "30", limit, reduce_only=True)
    venue.buy("cat", BTC, "50", "49990")
    events = venue.sell("ann", BTC, "50", "49990")
    assert parse_trades(("50300", "30"), ("50200", "20")) == resting(venue, "ann")
    ended = [change.order for change in of_type(events, OrderChanged) if change.order.reduce_only]
    assert CancelReason.REDUCE_ONLY in {each.cancel_reason for each in ended}
    venue.buy("cat", BTC, "100", "49990")
    venue.sell("ann", BTC, "100", "49990")
    assert [] == venue.orders("ann")
    assert -amount("50") == venue.size("ann", BTC)


def test_closing_a_position_closes_all_of_it(venue: Venue) -> None:
    """At the market or at a limit; without a position it is refused."""
    close = ClosePosition(account=venue.number("ann"), instrument=BTC)
    assert Reason.NO_POSITION is reason(venue.do(close))
    venue.trade("ann", "ben", BTC, "100", "50000")
    venue.buy("cat", BTC, "60", "49999")
    answer = order(venue.do(close))
    assert (Side.SELL, amount("60"), True) == (answer.side, answer.filled, answer.reduce_only)
    at_a_limit = ClosePosition(account=venue.number("ann"), instrument=BTC, price=price("50010"))
    assert reason(venue.do(at_a_limit)) is None
    assert parse_trades(("50010", "40")) == resting(venue, "ann")


def test_an_immediate_close_precedes_resting_reduce_only_orders(venue: Venue) -> None:
    """Resting reduce-only orders shrink as it fills."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    venue.sell("ann", BTC, "100", "50300", reduce_only=True)
    venue.buy("cat", BTC, "60", "49999")
    answer = order(venue.do(ClosePosition(account=venue.number("ann"), instrument=BTC)))
    assert (amount("100"), amount("60")) == (answer.amount, answer.filled)
    assert parse_trades(("50300", "40")) == resting(venue, "ann")
    venue.buy("cat", BTC, "40", "49999")
    venue.do(ClosePosition(account=venue.number("ann"), instrument=BTC))
    assert [] == venue.orders("ann")
    assert 0 == venue.size("ann", BTC)


def test_trades_report_both_sides_with_fees_and_profits(venue: Venue) -> None:
    """The taker pays 0.05 %, the maker nothing; the closing side has the realised profit."""
    venue.trade("ann", "ben", BTC, "1000", "50000")
    venue.buy("cat", BTC, "1000", "50500")
    [trade] = of_type(venue.sell("ann", BTC, "1000", "50500"), Traded)
    assert (venue.number("cat"), venue.number("ann")) == (trade.maker.account, trade.taker.account)
    # 1000 / 50000 - 1000 / 50500 and 0.0005 x 1000 / 50500, in 1e-12.
    assert (0, 0) == (trade.maker.fee, trade.maker.profit)
    assert (9_900_991, 198_019_802) == (trade.taker.fee, trade.taker.profit)
    assert (2, 0) == (trade.sequence, trade.tick)


def test_book_changes_are_net_of_an_entry(venue: Venue) -> None:
    """Orders that came and went within one entry are not reported."""
    venue.sell("ben", BTC, "10", "50000")
    [change] = of_type(venue.buy("ann", BTC, "30", "50000"), BookChanged)
    assert [
        (Side.BUY, price("50000"), 0, amount("20")),
        (Side.SELL, price("50000"), amount("10"), 0),
    ] == [(level.side, level.price, level.before, level.after) for level in change.changes]
