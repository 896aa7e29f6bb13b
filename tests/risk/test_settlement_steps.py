"""Single steps of a settlement: its bookings, and the money that it withholds."""

from __future__ import annotations

import pytest

from risk.events import Booked, BookingKind
from risk.settlement import Settlement, settle_to_balance
from risk.state import INSURANCE
from tests.risk.bankruptcy import position_of, venue_after_fall
from tests.risk.venue import BTC, of_type, open_venue


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
