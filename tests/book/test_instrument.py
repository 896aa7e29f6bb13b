"""Instruments are data: names, ticks, bands, values and average prices."""

from datetime import date
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.calendar import Period, expiry_on
from book.instrument import Instrument, dated, perpetual
from book.units import FUNDING, MONEY, RATE, SCALE
from tests.book.factory import BTC, BTC_PERPETUAL, SOL_PERPETUAL, SOL_USDC

INSTRUMENTS = st.sampled_from([BTC_PERPETUAL, SOL_PERPETUAL])
PRICES = st.integers(SCALE, 200_000 * SCALE)
FILLS = st.lists(st.tuples(st.integers(1, 1_000), PRICES), min_size=1, max_size=20)


def dollars(text: str) -> int:
    """A decimal price in its integer scale; it must fit."""
    scaled = Fraction(text) * SCALE
    assert scaled.denominator == 1
    return scaled.numerator


def test_names() -> None:
    """A family and PERPETUAL, or a family and the day of expiry without a leading zero."""
    expiry = expiry_on(date(2026, 6, 5))
    assert "BTC-PERPETUAL" == BTC_PERPETUAL.name
    assert "SOL_USDC-PERPETUAL" == perpetual(SOL_USDC, number=7, created=5).name
    assert "BTC-5JUN26" == dated(BTC, 3, 0, expiry, Period.WEEK).name
    assert "BTC-25DEC26" == dated(BTC, 4, 0, expiry_on(date(2026, 12, 25)), Period.MONTH).name


def test_only_perpetuals_have_no_expiry() -> None:
    """A dated future ends; a perpetual is told by having no end."""
    weekly = dated(BTC, 3, 0, expiry_on(date(2026, 6, 5)), Period.WEEK)
    assert (True, False) == (BTC_PERPETUAL.perpetual, weekly.perpetual)
    assert Period.PERPETUAL is BTC_PERPETUAL.period


def test_weeklies_have_their_own_maker_fee() -> None:
    """Weekly makers get a rebate of 0.0001, other makers pay nothing, takers always 0.0005."""
    expiry = expiry_on(date(2026, 6, 5))
    weekly = dated(BTC, 3, 0, expiry, Period.WEEK)
    monthly = dated(BTC, 3, 0, expiry, Period.MONTH)
    assert [0, -RATE // 10_000, 0] == [i.maker_rate for i in (BTC_PERPETUAL, weekly, monthly)]
    assert [RATE // 2_000] * 2 == [i.taker_rate for i in (BTC_PERPETUAL, weekly)]


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        ("0.01", "0.01"),
        ("10", "0.01"),
        ("10.00000001", "0.05"),
        ("10.05", "0.05"),
        ("100", "0.05"),
        ("100.5", "0.5"),
    ],
)
def test_a_step_holds_strictly_above_its_price(price: str, tick: str) -> None:
    """0.01 up to and at 10, 0.05 up to and at 100, 0.5 above."""
    assert dollars(tick) == SOL_PERPETUAL.tick_at(dollars(price))


@pytest.mark.parametrize(
    ("price", "floor", "ceiling"),
    [
        ("9.999", "9.99", "10"),
        ("10", "10", "10"),
        ("10.01", "10", "10.05"),
        ("99.97", "99.95", "100"),
        ("100.00000001", "100", "100.5"),
        ("100.5", "100.5", "100.5"),
    ],
)
def test_rounding_to_the_tick_crosses_steps(price: str, floor: str, ceiling: str) -> None:
    """Just above a step the floor is the step itself; just below it the ceiling is."""
    assert dollars(floor) == SOL_PERPETUAL.floor_to_tick(dollars(price))
    assert dollars(ceiling) == SOL_PERPETUAL.ceil_to_tick(dollars(price))


@given(INSTRUMENTS, st.integers(1, 300 * SCALE))
def test_floor_and_ceiling_are_neighbours_on_the_grid(instrument: Instrument, price: int) -> None:
    """They enclose the price, are tradable, and nothing tradable lies between them."""
    floor, ceiling = instrument.floor_to_tick(price), instrument.ceil_to_tick(price)
    assert floor <= price <= ceiling
    assert floor == instrument.floor_to_tick(floor)
    assert ceiling == instrument.ceil_to_tick(ceiling)
    assert ceiling - floor in (0, instrument.tick_at(price))
    assert (floor == ceiling) == (price % instrument.tick_at(price) == 0)


def test_the_band_around_a_live_mark() -> None:
    """BTC-PERPETUAL at mark 87006.21 with 1.5 %: sells from 85701.0, buys up to 88311.5."""
    low, high = BTC_PERPETUAL.band(dollars("87006.21"))
    assert (dollars("85701"), dollars("88311.5")) == (low, high)


@given(INSTRUMENTS, PRICES)
def test_the_band_holds_the_exact_one_and_is_less_than_a_tick_wider(
    instrument: Instrument, mark: int
) -> None:
    """Both ends are tradable; rounding never narrows the band."""
    low, high = instrument.band(mark)
    reach = Fraction(instrument.contract.band_rate, RATE) * mark
    assert mark - reach - instrument.tick_at(low + 1) < low <= mark - reach
    assert mark + reach <= high < mark + reach + instrument.tick_at(high)
    assert low == instrument.floor_to_tick(low)
    assert high == instrument.ceil_to_tick(high)


def test_a_band_that_reaches_just_past_a_tick_is_widened_to_the_next() -> None:
    """1.015 x 83743.84236454 is 85000 and less than 1e-8: the highest buy is at 85000.5."""
    _, high = BTC_PERPETUAL.band(dollars("83743.84236454"))
    assert dollars("85000.5") == high


def test_the_band_never_reaches_below_one_tick() -> None:
    """A price of zero or less cannot be traded, whatever the mark."""
    wide = msgspec.structs.replace(SOL_USDC, band_rate=2 * RATE)
    low, _ = perpetual(wide, 1, 0).band(SCALE)
    assert SCALE // 100 == low


@pytest.mark.parametrize("instrument", [BTC_PERPETUAL, SOL_PERPETUAL], ids=lambda i: i.name)
def test_profit_is_carry_less_value(instrument: Instrument) -> None:
    """A long gains when the price rises and loses when it falls; a short the other way round."""
    for size in (100 * SCALE, -100 * SCALE):
        carry = instrument.value(size, 100 * SCALE)
        gain = carry - instrument.value(size, 125 * SCALE)
        assert (size > 0) == (gain > 0)
        assert (size > 0) == (carry - instrument.value(size, 80 * SCALE) < 0)


def test_profits_by_hand() -> None:
    """100 USD from 100 to 125: 1 - 0.8 = 0.2 coins. 100 SOL from 100 to 125: 2,500 USDC."""
    profits = [
        instrument.value(100 * SCALE, 100 * SCALE) - instrument.value(100 * SCALE, 125 * SCALE)
        for instrument in (BTC_PERPETUAL, SOL_PERPETUAL)
    ]
    assert [MONEY // 5, 2_500 * MONEY] == profits


@given(INSTRUMENTS, st.integers(-(10**18), 10**18), PRICES)
def test_value_is_odd_and_notional_is_its_size(
    instrument: Instrument, size: int, price: int
) -> None:
    """The two sides of a trade have opposite values and one notional."""
    value = instrument.value(size, price)
    assert -value == instrument.value(-size, price)
    assert abs(value) == instrument.notional(size, price) == instrument.notional(-size, price)


def test_inverse_prices_average_harmonically() -> None:
    """100 USD at 20,000 and 100 USD at 30,000 cost 1/120 coins: 24,000 on average, not 25,000."""
    cost = sum(BTC_PERPETUAL.cost(100 * SCALE, price * SCALE) for price in (20_000, 30_000))
    assert 24_000 * SCALE == BTC_PERPETUAL.average_price(200 * SCALE, cost)


def test_linear_prices_average_arithmetically() -> None:
    """1 SOL at 100 and 3 SOL at 200 are 4 at 175."""
    cost = SOL_PERPETUAL.cost(SCALE, 100 * SCALE) + SOL_PERPETUAL.cost(3 * SCALE, 200 * SCALE)
    assert 175 * SCALE == SOL_PERPETUAL.average_price(4 * SCALE, cost)


def test_nothing_has_no_average_price() -> None:
    """Before the first fill it is 0, which the API shows."""
    assert [0, 0] == [i.average_price(0, 0) for i in (BTC_PERPETUAL, SOL_PERPETUAL)]


@given(INSTRUMENTS, FILLS)
def test_average_prices_are_exact_to_the_last_digit(
    instrument: Instrument, fills: list[tuple[int, int]]
) -> None:
    """The accumulator loses nothing: the average is the rounded exact mean, whatever the order."""
    contracts = instrument.contract.contract_size
    sized = [(count * contracts, price) for count, price in fills]
    amount = sum(size for size, _ in sized)
    cost = sum(instrument.cost(size, price) for size, price in sized)
    if instrument.contract.inverse:
        exact = amount / sum(Fraction(size, price) for size, price in sized)
    else:
        exact = Fraction(sum(size * price for size, price in sized), amount)
    average = instrument.average_price(amount, cost)
    assert abs(average - exact) <= Fraction(1, 2) + Fraction(1, 1_000)
    assert min(price for _, price in fills) <= average <= max(price for _, price in fills)


@given(INSTRUMENTS, st.integers(1, 10**6), PRICES)
def test_one_price_averages_to_itself(instrument: Instrument, count: int, price: int) -> None:
    """Filled at one price only, that price is the average, to the last digit."""
    amount = count * instrument.contract.contract_size
    assert price == instrument.average_price(amount, instrument.cost(amount, price))


def test_inverse_cost_is_in_units_of_funding() -> None:
    """Amount over price is a number of coins; it is counted in 1e-24."""
    assert FUNDING // 200 == BTC_PERPETUAL.cost(100 * SCALE, 20_000 * SCALE)


def test_inverse_cost_is_rounded_to_nearest() -> None:
    """Always cutting would drift over many fills: two thirds round up, one third down."""
    assert 2 * FUNDING // 3 + 1 == BTC_PERPETUAL.cost(2, 3)
    assert FUNDING // 3 == BTC_PERPETUAL.cost(1, 3)
