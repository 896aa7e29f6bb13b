"""Divisions of the clearing house against exact fractions: direction of rounding and ties."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.units import HOUR, MONEY, RATE, SCALE
from risk import deleveraging, insurance, ledger, margin, margin_cache, order_costs, standard_margin
from risk.commands import Continue
from risk.deleveraging import Deleverage
from risk.events import Booked, BookingKind, LossShared, Traded
from risk.insurance import bankruptcy_price, bankruptcy_shares, implied_price
from risk.market import Index, Market
from risk.marks import delivery_price, estimated_delivery
from risk.position import Position, Wallet
from risk.risk_terms import LossPolicy
from risk.state import FIRST_CLIENT
from tests.hypothesis_settings import thorough
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    ETH,
    SOL_USDC,
    WEEKLY,
    Venue,
    amount,
    of_type,
    open_venue,
)

MARKETS = {name: open_venue().market(name) for name in (BTC, ETH, WEEKLY, BTC_USDC, SOL_USDC)}
markets = st.sampled_from(sorted(MARKETS))


def ceiling(exact: Fraction) -> int:
    """Return the smallest integer that is not below a fraction."""
    return -(-exact.numerator // exact.denominator)


@given(value=st.integers(-(10**18), 10**18), rate=st.integers(-(10**9), 10**10))
@thorough(300)
def test_a_fee_is_rounded_up_and_so_is_a_rebate(value: int, rate: int) -> None:
    """Both favour the venue: a rebate is a negative fee, which rounds towards zero."""
    assert ceiling(Fraction(abs(value) * rate, RATE)) == order_costs.fee_on(value, rate)


def test_a_maker_is_paid_no_unit_more_than_its_rebate() -> None:
    """10 USD at 30,000 are 333,333,333 units of money, of which 0.01 % are 33,333.3333."""
    venue = open_venue(prices={"btc_usd": "30000"}, ann={"BTC": "1"}, bob={"BTC": "1"})
    before = venue.wallet("ann", "BTC").balance
    (trade,) = of_type(venue.trade("ann", "bob", WEEKLY, "10", "30000"), Traded)
    market = venue.market(WEEKLY)
    assert -RATE // 10_000 == market.maker_rate
    assert -33_333 == trade.maker.fee
    assert 33_333 == venue.wallet("ann", "BTC").balance - before
    assert ceiling(Fraction(333_333_333 * market.taker_rate, RATE)) == trade.taker.fee


@given(
    levels=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 10**6)), min_size=1, max_size=6),
    rest=st.integers(1, 5),
)
@thorough(200)
def test_a_delivery_price_is_rounded_to_nearest_ties_to_even(
    levels: list[tuple[int, int]], rest: int
) -> None:
    """It favours neither side, and its estimate is the same number."""
    market, index = open_venue(checked=False).market(WEEKLY), Index("made")
    begins = now = 1_000
    index.set(levels[0][1], now)
    market.index, market.averaging = index, index.averaging_from(begins)
    total = Fraction()
    for (lasts, level), following in zip(levels, [*levels[1:], levels[-1]], strict=True):
        total += lasts * level
        now += lasts
        index.set(following[1], now)
    now += rest
    total += rest * levels[-1][1]
    assert round(total / (now - begins)) == delivery_price(market, now)
    # Before expiry, the estimate is the average for a constant index.
    expiry = market.instrument.expiry
    assert expiry is not None
    total += (expiry - now) * levels[-1][1]
    assert round(total / (expiry - begins)) == estimated_delivery(market, now)


def test_a_delivery_price_at_a_tie_is_even() -> None:
    """These cases are rare in the property: 1 and 2 for equal times, 2 and 3, and above half."""
    for levels, expected in (((1, 2), 2), ((2, 3), 2), ((1, 2, 2), 2), ((3, 4, 4), 4)):
        market, index = open_venue(checked=False).market(WEEKLY), Index("made")
        for number, level in enumerate(levels):
            index.set(level, 1_000 + 10 * number)
            if not number:
                market.averaging = index.averaging_from(1_000)
        market.index = index
        assert expected == delivery_price(market, 1_000 + 10 * len(levels))


SHARES = st.integers(-(10**15), 10**15)


def loss_at(market: Market, size: int, at: int) -> Fraction:
    """Return the exact loss in Money of closing a size at a price, against the mark."""
    if market.instrument.contract.inverse:
        return Fraction(size * MONEY, at) - Fraction(size * MONEY, market.mark)
    return Fraction(size * (market.mark - at) * MONEY, SCALE * SCALE)


@given(name=markets, contracts=st.integers(1, 10**6), long=st.booleans(), share=SHARES)
@thorough(500)
def test_a_bankruptcy_price_is_the_last_tick_within_the_share(
    name: str, contracts: int, long: bool, share: int
) -> None:
    """It rounds up for a sale, down for a purchase; the next tick would exceed the share."""
    market = MARKETS[name]
    tick = market.instrument.contract.tick
    size = contracts * market.instrument.contract.contract_size * (1 if long else -1)
    result = bankruptcy_price(market, size, share)
    if result is None:
        assert market.instrument.contract.inverse
        # A short of coins loses at most all its coins, at any price.
        bound = Fraction(abs(size) * MONEY, market.mark)
        assert (-share if long else share) >= bound
        return
    if result > tick:
        assert 0 == market.instrument.floor_to_tick(result) - result
        assert loss_at(market, size, result) <= share
    further = result - tick if long else result + tick
    if further > 0:
        assert loss_at(market, size, further) > share


@pytest.mark.parametrize("contracts", [1, 7, 333])
@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("name", sorted(MARKETS))
def test_a_bankruptcy_price_on_a_tick_is_not_rounded_away(
    name: str, long: bool, contracts: int
) -> None:
    """The exact loss at a price, rounded up to a unit, gives that price again."""
    market = MARKETS[name]
    tick = market.instrument.contract.tick
    size = contracts * market.instrument.contract.contract_size * (1 if long else -1)
    for steps in (-3, -1, 0, 1, 3):
        at = market.instrument.floor_to_tick(market.mark) + steps * tick
        exact = loss_at(market, size, at)
        assert at == bankruptcy_price(market, size, ceiling(exact))


def holding(balance: int, needs: list[int]) -> Wallet:
    """Return a wallet of positions with these maintenance margins."""
    wallet = Wallet(101, "BTC", balance=balance, maintenance=sum(needs))
    for number, needed in enumerate(needs):
        market = Market(
            MARKETS[BTC].instrument, MARKETS[BTC].terms, MARKETS[BTC].index, MARKETS[BTC].book
        )
        market.name = f"market {number}"
        position = Position(wallet, market, size=1, maintenance=needed)
        wallet.positions[market.name] = position
    return wallet


@given(
    balance=st.integers(-(10**9), 10**9),
    needs=st.lists(st.integers(0, 10**6), min_size=1, max_size=5),
)
@thorough(300)
def test_the_shares_of_a_balance_add_up_to_it(balance: int, needs: list[int]) -> None:
    """Each is rounded down and the last takes the remainder, so nothing is left."""
    shares = list(bankruptcy_shares(holding(balance, needs)).values())
    total = sum(needs)
    weights = needs if total else [1] * len(needs)
    assert balance == sum(shares)
    for share, weight in zip(shares[:-1], weights[:-1], strict=True):
        assert balance * weight // sum(weights) == share


def test_the_last_position_takes_the_remainder_of_a_balance() -> None:
    """Ten units for three equal positions: 3, 3 and 4; a debt of ten: -4, -4 and -2."""
    for balance, expected in ((10, [3, 3, 4]), (-10, [-4, -4, -2])):
        for needs in ([5, 5, 5], [0, 0, 0]):
            shares = bankruptcy_shares(holding(balance, needs))
            assert dict(zip(("market 0", "market 1", "market 2"), expected, strict=True)) == shares


@given(name=markets, contracts=st.integers(1, 10**6), long=st.booleans(), at=st.integers(1, 10**13))
@thorough(300)
def test_an_implied_price_leads_back_to_its_value(
    name: str, contracts: int, long: bool, at: int
) -> None:
    """No other price of 1e-8 is nearer to the exact one."""
    market = MARKETS[name]
    size = contracts * market.instrument.contract.contract_size * (1 if long else -1)
    value = market.instrument.value(size, at)
    implied = implied_price(market, size, value)
    if not value:
        assert market.mark == implied
    elif market.instrument.contract.inverse:
        assert max(1, round(Fraction(size * MONEY, value))) == implied or implied == market.mark
    else:
        # Linear values have the opposite sign: a long has paid.
        assert max(1, round(Fraction(-value * SCALE * SCALE, size * MONEY))) == implied


@pytest.mark.parametrize("name", [BTC, BTC_USDC])
def test_a_value_without_implied_price_is_reported_at_the_mark(name: str) -> None:
    """The value is zero, or has the wrong sign."""
    market = MARKETS[name]
    size = market.instrument.contract.contract_size
    for signed in (size, -size):
        wrong = -market.instrument.value(signed, market.mark)
        for value in (0, wrong):
            assert market.mark == implied_price(market, signed, value)


def bankrupt_pair(**others: str) -> tuple[Venue, Position, Position]:
    """Return a loser below zero, and a winner with the opposite position."""
    venue = open_venue(checked=False, lou={"BTC": "0.06"}, win={"BTC": "1"})
    venue.trade("lou", "win", BTC, "100000", "50000")
    venue.tick(btc_usd="47000")
    lou, win = (venue.position(name, BTC) for name in ("lou", "win"))
    assert lou is not None
    assert win is not None
    for each in (lou, win):
        margin_cache.refresh(venue.exchange.state, each.wallet)
    return venue, lou, win


@pytest.mark.parametrize(("left", "bears"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_winner_is_deleveraged_down_to_two_units(left: int, bears: bool) -> None:
    """Two units are for rounding; with one unit less the account is skipped."""
    venue, lou, win = bankrupt_pair()
    state = venue.exchange.state
    phase = Deleverage(lou.account, BTC)
    share = bankruptcy_shares(lou.wallet)[BTC]
    assert share < 0
    win.wallet.balance += left - share - win.wallet.margin_balance
    margin_cache.refresh(state, win.wallet)
    assert left == win.wallet.margin_balance + share
    assert bears == deleveraging._is_eligible(state, lou, win, share)
    before = lou.size
    while not phase.done:
        phase.advance(state, deleveraging.RANKED)
    assert bears == (win.size == 0)
    assert 0 == lou.size < before


def test_a_deleveraged_account_keeps_no_order_that_would_flip_its_position() -> None:
    """Reduce-only orders shrink to the position, and end where it is closed."""
    venue, lou, win = bankrupt_pair()
    venue.checked = True
    venue.buy("win", BTC, "60000", "40000", reduce_only=True, check=False)
    venue.buy("win", BTC, "40000", "39000", reduce_only=True, check=False)
    insurance.transfer_position(venue.exchange.state, lou, win, amount("50000"), 0)
    assert [amount("50000")] == [order.remaining for order in win.reducing.values()]
    insurance.transfer_position(venue.exchange.state, lou, win, amount("50000"), 0)
    assert [] == venue.orders("win")
    venue.do(Continue())


def test_the_venue_holds_its_identities_after_a_deleveraging_with_reduce_only_orders() -> None:
    """The same case by commands, with a check of the invariants at the end."""
    venue = open_venue(checked=False, lou={"BTC": "0.06"}, win={"BTC": "1"})
    venue.trade("lou", "win", BTC, "100000", "50000")
    venue.buy("win", BTC, "100000", "40000", reduce_only=True)
    venue.tick(btc_usd="47000")
    venue.liquidate()
    assert 0 == venue.size("win", BTC)
    assert [] == venue.orders("win")
    venue.exchange.check()


@given(name=markets, contracts=st.integers(1, 10**7), long=st.booleans())
@thorough(300)
def test_requirements_are_exact_and_rounded_up_once(name: str, contracts: int, long: bool) -> None:
    """They are (base + slope n) n, where n itself is rounded up in inverse markets."""
    market = MARKETS[name]
    size = contracts * market.instrument.contract.contract_size * (1 if long else -1)
    inverse = market.instrument.contract.inverse
    exact = Fraction(abs(size), market.mark if inverse else SCALE)
    coins = Fraction(ceiling(exact * MONEY), MONEY)
    value = 1 if inverse else Fraction(market.index.price, SCALE)
    terms = market.terms
    for base, slope, expected in (
        (terms.initial_base, terms.initial_slope, standard_margin.initial(market, size)),
        (
            terms.maintenance_base,
            terms.maintenance_slope,
            standard_margin.maintenance(market, size),
        ),
    ):
        needed = coins * (Fraction(base, RATE) + Fraction(slope, RATE) * coins) * value * MONEY
        assert ceiling(needed) == expected


def test_the_fund_accepts_down_to_its_initial_margin() -> None:
    """With one unit less, it does not take a position over."""
    for missing in (0, 1):
        venue, lou, _ = bankrupt_pair()
        state = venue.exchange.state
        fund = state.insurance("BTC")
        share = bankruptcy_shares(lou.wallet)[BTC]
        needed = standard_margin.initial(venue.market(BTC), lou.size)
        fund.balance = needed - share - missing
        assert (not missing) == insurance.accepts(state, lou, share)


def test_a_wallet_is_locked_below_maintenance_and_not_at_it() -> None:
    """The limit is exact to the unit."""
    venue, lou, _ = bankrupt_pair()
    state, wallet = venue.exchange.state, lou.wallet
    for more, locked in ((0, False), (-1, True)):
        wallet.balance += wallet.maintenance - wallet.margin_balance + more
        assert locked == margin.is_locked(state, wallet)


@pytest.mark.parametrize(
    ("deficit", "sizes", "taxes"),
    [
        (10, (1_000, 1_000, 1_000), (3, 3, 3)),
        (11, (1_000, 1_000, 1_000), (3, 3, 3)),
        (12, (1_000, 1_000, 1_000), (4, 4, 4)),
        (10, (1_000, 2_000, 4_000), (1, 2, 5)),
        (2, (1_000, 1_000, 1_000), (0, 0, 0)),
    ],
)
def test_a_share_of_a_deficit_is_rounded_down(
    deficit: int, sizes: tuple[int, ...], taxes: tuple[int, ...]
) -> None:
    """No account pays more than its part, and all together at most the deficit."""
    names = ("ann", "bob", "cid")
    venue = open_venue(parameters={"loss_policy": LossPolicy.SOCIALISE}, gus={"BTC": "10"})
    for name, size in zip(names, sizes, strict=True):
        venue.open(name, BTC="1")
        venue.trade(name, "gus", BTC, str(size), "50000")
    venue.tick(btc_usd="51000")
    state = venue.exchange.state
    # A deficit of a few units, and the accounts with the profits.
    ledger.book(state, state.deficit("BTC"), -deficit, BookingKind.INSURANCE, state.sequence)
    ledger.book(state, venue.wallet("gus", "BTC"), deficit, BookingKind.INSURANCE, state.sequence)
    events = venue.tick(after=20 * HOUR)
    events += venue.finish()
    (shared,) = of_type(events, LossShared)
    paid = [
        -booked.amount
        for booked in of_type(events, Booked)
        if booked.kind is BookingKind.SOCIALISED_LOSS and booked.account >= FIRST_CLIENT
    ]
    # Shares are equal or proportional as the profits are, up to the rounding of the marks.
    assert [tax for tax in taxes if tax] == [tax for tax in paid if tax]
    assert sum(taxes) == shared.taxed
    assert sum(taxes) - deficit == state.deficit("BTC").balance
