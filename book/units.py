"""The scales of every number in the core, and the rounding rules.

All numbers are integers: prices and amounts in 1e-8 (`SCALE`), money and rates in 1e-12 (`MONEY`,
`RATE`), funding indices in 1e-24 (`FUNDING`), times in milliseconds. An amount counts what the
contract is counted in: USD for inverse contracts, base coins for linear ones. Every division names
its rounding: in the venue's favour for margin and fees, half to even where both sides of a trade
must get the same number.
"""

from typing import NewType

Price = NewType("Price", int)
"""Quote currency per unit of base, in 1e-8."""

Money = NewType("Money", int)
"""Settlement currency, in 1e-12: one tick of profit on the smallest contract is still exact."""

Millis = NewType("Millis", int)
"""Venue time: milliseconds since 1970-01-01 UTC."""

SCALE = 10**8
MONEY = 10**12
RATE = 10**12
FUNDING = 10**24

_LINEAR = SCALE * SCALE // MONEY
"""Price times Amount, in parts of Money."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def ceil_div(numerator: int, denominator: int) -> int:
    """Quotient rounded towards plus infinity. `//` is its floor twin."""
    return -(-numerator // denominator)


def round_half_even(numerator: int, denominator: int) -> int:
    """Quotient rounded to nearest, ties to even; odd in the numerator. `denominator` > 0.

    Being odd is what makes two sides of a trade meet: f(-n) == -f(n).
    """
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def inverse_value(size: int, price: int) -> int:
    """Money value of `size` USD at `price`: size / price, rounded half-even."""
    # As `round_half_even` does it, without the call: this is asked for most of all.
    quotient, rest = divmod(size * MONEY, price)
    twice = 2 * rest
    if twice > price or (twice == price and quotient & 1):
        return quotient + 1
    return quotient


def linear_value(size: int, price: int) -> int:
    """Money value of `size` coins at `price`: size x price, rounded half-even."""
    return round_half_even(size * price, _LINEAR)


def text(units: int, scale: int = SCALE) -> str:
    """A number as people write it: no exponent, no trailing zeros."""
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), scale)
    if not part:
        return f"{sign}{whole}"
    digits = f"{part:0{len(str(scale)) - 1}}".rstrip("0")
    return f"{sign}{whole}.{digits}"
