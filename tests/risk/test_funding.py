"""Funding: its rate, what it makes a position pay, and that nobody's money is lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from book.units import HOUR, MINUTE
from risk import funding, ledger
from risk.market import Market
from risk.position import Position, Wallet
from risk.state import FUNDING_POOL
from tests.risk.venue import BTC, BTC_USDC, WEEKLY, Venue, amount, money, open_venue, price


def market_at(instrument: str, mark: str, index: str, dampener: int | None = None) -> Market:
    """A market with these prices, its funding beginning at time 0."""
    market = open_venue().market(instrument)
    market.mark, market.index.price = price(mark), price(index)
    if dampener is not None:
        market.terms = replace(market.terms, funding_dampener=dampener)
    market.funding_time = 0
    return market


def test_the_golden_example() -> None:
    """Mark 10,010, index 10,000, dampener 0.05 %: a long of 10,000 USD pays 1.0416667e-6 BTC."""
    market = market_at(BTC, "10010", "10000", dampener=5 * 10**8)
    assert 5 * 10**8 == funding.rate(market)
    market.funding_rate = funding.rate(market)
    funding.accrue(market, MINUTE)
    for sign in (1, -1):
        position = Position(Wallet(200, market.currency), market, size=sign * amount("10000"))
        assert -sign * 1_041_667 == position.accrued_funding(market.funding_index)


@pytest.mark.parametrize(
    ("mark", "rate"),
    [
        ("10000", 0),
        ("10002.5", 0),
        ("9997.5", 0),
        ("10003", 5 * 10**7),
        ("9997", -5 * 10**7),
        ("10052.5", 5 * 10**9),
        ("10053", 5 * 10**9),
        ("9900", -5 * 10**9),
    ],
)
def test_the_rate_is_the_premium_less_the_dampener_up_to_the_cap(mark: str, rate: int) -> None:
    """0.025 % of premium cost nothing, and no more than 0.5 % is charged for 8 hours."""
    assert rate == funding.rate(market_at(BTC, mark, "10000"))


def test_a_dated_future_has_no_funding() -> None:
    """It converges by its expiry."""
    assert 0 == funding.rate(market_at(WEEKLY, "10052.5", "10000"))


def test_a_linear_position_pays_on_its_size_at_the_index() -> None:
    """2 BTC at an index of 10,000 and 0.5 % per 8 hours: 100 USDC, or 12.50 in an hour."""
    market = market_at(BTC_USDC, "10100", "10000")
    market.funding_rate = funding.rate(market)
    funding.accrue(market, HOUR)
    position = Position(Wallet(200, market.currency), market, size=amount("2"))
    assert -money("12.5") == position.accrued_funding(market.funding_index)


def test_time_that_does_not_pass_costs_nothing() -> None:
    """Accruing twice for one moment, or for an earlier one, changes nothing."""
    market = market_at(BTC, "10010", "10000")
    market.funding_rate = funding.rate(market)
    funding.accrue(market, MINUTE)
    once = market.funding_index
    funding.accrue(market, MINUTE)
    assert once == market.funding_index


def with_premium() -> Venue:
    """Alice long, Bob short of 100,000 USD; quotes 0.2 % above the index, in force for long."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"}, maker={"BTC": "100"})
    venue.trade("alice", "bob", BTC, "100000", "50000")
    venue.buy("maker", BTC, "20000", "50099.5")
    venue.sell("maker", BTC, "20000", "50100.5")
    venue.tick(after=HOUR)
    return venue


def test_longs_pay_what_shorts_receive_while_the_mark_is_above() -> None:
    """0.2 % less 0.025 % over 8 hours on 2 BTC: 0.0035 BTC."""
    venue = with_premium()
    state = venue.exchange.state
    market = venue.market(BTC)
    assert price("50100") == market.mark
    assert 175 * 10**7 == market.funding_rate
    started = market.funding_index
    venue.tick(after=8 * HOUR)
    paid = {
        name: held.accrued_funding(market.funding_index) - held.accrued_funding(started)
        for name in ("alice", "bob")
        if (held := venue.position(name, BTC)) is not None
    }
    assert {"alice": -money("0.0035"), "bob": money("0.0035")} == paid
    assert 0 == state.funding_pool("BTC").balance


def test_the_rate_in_force_is_that_of_the_last_tick() -> None:
    """A tick prices the time before it with what held then, not with what it brings."""
    venue = with_premium()
    market = venue.market(BTC)
    before = market.funding_index
    venue.tick(after=HOUR, btc_usd="60000")
    moved = market.funding_index - before
    assert moved == 175 * 10**7 * HOUR * 10**24 * 10**8 // (10**12 * 8 * HOUR * price("50000"))
    assert market.funding_rate < 0


def test_settlement_turns_funding_into_cash_and_the_pool_keeps_the_rest() -> None:
    """What longs pay goes through the pool to the shorts; at most rounding stays there."""
    venue = with_premium()
    venue.tick(after=12 * HOUR)
    venue.tick(after=11 * HOUR)
    venue.finish()
    alice, bob = venue.position("alice", BTC), venue.position("bob", BTC)
    assert alice is not None
    assert bob is not None
    assert (0, 0) == (alice.funding, bob.funding)
    wallets = [venue.wallet(name, "BTC") for name in ("alice", "bob", FUNDING_POOL)]
    settled = [
        wallet.balance + ledger.fees_paid(wallet) + wallet.session_profit for wallet in wallets
    ]
    assert settled[0] < money("10") < settled[1]
    assert abs(settled[2]) <= 1


def test_a_fill_books_funding_up_to_its_moment() -> None:
    """Who closes has paid for the time held, and who opens pays from then on only."""
    venue = with_premium()
    venue.tick(after=8 * HOUR)
    venue.open("carol", BTC="10")
    venue.buy("carol", BTC, "1000", "50200")
    held = venue.position("carol", BTC)
    assert held is not None
    assert 0 == held.accrued_funding(venue.market(BTC).funding_index)
    paid = venue.position("alice", BTC)
    assert paid is not None
    venue.sell("alice", BTC, "1000", "50000")
    assert -money("0.0035") == paid.funding
    assert -paid.funding == venue.wallet(FUNDING_POOL, "BTC").balance
