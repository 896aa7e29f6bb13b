"""Mark prices: the index, and the contribution of the order book."""

from __future__ import annotations

import pytest

from book.calendar import AVERAGING_WINDOW
from book.units import MINUTE, SECOND, round_half_even
from risk import marks
from tests.risk.venue import BTC, SOL_USDC, WEEKLY, Venue, open_venue, price

INDEX = price("50000")


def venue_with_quotes(bid: str | None, ask: str | None, amount: str = "20000") -> Venue:
    """Return a venue with these quotes, an index of 50,000 and no premium yet."""
    venue = open_venue(alice={"BTC": "100"}, bob={"BTC": "100"})
    if bid is not None:
        venue.buy("alice", BTC, amount, bid)
    if ask is not None:
        venue.sell("bob", BTC, amount, ask)
    return venue


def test_an_empty_book_leaves_the_mark_at_the_index() -> None:
    """The price band around it is 1.5 % for a perpetual and 3 % for a dated future."""
    venue = open_venue()
    for step, index in enumerate(("50000", "43210.98", "61000")):
        venue.tick(after=step * SECOND, btc_usd=index)
        assert price(index) == venue.market(BTC).mark == venue.market(WEEKLY).mark
    market = venue.market(BTC)
    assert (price("60085"), price("61915")) == (market.low, market.high)
    assert (price("59170"), price("62830")) == (venue.market(WEEKLY).low, venue.market(WEEKLY).high)


def test_the_average_moves_a_thirtieth_of_the_way_once_a_second() -> None:
    """From 0 towards 100, it is 3.33 after one second; the mark has a resolution of a cent."""
    venue = venue_with_quotes("50090", "50110")
    venue.tick(after=SECOND)
    assert round_half_even(price("100"), 30) == venue.market(BTC).premium
    assert price("50003.33") == venue.market(BTC).mark


def test_ticks_within_one_second_change_the_index_but_not_the_average() -> None:
    """The book is sampled once per whole second, for any number of Ticks."""
    venue = venue_with_quotes("50090", "50110")
    venue.tick(after=SECOND)
    premium = venue.market(BTC).premium
    for _ in range(9):
        venue.tick(after=100, btc_usd="50010")
        assert premium == venue.market(BTC).premium
    assert price("50013.33") == venue.market(BTC).mark
    venue.tick(after=100)
    assert premium < venue.market(BTC).premium


def test_missed_seconds_count_as_steps_of_the_average() -> None:
    """Ten seconds without a Tick give the result of ten Ticks, except for rounding."""
    at_once, one_by_one = venue_with_quotes("50090", "50110"), venue_with_quotes("50090", "50110")
    at_once.tick(after=10 * SECOND)
    for _ in range(10):
        one_by_one.tick(after=SECOND)
    expected = price("100") - round_half_even(price("100") * 29**10, 30**10)
    assert expected == at_once.market(BTC).premium
    assert abs(one_by_one.market(BTC).premium - expected) <= 10


def test_after_a_long_time_the_average_equals_its_sample() -> None:
    """An hour without Ticks costs no more computation than twenty minutes."""
    venue = venue_with_quotes("50090", "50110")
    venue.tick(after=60 * MINUTE)
    assert price("100") == venue.market(BTC).premium


@pytest.mark.parametrize(
    ("bid", "ask", "fair"),
    [
        (None, None, "50000"),
        ("50100", None, "50100"),
        ("49900", None, "50000"),
        (None, "50100", "50000"),
        (None, "49900", "49900"),
        ("49900", "50300", "50100"),
    ],
)
def test_a_side_without_depth_is_bounded_by_the_index(
    bid: str | None, ask: str | None, fair: str
) -> None:
    """A lone bid can only raise the fair price, a lone offer only lower it."""
    assert price(fair) == marks.fair_price(venue_with_quotes(bid, ask).market(BTC))


def test_a_side_below_the_impact_amount_does_not_count() -> None:
    """Less than 10,000 USD is treated as an empty side."""
    assert INDEX == marks.fair_price(venue_with_quotes("50100", "50110", amount="9990").market(BTC))
    assert price("50105") == marks.fair_price(
        venue_with_quotes("50100", "50110", amount="10000").market(BTC)
    )


def test_the_impact_price_averages_over_levels() -> None:
    """2,500 USD at 50,000 and 7,500 at 49,000 have a harmonic average of 49,246.23."""
    venue = open_venue(alice={"BTC": "100"}, bob={"BTC": "100"})
    venue.tick(btc_usd="49500")
    venue.buy("alice", BTC, "2500", "50000")
    venue.buy("alice", BTC, "90000", "49000")
    venue.sell("bob", BTC, "90000", "50001")
    bid = round_half_even(
        10_000 * 10**32, 2500 * 10**32 // price(50000) + 7500 * 10**32 // price(49000)
    )
    fair = marks.fair_price(venue.market(BTC))
    assert abs(2 * fair - price("50001") - bid) <= 1


def test_the_effect_of_the_book_is_limited_by_the_band() -> None:
    """Quotes 1.4 % away move the mark at most 0.5 % away from the index."""
    venue = venue_with_quotes("50690", "50710")
    venue.tick(after=SECOND)
    assert round_half_even(price("250"), 30) == venue.market(BTC).premium
    venue.tick(after=60 * MINUTE)
    assert price("50250") == venue.market(BTC).mark


def test_the_mark_stays_in_the_band_when_the_index_falls() -> None:
    """The average is 250; at half the index only 125 of it counts."""
    venue = venue_with_quotes("50690", "50710")
    venue.tick(after=60 * MINUTE)
    venue.tick(after=0, btc_usd="25000")
    assert price("250") == venue.market(BTC).premium
    assert price("25125") == venue.market(BTC).mark


def test_a_mark_is_never_below_one_tick() -> None:
    """With an index near zero, the mark is still a valid price."""
    venue = open_venue()
    venue.tick(sol_usdc="0.0001")
    market = venue.market(SOL_USDC)
    assert market.instrument.contract.tick == market.mark == market.low


def test_in_the_last_half_hour_the_mark_converges_to_the_delivery_price() -> None:
    """Half of the window at 50,000 and the rest at 60,000 give 55,000."""
    venue = open_venue()
    expiry = venue.market(WEEKLY).instrument.expiry
    assert expiry is not None
    opens = expiry - AVERAGING_WINDOW
    for time, index, mark in (
        (opens - SECOND, "50000", "50000"),
        (opens, "50000", "50000"),
        (opens + 15 * MINUTE, "60000", "55000"),
        (opens + 20 * MINUTE, "60000", "55000"),
        (opens + 27 * MINUTE, "70000", "56000"),
        (expiry - 1, "70000", "56000"),
    ):
        venue.tick(after=time - venue.time, btc_usd=index)
        venue.finish()
        assert price(mark) == venue.market(WEEKLY).mark
        assert price(index) == venue.market(BTC).mark
    market = venue.market(WEEKLY)
    venue.tick(after=1)
    venue.finish()
    assert price("56000") == market.delivery_price


def test_a_late_tick_does_not_change_the_delivery_price() -> None:
    """The window ends at the expiry; later index prices do not count."""
    venue = open_venue()
    market = venue.market(WEEKLY)
    expiry = market.instrument.expiry
    assert expiry is not None
    venue.tick(after=expiry - 15 * MINUTE - venue.time, btc_usd="60000")
    venue.finish()
    venue.tick(after=60 * MINUTE, btc_usd="90000")
    venue.finish()
    assert price("55000") == market.delivery_price
