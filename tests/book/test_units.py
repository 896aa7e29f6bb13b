"""Rounding, trade values and decimal output."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.units import (
    DAY,
    MONEY,
    SCALE,
    ceil_div,
    inverse_value,
    linear_value,
    round_half_even,
    text,
)

NUMERATORS = st.integers(-(10**30), 10**30)
DENOMINATORS = st.integers(1, 10**20)


@pytest.mark.parametrize(
    ("numerator", "rounded"),
    [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (7, 2), (9, 2), (10, 2), (11, 3), (14, 4)],
)
def test_ties_round_to_even(numerator: int, rounded: int) -> None:
    """Quarters: 0.5 and 2.5 round down, 1.5 and 3.5 up, others to nearest; both signs alike."""
    assert rounded == round_half_even(numerator, 4)
    assert -rounded == round_half_even(-numerator, 4)


@given(NUMERATORS, DENOMINATORS)
def test_round_half_even_agrees_with_round_of_a_fraction(numerator: int, denominator: int) -> None:
    """Python's `round` of an exact fraction rounds ties to even as well."""
    assert round(Fraction(numerator, denominator)) == round_half_even(numerator, denominator)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_round_half_even_agrees_with_round_at_ties(half: int, denominator: int) -> None:
    """Random fractions are rarely ties, so ties are constructed: (2n + 1) / 2, scaled."""
    numerator = (2 * half + 1) * denominator
    assert round(Fraction(2 * half + 1, 2)) == round_half_even(numerator, 2 * denominator)


@given(NUMERATORS, DENOMINATORS)
def test_ceil_and_floor_enclose_the_fraction(numerator: int, denominator: int) -> None:
    """`ceil_div` equals `//` only where the division is exact."""
    ceiling = ceil_div(numerator, denominator)
    assert (ceiling - 1) * denominator < numerator <= ceiling * denominator
    assert (numerator % denominator != 0) == (ceiling - numerator // denominator == 1)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**16))
def test_opposite_sizes_have_opposite_values(size: int, price: int) -> None:
    """So the long gains exactly what the short loses."""
    assert -inverse_value(size, price) == inverse_value(-size, price)
    assert -linear_value(size, price) == linear_value(-size, price)


@given(st.integers(-(10**16), 10**16), st.integers(1, 10**14))
def test_values_are_the_rounded_exact_fractions(size: int, price: int) -> None:
    """Python's `round` is the reference."""
    assert round(Fraction(size * MONEY, price)) == inverse_value(size, price)
    assert round(Fraction(size * price * MONEY, SCALE * SCALE)) == linear_value(size, price)


@given(st.integers(-(10**6), 10**6), st.integers(0, 8))
def test_values_at_ties_are_rounded_to_even(half: int, power: int) -> None:
    """Ties are constructed: an odd number of units over 2 * 10^12, scaled."""
    size, price = (2 * half + 1) * 10**power, 2 * MONEY * 10**power
    expected = round(Fraction(2 * half + 1, 2))
    assert expected == inverse_value(size, price)
    assert expected == linear_value((2 * half + 1) * 5_000, 1)


def test_values_calculated_by_hand() -> None:
    """10,000 USD at 50,000 are 0.2 BTC; 3 SOL at 150.25 are 450.75 USDC."""
    assert MONEY // 5 == inverse_value(10_000 * SCALE, 50_000 * SCALE)
    assert 45_075 * MONEY // 100 == linear_value(3 * SCALE, 15_025 * SCALE // 100)


def test_money_resolves_one_tick_of_profit_on_the_smallest_contract() -> None:
    """10 USD from 100,000 to 100,000.5 earn 5e-10 BTC: 500 units of Money, less than a satoshi."""
    size, entry = 10 * SCALE, 100_000 * SCALE
    assert 500 == inverse_value(size, entry) - inverse_value(size, entry + SCALE // 2)


def test_a_small_linear_value_rounds_half_to_even() -> None:
    """Amount and price are in 1e-8 and Money in 1e-12: 10,000 units of their product are one."""
    assert [0, 0, 1, 2, 2] == [linear_value(1, 5_000 * n) for n in (0, 1, 2, 3, 4)]


def test_times_are_in_milliseconds() -> None:
    """A day has 86,400,000 of them."""
    assert 86_400_000 == DAY


@pytest.mark.parametrize(
    ("units", "written"),
    [
        (0, "0"),
        (SCALE // 2, "0.5"),
        (-SCALE // 2, "-0.5"),
        (1, "0.00000001"),
        (8_831_150_000_000, "88311.5"),
        (-100 * SCALE, "-100"),
    ],
)
def test_decimals_have_no_exponent_and_no_trailing_zeros(units: int, written: str) -> None:
    """And no decimal point if the number is whole."""
    assert written == text(units)


@given(st.integers(-(10**20), 10**20), st.sampled_from([SCALE, MONEY]))
def test_decimals_are_exact(units: int, scale: int) -> None:
    """Parsed as a decimal, the text is the same number at any scale."""
    assert units == Fraction(Decimal(text(units, scale))) * scale
