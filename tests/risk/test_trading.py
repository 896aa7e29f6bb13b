"""Orders from request to rest: the effect of each type, flag and time in force."""

from __future__ import annotations

from typing import Any

import pytest

from book.order import CancelReason, OrderState, OrderType, SelfTrading, Side, TimeInForce
from book.units import SECOND
from risk import margin, margin_cache
from risk.commands import (
    Cancel,
    CancelAll,
    ClosePosition,
    Command,
    Deposit,
    Edit,
    Place,
    SetSelfTrading,
    Withdraw,
)
from risk.events import BookChanged, CancelledAll, OrderChanged, Traded
from risk.reasons import Reason
from risk.state import DEFICIT, FEES, FUNDING_POOL, INSURANCE, ROUNDING
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


def parse_trades(*pairs: tuple[str, str]) -> list[tuple[int, int]]:
    """Parse (price, amount) of trades from text."""
    return [(price(limit), amount(size)) for limit, size in pairs]


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


def test_the_open_orders_of_an_account_are_limited(venue: Venue) -> None:
    """The limit counts all markets."""
    venue.set_parameters(open_orders=2)
    venue.buy("ann", BTC, "10", "49000")
    venue.buy("ann", BTC_USDC, "0.001", "49000")
    assert Reason.ORDERS_OVER_LIMIT is reason(venue.buy("ann", BTC, "10", "49000"))
    assert reason(venue.buy("ben", BTC, "10", "49000")) is None


@pytest.mark.parametrize(
    ("kind", "lasting", "passes"),
    [
        (kind, lasting, kind is OrderType.MARKET or not lasting.rests)
        for kind in OrderType
        for lasting in TimeInForce
    ],
)
def test_at_the_limit_only_orders_that_can_rest_are_refused(
    venue: Venue, kind: OrderType, lasting: TimeInForce, passes: bool
) -> None:
    """A position can be closed with any number of open orders."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    venue.buy("ben", BTC, "100", "49990")
    venue.buy("ann", BTC, "10", "49000")
    venue.buy("ann", BTC, "10", "49000")
    venue.set_parameters(open_orders=2)
    limit = "49990" if kind is OrderType.LIMIT else None
    events = venue.sell("ann", BTC, "40", limit, type=kind, time_in_force=lasting)
    assert (None if passes else Reason.ORDERS_OVER_LIMIT) is reason(events)
    assert (parse_trades(("49990", "40")) if passes else []) == trades(events)
    assert 2 == len(venue.orders("ann"))


def test_at_the_limit_a_position_can_be_closed_at_market(venue: Venue) -> None:
    """With a limit price, the rest of the order would need a place."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    venue.buy("ben", BTC, "100", "49990")
    venue.buy("ann", BTC, "10", "49000")
    venue.set_parameters(open_orders=1)
    close = ClosePosition(account=venue.number("ann"), instrument=BTC)
    at_limit = ClosePosition(account=venue.number("ann"), instrument=BTC, price=price("49990"))
    assert Reason.ORDERS_OVER_LIMIT is reason(venue.do(at_limit))
    assert parse_trades(("49990", "100")) == trades(venue.do(close))


def test_an_order_may_be_too_late(venue: Venue) -> None:
    """`valid_until` is compared with the time of the entry."""
    late = {"valid_until": venue.time + 1, "after": 2}
    assert Reason.TIMED_OUT is reason(venue.buy("ann", BTC, "10", "49000", **late))
    in_time = {"valid_until": venue.time + 1, "after": 1}
    assert reason(venue.buy("ann", BTC, "10", "49000", **in_time)) is None


def test_unknown_names_are_refused(venue: Venue) -> None:
    """These are unknown instruments, accounts and orders; system accounts do not trade."""
    assert Reason.INSTRUMENT_UNKNOWN is reason(venue.buy("ann", "BTC-1JAN20", "10", "50000"))
    for nobody in (999, FEES, INSURANCE, FUNDING_POOL, ROUNDING, DEFICIT):
        assert Reason.ACCOUNT_UNKNOWN is reason(venue.buy(nobody, BTC, "10", "50000"))
    order_id = order(venue.buy("ann", BTC, "10", "49000")).order_id
    for account, order_number in ((venue.number("ann"), 999), (venue.number("ben"), order_id)):
        refused = venue.do(Cancel(account=account, order_id=order_number))
        assert Reason.ORDER_NOT_FOUND is reason(refused)


@pytest.mark.parametrize("account", [FEES, FUNDING_POOL, ROUNDING, DEFICIT])
def test_only_clients_and_the_fund_accept_deposits(venue: Venue, account: int) -> None:
    """Balances of the other system accounts follow from the rules alone."""
    refused = venue.do(Deposit(account=account, currency="BTC", amount=1))
    assert Reason.PERMISSION_DENIED is reason(refused)
    assert reason(venue.do(Deposit(account=INSURANCE, currency="BTC", amount=1))) is None


def test_below_maintenance_margin_every_request_is_refused(venue: Venue) -> None:
    """Even before a liquidation, no order, edit, cancel or withdrawal is accepted."""
    poor = venue.open("dan", BTC="0.005")
    venue.trade("dan", "ben", BTC, "10000", "50000")
    order_id = order(venue.buy("dan", BTC, "10", "40000")).order_id
    venue.tick(btc_usd="48900")
    wallet = venue.wallet("dan", "BTC")
    assert margin.is_locked(venue.exchange.state, wallet)
    commands: list[Command] = [
        Place(
            account=poor, instrument=BTC, side=Side.BUY, amount=amount("10"), price=price("40000")
        ),
        Place(
            account=poor,
            instrument=BTC,
            side=Side.SELL,
            amount=amount("10"),
            type=OrderType.MARKET,
            reduce_only=True,
        ),
        ClosePosition(account=poor, instrument=BTC),
        Edit(account=poor, order_id=order_id, price=price("39000")),
        Cancel(account=poor, order_id=order_id),
        CancelAll(account=poor, currencies=("BTC",)),
        Withdraw(account=poor, currency="BTC", amount=1),
    ]
    for command in commands:
        assert Reason.ACCOUNT_LOCKED is reason(venue.do(command)), command
    venue.deposit(poor, "BTC", "0.1")
    assert reason(venue.do(Cancel(account=poor, order_id=order_id))) is None


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(
    ("asked", "locked", "with_others"),
    [
        ({"currencies": ("BTC",)}, True, True),
        ({"currencies": ("USDC",)}, False, False),
        ({"currencies": ("BTC", "USDC")}, True, False),
        ({"instrument": BTC}, True, True),
        ({"instrument": BTC_USDC}, False, False),
        ({"instrument": "BTC-1JAN20"}, False, False),
        ({"label": "x"}, False, False),
        ({"label": "a"}, True, False),
        ({}, True, False),
    ],
)
def test_cancel_all_spares_the_orders_of_a_currency_in_liquidation(
    venue: Venue, asked: dict[str, Any], locked: bool, with_others: bool, elsewhere: bool
) -> None:
    """If all selected orders are in liquidation, the answer says so; others are cancelled."""
    poor = venue.open("dan", BTC="0.005", USDC="1000")
    venue.trade("dan", "ben", BTC, "10000", "50000")
    venue.buy("dan", BTC, "10", "49300", label="a")
    if elsewhere:
        venue.buy("dan", BTC_USDC, "0.001", "49300", label="a")
    venue.tick(btc_usd="48900")
    events = venue.do(CancelAll(account=poor, **asked))
    refused = with_others if elsewhere else locked
    assert (Reason.ACCOUNT_LOCKED if refused else None) is reason(events)
    if not refused:
        [answer] = of_type(events, CancelledAll)
        fits = elsewhere and asked.get("instrument") in (None, BTC_USDC)
        assert (1 if fits and asked.get("label") != "x" else 0) == answer.count
    assert BTC in {each.instrument for each in venue.orders("dan")}


def test_without_initial_margin_only_risk_reducing_orders_are_accepted(venue: Venue) -> None:
    """Between the two margins a position can be closed; the order has the risk_reducing flag."""
    venue.open("dan", BTC="0.0056")
    venue.trade("dan", "ben", BTC, "10000", "50000")
    venue.tick(btc_usd="49200")
    wallet = venue.wallet("dan", "BTC")
    margin_cache.refresh(venue.exchange.state, wallet)
    assert wallet.maintenance < wallet.margin_balance < wallet.initial
    venue.buy("cat", BTC, "10000", "49200")
    assert Reason.NOT_ENOUGH_FUNDS is reason(venue.buy("dan", BTC, "10", "49000"))
    assert order(venue.sell("dan", BTC, "10", "49300", reduce_only=True)).risk_reducing
    assert order(venue.sell("dan", BTC, "5000", "49200")).risk_reducing
    assert amount("5000") == venue.size("dan", BTC)


def test_without_supervision_only_risk_reducing_requests_are_accepted(venue: Venue) -> None:
    """Five seconds after the last Tick, this also excludes withdrawals."""
    venue.trade("ann", "ben", BTC, "100", "50000")
    order_id = order(venue.buy("ann", BTC, "10", "49000")).order_id
    venue.buy("cat", BTC, "10", "49999")
    late = 5 * SECOND + 1
    assert Reason.UNSUPERVISED is reason(venue.buy("ann", BTC, "10", "49000", after=late))
    assert Reason.UNSUPERVISED is reason(
        venue.do(Withdraw(account=venue.number("ann"), currency="BTC", amount=1))
    )
    assert (
        reason(venue.do(Withdraw(account=venue.number("ann"), currency="USDC", amount=1))) is None
    )
    assert parse_trades(("49999", "10")) == trades(venue.sell("ann", BTC, "10", "49999"))
    assert reason(venue.do(Cancel(account=venue.number("ann"), order_id=order_id))) is None
    venue.tick()
    assert reason(venue.buy("ann", BTC, "10", "49000")) is None


def test_a_stale_index_of_another_position_prevents_new_risk(venue: Venue) -> None:
    """Margin depends on all marks of a currency in which the account has positions."""
    venue.trade("ann", "ben", "SOL_USDC-PERPETUAL", "1", "150")
    stale = {name: number for name, number in venue.prices.items() if name != "sol_usdc"}
    for _ in range(6):
        venue.prices = dict(stale)
        venue.tick()
    assert Reason.UNSUPERVISED is reason(venue.buy("ann", BTC_USDC, "0.001", "49000"))
    assert reason(venue.buy("cat", BTC_USDC, "0.001", "49000")) is None
    assert reason(venue.buy("ann", BTC, "10", "49000")) is None


def test_the_position_limit_includes_open_orders(venue: Venue) -> None:
    """Position and open orders of a side count together; closing orders are not limited."""
    rich = venue.open("dan", BTC="1000000")
    limit = venue.market(BTC).terms.position_limit
    command = Place(account=rich, instrument=BTC, side=Side.BUY, amount=limit, price=price("49000"))
    assert reason(venue.do(command)) is None
    assert Reason.POSITION_OVER_LIMIT is reason(venue.buy(rich, BTC, "10", "49000"))
    assert reason(venue.sell(rich, BTC, "10", "51000")) is None


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
