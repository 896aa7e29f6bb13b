"""The scales of all numbers in the core, and the rounding rules.

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
"""Settlement currency, in 1e-12, which keeps one tick of profit on the smallest contract exact."""

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
    """Return the quotient rounded towards plus infinity; `//` rounds towards minus infinity."""
    return -(-numerator // denominator)


def round_half_even(numerator: int, denominator: int) -> int:
    """Return the quotient rounded to nearest, ties to even; `denominator` must be positive.

    f(-n) == -f(n), so both sides of a trade get the same number.
    """
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def inverse_value(size: int, price: int) -> int:
    """Return the Money value of `size` USD at `price`: size / price, rounded half to even."""
    # `round_half_even` inlined: this is the most frequent calculation of all.
    quotient, rest = divmod(size * MONEY, price)
    twice = 2 * rest
    if twice > price or (twice == price and quotient & 1):
        return quotient + 1
    return quotient


def linear_value(size: int, price: int) -> int:
    """Return the Money value of `size` coins at `price`: size x price, rounded half to even."""
    return round_half_even(size * price, _LINEAR)


def text(units: int, scale: int = SCALE) -> str:
    """Return a number as a decimal without exponent and trailing zeros."""
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), scale)
    if not part:
        return f"{sign}{whole}"
    digits = f"{part:0{len(str(scale)) - 1}}".rstrip("0")
    return f"{sign}{whole}.{digits}"
