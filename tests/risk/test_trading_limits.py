"""Requests that the venue refuses for the state of the account: limits, margin, supervision."""

from __future__ import annotations

from typing import Any

import pytest

from book.order import OrderType, Side, TimeInForce
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
    Withdraw,
)
from risk.events import CancelledAll
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
    parse_trades,
    price,
    reason,
    trades,
)

FUNDS = {"BTC": "1", "USDC": "50000"}


@pytest.fixture
def venue() -> Venue:
    return open_venue(ann=FUNDS, ben=FUNDS, cat=FUNDS)


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
    for number in (999, FEES, INSURANCE, FUNDING_POOL, ROUNDING, DEFICIT):
        assert Reason.ACCOUNT_UNKNOWN is reason(venue.buy(number, BTC, "10", "50000"))
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
