"""Instruments: names, fees, ticks, price bands, values and average prices."""

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
    """Return a decimal price in 1e-8; it must have no more than 8 decimals."""
    scaled = Fraction(text) * SCALE
    assert scaled.denominator == 1
    return scaled.numerator


def test_names_have_the_family_and_the_expiry() -> None:
    """Or PERPETUAL in place of the expiry."""
    expiry = expiry_on(date(2026, 6, 5))
    assert "BTC-PERPETUAL" == BTC_PERPETUAL.name
    assert "SOL_USDC-PERPETUAL" == perpetual(SOL_USDC, number=7, created=5).name
    assert "BTC-5JUN26" == dated(BTC, 3, 0, expiry, Period.WEEK).name
    assert "BTC-25DEC26" == dated(BTC, 4, 0, expiry_on(date(2026, 12, 25)), Period.MONTH).name


def test_only_perpetuals_have_no_expiry() -> None:
    """`perpetual` is derived from the expiry."""
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
def test_a_tick_step_applies_strictly_above_its_price(price: str, tick: str) -> None:
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
def test_rounding_to_the_tick_across_tick_steps(price: str, floor: str, ceiling: str) -> None:
    """The price of a step is the floor just above it and the ceiling just below it."""
    assert dollars(floor) == SOL_PERPETUAL.floor_to_tick(dollars(price))
    assert dollars(ceiling) == SOL_PERPETUAL.ceil_to_tick(dollars(price))


@given(INSTRUMENTS, st.integers(1, 300 * SCALE))
def test_floor_and_ceiling_are_neighbouring_multiples_of_the_tick(
    instrument: Instrument, price: int
) -> None:
    """They enclose the price, and no tradable price lies between them."""
    floor, ceiling = instrument.floor_to_tick(price), instrument.ceil_to_tick(price)
    assert floor <= price <= ceiling
    assert floor == instrument.floor_to_tick(floor)
    assert ceiling == instrument.ceil_to_tick(ceiling)
    assert ceiling - floor in (0, instrument.tick_at(price))
    assert (floor == ceiling) == (price % instrument.tick_at(price) == 0)


def test_the_price_band_of_a_recorded_mark() -> None:
    """BTC-PERPETUAL at mark 87006.21 with 1.5 %: sells from 85701.0, buys up to 88311.5."""
    low, high = BTC_PERPETUAL.band(dollars("87006.21"))
    assert (dollars("85701"), dollars("88311.5")) == (low, high)


@given(INSTRUMENTS, PRICES)
def test_rounding_widens_the_band_by_less_than_a_tick(instrument: Instrument, mark: int) -> None:
    """Both ends are tradable, and the exact band lies within the rounded one."""
    low, high = instrument.band(mark)
    reach = Fraction(instrument.contract.band_rate, RATE) * mark
    assert mark - reach - instrument.tick_at(low + 1) < low <= mark - reach
    assert mark + reach <= high < mark + reach + instrument.tick_at(high)
    assert low == instrument.floor_to_tick(low)
    assert high == instrument.ceil_to_tick(high)


def test_a_band_that_ends_just_above_a_tick_is_widened_to_the_next() -> None:
    """1.015 x 83743.84236454 exceeds 85000 by less than 1e-8: the highest buy is at 85000.5."""
    _, high = BTC_PERPETUAL.band(dollars("83743.84236454"))
    assert dollars("85000.5") == high


def test_the_band_never_reaches_below_one_tick() -> None:
    """Prices of zero or less are not tradable."""
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


def test_profits_calculated_by_hand() -> None:
    """100 USD from 100 to 125: 1 - 0.8 = 0.2 coins. 100 SOL from 100 to 125: 2,500 USDC."""
    profits = [
        instrument.value(100 * SCALE, 100 * SCALE) - instrument.value(100 * SCALE, 125 * SCALE)
        for instrument in (BTC_PERPETUAL, SOL_PERPETUAL)
    ]
    assert [MONEY // 5, 2_500 * MONEY] == profits


@given(INSTRUMENTS, st.integers(-(10**18), 10**18), PRICES)
def test_opposite_sizes_have_opposite_values_and_equal_notionals(
    instrument: Instrument, size: int, price: int
) -> None:
    """So the two sides of a trade book the same amounts."""
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


def test_the_average_price_of_no_fills_is_zero() -> None:
    """The API shows it before the first fill."""
    assert [0, 0] == [i.average_price(0, 0) for i in (BTC_PERPETUAL, SOL_PERPETUAL)]


@given(INSTRUMENTS, FILLS)
def test_average_prices_are_the_rounded_exact_mean(
    instrument: Instrument, fills: list[tuple[int, int]]
) -> None:
    """The accumulator does not lose precision, in whatever order the fills come."""
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
def test_the_average_of_one_price_is_that_price(
    instrument: Instrument, count: int, price: int
) -> None:
    """Exactly, for any number of contracts."""
    amount = count * instrument.contract.contract_size
    assert price == instrument.average_price(amount, instrument.cost(amount, price))


def test_inverse_cost_is_in_units_of_funding() -> None:
    """Amount over price is a number of coins, in 1e-24."""
    assert FUNDING // 200 == BTC_PERPETUAL.cost(100 * SCALE, 20_000 * SCALE)


def test_inverse_cost_is_rounded_to_nearest() -> None:
    """Two thirds round up, one third down: truncation would drift over many fills."""
    assert 2 * FUNDING // 3 + 1 == BTC_PERPETUAL.cost(2, 3)
    assert FUNDING // 3 == BTC_PERPETUAL.cost(1, 3)
