"""Instruments: perpetuals and dated futures, inverse and linear, described by data."""

from __future__ import annotations

import msgspec

from book.calendar import Period, date_code
from book.units import FUNDING, RATE, ceil_div, inverse_value, linear_value, round_half_even


class Contract(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The terms that all instruments of one family share.

    `family` is the part of the name before the dash: `BTC`, `SOL_USDC`. An inverse contract
    is counted in USD and settled in its base coin, a linear one is counted in the base coin
    and settled in its quote. Prices, ticks and sizes are in 1e-8, rates in 1e-12.
    `tick_steps` holds (above this price, this tick), ascending; each such price is a multiple of
    the ticks on both sides of it. `band_rate` is the width of the price band on each side of the
    mark, as a rate.
    """

    family: str
    base: str
    quote: str
    currency: str
    index: str
    inverse: bool
    dated: bool
    contract_size: int
    minimum: int
    tick: int
    tick_steps: tuple[tuple[int, int], ...] = ()
    maker_rate: int
    weekly_maker_rate: int
    taker_rate: int
    band_rate: int


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """One listed instrument. `expiry` is None for a perpetual; `number` is its API id."""

    name: str
    number: int
    contract: Contract
    period: Period
    created: int
    expiry: int | None

    @property
    def currency(self) -> str:
        """Settlement currency."""
        return self.contract.currency

    @property
    def perpetual(self) -> bool:
        """Whether the instrument never expires, and so pays funding."""
        return self.expiry is None

    @property
    def maker_rate(self) -> int:
        """Fee rate of the resting side, in 1e-12; negative is a rebate."""
        if self.period is Period.WEEK:
            return self.contract.weekly_maker_rate
        return self.contract.maker_rate

    @property
    def taker_rate(self) -> int:
        """Fee rate of the incoming side, in 1e-12."""
        return self.contract.taker_rate

    def value(self, size: int, price: int) -> int:
        """Return the trade value of a signed size in Money, signed so that profit = carry - value.

        Inverse: +size / price. Linear: -size x price. value(-size) == -value(size).
        """
        if self.contract.inverse:
            return inverse_value(size, price)
        return -linear_value(size, price)

    def notional(self, size: int, price: int) -> int:
        """Return the unsigned trade value in Money."""
        return abs(self.value(size, price))

    def tick_at(self, price: int) -> int:
        """Return the tick at `price`."""
        tick = self.contract.tick
        for above, step in self.contract.tick_steps:
            if price > above:
                tick = step
        return tick

    def floor_to_tick(self, price: int) -> int:
        """Return the highest multiple of the tick not above `price`."""
        return price - price % self.tick_at(price)

    def ceil_to_tick(self, price: int) -> int:
        """Return the lowest multiple of the tick not below `price`."""
        tick = self.tick_at(price)
        return ceil_div(price, tick) * tick

    def band(self, mark: int) -> tuple[int, int]:
        """Return lowest sell and highest buy limit: mark x (1 -/+ band), widened to the tick."""
        reach = mark * self.contract.band_rate
        low = self.floor_to_tick((mark * RATE - reach) // RATE)
        high = self.ceil_to_tick(ceil_div(mark * RATE + reach, RATE))
        return max(low, self.contract.tick), high

    def cost(self, amount: int, price: int) -> int:
        """Return what a fill adds to an accumulator of prices (see `average_price`).

        The average of inverse prices is harmonic, so amount / price is summed, in 1e-24; that of
        linear prices is arithmetic, so amount x price is summed, exactly.
        """
        if self.contract.inverse:
            return round_half_even(amount * FUNDING, price)
        return amount * price

    def average_price(self, amount: int, cost: int) -> int:
        """Return the price, in 1e-8, at which `amount` has that `cost`; 0 for amount 0."""
        if not amount:
            return 0
        if self.contract.inverse:
            return round_half_even(amount * FUNDING, cost)
        return round_half_even(cost, amount)


def perpetual(contract: Contract, number: int, created: int) -> Instrument:
    """Return the perpetual of a family, such as `BTC-PERPETUAL`."""
    name = f"{contract.family}-PERPETUAL"
    return Instrument(name, number, contract, Period.PERPETUAL, created, None)


def dated(contract: Contract, number: int, created: int, expiry: int, period: Period) -> Instrument:
    """Return a dated future of a family, such as `BTC-25DEC26`."""
    name = f"{contract.family}-{date_code(expiry)}"
    return Instrument(name, number, contract, period, created, expiry)
