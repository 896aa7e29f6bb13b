"""Single steps of a settlement: its bookings, and the money that it withholds."""

from __future__ import annotations

import pytest

from book.order import TimeInForce
from risk.events import Booked, BookingKind, PositionSettled
from risk.settlement import Settlement, SettlementPrices, settle_to_balance
from risk.state import FIRST_CLIENT, INSURANCE
from tests.risk.bankruptcy import position_of, venue_after_fall
from tests.risk.venue import BTC, WEEKLY, of_type, open_venue


@pytest.mark.parametrize("funding", [-1_000, 0, 1_000])
def test_the_rounding_account_takes_the_other_side_of_a_result_without_its_funding(
    funding: int,
) -> None:
    """The funding pool has already paid or received the funding."""
    venue = venue_after_fall()
    state, win = venue.exchange.state, position_of(venue, "win")
    win.funding += funding
    win.realised += funding
    win.wallet.session_profit += funding
    before = state.rounding("BTC").balance
    result = settle_to_balance(state, win, win.market.mark, BookingKind.SETTLEMENT, 5)
    assert funding - result == state.rounding("BTC").balance - before != 0


def test_a_settlement_booking_names_its_instrument_and_time() -> None:
    """A client sees which position each booking belongs to."""
    venue = venue_after_fall()
    state, win = venue.exchange.state, position_of(venue, "win")
    state.events = []
    result = settle_to_balance(state, win, win.market.mark, BookingKind.SETTLEMENT, 5)
    (booked,) = of_type(state.events, Booked)
    assert (win.account, BTC, 5, result) == (
        booked.account,
        booked.instrument,
        booked.reference,
        booked.amount,
    )


def test_a_settlement_withholds_profits_and_the_open_deficit() -> None:
    """In its currency only; of the fund only until the deficit has been repaid."""
    venue = open_venue(checked=False, ann={"BTC": "1"}, bob={"BTC": "1"})
    state, ann = venue.exchange.state, venue.number("ann")
    state.deficit("BTC").balance = -7
    settlement = Settlement("BTC", 5, {}, 7, profits={ann: 11, venue.number("bob"): -3})
    fund = state.insurance("BTC")
    assert INSURANCE == fund.account
    assert 7 == settlement.withheld(state, fund)
    assert 11 == settlement.withheld(state, venue.wallet("ann", "BTC"))
    assert 0 == settlement.withheld(state, venue.wallet("bob", "BTC"))
    for other in (state.insurance("ETH"), venue.wallet("ann", "ETH")):
        assert 0 == settlement.withheld(state, other)
    settlement.sharing = []
    assert 0 == settlement.withheld(state, fund)
    assert 11 == settlement.withheld(state, venue.wallet("ann", "BTC"))


def test_good_til_day_orders_of_all_markets_share_one_budget() -> None:
    """The rest is cancelled by the next call."""
    venue = open_venue(checked=False, ann={"BTC": "1"})
    for market in (BTC, BTC, WEEKLY, WEEKLY, WEEKLY):
        venue.buy("ann", market, "10", "49000", time_in_force=TimeInForce.GOOD_TIL_DAY)
    state = venue.exchange.state
    prices = dict.fromkeys((BTC, WEEKLY), SettlementPrices(1, 1, 0))
    settlement = Settlement("BTC", 5, prices, 0)
    assert 3 == settlement._cancel_day_orders(state, 3)
    assert [WEEKLY, WEEKLY] == [order.instrument for order in venue.orders("ann")]
    assert 2 == settlement._cancel_day_orders(state, 3)
    assert [] == venue.orders("ann")


def test_a_session_profit_is_the_sum_over_all_markets() -> None:
    """Gains in one market count against losses in another."""
    venue = open_venue(checked=False, ann={"BTC": "1"}, bob={"BTC": "1"})
    venue.trade("ann", "bob", BTC, "10000", "49900")
    venue.trade("bob", "ann", WEEKLY, "3000", "49800")
    state = venue.exchange.state
    prices = {
        name: SettlementPrices(venue.market(name).mark, venue.market(name).mark, 0)
        for name in (BTC, WEEKLY)
    }
    settlement = Settlement("BTC", 5, prices, 0)
    state.events = []
    assert 2 == settlement._settle_wallet(state, venue.wallet("ann", "BTC"))
    results = [event.profit for event in of_type(state.events, PositionSettled)]
    assert results[0] > 0 > results[1]
    assert {venue.number("ann"): sum(results)} == settlement.profits


def test_the_first_client_counts_among_the_clients() -> None:
    """Smaller account numbers are system accounts."""
    settlement = Settlement("BTC", 5, {}, 0)
    settlement.count(FIRST_CLIENT, 4)
    settlement.count(FIRST_CLIENT - 1, 4)
    assert {FIRST_CLIENT: 4} == settlement.profits


def test_a_shared_loss_refers_to_the_time_of_its_settlement() -> None:
    """The booking of each client names it."""
    venue = open_venue(checked=False, ann={"BTC": "1"})
    state, ann = venue.exchange.state, venue.number("ann")
    state.deficit("BTC").balance = -7
    settlement = Settlement("BTC", 5, {}, 7, profits={ann: 11}, total=11, sharing=[ann])
    state.events = []
    settlement._share_next(state)
    (booked,) = of_type(state.events, Booked)
    assert (BookingKind.SOCIALISED_LOSS, -7, 5) == (booked.kind, booked.amount, booked.reference)
