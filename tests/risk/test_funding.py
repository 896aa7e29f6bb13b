"""Funding: its rate, its payments by positions, and the conservation of money."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from book.units import DAY, HOUR, MINUTE, SECOND
from risk import funding, insurance, ledger, margin_cache, snapshot, views
from risk.commands import CancelAll, Continue, Withdraw
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from risk.market import Market
from risk.position import Position, Wallet
from risk.state import FUNDING_POOL
from tests.hypothesis_settings import thorough
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    PRICES,
    WEEKLY,
    Venue,
    amount,
    money,
    open_venue,
    price,
    reason,
)

FAMILIES = [each for each in LEGACY_2025 if each[0].family in ("BTC", "BTC_USDC")]


def market_at(instrument: str, mark: str, index: str, dampener: int | None = None) -> Market:
    """Return a market with these prices, whose funding begins at time 0."""
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
    """A premium of 0.025 % costs nothing, and the rate is at most 0.5 % for 8 hours."""
    assert rate == funding.rate(market_at(BTC, mark, "10000"))


def test_a_dated_future_has_no_funding() -> None:
    """It converges to the index by its expiry."""
    assert 0 == funding.rate(market_at(WEEKLY, "10052.5", "10000"))


def test_a_linear_position_pays_on_its_size_at_the_index() -> None:
    """2 BTC at an index of 10,000 and 0.5 % per 8 hours: 100 USDC, or 12.50 in an hour."""
    market = market_at(BTC_USDC, "10100", "10000")
    market.funding_rate = funding.rate(market)
    funding.accrue(market, HOUR)
    position = Position(Wallet(200, market.currency), market, size=amount("2"))
    assert -money("12.5") == position.accrued_funding(market.funding_index)


def test_accruing_twice_for_one_time_changes_nothing() -> None:
    """Neither does accruing for an earlier time."""
    market = market_at(BTC, "10010", "10000")
    market.funding_rate = funding.rate(market)
    funding.accrue(market, MINUTE)
    once = market.funding_index
    funding.accrue(market, MINUTE)
    assert once == market.funding_index


def with_premium() -> Venue:
    """Return a venue with Alice long, Bob short 100,000 USD, and quotes 0.2 % above the index."""
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
    """A Tick accrues the time before it at the previous rate, not at its own."""
    venue = with_premium()
    market = venue.market(BTC)
    before = market.funding_index
    venue.tick(after=HOUR, btc_usd="60000")
    moved = market.funding_index - before
    assert moved == 175 * 10**7 * HOUR * 10**24 * 10**8 // (10**12 * 8 * HOUR * price("50000"))
    assert market.funding_rate < 0


def test_settlement_books_funding_through_the_pool() -> None:
    """Payments of longs pass through the pool to the shorts; only rounding remains there."""
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


def test_a_fill_books_funding_up_to_its_time() -> None:
    """A closing account has paid until then, and an opening account pays from then on."""
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


def venue_with_funding(**accounts: dict[str, str]) -> Venue:
    """Quotes 0.9 % above the index until the mark is half a percent above: 0.475 % per 8 hours.

    After that nothing is in the book. Supervision allows for long silences.
    """
    accounts["mia"] = {"BTC": "100", "USDC": "10000000"}
    venue = open_venue(
        parameters={"supervision": 3 * DAY},
        catalogue=FAMILIES,
        prices={name: PRICES[name] for name in ("btc_usd", "btc_usdc")},
        checked=False,
        **accounts,  # type: ignore[arg-type]
    )
    for name, size in ((BTC, "100000"), (BTC_USDC, "2")):
        venue.buy("mia", name, size, "50400")
        venue.sell("mia", name, size, "50500")
    for _ in range(2):
        venue.tick(after=20 * MINUTE)
    venue.do(CancelAll(account=venue.number("mia")))
    return venue


def test_a_trade_after_a_silence_leaves_no_funding_to_the_buyer() -> None:
    """Ann was long for 8 hours and pays for them; Cat has just bought and pays nothing.

    100,000 USD at an index of 50,000 are 2 BTC, of which 0.475 % are due.
    """
    outcomes = []
    for tick_first in (False, True):
        venue = venue_with_funding(ann={"BTC": "10"}, cat={"BTC": "10"})
        venue.trade("ann", "mia", BTC, "100000", "50250")
        venue.tick(after=0)
        venue.buy("cat", BTC, "100000", "49600")
        # The time is neither a whole number of seconds nor a settlement.
        silence = 8 * HOUR - 1
        if tick_first:
            venue.tick(after=silence)
        venue.sell("ann", BTC, "100000", "49600", after=0 if tick_first else silence)
        paid = [held.funding for name in ("ann", "cat") if (held := venue.position(name, BTC))]
        outcomes.append(paid)
    assert [[-9_499_999_670, 0]] * 2 == outcomes


def accounts_of(venue: Venue) -> list[Any]:
    """Return everything that funding can change: money, positions and accrued funding."""
    state = venue.exchange.state
    result: list[Any] = []
    for wallets in state.wallets.values():
        for wallet in wallets.values():
            margin_cache.refresh(state, wallet)
            result.append(
                (wallet.key, wallet.balance, wallet.session_profit, wallet.margin_balance)
            )
    for market in state.markets.values():
        now = funding.index_at(market, state.time)
        result.append((market.name, now, market.funding_index, market.rate_integral))
        result += [
            (held.account, held.size, held.carry, held.funding, held.realised, held.funding_index)
            for held in market.positions.values()
        ]
    return result


STEPS = st.lists(
    st.tuples(
        st.integers(1, 5 * HOUR) | st.sampled_from([1, 999, 1000, 1999, 2000, 2001]),
        st.sampled_from(["buy", "sell", "tick", "withdraw", "hand over"]),
        st.sampled_from(["ann", "ben"]),
        st.sampled_from([BTC, BTC_USDC]),
    ),
    min_size=1,
    max_size=8,
)
BETWEEN = st.lists(st.integers(0, 10**6), max_size=12)
"""Times of the additional entries, in millionths of the duration."""


def run(steps: list[tuple[int, str, str, str]], between: list[int], restored: bool) -> Any:
    """Apply the steps at their times, and an entry without effect at each of the others."""
    venue = venue_with_funding(
        ann={"BTC": "5", "USDC": "200000"}, ben={"BTC": "5", "USDC": "200000"}
    )
    for name, size in ((BTC, "20000"), (BTC_USDC, "0.5")):
        venue.trade("ann", "ben", name, size, "50100")
    began, whole = venue.time, sum(after for after, *_ in steps)
    others = sorted(began + whole * part // 10**6 for part in between)
    events, at = [], began
    for after, kind, account, name in steps:
        at += after
        while others and others[0] < at:
            venue.do(Continue(), at=others.pop(0))
            if restored:
                venue.exchange = Exchange(snapshot.load(snapshot.dump(venue.exchange.state)))
        venue.time = at
        size = {BTC: "5000", BTC_USDC: "0.1"}[name]
        if kind == "tick":
            events.append(venue.tick(after=0))
        elif kind == "withdraw":
            sum_out = Withdraw(account=venue.number(account), currency="BTC", amount=10**12)
            events.append(venue.do(sum_out))
        elif kind == "hand over":
            # Time reaches the step even where there is nothing to hand over.
            venue.do(Continue())
            state = venue.exchange.state
            giver, fund = venue.position(account, name), state.position(2, venue.market(name))
            venue.do(Continue())
            if giver is not None and giver.size:
                insurance.transfer_position(state, giver, fund, abs(giver.size), 0)
                venue.do(Continue())
        else:
            maker, taker = ("mia", account) if kind == "sell" else (account, "mia")
            venue.buy(maker, name, size, "50100")
            events.append(venue.sell(taker, name, size, "50100"))
    venue.exchange.check()
    return [reason(each) for each in events], accounts_of(venue)


@given(STEPS, BETWEEN, st.booleans())
@thorough(80)
def test_funding_does_not_depend_on_the_number_of_entries(
    steps: list[tuple[int, str, str, str]], between: list[int], restored: bool
) -> None:
    """No amount differs by a unit, for any commands, settlements and restarts."""
    assert run(steps, [], restored=False) == run(steps, between, restored)


@pytest.mark.parametrize("seconds", [2, 3, 59, 3600, 7 * 3600])
def test_margin_includes_funding_of_every_whole_second_of_a_silence(seconds: int) -> None:
    """Views and withdrawals use the values that a Tick at that time would give."""
    results = []
    for kind in ("tick", "entry", "many"):
        venue = venue_with_funding(ann={"BTC": "1"}, ben={"BTC": "1"})
        venue.trade("ann", "ben", BTC, "20000", "50100")
        venue.tick(after=0)
        state, ann = venue.exchange.state, venue.number("ann")
        for _ in range(3 if kind == "many" else 0):
            venue.do(Continue(), after=seconds * SECOND // 7 + 1)
        later = venue.exchange.state.heartbeat + seconds * SECOND
        if kind == "tick":
            venue.tick(after=later - venue.time)
        else:
            venue.do(Continue(), at=later)
        summary = views.summary(state, ann, "BTC")
        held = views.position(state, ann, venue.market(BTC))
        # A Tick would move the mark as well.
        margin_balance = 0 if kind == "tick" else summary.margin_balance
        results.append((held.funding, held.realised, summary.realised, margin_balance))
    assert results[0][:3] == results[1][:3]
    assert results[1] == results[2]
    # 20,000 / 50,000 BTC at 0.475 % per 8 hours.
    expected = -(20_000 * 10**12 // 50_000) * 475 * seconds // (100_000 * 8 * 3600)
    assert abs(results[0][0] - expected) <= 1


def test_margins_are_not_measured_between_regular_ticks() -> None:
    """Measuring every account for a second of funding would slow down every order."""
    venue = venue_with_funding(ann={"BTC": "1"})
    for _ in range(5):
        venue.tick(after=SECOND)
        marks = venue.exchange.state.marks
        for _ in range(9):
            venue.do(Continue(), after=SECOND // 10)
        assert marks == venue.exchange.state.marks


@pytest.mark.parametrize(
    ("size", "change", "counted"), [(0, 0, 0), (10, 0, 0), (0, 7, 0), (10, 7, 1), (-10, 7, 1)]
)
def test_only_a_funding_booking_that_may_be_rounded_is_counted(
    size: int, change: int, counted: int
) -> None:
    """The tolerance of the funding pool's identity is this count."""
    market = market_at(BTC, "50000", "50000")
    position = Position(Wallet(101, "BTC"), market, size=size, funding_index=5)
    position.book_funding(5 + change)
    assert (counted, size * change) == (market.bookings, market.funded)
    assert 5 + change == position.funding_index
