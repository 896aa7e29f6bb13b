"""Background work: what holds while it is in progress and after it."""

from __future__ import annotations

from datetime import date

from msgspec.structs import replace

from book.calendar import expiry_on, next_settlement
from book.order import TimeInForce
from book.units import DAY, MINUTE, SCALE
from risk.commands import CancelAll, Continue, SetProduct
from risk.contract_specs import LEGACY_2025
from risk.events import CancelledAll, LossShared, MarketSettled, MarketState, PositionSettled
from risk.reasons import Reason
from risk.risk_terms import LossPolicy
from risk.state import DEFICIT, ROUNDING
from tests.risk.venue import BTC, WEEKLY, Venue, money, of_type, open_venue, reason

FUNDS = {"BTC": "1"}
RESTING = (Reason.SETTLEMENT_IN_PROGRESS, Reason.INSTRUMENT_CLOSED)
"""Reasons of a refusal during a settlement: the market is closed, or has expired with it."""


def trading_venue(**parameters: int) -> Venue:
    return open_venue(parameters=parameters, ann=FUNDS, ben=FUNDS, cat=FUNDS, dan=FUNDS)


def test_positions_closed_in_the_session_leave_nothing_to_rounding() -> None:
    """Realised profit is balanced by the carry of open positions and settles with it."""
    venue = trading_venue()
    venue.trade("ann", "ben", BTC, "1000", "50000")
    venue.trade("cat", "ann", BTC, "1000", "50500")
    venue.tick(next_settlement_time(venue) - venue.time)
    venue.finish()
    assert venue.position("ann", BTC) is None
    # 1000 / 50000 - 1000 / 50500, and 0.05 % of the latter for the sale.
    assert money("1.000198019802") - money("0.000009900991") == venue.wallet("ann", "BTC").balance
    assert abs(venue.wallet(ROUNDING, "BTC").balance) <= 3


def test_a_delivery_in_slices_keeps_every_identity_and_leaves_no_residue() -> None:
    """`rounding` takes over each delivered position until all positions are delivered."""
    venue = trading_venue(slice=1)
    venue.trade("ann", "ben", WEEKLY, "1000", "50000")
    venue.trade("cat", "dan", WEEKLY, "70", "50010")
    market = venue.market(WEEKLY)
    for _ in range(3):
        venue.tick(next_settlement_time(venue) - venue.time)
        venue.finish()
    assert market.state is MarketState.DELIVERED
    assert WEEKLY not in venue.exchange.state.markets
    assert market.open_interest == 0
    total = sum(wallet.balance for wallet in venue.exchange.state.wallets["BTC"].values())
    assert venue.exchange.state.deposited["BTC"] == total


def test_an_instrument_listed_during_a_settlement_opens_after_it() -> None:
    """The listing is by calendar or by command, also while several days are settled at once."""
    venue = trading_venue(slice=1)
    venue.trade("ann", "ben", BTC, "1000", "50000")
    listed = set(venue.exchange.state.markets)
    for days in range(1, 4):
        settled = next_settlement(venue.time) + (days - 1) * DAY
        venue.tick(settled - venue.time)
        if days == 1:
            contract, terms = next(each for each in LEGACY_2025 if each[0].family == "BTC")
            family = replace(contract, family="XBT", index="btc_usd", inverse=True)
            venue.do(SetProduct(contract=family, terms=terms))
        while venue.exchange.busy:
            markets = [m for m in venue.exchange.state.markets.values() if m.currency == "BTC"]
            states = {market.state for market in markets if not market.ended(venue.time)}
            assert len(states) == 1, "all markets of the currency open in one step"
            for market in markets:
                refused = reason(venue.buy("cat", market.name, "10", "49900"))
                # The entry itself may have finished the work.
                assert market.is_open or refused in RESTING
            venue.do(Continue())
        venue.tick()
    assert {"XBT-PERPETUAL", "BTC-12JUN26"} & (set(venue.exchange.state.markets) - listed)
    for market in venue.exchange.state.markets.values():
        assert market.is_open


def test_a_market_in_settlement_refuses_orders_until_all_accounts_are_settled() -> None:
    """Its state is `settlement`, the refusal names it, and good-til-day orders are cancelled."""
    venue = trading_venue(slice=1)
    venue.trade("ann", "ben", BTC, "1000", "50000")
    venue.buy("ann", BTC, "10", "49800", time_in_force=TimeInForce.GOOD_TIL_DAY)
    venue.buy("ann", BTC, "10", "49900")
    events = venue.tick(next_settlement_time(venue) - venue.time)
    assert venue.exchange.busy
    assert MarketState.SETTLEMENT is venue.market(BTC).state
    assert Reason.SETTLEMENT_IN_PROGRESS is reason(venue.buy("cat", BTC, "10", "49900"))
    events += venue.finish()
    assert MarketState.OPEN is venue.market(BTC).state
    assert [price_of("49900")] == [order.price for order in venue.orders("ann")]
    venue.tick()
    assert reason(venue.buy("cat", BTC, "10", "49900")) is None


def test_a_tick_after_three_days_settles_three_times() -> None:
    """Each day is settled in order, at the mark of its settlement time."""
    venue = trading_venue(slice=2)
    venue.trade("ann", "ben", BTC, "1000", "50000")
    first = next_settlement_time(venue)
    events = venue.tick(first + 2 * DAY - venue.time) + venue.finish()
    settled = [e.time for e in of_type(events, PositionSettled) if e.account == venue.number("ann")]
    assert [first, first + DAY, first + 2 * DAY][: len(settled)] == settled
    days = {event.time for event in of_type(events, PositionSettled)}
    assert days == {first, first + DAY, first + 2 * DAY}


def test_a_deficit_is_shared_once_however_many_settlements_are_due() -> None:
    """The second of two settlements due together shares only the rest of the deficit."""
    venue = trading_venue(slice=1)
    state = venue.exchange.state
    venue.open("eve", BTC="0.03")
    venue.trade("ann", "eve", BTC, "50000", "50000")
    venue.set_parameters(slice=1, loss_policy=LossPolicy.SOCIALISE)
    venue.tick(btc_usd="70000")
    for _ in range(20):
        venue.liquidate()
        venue.tick()
    assert state.deficit("BTC").balance < 0
    events = venue.tick(next_settlement_time(venue) + DAY - venue.time) + venue.finish()
    shared = of_type(events, LossShared)
    assert [True] == [event.taxed > 0 for event in shared]
    assert -2 <= venue.wallet(DEFICIT, "BTC").balance <= 0


def test_cancelling_all_spreads_over_entries_and_answers_at_the_end() -> None:
    """Ten orders in slices of three take four entries; the answer has the total count."""
    venue = trading_venue(slice=3)
    for step in range(10):
        venue.buy("ann", BTC, "10", str(49900 - step))
    command = CancelAll(account=venue.number("ann"), detailed=True)
    events = venue.do(command, request=7)
    assert 7 == len(venue.orders("ann"))
    assert [] == of_type(events, CancelledAll)
    answers = of_type(venue.finish(), CancelledAll)
    assert [(10, 10, 7)] == [(a.count, len(a.orders), a.origin.request) for a in answers]
    assert [] == venue.orders("ann")


def next_settlement_time(venue: Venue) -> int:
    """Return the next 08:00 UTC."""
    return next_settlement(venue.exchange.state.time)


def price_of(number: str) -> int:
    return int(number) * SCALE


def test_a_future_listed_within_its_last_half_hour_is_delivered_at_the_index() -> None:
    """The average begins with the first index price, which came after the window opened."""
    expiry = expiry_on(date(2026, 6, 5))
    perpetual, dated = LEGACY_2025[:2]
    venue = open_venue(catalogue=[perpetual], time=expiry - 15 * MINUTE, ann=FUNDS, ben=FUNDS)
    contract, terms = dated
    venue.do(SetProduct(contract=contract, terms=terms), after=MINUTE)
    venue.tick()
    market = venue.market(WEEKLY)
    assert price_of("50000") == market.mark
    venue.tick(expiry - venue.time)
    assert price_of("50000") == market.delivery_price


def test_every_entry_advances_background_work() -> None:
    """Work in progress advances with any entry, not only with Continue."""
    venue = trading_venue(slice=1)
    venue.trade("ann", "ben", BTC, "1000", "50000")
    venue.do(Continue(), at=next_settlement_time(venue))
    for _ in range(200):
        venue.deposit("cat", "BTC", "0.1")
    assert not venue.exchange.state.phases
    assert MarketState.OPEN is venue.market(BTC).state


def test_a_jump_over_years_settles_the_last_days_one_by_one() -> None:
    """It also settles the days on which a held instrument expires. The result is the same."""
    venue = trading_venue()
    venue.trade("ann", "ben", WEEKLY, "1000", "50000")
    expiry = venue.market(WEEKLY).instrument.expiry
    assert expiry is not None
    first = next_settlement_time(venue)
    events = venue.tick(10 * 365 * DAY) + venue.finish()
    last = next_settlement(venue.exchange.state.time) - DAY
    days = {event.time for event in of_type(events, MarketSettled) if event.instrument == BTC}
    assert {first, expiry} | {last - day * DAY for day in range(30)} == days
    names = [event.instrument for event in of_type(events, MarketSettled)]
    assert 1 == names.count(WEEKLY) - sum(first <= day < expiry for day in days)
    assert {MarketState.OPEN} == {m.state for m in venue.exchange.state.markets.values()}
    assert next_settlement(venue.exchange.state.time) == min(venue.exchange.state.due)[0]


def test_settlement_counts_positions_and_not_accounts() -> None:
    """An account with positions in many markets takes as many steps as several accounts."""
    venue = trading_venue(slice=3)
    markets = [m.name for m in venue.exchange.state.markets.values() if m.currency == "BTC"]
    for name in markets:
        venue.trade("ann", "ben", name, "100", "50000")
    assert len(markets) > 3
    most = 0
    events = venue.tick(next_settlement_time(venue) - venue.time)
    while venue.exchange.busy:
        most = max(most, len(of_type(events, PositionSettled)))
        events = venue.do(Continue())
    assert len(markets) == most
