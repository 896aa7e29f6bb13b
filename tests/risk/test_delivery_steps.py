"""Single steps of deleveraging, settlement and delivery, to the unit and to the field."""

from __future__ import annotations

import pytest

from book.units import SECOND
from risk import margin
from risk.deleveraging import Deleverage
from risk.delivery import Delivery
from risk.events import (
    Booked,
    BookingKind,
    PositionSettled,
    SettlementKind,
)
from risk.settlement import Settlement
from risk.state import INSURANCE, ROUNDING
from tests.risk.fallen import fallen, position_of
from tests.risk.venue import (
    BTC,
    MONTHLY,
    WEEKLY,
    Venue,
    amount,
    of_type,
    open_venue,
)

DELIVERY = SettlementKind.DELIVERY


def test_a_deleveraging_that_found_nobody_is_over() -> None:
    """At once: the fund has the rest, and what it lacks is the deficit."""
    venue = fallen()
    state, lou = venue.exchange.state, position_of(venue, "lou")
    phase = Deleverage(lou.account, BTC, cursor=5, scanned=True)
    phase._rank_again(state, lou)
    assert phase.done
    assert 0 == lou.size
    assert -amount("100000") == -venue.size(INSURANCE, BTC)
    assert state.deficit("BTC").balance < 0
    assert 0 == state.insurance("BTC").margin_balance


def test_a_ranking_that_was_of_use_begins_anew() -> None:
    """From its first step."""
    venue = fallen()
    phase = Deleverage(venue.number("lou"), BTC, cursor=5, scanned=True, closed=True)
    phase._rank_again(venue.exchange.state, position_of(venue, "lou"))
    assert (0, False, False, False) == (phase.cursor, phase.scanned, phase.closed, phase.done)


def test_neither_holds_money_back() -> None:
    """Only a settlement may still claim what somebody has."""
    venue = fallen()
    state, wallet = venue.exchange.state, venue.wallet("win", "BTC")
    for phase in (Delivery(WEEKLY, 1, 1, 1), Deleverage(venue.number("lou"), BTC)):
        assert 0 == phase.withheld(state, wallet)


def test_a_settlement_is_known_by_its_currency_and_time() -> None:
    """Both: two currencies settle at one time."""
    settlement = Settlement("BTC", 5, {}, 0)
    assert settlement.ends_with("BTC", 5)
    assert not settlement.ends_with("ETH", 5)
    assert not settlement.ends_with("BTC", 6)


def expired(
    slice_: int, instrument: str = WEEKLY
) -> tuple[Venue, list[PositionSettled], list[Booked]]:
    """A future that has ended, worked off a few accounts at a time and proved after each entry."""
    venue = open_venue(
        parameters={"slice": slice_}, ann={"BTC": "1"}, bob={"BTC": "1"}, cid={"BTC": "1"}
    )
    venue.trade("ann", "bob", instrument, "10000", "50000")
    venue.trade("cid", "bob", instrument, "7770", "50000")
    expiry = venue.market(instrument).instrument.expiry
    assert expiry is not None
    events = []
    for before in (31 * 60, 20 * 60, 60, 0):
        events += venue.tick(after=expiry - before * SECOND - venue.time, btc_usd="51234.5")
    events += venue.finish()
    assert instrument not in venue.exchange.state.markets
    return venue, of_type(events, PositionSettled), of_type(events, Booked)


@pytest.mark.parametrize("instrument", [WEEKLY, MONTHLY])
def test_a_delivery_in_slices_is_whole_after_each(instrument: str) -> None:
    """Every identity holds between two accounts, and in the end all is paid out alike."""
    found = []
    for slice_ in (1, 2, 1_000):
        venue, settled, _ = expired(slice_, instrument)
        found.append(
            (
                [each for each in settled if each.instrument == instrument],
                [venue.wallet(name, "BTC").balance for name in ("ann", "bob", "cid")],
            )
        )
        assert 0 == venue.exchange.state.rounding("BTC").session_profit
        assert all(not held.positions for held in (venue.wallet(ROUNDING, "BTC"),))
    assert found[0] == found[1] == found[2]
    delivered = {
        (each.account, each.size, each.price) for each in found[0][0] if each.kind is DELIVERY
    }
    assert {
        (101, amount("10000"), amount("51234.5")),
        (102, -amount("17770"), amount("51234.5")),
        (103, amount("7770"), amount("51234.5")),
    } == delivered


def test_a_delivery_fee_is_paid_once_by_each_side_and_weeklies_are_free() -> None:
    """Rounded up, booked with its time and instrument, and the house has all of it."""
    _, _, booked = expired(2, WEEKLY)
    assert [] == [each for each in booked if each.kind is BookingKind.DELIVERY_FEE]
    _, settled, booked = expired(2, MONTHLY)
    fees = [e for e in booked if e.kind is BookingKind.DELIVERY_FEE and e.account > 100]
    assert [101, 102, 103] == [each.account for each in fees]
    (time,) = {each.time for each in settled if each.kind is DELIVERY}
    assert all((MONTHLY, time) == (each.instrument, each.reference) for each in fees)
    # 10,000 USD at 51,234.5 are 0.195181 BTC, of which the rate is taken.
    catalogue = open_venue().market(MONTHLY)
    value = catalogue.instrument.value(amount("10000"), amount("51234.5"))
    assert -margin.fee_on(value, catalogue.terms.delivery_rate) == fees[0].amount < 0
    house = sum(e.amount for e in booked if e.kind is BookingKind.DELIVERY_FEE and e.account <= 100)
    assert house == -sum(each.amount for each in fees)
