"""Rolling statistics of an instrument: the last 24 hours, and funding over the last 8 hours.

They are stored by minute: a window drops whole minutes, so it is up to a minute longer than its
name says. The cost does not depend on the number of trades.
"""

from __future__ import annotations

from collections import deque

import msgspec
from attrs import define, field

from book.instrument import Instrument
from book.units import DAY, HOUR, MINUTE, MONEY, SCALE, round_half_even
from risk.events import Traded
from risk.market import Market

FUNDING_WINDOW = 8 * HOUR
_PERCENT = 100 * 10**4


@define(eq=False)
class _Minute:
    start: int
    first: int
    base: int = 0
    quote: int = 0


class DaySummary(msgspec.Struct, frozen=True, gc=False):
    """The statistics of 24 hours. `base` and `quote` are volumes in 1e-12, `high` and `low` prices.

    `change` is in 1e-4 per cent. Without a trade in the window, prices and change are None.
    """

    base: int
    quote: int
    high: int | None
    low: int | None
    change: int | None


@define(eq=False)
class RollingExtreme:
    """The highest (`sign` 1) or lowest (-1) price of a moving window of minutes.

    It stores only minutes that can still become the extreme: those that no later minute exceeds.
    """

    sign: int
    minutes: deque[tuple[int, int]] = field(factory=deque)

    def note(self, start: int, price: int) -> None:
        """Record a trade in the minute that begins at `start`."""
        minutes = self.minutes
        while minutes and self.sign * (price - minutes[-1][1]) >= 0:
            minutes.pop()
        if not minutes or minutes[-1][0] != start:
            minutes.append((start, price))

    def drop_before(self, before: int) -> None:
        """Drop minutes that began before the window."""
        while self.minutes and self.minutes[0][0] < before:
            self.minutes.popleft()

    @property
    def price(self) -> int | None:
        """The extreme of the window; None without a trade in it."""
        return self.minutes[0][1] if self.minutes else None


@define(eq=False)
class DayStats:
    """One instrument's last 24 hours."""

    instrument: Instrument
    minutes: deque[_Minute] = field(factory=deque, init=False)
    base: int = field(default=0, init=False)
    quote: int = field(default=0, init=False)
    last: int = field(default=0, init=False)
    high: RollingExtreme = field(factory=lambda: RollingExtreme(1), init=False)
    low: RollingExtreme = field(factory=lambda: RollingExtreme(-1), init=False)

    def note(self, trade: Traded) -> None:
        """Count a trade."""
        start = trade.time - trade.time % MINUTE
        if not self.minutes or self.minutes[-1].start != start:
            self._drop_old(trade.time)
            self.minutes.append(_Minute(start, trade.price))
        base, quote = self._volumes(trade)
        minute = self.minutes[-1]
        minute.base += base
        minute.quote += quote
        self.base += base
        self.quote += quote
        self.last = trade.price
        self.high.note(start, trade.price)
        self.low.note(start, trade.price)

    def summary(self, now: int) -> DaySummary:
        """Return the statistics of the 24 hours up to `now`."""
        self._drop_old(now)
        if not self.minutes:
            return DaySummary(0, 0, None, None, None)
        first = self.minutes[0].first
        change = round_half_even((self.last - first) * _PERCENT, first)
        return DaySummary(self.base, self.quote, self.high.price, self.low.price, change)

    def _volumes(self, trade: Traded) -> tuple[int, int]:
        own = trade.amount * (MONEY // SCALE)
        other = self.instrument.notional(trade.amount, trade.price)
        return (other, own) if self.instrument.contract.inverse else (own, other)

    def _drop_old(self, now: int) -> None:
        oldest = now - now % MINUTE - DAY
        while self.minutes and self.minutes[0].start < oldest:
            gone = self.minutes.popleft()
            self.base -= gone.base
            self.quote -= gone.quote
        self.high.drop_before(oldest)
        self.low.drop_before(oldest)


@define(eq=False)
class FundingSamples:
    """A perpetual's rate integral, sampled each minute over the last 8 hours."""

    samples: deque[tuple[int, int]] = field(factory=deque)

    def note(self, market: Market, now: int) -> None:
        """Sample the market, if this minute has no sample yet."""
        if not self.samples or now - self.samples[-1][0] >= MINUTE:
            self._drop_old(now)
            self.samples.append((now, _integral(market, now)))

    def rate_sum(self, market: Market, now: int) -> int:
        """Return the rate summed over the last 8 hours, in 1e-12, as far as samples reach."""
        self._drop_old(now)
        if not self.samples:
            return 0
        latest = _integral(market, now)
        start = now - FUNDING_WINDOW
        sampled, integral = self.samples[0]
        if sampled < start:
            # The rate changes only where samples are taken, so the integral is linear between two.
            later, reached = self.samples[1] if len(self.samples) > 1 else (now, latest)
            integral += round_half_even((reached - integral) * (start - sampled), later - sampled)
        return round_half_even(latest - integral, FUNDING_WINDOW)

    def _drop_old(self, now: int) -> None:
        # Keep the last sample before the window, where its integral begins.
        while len(self.samples) > 1 and self.samples[1][0] <= now - FUNDING_WINDOW:
            self.samples.popleft()


def _integral(market: Market, now: int) -> int:
    """Return rate x milliseconds up to `now`: the accrued part, and the present rate since then."""
    return market.rate_integral + market.funding_rate * max(0, now - market.funding_time)
