"""Supervision: what is accepted while heartbeat or prices are late."""

from __future__ import annotations

from book.units import SECOND
from risk.commands import Cancel, Tick
from risk.reasons import Reason
from tests.risk.venue import BTC, ETH, Venue, amount, open_venue, order, price, reason

LATE = 5 * SECOND + 1


def venue_with_positions() -> Venue:
    """Return a venue with Alice long and Bob short 100,000 USD, and a maker's bid and offer."""
    venue = open_venue(
        alice={"BTC": "10", "ETH": "10"}, bob={"BTC": "10"}, maker={"BTC": "100", "ETH": "100"}
    )
    venue.trade("alice", "bob", BTC, "100000", "50000")
    venue.buy("maker", BTC, "50000", "49990")
    venue.sell("maker", BTC, "50000", "50010")
    venue.tick()
    return venue


def test_everything_is_accepted_until_supervision_is_late() -> None:
    """Five seconds after the last heartbeat are still in time."""
    venue = venue_with_positions()
    assert reason(venue.buy("alice", BTC, "1000", "49000", after=5 * SECOND)) is None


def test_late_supervision_accepts_no_new_risk() -> None:
    """No new order rests or trades, whatever the account's margin."""
    venue = venue_with_positions()
    assert Reason.UNSUPERVISED == reason(venue.buy("alice", BTC, "1000", "49000", after=LATE))
    assert Reason.UNSUPERVISED == reason(venue.buy("alice", BTC, "1000"))
    assert Reason.UNSUPERVISED == reason(venue.sell("bob", BTC, "1000", "50000"))


def test_late_supervision_lets_risk_be_reduced() -> None:
    """Cancels, reduce-only orders and orders that reduce a position are accepted."""
    venue = venue_with_positions()
    resting = order(venue.buy("alice", BTC, "1000", "49000"))
    assert reason(venue.sell("alice", BTC, "10000", "49990", after=LATE)) is None
    assert reason(venue.sell("alice", BTC, "10000", reduce_only=True)) is None
    assert amount("80000") == venue.size("alice", BTC)
    cancel = Cancel(account=venue.number("alice"), order_id=resting.order_id)
    assert reason(venue.do(cancel)) is None


def test_a_heartbeat_restores_normal_trading() -> None:
    """No manual reset is needed."""
    venue = venue_with_positions()
    venue.buy("alice", BTC, "1000", "49000", after=LATE)
    venue.tick(after=0)
    assert reason(venue.buy("alice", BTC, "1000", "49000")) is None


def test_a_late_index_stops_its_own_markets_only() -> None:
    """The heartbeat continues without the price of one index."""
    venue = venue_with_positions()
    prices = tuple(item for item in venue.prices.items() if item[0] != "btc_usd")
    venue.do(Tick(prices=prices), after=LATE)
    assert Reason.UNSUPERVISED == reason(venue.buy("alice", BTC, "1000", "49000"))
    assert reason(venue.buy("alice", ETH, "1000", "2490")) is None
    assert price("50000") == venue.market(BTC).index.price


def test_a_price_of_zero_or_less_is_ignored() -> None:
    """It comes from a broken feed; the index keeps its last value and ages."""
    venue = venue_with_positions()
    for nonsense in ("0", "-1"):
        venue.tick(after=LATE, btc_usd=nonsense)
        assert price("50000") == venue.market(BTC).index.price
        assert Reason.UNSUPERVISED == reason(venue.buy("alice", BTC, "1000", "49000"))


def test_a_market_accepts_no_orders_before_its_first_price() -> None:
    """An order cannot be checked without a mark."""
    venue = open_venue(alice={"BTC": "1"}, prices={"btc_usd": "0"})
    assert 0 == venue.market(BTC).mark
    assert Reason.UNSUPERVISED == reason(venue.buy("alice", BTC, "10", "50000"))


def test_the_supervision_time_is_a_parameter() -> None:
    """A venue with one price per minute sets it accordingly."""
    venue = venue_with_positions()
    venue.set_parameters(supervision=60 * SECOND)
    assert reason(venue.buy("alice", BTC, "1000", "49000", after=60 * SECOND)) is None
    assert Reason.UNSUPERVISED == reason(venue.buy("alice", BTC, "1000", "49000", after=1))
