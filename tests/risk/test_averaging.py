"""The last half hour of a dated future: mark, price band and delivery price.

An oracle keeps every index price with its time and averages them by the definition.
"""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from book.calendar import AVERAGING_WINDOW, expiry_on
from book.order import TimeInForce
from book.units import DAY, HOUR, MINUTE, RATE, SECOND, round_half_even, text
from risk import marks, snapshot
from risk.commands import CancelAll, Continue, SetProduct
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from tests.hypothesis_settings import thorough
from tests.risk.venue import WEEKLY, Venue, amount, money, open_venue, price

EXPIRY = expiry_on(date(2026, 6, 5))
OPENS = EXPIRY - AVERAGING_WINDOW
BTC_ONLY = [(contract, terms) for contract, terms in LEGACY_2025 if contract.family == "BTC"]
FINE = [(replace(contract, tick=2), terms) for contract, terms in BTC_ONLY]
"""Families with very fine ticks, so that a book can be exactly around any price."""

MOVES = st.lists(
    st.tuples(
        st.integers(1, 6 * MINUTE) | st.sampled_from([1, 999, SECOND, MINUTE]),
        st.integers(-150, 150),
    ),
    min_size=3,
    max_size=16,
)
"""(milliseconds until the next Tick, move of the index in 1/10,000)."""


class Oracle:
    """All index prices since the first one, and averages over them."""

    def __init__(self, time: int, index: int) -> None:
        self.prices = [(time, index)]

    def average(self, until: int) -> int:
        """Return the time-weighted price since the window opened; the last price stays valid."""
        opened = max(OPENS, self.prices[0][0])
        total = 0
        for (since, held), (end, _) in zip(
            self.prices, [*self.prices[1:], (until, 0)], strict=True
        ):
            total += held * max(0, min(end, until) - max(since, opened))
        return round_half_even(total, until - opened)

    def term(self, time: int) -> int:
        """Return the term of the mark: the index, or in the window the expected delivery price."""
        return self.prices[-1][1] if time < OPENS else self.average(EXPIRY)


def venue_before_the_window(lead: int = AVERAGING_WINDOW + 2 * MINUTE) -> tuple[Venue, Oracle]:
    """Return a venue shortly before the averaging window, with a maker who has ample money."""
    venue = open_venue(
        catalogue=FINE,
        prices={"btc_usd": "50000"},
        time=EXPIRY - lead,
        checked=False,
        parameters={"supervision": DAY},
        mia={"BTC": "100000"},
    )
    return venue, Oracle(venue.time, price("50000"))


def next_price(venue: Venue, oracle: Oracle, after: int, move: int) -> int:
    """Set the next index price in venue and oracle, and return the time of its Tick."""
    time = venue.time + after
    index = venue.prices["btc_usd"]
    venue.prices["btc_usd"] = index + index * move // 10_000
    oracle.prices.append((time, venue.prices["btc_usd"]))
    return time


def quote(venue: Venue, bid: int, ask: int) -> None:
    """Replace the maker's two orders."""
    venue.do(CancelAll(account=venue.number("mia")))
    venue.buy("mia", WEEKLY, "100000", text(bid))
    venue.sell("mia", WEEKLY, "100000", text(ask))


@given(MOVES)
@thorough(60)
def test_a_book_at_the_expected_delivery_price_gives_that_mark(
    moves: list[tuple[int, int]],
) -> None:
    """The final mark equals the delivery price, for any course of the index."""
    venue, oracle = venue_before_the_window()
    for after, move in moves:
        time = next_price(venue, oracle, after, move)
        if time >= EXPIRY:
            break
        fair = oracle.term(time)
        below = fair - 2 + fair % 2
        assert venue.market(WEEKLY).low <= below < 2 * fair - below <= venue.market(WEEKLY).high
        quote(venue, below, 2 * fair - below)
        venue.tick(after=after)
        assert fair == venue.market(WEEKLY).mark


@given(MOVES, st.data())
@thorough(60)
def test_a_mark_stays_within_its_band_around_the_term(
    moves: list[tuple[int, int]], data: st.DataObject
) -> None:
    """This holds when the window opens, and for a book that is far off or one-sided."""
    venue, oracle = venue_before_the_window()
    market = venue.market(WEEKLY)
    places = st.none() | st.integers(-300, 300)
    for after, move in moves:
        time = next_price(venue, oracle, after, move)
        if time >= EXPIRY:
            break
        term = oracle.term(time)
        bid, ask = (
            None if place is None else term + term * place // 10_000
            for place in (data.draw(places), data.draw(places))
        )
        for side, limit in ((venue.buy, bid), (venue.sell, ask)):
            if limit is not None:
                bound = max(market.low, min(market.high, limit - limit % 2))
                side("mia", WEEKLY, "100000", text(bound))
        venue.tick(after=after)
        assert abs(market.mark - term) <= term * market.terms.mark_band_rate // RATE


@given(MOVES, st.integers(0, 45 * MINUTE), st.integers(1, 28 * MINUTE), st.booleans())
@thorough(60)
def test_a_delivery_price_does_not_depend_on_when_the_future_was_listed(
    moves: list[tuple[int, int]], lead: int, listed: int, restored: bool
) -> None:
    """The future is listed long before or within its window, and the venue restarts there."""
    perpetuals = [(contract, terms) for contract, terms in BTC_ONLY if not contract.dated]
    dated = [(contract, terms) for contract, terms in BTC_ONLY if contract.dated]
    venue = open_venue(
        catalogue=perpetuals,
        prices={"btc_usd": "50000"},
        time=EXPIRY - lead - MINUTE,
        checked=False,
    )
    oracle = Oracle(venue.time, price("50000"))
    due = EXPIRY - listed
    for wait, move in [*moves, (EXPIRY - venue.time, 0)]:
        after, until = wait, venue.time + wait
        if until >= due > venue.time:
            for contract, terms in dated:
                venue.do(SetProduct(contract=contract, terms=terms), at=due)
            after = max(1, until - due)
        time = venue.time + after
        if time >= EXPIRY:
            break
        next_price(venue, oracle, after, move)
        venue.tick(after=after)
        if restored:
            venue.exchange = Exchange(snapshot.load(snapshot.dump(venue.exchange.state)))
    if WEEKLY not in venue.exchange.state.markets:
        for contract, terms in dated:
            venue.do(SetProduct(contract=contract, terms=terms), at=max(venue.time, due))
    market = venue.market(WEEKLY)
    venue.do(Continue(), at=EXPIRY)
    assert oracle.average(EXPIRY) == market.delivery_price


def test_an_account_that_is_sound_at_the_expected_delivery_price_is_not_liquidated() -> None:
    """25 minutes at 50,000 and 5 at 50,750 give a delivery price and a mark of 50,125."""
    venue = open_venue(time=OPENS - MINUTE, mia={"BTC": "100"}, lon={"BTC": "0.04"}, checked=False)
    for _ in range(26):
        venue.tick(after=MINUTE)
    venue.tick(after=0, btc_usd="50750")
    market = venue.market(WEEKLY)
    assert price("50125") == market.mark
    venue.buy("mia", WEEKLY, "100000", "50122.5")
    venue.sell("mia", WEEKLY, "100000", "50127.5")
    venue.buy("lon", WEEKLY, "90000", "50127.5", time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    venue.sell("mia", WEEKLY, "90000", "50127.5")
    assert amount("90000") == venue.size("lon", WEEKLY)
    for _ in range(290):
        venue.tick()
        assert price("50125") == market.mark
        assert [] == venue.liquidate()
    assert money("0.039") < venue.wallet("lon", "BTC").balance


def test_a_future_listed_in_its_last_half_hour_averages_the_whole_window() -> None:
    """26 minutes at 50,000 and 4 at 51,000 give 50,133.33, whenever it was listed."""
    perpetuals = [each for each in BTC_ONLY if not each[0].dated]
    dated = [each for each in BTC_ONLY if each[0].dated]
    for listed in (27, 2, 1):
        venue = open_venue(
            catalogue=perpetuals, prices={"btc_usd": "50000"}, time=OPENS - HOUR, checked=False
        )
        for left in range(40, -1, -1):
            if left == listed:
                for contract, terms in dated:
                    venue.do(SetProduct(contract=contract, terms=terms))
                market = venue.market(WEEKLY)
                # From its listing on, its mark is the delivery price for a constant index.
                delivery = marks.estimated_delivery(market, venue.time)
                assert abs(market.mark - delivery) <= market.terms.mark_step
            if left == 1:
                market = venue.market(WEEKLY)
            index = "51000" if left <= 4 else "50000"
            venue.do(Continue(), at=EXPIRY - left * MINUTE)
            venue.tick(after=0, btc_usd=index)
        assert price("50133.33333333") == market.delivery_price
